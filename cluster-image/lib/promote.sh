# Becoming the primary: one at a time, with the consent of a majority, and only if there is none.
#
# repmgrd elects without a vote: two nodes whose tables differ may each find that they have won, and would then write to
# one timeline, each its own. So a promotion takes a lock on a majority of the nodes, and looks round once more.
#
# shellcheck shell=bash

PROMOTION_LOCK=4711     # an advisory lock; on a standby, too, it ends with the session that holds it
HICCUP=1                # seconds for which a primary that refuses is still waited for

# lock_majority: takes the lock on all nodes that give it; fails if they are no majority. The sessions live until this
# shell ends. Two nodes have no majority: there, the other one's absence is no reason to stay without a primary.
lock_majority() {
    local host fd answers granted known deadline=$((SECONDS + ASK_TIMEOUT + 1)) said
    local -a members
    read -r -a members <<<"$(known_members | tr '\n' ' ')"
    known=${#members[@]}
    said=$(mktemp)
    for host in "${members[@]}"; do
        exec {fd}> >(psql -XAtqw "$(conninfo "$host")" >>"$said" 2>/dev/null || echo - >>"$said")
        echo "SELECT pg_try_advisory_lock($PROMOTION_LOCK);" >&"$fd"
    done
    while :; do
        answers=$(<"$said")
        granted=$(grep -cx t <<<"$answers" || true)
        if ((granted * 2 > known || (known < 3 && granted > 0))); then
            rm -f "$said"
            return 0
        elif (($(wc -w <<<"$answers") >= known || SECONDS >= deadline)); then
            rm -f "$said"
            log "not promoting: $granted of $known nodes consent, which is no majority"
            return 1
        fi
        sleep 0.05
    done
}

# find_other_primary: prints a node that takes writes and is not behind this one, if any.
find_other_primary() {
    local node state timeline
    for node in "${reports[@]}"; do
        IFS=: read -r state timeline _ <<<"${node#*=}"
        if [[ ${node%%=*} != "$node_name" && $state == primary && $timeline -ge $(own_timeline) ]]; then
            echo "${node%%=*}"
            return
        fi
    done
}

# promote: what repmgrd runs when it has elected this node. A primary that was only away for a moment is not replaced.
promote() {
    local other end=$((SECONDS + HICCUP))
    remember_members
    if [[ ${ALONE:-} != allow ]]; then
        lock_majority || return 1
    fi
    while :; do
        survey
        other=$(find_other_primary)
        if [[ -n $other ]]; then
            log "not promoting: $other is the primary"
            return 1
        fi
        ((SECONDS <= end)) || break
        sleep 0.2
    done
    repmgr -f "$REPMGR_CONF" --log-level=WARNING standby promote > >(format_log repmgr) 2>&1
}
