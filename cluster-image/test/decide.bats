#!/usr/bin/env bats
# The start decision, case by case: what a node sees, and what it is to do. The functions alone, without containers.
#
# shellcheck disable=SC2030,SC2031 # each test is a shell of its own

setup() {
    source "$BATS_TEST_DIRNAME/../lib/decide.sh"
}

# sees SELF[@WAITED] NODE=STATE[:TIMELINE[:LSN]]... -- ACTION [NODE] [words of the reason]
sees() {
    local self=${1%@*} waited=0 reports=() answer action target reason
    [[ $1 != *@* ]] || waited=${1#*@}
    shift
    while [[ $1 != -- ]]; do
        reports+=("$1")
        shift
    done
    shift
    answer=$(decide "$self" "$waited" "${reports[@]}")
    read -r action target reason <<<"$answer"
    if [[ $action != "$1" || $target != "${2:--}" || $reason != *"${3:-}"* ]]; then
        printf 'sees %s@%s %s\n  expected: %s %s …%s…\n  answer:   %s\n' \
            "$self" "$waited" "${reports[*]}" "$1" "${2:--}" "${3:-}" "$answer"
        return 1
    fi
}

# ---- the cluster went on without it

@test "an old primary rejoins its successor" {
    sees n1 n1=primary:1 n2=primary:2 n3=standby:2 -- rejoin n2 'promoted to timeline 2'
    sees n1 n1=primary:1 n2=primary:2 n3=silent -- rejoin n2
}

@test "also when it has been made to wait, and has replayed what it had" {
    sees n1@60 n1=primary:1:0/99 n2=primary:2:0/50 n3=standby:2:0/50 -- rejoin n2
}

@test "the newest of several primaries counts" {
    sees n1 n1=primary:1 n2=primary:2 n3=primary:3 -- rejoin n3
    sees n3 n1=primary:1 n2=primary:2 n3=standby:1 -- follow n2
}

@test "a standby follows the primary" {
    sees n3 n1=primary:1 n2=silent n3=standby:1 -- follow n1
    sees n3 n1=silent n2=primary:2 n3=standby:1 -- follow n2
}

@test "a primary on an older timeline is nobody to follow" {
    sees n1 n1=primary:2 n2=primary:1 n3=standby:1 -- hold - 'older than 2 here'
    sees n3 n1=primary:1 n2=silent n3=standby:2 -- hold - 'older than 2 here'
}

@test "two primaries of one timeline are one too many" {
    sees n1 n1=primary:1 n2=primary:1 n3=standby:1 -- hold - 'one of the two must not be'
}

@test "another cluster's primary is not followed" {
    sees n1 n1=standby:1 n2=foreign n3=silent -- hold
    sees n1@60 n1=standby:1:0/5 n2=foreign n3=silent -- hold - '1 of 3'
}

# ---- nobody is primary

@test "nobody leads before it has replayed what it has" {
    sees n1@60 n1=primary:1 n2=standby:1:0/50 n3=standby:1:0/50 -- hold - 'replaying'
}

@test "nor before the others have" {
    sees n1@60 n1=primary:1:0/60 n2=standby:1 n3=standby:1:0/50 -- hold - 'until n2 have replayed'
}

@test "the newest timeline leads, then the most WAL, then the lowest id" {
    sees n1 n1=primary:1:0/99 n2=standby:2:0/50 n3=standby:2:0/40 -- hold - 'n2 has the most'
    sees n2 n1=standby:1:0/99 n2=standby:2:0/50 n3=standby:2:0/40 -- lead
    sees n3 n1=standby:1:0/50 n2=standby:1:0/50 n3=primary:1:0/60 -- lead
    sees n1 n1=standby:1:0/50 n2=standby:1:0/50 n3=standby:1:0/50 -- lead
    sees n2 n1=standby:1:0/50 n2=standby:1:0/50 n3=standby:1:0/50 -- hold - 'n1 has the most'
    sees n2 n1=standby:1:0/FFFFFFFF n2=standby:1:1/0 n3=standby:1:0/9 -- lead
}

@test "of those that have as much, who was the primary leads on" {
    sees n3 n1=standby:1:0/50:n3 n2=standby:1:0/50 n3=primary:1:0/50 -- lead
    sees n1 n1=standby:1:0/50 n2=standby:1:0/50 n3=standby:1:0/50:n3 -- hold - 'n3 has the most'
    sees n1 n1=standby:1:0/51 n2=standby:1:0/50 n3=standby:1:0/50:n3 -- lead
    sees n1 n1=standby:2:0/50 n2=standby:1:0/50 n3=standby:1:0/50:n3 -- lead
    sees n1@60 n1=standby:1:0/50 n2=standby:1:0/50 n3=standby:1:0/50:n3 -- lead
    sees n3@60 n1=standby:1:0/50:n3 n2=standby:1:0/50 n3=primary:1:0/50 -- hold - 'n1 has the most'
}

@test "a majority waits a while for the others, which may have more" {
    sees n1@9 n1=standby:1:0/50 n2=standby:1:0/50 n3=silent -- hold - 'waiting 10 s for n3'
    sees n1@10 n1=standby:1:0/50 n2=standby:1:0/50 n3=silent -- lead
}

@test "a witness counts, but never leads" {
    sees n1@10 n1=standby:1:0/50 n2=silent w=witness -- lead
    sees n2@10 n1=silent n2=standby:1:0/50 n3=silent n4=silent w=witness -- hold - '2 of 5'
}

@test "of two that have as much, the one with the higher priority leads: it comes first, whatever its id" {
    sees n3 n3=standby:1:0/50 n1=standby:1:0/50 -- lead
    sees n1 n3=standby:1:0/50 n1=standby:1:0/50 -- hold - 'n3 has the most'
    sees n1 n3=standby:1:0/50 n1=standby:1:0/51 -- lead
}

@test "a barred node counts, but never leads, whatever it has" {
    sees n1@10 n1=standby:1:0/50 n2=silent n3=barred:1:0/50 -- lead
    sees n1 n1=standby:1:0/50 n3=barred:2:0/99 -- lead
    sees n1 n1=standby:1:0/50 n3=barred:1 -- lead
    sees n3@99 n1=standby:1:0/50 n3=barred:1:0/99 -- hold - 'n1 has the most'
    sees n3@99 n1=silent n2=silent n3=barred:1:0/99 -- hold - '1 of 3'
    sees n3@99 n1=silent n2=barred:1:0/9 n3=barred:1:0/99 -- hold - 'no node is there that may lead'
    sees n3@99 n3=barred:1:0/99 -- hold - 'no node is there that may lead'
    ALONE=allow sees n3@99 n1=silent n3=barred:1:0/99 -- hold - 'no node is there that may lead'
}

@test "a barred node follows, and replays first" {
    sees n3 n1=primary:1 n3=barred:1 -- follow n1
    sees n3 n1=primary:1 n3=barred:2 -- hold - 'older than 2 here'
    sees n3 n1=standby:1 n3=barred:1 -- hold - 'replaying'
    sees n3 n1=barred:1 n3=empty -- wait - 'data on n1'
}

@test "without a majority it waits, however long" {
    sees n1@999 n1=primary:1:0/60 n2=silent n3=silent -- hold - '1 of 3 nodes are there, which is no majority; no answer from n2 n3'
    sees n1@999 n1=primary:1:0/60 n2=silent -- hold - '1 of 2'
    sees n1@999 n1=primary:1:0/60 n2=standby:1:0/60 n3=silent n4=silent -- hold - '2 of 4'
}

@test "unless it may lead alone" {
    ALONE=allow sees n1 n1=primary:1:0/60 n2=silent n3=silent -- lead
    ALONE=allow sees n1 n1=primary:1 n2=silent n3=silent -- hold - 'replaying'
    ALONE=allow sees n1 n1=primary:1:0/60 n2=primary:2 n3=silent -- rejoin n2
}

@test "who took its leave does not count" {
    sees n1 n1=primary:1 n2=away n3=away -- lead
    sees n2@99 n1=silent n2=standby:1:0/60 n3=away -- hold - '1 of 2'
}

# ---- with SYNC_MODE=quorum: only who must have the last commit

@test "of three nodes two are enough, and nobody waits for the third" {
    export SYNC_MODE=quorum
    sees n2 n1=silent n2=standby:1:0/50 n3=standby:1:0/50 -- lead
    sees n3 n1=silent n2=standby:1:0/50 n3=standby:1:0/60 -- lead
    sees n2 n1=silent n2=standby:1:0/50 n3=standby:1:0/60 -- hold - 'n3 has the most'
}

@test "a witness has no commits" {
    export SYNC_MODE=quorum
    sees n2@99 n1=silent n2=standby:1:0/50 n3=silent w=witness w2=witness -- hold - '1 of 3 nodes may lack a commit'
    sees n2 n1=silent n2=standby:1:0/50 w=witness -- lead
    sees n2 n1=silent n2=standby:1:0/50 n3=standby:1:0/50 v=silent:without-commits w=witness -- lead
    sees n2@99 n1=silent n2=standby:1:0/50 n3=silent n4=standby:1:0/50 w=witness -- lead
}

@test "nor need a barred node have any" {
    export SYNC_MODE=quorum
    sees n2 n1=silent n2=standby:1:0/50 n3=barred:1:0/60 -- lead
    sees n2 n1=silent n2=standby:1:0/50 n3=silent:without-commits w=witness -- hold - '2 of 4 nodes'
    sees n2 n1=silent n2=standby:1:0/50 n3=silent:without-commits v=witness w=witness -- lead
    sees n2 n1=silent n2=standby:1:0/50 n3=silent n4=barred:1:0/50 w=witness -- hold - '1 of 3 nodes may lack'
}

@test "half of an even number is enough" {
    export SYNC_MODE=quorum
    sees n2 n1=silent n2=standby:1:0/50 n3=standby:1:0/50 n4=silent w=witness -- lead
    sees n2 n1=silent n2=standby:1:0/50 n3=away w=witness -- lead
}

@test "who has left may lack what the others did without it" {
    export SYNC_MODE=quorum
    sees n2@99 n1=silent n2=left:1:0/50 n3=standby:1:0/50 -- hold - 'took its leave'
    sees n3@99 n1=silent n2=left:1:0/90 n3=standby:1:0/50 -- hold - '1 of 3 nodes may lack'
    sees n3@99 n1=standby:1:0/60 n2=left:1:0/90 n3=standby:1:0/50 -- hold - 'n1 has the most'
    sees n2@99 n1=silent n2=back:1:0/50 n3=back:1:0/50 -- hold - 'took its leave'
    sees n1 n1=primary:1:0/50 n2=back:1:0/40 n3=back:1:0/40 -- lead
    sees n2 n1=primary:1:0/50 n2=back:1:0/40 n3=left:1:0/40 -- follow n1
    sees n4 n1=silent n2=back:1:0/40 n4=empty -- wait - 'there are data on n2'
}

@test "of two, either has everything" {
    export SYNC_MODE=quorum
    sees n2 n1=silent n2=standby:1:0/50 -- lead
    sees n2 n1=silent n2=standby:1:0/50 n3=away -- lead
    sees n2 n1=silent n2=standby:1:0/50 n3=back:1:0/90 -- lead
    sees n2 n1=silent n2=left:1:0/50 -- hold
}

@test "ALONE=allow asks for nothing" {
    SYNC_MODE=quorum ALONE=allow sees n2 n1=silent n2=standby:1:0/50 n3=silent -- lead
}

# ---- a timeline that nobody has taken up

@test "a majority on an older timeline is followed after a while; the data are kept" {
    sees n2@9 n1=primary:1 n2=primary:2 n3=standby:1 -- hold - 'older than 2 here'
    sees n2@10 n1=primary:1 n2=primary:2 n3=standby:1 -- clone n1 'nobody has gone on from 2'
    sees n2@99 n1=primary:1 n2=standby:2 n3=silent -- hold
    sees n2@99 n1=primary:1 n2=primary:2 n3=standby:2 -- hold
    sees n2@99 n1=primary:1 n2=primary:2 w=witness -- clone n1
}

@test "a single node leads" {
    sees n1 n1=primary:1 -- lead
    sees n1 n1=standby:1 -- lead
}

# ---- without data

@test "no data: a primary is copied" {
    sees n2 n1=primary:1 n2=empty -- clone n1
    sees n1 n1=empty n2=primary:7 n3=standby:7 -- clone n2
    sees n2 n1=primary:1 n2=broken -- clone n1
}

@test "no data, but somebody has: no second cluster" {
    sees n1@99 n1=empty n2=standby:1 n3=silent -- wait - 'there are data on n2'
    sees n1@99 n1=empty n2=foreign -- wait - 'another cluster'
}

@test "no data, and refused: there is a cluster" {
    sees n1@99 n1=empty n2=refusing n3=silent -- wait - 'there are data on n2, where this node is refused'
    sees n1@99 n1=empty n2=refusing n3=primary:1 -- clone n3
}

@test "no data, but a witness: there is a cluster somewhere" {
    sees n1@99 n1=empty w=witness -- wait - 'only w answers'
    sees n1 n1=empty w=witness n2=primary:3 -- clone n2
}

@test "no data anywhere: the first one makes the cluster" {
    sees n1 n1=empty -- initialise
    sees n1 n1=empty n2=empty -- initialise
    sees n2 n1=empty n2=empty -- wait - 'n1 is to make'
    sees n2@99 n1=silent n2=empty -- wait - 'n1 is to make'
}

@test "who does not answer may have data, for a while" {
    sees n1@9 n1=empty n2=silent n3=empty -- wait - 'no answer from n2'
    sees n1@10 n1=empty n2=silent n3=empty -- initialise
}

@test "half a copy of a cluster is never the beginning of another" {
    sees n1@99 n1=broken n2=empty -- wait - 'not whole'
    sees n1@99 n1=broken -- wait
}

# ---- the recovery from a crash takes its time

@test "who replays what it wrote before a crash is waited for, but not for ever" {
    sees n2@11 n1=starting n2=standby:1:0/9 n3=standby:1:0/9 -- hold - 'waiting 300 s for n1'
    sees n2@300 n1=starting n2=standby:1:0/9 n3=standby:1:0/9 -- lead
    sees n2@11 n1=silent n2=standby:1:0/9 n3=standby:1:0/9 -- lead
}

@test "it is nobody to count on before" {
    sees n2@400 n1=starting n2=standby:1:0/9 n3=starting -- hold - 'no majority'
    sees n2@400 n1=starting n2=empty n3=starting -- wait
}

@test "with synchronous commit, enough of the others know all that counts" {
    SYNC_MODE=quorum sees n2 n1=starting n2=standby:1:0/9 n3=standby:1:0/9 -- lead
}
