#!/usr/bin/env bats
# Whether a primary may stay one, case by case. The functions alone, without containers.
#
# shellcheck disable=SC2030,SC2031 # each test is a subshell

setup() {
    source "$BATS_TEST_DIRNAME/../lib/watch.sh"
}

# stays SELF ALONE_FOR NODE=STATE...; steps_down does the opposite, and says why.
stays() {
    [[ -z $(judge "$@") ]]
}

steps_down() {
    local why
    why=$(judge "$@")
    printf '%s\n' "$why"
    [[ -n $why ]]
}

@test "a primary with its standbys stays" {
    stays n1 0 n1=primary:1:0/9 n2=standby:1:0/9 n3=standby:1:0/8
    stays n1 0 n1=primary:2:0/9 n2=primary:1:0/9 n3=silent
}

@test "a newer timeline ends the older one" {
    steps_down n1 0 n1=primary:1:0/9 n2=primary:2:0/9 n3=silent
    steps_down n3 0 n1=primary:4:0/9 n2=silent n3=primary:3:0/9
}

@test "of two on one timeline, the one that comes later in the order goes" {
    stays n1 0 n1=primary:2:0/9 n2=primary:2:0/9 n3=silent
    steps_down n2 0 n1=primary:2:0/9 n2=primary:2:0/9 n3=silent
}

@test "without a majority for too long" {
    stays n1 2 n1=primary:1:0/9 n2=silent n3=silent
    steps_down n1 3 n1=primary:1:0/9 n2=silent n3=silent
    ALONE=allow stays n1 500 n1=primary:1:0/9 n2=silent n3=silent
}

@test "what a majority is" {
    has_majority 1 "" n1=primary:1 n2=standby:1 n3=silent
    ! has_majority 1 "" n1=primary:1 n2=silent n3=silent || return 1
    ! has_majority 1 "" n1=primary:1 n2=standby:1 n3=silent n4=silent || return 1
    has_majority 1 "" n1=primary:1 n2=silent w=witness
    has_majority 1 n2 n1=primary:1 n2=silent n3=silent
    ! has_majority 1 n2 n1=primary:1 n2=silent n3=silent n4=silent || return 1
    ! has_majority 1 "" n1=primary:1 n2=foreign n3=foreign || return 1
    has_majority 1 "" n1=primary:1 n2=silent n3=barred:1
}

@test "who follows a newer timeline is no support" {
    ! has_majority 1 "" n1=primary:1 n2=standby:2 n3=silent || return 1
    ! has_majority 1 "" n1=primary:1 n2=standby:2 n3=left:2 || return 1
    has_majority 2 "" n1=primary:2 n2=standby:1 n3=silent
    has_majority 1 n2 n1=primary:1 n2=silent n3=standby:2
}

@test "who has said something new is heard, whatever its clock says" {
    [[ $(heard 'n2@99.5 n3@7' 'n2@99.5 n3@8') == 'n3 ' ]]
    [[ -z $(heard '' 'n2@1') && -z $(heard 'n2@1' '') ]]
}

@test "two nodes, or what is left of three that took their leave, have none to lose" {
    has_majority 1 "" n1=primary:1 n2=silent
    has_majority 1 "" n1=primary:1 n2=silent n3=away
    has_majority 1 "" n1=primary:1
}

@test "a repmgrd that does nothing hangs, unless somebody else may have the primary's place" {
    was_fed=yes
    active_primary() { echo n1; }
    pulse() { echo "$beats"; }
    is_promotion_under_way() { false; }
    reports=(n1=silent n2=standby:1:0/9 n3=standby:1:0/9) beats=7
    repmgrd_hangs 7
    beats=none
    repmgrd_hangs none
    ! repmgrd_hangs 7 || return 1
    beats=7
    ! ALONE=allow repmgrd_hangs 7 || return 1
    beats=''
    ! repmgrd_hangs '' || return 1
    beats=7
    ! repmgrd_hangs 6 || return 1
    reports=(n1=silent n2=standby:1:0/9 n3=silent)
    ! repmgrd_hangs 7 || return 1
    reports=(n1=standby:1:0/9 n2=standby:1:0/9 n3=silent)
    ! repmgrd_hangs 7 || return 1
    reports=(n1=starting n2=standby:1:0/9 w=silent:without-commits)
    ! repmgrd_hangs 7 || return 1
    reports=(n1=starting n2=standby:1:0/9 w=witness)
    repmgrd_hangs 7
    is_promotion_under_way() { true; }
    ! repmgrd_hangs 7 || return 1
    is_promotion_under_way() { false; }
    was_fed=''
    ! repmgrd_hangs 7 || return 1
}

@test "who got WAL when it took its place need not be seen to get it before its repmgrd can hang" {
    source "$BATS_TEST_DIRNAME/../lib/position.sh"
    PGDATA=$BATS_TEST_TMPDIR healing=on WATCH_INTERVAL=0 POLL=0 postgres_pid=$$
    touch "$PGDATA/standby.signal"
    is_witness() { false; }
    remember_members() { :; }
    end_forgotten_pause() { :; }
    wait_for_others() { :; }
    survey() { :; }
    now_ms() { echo 0; }
    note_strangers() { :; }
    look_round_as_standby() { seen=$was_fed verdict=anew; }
    local_psql() { echo '0/9 t'; }
    gets_on
    watch
    [[ $seen == yes ]]
    decide() { echo 'follow n1 it is the primary'; }
    log() { :; }
    follow() { :; }
    take_position
    [[ -z $fed ]]
}

@test "a pulse is that of a process that runs on" {
    pgrep() { echo "$pid"; }
    bash -c 'while :; do sleep 0.05; done' 3>&- & pid=$!
    disown
    before=$(pulse)
    [[ -n $before ]]
    sleep 0.3
    [[ $(pulse) != "$before" ]]
    kill -STOP "$pid"
    sleep 0.1
    before=$(pulse)
    sleep 0.3
    [[ $(pulse) == "$before" ]]
    kill -KILL "$pid"
    timeout 5 tail --pid="$pid" -f /dev/null
    [[ $(pulse) == none ]]
}

# last REPORT... -- DOWN...: whether n2 is the last one.
last() {
    reports=() down=()
    while [[ $1 != -- ]]; do
        reports+=("$1")
        shift
    done
    shift
    down=("$@")
    is_the_last
}

@test "of two that count, the one that is left where nothing runs any more" {
    last n1=silent n2=standby:1:0/9 n3=away -- n1
    last n1=silent n2=standby:1:0/9 -- n1
    ! last n1=silent n2=standby:1:0/9 n3=away -- || return 1
    MEMBERS=$BATS_TEST_TMPDIR/members
    printf '%s\n' '1 n1 primary there 100' '2 n2 standby there 100' '3 n3 standby away 100' >"$MEMBERS"
    last n1=silent n2=standby:1:0/9 n3=away -- n1
    sed -i 's/n3 standby/n3 witness/' "$MEMBERS"
    ! last n1=silent n2=standby:1:0/9 n3=away -- n1 || return 1
    rm "$MEMBERS"
    ! last n1=starting n2=standby:1:0/9 n3=away -- || return 1
    ! last n1=silent n2=standby:1:0/9 n3=silent -- n1 n3 || return 1
    ! last n1=standby:1:0/9 n2=standby:1:0/9 n3=away -- || return 1
}
