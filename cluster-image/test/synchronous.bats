#!/usr/bin/env bats
# Whom a commit waits for. The functions alone, without containers.
#
# shellcheck disable=SC2030,SC2031,SC2034,SC2317,SC2329 # bats calls what is here, and the functions under test use the variables

setup() {
    STATE_DIR=$BATS_TEST_TMPDIR node_id=1 node_name=n1 postgres_pid='' POLL=0 SYNC_MODE=quorum
    mkdir -p "$STATE_DIR/conf.d"
    source "$BATS_TEST_DIRNAME/../lib/synchronous.sh"
    SETTLE=0

    log() { :; }
    write_file() { cat >"$1"; }
    id_of() { echo "$1"; }
    local_psql() { [[ $* != *CHECKPOINT ]] || changes+="CHECKPOINT with $(waits_for_now); "; }

    # The node table: those that count, those that are away, and the one that is returning, which counts as well; which of all
    # stream. What is waited for is noted at each change of the table.
    counting='' away='' returning='' streaming='' acknowledging=yes changes=''
    others_that_count() { echo "$counting"; }
    nodes_away() { echo "$away"; }
    nodes_returning() { echo "$returning"; }
    is_streaming() { [[ " $streaming " == *" $1 "* ]]; }
    is_acknowledged() { asked="$*"; [[ $acknowledging == yes ]]; }
    change_away() {
        local node=${1##* }
        case $1 in
            *USING*) return ;;
            *'comes_back = true'*) away=$(without "$node" "$away") counting="$counting $node" returning=$node ;;
            *'comes_back = false'*) away="$away $node" counting=$(without "$node" "$counting") returning='' ;;
            DELETE*) returning='' ;;
        esac
        changes+="${1%% *} with $(waits_for_now); "
    }
    without() { local name; for name in $2; do [[ $name == "$1" ]] || echo "$name"; done | paste -sd' '; }
}

waits_for_now() {
    sed -n "s/^synchronous_standby_names = '\(.*\)'$/\1/p" "$SYNCHRONOUS_CONF" 2>/dev/null || true
}

# waits_for VALUE: what synchronous_standby_names is.
waits_for() {
    [[ $(waits_for_now) == "$1" ]] || { printf 'expected: %s\nactual:   %s\n' "$1" "$(waits_for_now)"; return 1; }
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

@test "one more while somebody returns, on a node that is promoted meanwhile, too" {
    counting=n2 returning=n2 && wait_for_others && waits_for 'ANY 1 ("n2")'
    counting='n2 n3' returning=n3 && wait_for_others && waits_for 'ANY 2 ("n2", "n3")'
    counting='n2 n3 n4' returning=n3 && wait_for_others && waits_for 'ANY 2 ("n2", "n3", "n4")'
    counting='n2 n3 n4 n5' returning=n3 && wait_for_others && waits_for 'ANY 3 ("n2", "n3", "n4", "n5")'
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
    [[ -z $changes ]]
}

@test "who comes back is waited for before it counts, and one more with it" {
    counting=n2 away=n3 streaming='n2 n3' && wait_for_others
    keep_membership
    [[ $changes == 'UPDATE with ANY 2 ("n2", "n3"); DELETE with ANY 2 ("n2", "n3"); ' ]] || { echo "$changes"; return 1; }
    [[ $asked == '2 n2 n3' ]]
    waits_for 'ANY 1 ("n2", "n3")'
}

@test "the first one to come back" {
    away=n2 streaming=n2 && wait_for_others && waits_for ''
    keep_membership && waits_for 'ANY 1 ("n2")'
    [[ $changes == 'CHECKPOINT with ANY 1 ("n2"); UPDATE with ANY 1 ("n2"); DELETE with ANY 1 ("n2"); ' && $asked == '1 n2' ]]
}

@test "what is not acknowledged yet is waited for" {
    counting=n2 away='n3 n4' streaming='n2 n3 n4' acknowledging=no && wait_for_others
    keep_membership && waits_for 'ANY 2 ("n2", "n3")'
    keep_membership && waits_for 'ANY 2 ("n2", "n3")'
    [[ $returning == n3 && $away == n4 ]]
    acknowledging=yes
    keep_membership && waits_for 'ANY 2 ("n2", "n3", "n4")'
    [[ -z $returning && -z $away ]]
}

@test "who is gone again before that is away as before, and the next one has its turn" {
    counting=n2 away=n3 streaming='n2 n3' acknowledging=no && wait_for_others && keep_membership
    streaming=n2 && keep_membership && waits_for 'ANY 1 ("n2")'
    [[ -z $returning && ${away// /} == n3 ]]
    away="n4 n3" streaming='n2 n4' acknowledging=yes
    keep_membership && waits_for 'ANY 1 ("n2", "n4")'
}

@test "without SYNC_MODE nobody is waited for, but the table is kept" {
    SYNC_MODE='' counting=n2 away='n3 n4' streaming='n2 n3 n4'
    keep_membership && waits_for ''
    [[ -z $away && -z $returning && $counting == 'n2 n3 n4' ]]
}
