# Becoming the primary: one at a time, with the consent of a majority, and only if there is none.
#
# repmgrd elects without a vote: two nodes whose tables differ may each find that they have won, and would then write to
# one timeline, each its own. So a promotion takes a lock on a majority of the nodes, and looks round once more.
#
# shellcheck shell=bash

PROMOTION_LOCK=4711     # an advisory lock; on a standby, too, it ends with the session that holds it
HICCUP=1000             # milliseconds for which a primary that refuses is still waited for
FENCED_AFTER=5          # seconds after which a primary that was seen last then, and was cut off, will have stopped by the time
                        # that repmgr has waited for it, too: a second (connect_timeout), before it promotes. More than FROZEN,
                        # in which one that stood still goes on when it thaws
DOUBT=6000              # milliseconds after which a promotion that others do not agree to is given up: more than FENCED_AFTER

# now_ms: since the machine's start, so that nobody's setting of a clock matters; to a hundredth of a second.
now_ms() {
    local up
    read -r up _ </proc/uptime
    echo $((10#${up/./} * 10))
}

# open_sessions SECONDS HOST...: a session on each, side by side. What they say comes into $said, with the node's name before it.
# They live until they are closed or this shell ends, and for no more than SECONDS after the last word to them: this node may vanish.
open_sessions() {
    local host seconds=$1
    shift
    for host; do
        exec {sessions[$host]}> >(psql -XAtqw -v ON_ERROR_STOP=1 "$(conninfo "$host")" >>"$said" 2>/dev/null || echo "$host ended" >>"$said")
        printf '%s\n' "SET idle_session_timeout = '${seconds}s';" "SELECT pg_try_advisory_lock($PROMOTION_LOCK) AS consents \gset" \
            "\echo $host lock :consents" | tell "$host"
    done
}

# tell HOST: standard input. A session that has ended is no reason to end.
tell() {
    (trap '' PIPE && exec cat >&"${sessions[$1]}") 2>/dev/null || true
}

# With a word: what was started meanwhile may hold the pipes open, too.
end_sessions() {
    local host
    for host in "${!sessions[@]}"; do
        tell "$host" <<<'\q'
    done
    close_sessions
}

close_sessions() {
    local fd
    for fd in "${sessions[@]}"; do
        exec {fd}>&-
    done
    sessions=()
}

# who_said WORDS: the names.
who_said() {
    sed -n "s/ $1\$//p" "$said" | tr '\n' ' '
}

# lock_majority VOTES HOST...: takes the lock on all that give it; fails if, with VOTES more, they are no majority. Two nodes
# have no majority: there, the other one's absence is no reason to stay without a primary.
lock_majority() {
    local votes answered known=$(($# - 1)) deadline
    deadline=$(($(now_ms) + 1000 * (ASK_TIMEOUT + 1)))
    while :; do
        # In this order: what comes in between is seen the next time.
        answered=$(grep -cE ' (lock .|ended)$' "$said") || true
        votes=$(($(wc -w <<<"$(who_said 'lock t')") + $1))
        if ((votes * 2 > known || (known < 3 && votes > 0))); then
            return 0
        elif ((answered >= known || $(now_ms) >= deadline)); then
            log "not promoting: $votes of $known nodes consent, which is no majority; $(paste -sd, "$said")"
            return 1
        fi
        sleep 0.05
    done
}

# take_promises: has those who gave the lock get no more WAL from the old primary, which could otherwise acknowledge by them
# what nobody counts on any more. They turn to this node at once, so that the first commit after its promotion need not wait for
# them. Returns when all of them have said so, or time is up.
take_promises() {
    local host upstream deadline
    deadline=$(($(now_ms) + 1000 * ASK_TIMEOUT))
    for host in $(who_said 'lock t'); do
        upstream=$(upstream_conninfo "$node_name" "$host")
        [[ $host != "$node_name" ]] || upstream=
        tell "$host" <<END
SET statement_timeout = '1s';
ALTER SYSTEM SET primary_conninfo = '$upstream';
SELECT pg_reload_conf() \g /dev/null
DO \$\$ BEGIN
    WHILE EXISTS (SELECT FROM pg_stat_get_wal_receiver() WHERE pid IS NOT NULL AND sender_host IS DISTINCT FROM '$node_name') LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
END \$\$;
\echo $host promises
END
    done
    until (($(grep -cE ' (promises|ended)$' "$said") >= $(grep -cE ' (lock t|ended)$' "$said") || $(now_ms) >= deadline)); do
        sleep 0.02
    done
}

# objection: why this node must not be promoted, by what all say now, or nothing. A primary that only cannot be heard has to be
# given the time in which it stops by itself (FENCE_AFTER), unless its commits would not be acknowledged anyway.
objection() {
    local node name state timeline seen primary last_seen silent_for
    for node in "${reports[@]}"; do
        name=${node%%=*}
        IFS=: read -r state timeline _ seen <<<"${node#*=}"
        [[ $name != "$node_name" ]] || continue
        if [[ $state == primary && $timeline -ge $(own_timeline) ]]; then
            echo "$name is the primary"
        elif [[ -n $seen && $seen != - && $seen != "$node_name" && ! " ${reports[*]}" =~ " $seen="(standby|barred|left|back) ]]; then
            echo "$name still sees $seen"
        else
            continue
        fi
        return
    done
    primary=$(active_primary)
    if [[ ${SYNC_MODE:-} != quorum && " ${reports[*]} " =~ " $primary="(silent|starting)" " && " ${down[*]} " != *" $primary "* ]]; then
        if (($(count_known "${reports[@]}") < 3 && ${#reports[@]} > 2)); then
            # A pair by itself has to go on like this; but who is one because a third has left has been promised a majority.
            echo "$primary may still be the primary, and there is no third node to ask"
            return
        fi
        last_seen=$(local_psql -d repmgr -c 'SELECT repmgr.get_upstream_last_seen()')
        # Never: it was there when this began, for all that is known here.
        ((last_seen >= 0)) || last_seen=$((($(now_ms) - since) / 1000))
        # A repmgrd that hangs, or does not run, has not seen who was there later.
        if [[ -n ${no_primary_since:-} ]]; then
            silent_for=$((($(now_ms) - no_primary_since) / 1000))
            ((last_seen <= silent_for)) || last_seen=$silent_for
        fi
        ((last_seen >= FENCED_AFTER)) || echo "$primary was there $last_seen s ago, and may not have stopped yet"
    fi
}

# lack_of_promises: why this node might lack a commit, or nothing. Who has promised nothing does not count. Those who have get their WAL
# from this node now: who has as much as this one has not more, and need not lead because it was the primary.
lack_of_promises() {
    local node promised ended answer own=''
    local -a agreed=()
    promised=" $(who_said promises)" ended=" $(who_said ended)"
    for node in "${reports[@]}"; do
        if [[ $node == *=standby:* && ($promised != *" ${node%%=*} "* || $ended == *" ${node%%=*} "*) ]]; then
            node=${node%%=*}=silent
        fi
        if [[ ${node%%=*} == "$node_name" ]]; then own=$node; else agreed+=("$(cut -d: -f1-3 <<<"$node")"); fi
    done
    answer=$(decide "$node_name" 0 "$own" "${agreed[@]}")
    [[ $answer == 'lead '* ]] || echo "${answer#* - }"
}

# silent_ones: who did not answer in time a moment ago; where nothing runs, something may at any moment.
silent_ones() {
    local node
    for node in "${reports[@]}"; do
        [[ $node != *=silent* || " ${down[*]} " == *" ${node%%=*} "* ]] || printf ' %s' "${node%%=*}"
    done
}

# await_no WHAT MILLISECONDS: looks round until nothing comes from WHAT, and MILLISECONDS since have passed. Not for ever.
await_no() {
    local why
    while :; do
        # What has been replayed meanwhile may have changed who counts.
        remember_members
        survey
        # To wait for them again would take a second each time.
        mute=$(silent_ones)
        why=$("$1")
        [[ -n $why ]] || (($(now_ms) - since < $2)) || return 0
        if [[ $why == *' is the primary' ]] || (($(now_ms) - since >= DOUBT)); then
            log "not promoting: $why"
            return 1
        fi
        sleep 0.1
    done
}

# promote [--handed-over]: what repmgrd runs when it has elected this node. A primary that was only away for a moment is not
# replaced. One that hands over has ended, has seen to it that this node has all that it had, and gives its vote.
promote() {
    local handed_over=${1:-} since mute='' said
    local -a members
    local -A sessions=()
    since=$(now_ms)
    remember_members
    if [[ ${ALONE:-} != allow ]]; then
        read -r -a members <<<"$(members_that_count | tr '\n' ' ')"
        said=$(mktemp)
        # shellcheck disable=SC2064 # known now, and not any more at the end
        trap "rm -f '$said'" EXIT
        # 20 s: the lock must outlast all that follows, which is DOUBT, prepare_to_lead (two seconds and more) and the promotion.
        open_sessions 20 "${members[@]}"
        lock_majority $((${#handed_over} > 0)) "${members[@]}" || return 1
    fi
    if [[ -z $handed_over ]]; then
        await_no objection "$HICCUP" || return 1
        if [[ ${SYNC_MODE:-} == quorum && ${ALONE:-} != allow ]]; then
            take_promises
            await_no lack_of_promises 0 || return 1
        fi
    fi
    prepare_to_lead || return 1
    # Without the sessions: who is told of the promotion by repmgr, a hook, say, must not keep them.
    (
        close_sessions
        exec repmgr -f "$REPMGR_CONF" --log-level=WARNING standby promote > >(format_log repmgr) 2>&1
    )
}
