# While PostgreSQL runs: looks after the node's place, and gives it up when it is not its own any more.
#
# shellcheck shell=bash

WATCH_INTERVAL=1        # seconds between two looks at the others
FROZEN=4                # seconds for which a node must have stood still to be taken for one that was replaced. Less than FENCED_AFTER:
                        # who stood still for no longer goes on, and must not have been replaced by then
FENCE_AFTER=3           # seconds without a majority after which a primary stops taking writes
ELECTION_TIMEOUT=10     # seconds without a primary after which repmgrd's election is taken for stuck. More than the 6 that one takes
                        # when the primary is silent (the table in README.md), and no less than GRACE
FOLLOW_TIMEOUT=2        # seconds in which a standby of a primary that is there must get WAL from it, or is told to follow
STRAY_TIMEOUT=5         # seconds after which it takes its place anew
UNNOTED_TIMEOUT=5       # seconds after which a standby that gets WAL has the table say from whom

# judge SELF ALONE_FOR NODE=STATE[:TIMELINE[:LSN]]...
#
# Of a primary: prints why it must stop being one, or nothing. ALONE_FOR is how many seconds it has been without a
# majority. Two nodes have no majority to lose: there, the one that is left goes on.
judge() {
    local self=$1 alone_for=$2 name newest known
    shift 2
    read -r name newest <<<"$(newest_primary "$@")"
    if [[ -n $name && $name != "$self" ]]; then
        # Of two on one timeline, one must go: the later one in the order in which they may lead.
        echo "$name is primary, too, on timeline $newest, which is no older than the one here"
    elif ((alone_for >= FENCE_AFTER)) && [[ ${ALONE:-} != allow ]]; then
        known=$(count_known "$@")
        echo "without a majority of $known nodes for $alone_for s; others may have promoted one of theirs"
    fi
}

count_known() {
    local node count=0
    for node; do
        [[ $node == *=away || $node == *=back:* ]] || count=$((count + 1))
    done
    echo "$count"
}

# has_majority TIMELINE HEARD NODE=STATE...: on that timeline; or is one of two, or the only one. HEARD are the names of those that
# need not have answered. Who is on a newer one follows somebody else.
has_majority() {
    local own=$1 heard=" $2 " node state timeline known=0 there=0
    shift 2
    for node; do
        IFS=: read -r state timeline _ <<<"${node#*=}"
        [[ $heard != *" ${node%%=*} "* ]] || state=standby timeline=''
        case $state in
            away | back) continue ;;
            primary | standby | barred | left | witness) ((${timeline:-0} > own)) || there=$((there + 1)) ;;
        esac
        known=$((known + 1))
    done
    ((known < 3 || there * 2 > known))
}

# replies: what each standby has said last over the replication's connection, as 'name@time'. The time is by its own clock, so
# that only a change of it means something.
replies() {
    LOCAL_TIMEOUT=1 local_psql 2>/dev/null -c "SELECT string_agg(application_name || '@' || extract(epoch FROM reply_time), ' ')
        FROM pg_stat_replication" || true
}

# heard BEFORE AFTER: whose reply is another than before. On a busy machine an answer to a new connection may take longer.
heard() {
    local reply
    for reply in $2; do
        [[ " $1 " == *" $reply "* || " $1" != *" ${reply%@*}@"* ]] || printf '%s ' "${reply%@*}"
    done
}

# newest_primary NODE=STATE...: the name and the timeline of the primary on the newest, if there is any; of several on
# one, the first.
newest_primary() {
    local node state timeline newest=0 name=''
    for node; do
        IFS=: read -r state timeline _ <<<"${node#*=}"
        if [[ $state == primary && $timeline -gt $newest ]]; then
            newest=$timeline name=${node%%=*}
        fi
    done
    [[ -z $name ]] || echo "$name $newest"
}

# is_fed_by PRIMARY TIMELINE: whether WAL of that timeline arrives from it. From another standby it would do so, too, as after a
# notice of repmgrd's that came late; but who is not connected to the primary acknowledges nothing to it.
is_fed_by() {
    [[ $(local_psql -c "$FED" 2>/dev/null) == "$1 $2" ]]
}

