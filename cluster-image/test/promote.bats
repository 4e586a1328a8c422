#!/usr/bin/env bats
# Who may be promoted: the votes, and what speaks against it. The functions alone, without containers.
#
# shellcheck disable=SC2030,SC2031,SC2034,SC2317,SC2329 # bats calls what is here, and the functions under test use the variables

setup() {
    ASK_TIMEOUT=0 node_name=n2 said=$BATS_TEST_TMPDIR/said down=() SYNC_MODE=''
    source "$BATS_TEST_DIRNAME/../lib/promote.sh"
    source "$BATS_TEST_DIRNAME/../lib/watch.sh"
    source "$BATS_TEST_DIRNAME/../lib/decide.sh"
    log() { echo "$*"; }
    own_timeline() { echo 1; }
    active_primary() { echo n1; }
    seconds_ago=9
    local_psql() { echo "$seconds_ago"; }
}

# say LINE...: what the sessions have said.
say() {
    printf '%s\n' "$@" >"$said"
}

# objects WORDS STATE...; agrees does the opposite.
objects() {
    reports=("${@:2}")
    [[ $(objection) == *"$1"* && -n $(objection) ]] || { echo "objection: $(objection)"; return 1; }
}

agrees() {
    reports=("$@")
    [[ -z $(objection) ]] || { echo "objection: $(objection)"; return 1; }
}

@test "a majority is more than half, the one that hands over included" {
    say 'n1 ended' 'n2 lock t' 'n3 lock t' && lock_majority 0 n1 n2 n3
    say 'n1 ended' 'n2 lock t' 'n3 lock f' && ! lock_majority 0 n1 n2 n3 || return 1
    say 'n1 ended' 'n2 lock t' 'n3 ended' && lock_majority 1 n1 n2 n3
    say 'n1 ended' 'n2 lock t' && lock_majority 0 n1 n2
    say 'n1 ended' 'n2 ended' && ! lock_majority 0 n1 n2 || return 1
    say 'n2 lock t' 'n3 lock t' 'n4 ended' && ! lock_majority 0 n1 n2 n3 n4 || return 1
}

@test "votes that come in while they are counted count" {
    say 'n1 ended'
    who_said() {
        [[ ! -e $said.asked ]] || sed -n "s/ $1\$//p" "$said"
        touch "$said.asked"
        say 'n1 ended' 'n2 lock t' 'n3 lock t'
    }
    ASK_TIMEOUT=1 lock_majority 0 n1 n2 n3
}

@test "who is one of two because a third has left does not replace what it cannot hear" {
    active_primary() { echo n1; }
    local_psql() { echo 60; }
    objects 'no third node to ask' n1=silent n2=standby:1:0/9 n3=away
    agrees n1=silent n2=standby:1:0/9
    agrees n1=silent n2=standby:1:0/9 n3=silent
    down=(n1)
    agrees n1=silent n2=standby:1:0/9 n3=away
    down=()
    SYNC_MODE=quorum agrees n1=silent n2=standby:1:0/9 n3=away
}

@test "nobody is promoted beside a primary, or one that another node sees" {
    objects 'n1 is the primary' n1=primary:1:0/9:- n2=standby:1:0/9 n3=standby:1:0/9:-
    objects 'n3 still sees n1' n1=silent n2=standby:1:0/9 n3=standby:1:0/9:n1
    objects 'w still sees n1' n1=silent n2=standby:1:0/9 w=witness:::n1
    agrees n1=silent n2=standby:1:0/9 n3=standby:1:0/9:-
    agrees n1=silent n2=standby:1:0/9 n3=standby:1:0/9:n2
}

@test "a standby that is seen, and an older primary, are no reason" {
    agrees n1=standby:1:0/9:- n2=standby:1:0/9 n3=standby:1:0/9:n1
    own_timeline() { echo 2; }
    agrees n1=primary:1:0/9:- n2=standby:2:0/9 n3=standby:2:0/9:-
}

@test "a primary that is only not heard is given the time to stop" {
    seconds_ago=4 objects 'may not have stopped yet' n1=silent n2=standby:1:0/9 n3=standby:1:0/9:-
    seconds_ago=5 agrees n1=silent n2=standby:1:0/9 n3=standby:1:0/9:-
    no_primary_since=$(($(now_ms) - 4000)) seconds_ago=60 objects 'was there 4 s ago' n1=silent n2=standby:1:0/9 n3=standby:1:0/9:-
    no_primary_since=$(($(now_ms) - 5000)) seconds_ago=60 agrees n1=silent n2=standby:1:0/9 n3=standby:1:0/9:-
    local since
    since=$(now_ms)
    seconds_ago=-1 objects 'was there 0 s ago' n1=silent n2=standby:1:0/9 n3=standby:1:0/9:-
    since=$(($(now_ms) - 5000))
    seconds_ago=-1 agrees n1=silent n2=standby:1:0/9 n3=standby:1:0/9:-
    down=(n1)
    seconds_ago=1 agrees n1=silent n2=standby:1:0/9 n3=standby:1:0/9:-
}

@test "with SYNC_MODE=quorum its commits would not be acknowledged anyway" {
    SYNC_MODE=quorum seconds_ago=1
    agrees n1=silent n2=standby:1:0/9 n3=standby:1:0/9:-
}

@test "who has promised nothing does not count" {
    SYNC_MODE=quorum
    reports=(n1=silent n2=standby:1:0/9:- n3=standby:1:0/9:-)
    say 'n2 lock t' 'n2 promises' 'n3 lock t' 'n3 promises'
    [[ -z $(lack_of_promises) ]]
    say 'n2 lock t' 'n2 promises' 'n3 lock t'
    [[ $(lack_of_promises) == *'no majority'* ]]
    reports=(n1=silent n2=standby:1:0/9:- n3=standby:1:0/A:-)
    say 'n2 lock t' 'n2 promises' 'n3 lock t' 'n3 promises'
    [[ $(lack_of_promises) == *'n3 has the most'* ]]
}

@test "who gets its WAL from the candidate now has no more than that, whatever its place in the order" {
    SYNC_MODE=quorum
    reports=(n1=standby:2:0/9:- n2=standby:2:0/9:- n3=silent)
    say 'n1 lock t' 'n1 promises' 'n2 lock t' 'n2 promises'
    [[ -z $(lack_of_promises) ]]
    # Not if it was the primary either.
    reports=(n1=standby:2:0/9:n1 n2=standby:2:0/9:- n3=silent)
    [[ -z $(lack_of_promises) ]]
    reports=(n1=standby:2:0/A:- n2=standby:2:0/9:- n3=silent)
    [[ $(lack_of_promises) == *'n1 has the most'* ]]
}
