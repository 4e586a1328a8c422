#!/usr/bin/env bats
# Whom a commit waits for. The functions alone, without containers.
#
# shellcheck disable=SC2034,SC2317,SC2329 # bats calls what is here, and the functions under test use the variables

setup() {
    STATE_DIR=$BATS_TEST_TMPDIR node_id=1 node_name=n1 postgres_pid='' POLL=0 SYNC_MODE=quorum
    mkdir -p "$STATE_DIR/conf.d"
    source "$BATS_TEST_DIRNAME/../lib/synchronous.sh"

    log() { :; }
    write_file() { cat >"$1"; }

    # The node table: those that count, those that are away, and which of these stream; who acknowledges is asked last.
    counting='' away='' streaming='' acknowledging=yes
    others_that_count() { echo "$counting"; }
    who_returns() { local node; for node in $away; do [[ " $streaming " != *" $node "* ]] || { echo "$node"; return; }; done; }
    count_again() {
        [[ $1 == "node_name = '"* ]] || return 0
        local name=${1#*\'}
        name=${name%\'}
        away=${away//$name/} counting="$counting $name"
    }
    is_acknowledged() { asked="$*"; [[ $acknowledging == yes ]]; }
}

# waits_for VALUE: what synchronous_standby_names is.
waits_for() {
    local value
    value=$(sed -n "s/^synchronous_standby_names = '\(.*\)'$/\1/p" "$SYNCHRONOUS_CONF")
    [[ $value == "$1" ]] || { printf 'expected: %s\nactual:   %s\n' "$1" "$value"; return 1; }
}

@test "names" {
    [[ $(synchronous_names 1 n2 n-3) == 'ANY 1 ("n2", "n-3")' ]]
    [[ -z $(synchronous_names 0 n2) && -z $(synchronous_names 1) ]]
}

@test "half of the others, rounded up" {
    wait_for_others && waits_for ''
    counting=n2 && wait_for_others && waits_for 'ANY 1 ("n2")'
    counting='n2 n3' && wait_for_others && waits_for 'ANY 1 ("n2", "n3")'
    counting='n2 n3 n4' && wait_for_others && waits_for 'ANY 2 ("n2", "n3", "n4")'
    counting='n2 n3 n4 n5' && wait_for_others && waits_for 'ANY 2 ("n2", "n3", "n4", "n5")'
}

@test "a table that cannot be read changes nothing" {
    counting='n2 n3' && wait_for_others
    others_that_count() { return 1; }
    ! wait_for_others || return 1
    ! keep_membership || return 1
    waits_for 'ANY 1 ("n2", "n3")'
}

@test "who leaves is not waited for" {
    counting='n2 n3' && keep_membership && waits_for 'ANY 1 ("n2", "n3")'
    counting=n2 away=n3 && keep_membership && waits_for 'ANY 1 ("n2")'
    counting='' away='n2 n3' && keep_membership && waits_for ''
}

@test "who comes back is waited for before it counts, and one more with it" {
    counting=n2 away=n3 streaming='n2 n3' && wait_for_others
    keep_membership && waits_for 'ANY 2 ("n2", "n3")'
    [[ $away == n3 ]]
    acknowledging=no
    keep_membership && waits_for 'ANY 2 ("n2", "n3")'
    [[ -z ${away// /} ]]
    keep_membership && waits_for 'ANY 2 ("n2", "n3")'
    [[ $asked == '2 n2 n3' ]]
    acknowledging=yes
    keep_membership && waits_for 'ANY 1 ("n2", "n3")'
}

@test "the first one to come back" {
    away=n2 streaming=n2 && wait_for_others && waits_for ''
    keep_membership && waits_for 'ANY 1 ("n2")'
    keep_membership && keep_membership && waits_for 'ANY 1 ("n2")'
    [[ $asked == '1 n2' && -z ${away// /} ]]
}

@test "who is gone again before it counts is forgotten" {
    counting=n2 away=n3 streaming='n2 n3' && wait_for_others && keep_membership && waits_for 'ANY 2 ("n2", "n3")'
    streaming=n2 && keep_membership && waits_for 'ANY 1 ("n2")'
    [[ $away == n3 ]]
}

@test "without SYNC_MODE nobody is waited for, but the table is kept" {
    SYNC_MODE='' counting=n2 away=n3 streaming='n2 n3'
    keep_membership && waits_for ''
    [[ -z ${away// /} ]]
}