# is_promotion_under_way: whether somebody holds the lock for it here.
is_promotion_under_way() {
    [[ $(local_psql -d repmgr -c "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
        WHERE locktype = 'advisory' AND objid = $PROMOTION_LOCK AND datname = current_database()") == [1-9]* ]]
}

# pulse: another one each second as long as repmgrd looks at its primary. But it has no time limit for the answer to a question, and
# a primary may freeze in the middle of one. 'none' where it does not run: one that starts, and finds no primary, ends again.
pulse() {
    grep -h ctxt /proc/"$(pgrep -oxP $$ repmgrd)"/status 2>/dev/null || echo none
}

# repmgrd_hangs PULSE: whether it has been that since the last look, or 'none', though nobody is being promoted, and the primary that
# it looks at is the only node that does not answer: it will not notice. With ALONE=allow a promotion cannot be seen.
repmgrd_hangs() {
    local silent
    [[ -n $1 && -n $was_fed && ${ALONE:-} != allow ]] || return 1
    silent=$(printf '%s\n' "${reports[@]}" | sed -nE 's/=(silent|starting)(:.*)?$//p')
    [[ -n $silent && $silent == "$(active_primary)" && $(pulse) == "$1" ]] && ! is_promotion_under_way
}

# renew_repmgrd: ends one that has done nothing since beat; the entrypoint starts it again.
renew_repmgrd() {
    [[ -z $beat || $(pulse) != "$beat" ]] || pkill -KILL -xP $$ repmgrd || true
    beat='' hung=''
}

# keep_noted PRIMARY: repmgrd follows when it is told to, and may have been looking elsewhere then; the table has the old upstream
# until it follows again, and repmgrd goes on to look at that. Before it starts, the node is registered anew.
keep_noted() {
    # Who has no row has been unregistered by somebody.
    if [[ $(local_psql -d repmgr -c "SELECT upstream_node_id IS DISTINCT FROM $(id_of "$1") FROM repmgr.nodes WHERE node_id = $node_id") != t ]]; then
        unnoted_since=''
    elif ((now - ${unnoted_since:=$now} >= UNNOTED_TIMEOUT)); then
        unnoted_since=''
        log "the table does not have that this node follows $1; starting repmgrd anew"
        pkill -KILL -xP $$ repmgrd || true
    fi
}

# is_the_last: whether this is one of two that count, and nothing runs at the other one. repmgrd counts those as well that have left,
# and has no majority then.
#
# Not where there is a witness: its vote decides then, and it does not count either for a second after it has been registered.
is_the_last() {
    local node other=''
    ! { [[ -r ${MEMBERS:-} ]] && grep -q ' witness ' "$MEMBERS"; } || return 1
    (($(count_known "${reports[@]}") == 2)) || return 1
    for node in "${reports[@]}"; do
        [[ $node != *=silent ]] || other=${node%%=*}
    done
    [[ -n $other && " ${down[*]} " == *" $other "* ]]
}

# note_strangers: says once who answers under a node's name and is of another cluster, as one that was set up anew.
note_strangers() {
    local found
    found=$(printf '%s\n' "${reports[@]}" | sed -n 's/=foreign$//p' | tr '\n' ' ')
    if [[ $found != "${strangers:-}" ]]; then
        strangers=$found
        [[ -z $found ]] || log "of another cluster, though they have the names of nodes of this one: $found"
    fi
}

# turn_to PRIMARY: by repmgr's own means, as repmgrd should have done; client sessions go on.
turn_to() {
    log "no WAL comes from $1, though it is primary; following it"
    timeout 5 repmgr -f "$REPMGR_CONF" --log-level=WARNING standby follow --upstream-node-id="$(id_of "$1")" > >(format_log repmgr) 2>&1
}

# catch_up PRIMARY: this node took its leave; once it is counted again, and has all that was there then, nothing is missing.
catch_up() {
    local lsn
    lsn=$(timeout 3 psql -XAtqw "$(conninfo "$1")" 2>/dev/null -c "SELECT pg_current_wal_flush_lsn()
        WHERE NOT EXISTS (SELECT FROM public.nodes_away WHERE node_id = $node_id)") || return 0
    if [[ -n $lsn && $(local_psql -c "SELECT pg_last_wal_replay_lsn() >= '$lsn'") == t ]]; then
        rm -f "$LEFT"
    fi
}

# Returns when the place has to be taken anew; says why in the log. With 1: PostgreSQL must end at once.
watch() {
    if is_witness; then watch_witness; fi
    local LOCAL_TIMEOUT began replies_before verdict='' majority_at='' alone='' no_primary_since='' stray_since='' told='' was_fed=${fed:-} beat='' hung='' unnoted_since='' names strangers=''
    while [[ -z $verdict ]]; do
        # What hangs must not keep the rest from being looked at; of a primary, which may have to stop, even less.
        if [[ -e $PGDATA/standby.signal ]]; then LOCAL_TIMEOUT=3; else LOCAL_TIMEOUT=1; fi
        # Who is alone looks at once again: nothing that may have to be waited for comes between two looks then.
        if [[ -z $alone ]]; then
            remember_members || true
            end_forgotten_pause || true
            if [[ -e $PGDATA/standby.signal ]]; then wait_for_others || true; else keep_membership || true; fi
            sleep "$WATCH_INTERVAL"
        fi
        replies_before=$(replies)
        began=$(now_ms)
        survey
        note_strangers
        # What it is is not asked by SQL: a fence must not depend on a free connection.
        if [[ ! -e $PGDATA/standby.signal ]]; then
            no_primary_since='' stray_since='' was_fed='' hung=''
            [[ $healing == off ]] || look_round_as_primary
        else
            majority_at='' alone=''
            [[ $healing == off ]] || look_round_as_standby
        fi
    done
    if [[ $verdict == at-once ]]; then return 1; fi
}

# What these two share with watch: what they remember since earlier looks, and verdict, which is anew or at-once in the end.
look_round_as_primary() {
    local alone_for timeline why
    # Who leads has everything that counts, and its leave is over.
    rm -f "$LEFT"
    timeline=$(own_timeline)
    if has_majority "$timeline" '' "${reports[@]}" ||
        has_majority "$timeline" "$(heard "$replies_before" "$(replies)")" "${reports[@]}"; then
        majority_at=$began
    elif [[ -z $alone ]]; then
        log "no majority: ${reports[*]}"
    fi
    alone_for=$(($(now_ms) - ${majority_at:=$began}))
    alone=
    if ((alone_for >= 2000)); then alone=yes; fi
    alone_for=$((alone_for / 1000))
    why=$(judge "$node_name" "$alone_for" "${reports[@]}")
    if [[ -n $why ]]; then
        log "stepping down: $why"
        verdict=at-once
    fi
}

look_round_as_standby() {
    local primary now=$SECONDS waited action reason
    primary=$(newest_primary "${reports[@]}")
    if [[ -z $primary ]]; then
        stray_since='' unnoted_since=''
        : "${no_primary_since:=$began}"
        waited=$((($(now_ms) - no_primary_since) / 1000))
        if ((waited < ELECTION_TIMEOUT)); then
            if ! repmgrd_hangs "$beat"; then
                beat=$(pulse)
                return
            fi
            hung=yes
        fi
        # Who hangs has not begun an election, and nobody else is silent: there is nothing to wait for.
        read -r action _ reason <<<"$(decide "$node_name" $((waited > ELECTION_TIMEOUT ? waited : ELECTION_TIMEOUT)) "${reports[@]}")"
        if [[ $action == hold && -n $was_fed ]] && ((waited >= ELECTION_TIMEOUT)) && is_the_last; then
            action=lead reason="it followed the only other node that counts until that ended"
        fi
        # Who has paused repmgrd by hand wants no failover, from whomever.
        if [[ $action == lead && $(local_psql -d repmgr -c 'SELECT repmgr.repmgrd_is_paused()') == f ]]; then
            case $hung$beat in
                yesnone) reason+='; repmgrd does not run' ;;
                yes*) reason+='; repmgrd waits for an answer that does not come' ;;
            esac
            log "no primary for $waited s; promoting this node: $reason"
            if lead; then renew_repmgrd; fi
        fi
        return
    fi
    no_primary_since=''
    if is_fed_by "${primary% *}" "${primary#* }"; then
        stray_since='' told='' was_fed=yes
        # One that has not moved since there was no primary may be busy with following it: not at the second look any more.
        if [[ -n $hung ]]; then renew_repmgrd; elif [[ -n $beat ]]; then hung=yes; fi
        keep_noted "${primary% *}"
        [[ ! -e $LEFT ]] || catch_up "${primary% *}"
        return
    fi
    # It has promised to take no WAL from anybody until somebody is promoted.
    if is_promotion_under_way; then
        stray_since=''
        return
    fi
    : "${stray_since:=$now}"
    if ((now - stray_since >= STRAY_TIMEOUT)); then
        log "no WAL of timeline ${primary#* } has come for $((now - stray_since)) s, though ${primary% *} is primary on it"
        verdict=anew
    elif [[ -z $told ]] && ((now - stray_since >= FOLLOW_TIMEOUT)); then
        told=yes
        turn_to "${primary% *}" || true
    fi
}

# A frozen primary knows nothing of it: when it thaws, it goes on in the middle of a statement, though another one may
# have been promoted since. Only the clock tells; so it is looked at ten times a second, without starting a process, and
# PostgreSQL ends before it is known whether it had to.
end_when_thawed() {
    local before now nothing
    if [[ $healing == off ]] || is_witness; then exec sleep infinity; fi
    exec {nothing}<> <(:)
    read -r before _ </proc/uptime
    while :; do
        read -r -t 0.1 -u "$nothing" || true
        read -r now _ </proc/uptime
        if ((10#${now/./} - 10#${before/./} > FROZEN * 100)) && [[ ! -e $PGDATA/standby.signal ]]; then
            touch "$STEPPING_DOWN" || true
            kill -QUIT "$postgres_pid"
            log "stopping: this node has stood still for $(((10#${now/./} - 10#${before/./}) / 100)) s, and may have been replaced"
            return
        fi
        before=$now
    done
}
