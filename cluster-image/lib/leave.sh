# Going away: a primary that is stopped hands over first, and whoever is stopped stops counting.
#
# There is no SSH between nodes. What a node is to do it is told by SQL: the superuser may have PostgreSQL run a program there.
#
# shellcheck shell=bash

PAUSE=15            # seconds after which a node resumes its repmgrd by itself, should nobody tell it to: more than docker stop's ten
DRAIN=1             # seconds for which transactions under way may end
SEND_TIMEOUT=2      # seconds for which a primary that is stopped waits for slow standbys to get its last WAL

# at HOST SQL...: runs it there as the superuser repmgr; its answer. docker stop leaves ten seconds for everything.
at() {
    timeout "${LIMIT:-5}" psql -XAtqw -v ON_ERROR_STOP=1 "$(conninfo "$1")" "${@:2}"
}

# at_all COMMAND HOST...: COMMAND HOST for each of them at once; fails if one does.
at_all() {
    local command=$1 host status=0 pid
    local -a pids=()
    shift
    for host; do
        "$command" "$host" &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do
        wait "$pid" || status=1
    done
    return "$status"
}

# ---------------------------------------------------------------------------------------------- repmgrd's pause

# The end of the pause is kept in a file on the node: were this one to die, nobody else would end it.
until_sql() {
    echo "DO \$\$ BEGIN EXECUTE format('COPY (SELECT %s) TO %L', $1, current_setting('data_directory') || '/../${PAUSED_UNTIL##*/}'); END \$\$"
}

# pause_repmgrd HOST: unless it is paused already: that was somebody by hand, who is to end it, too.
pause_repmgrd() {
    [[ $(at "$1" -c 'SELECT repmgr.repmgrd_is_paused()' 2>/dev/null) == f ]] &&
        at "$1" -c "$(until_sql "(extract(epoch FROM now()) + $PAUSE)::int")" -c 'SELECT repmgr.repmgrd_pause(true)' >/dev/null 2>&1
}

# resume_repmgrd HOST: if pause_repmgrd has paused it.
resume_repmgrd() {
    [[ $(at "$1" -c "SELECT repmgr.repmgrd_pause(false) IS NULL WHERE (pg_stat_file('../${PAUSED_UNTIL##*/}', true)).size > 0" \
        2>/dev/null) == '' ]] || at "$1" -c "$(until_sql 0)" >/dev/null 2>&1
}

# end_forgotten_pause: looks at this node's own; now and then.
end_forgotten_pause() {
    local end
    [[ -e $PAUSED_UNTIL ]] || return 0
    end=$(<"$PAUSED_UNTIL")
    # Empty: it is just being written.
    [[ -n $end ]] || return 0
    if ((end < EPOCHSECONDS)); then
        local_psql -d repmgr -c 'SELECT repmgr.repmgrd_pause(false)' >/dev/null && rm -f "$PAUSED_UNTIL"
    fi
}

# ---------------------------------------------------------------------------------------------- leaving

# take_leave PRIMARY: tells it that this node, which has ended, does not count any more. If it cannot be told, nothing
# changes; if it may have been, this node must find out before it is counted on again.
take_leave() {
    local said
    touch "$LEFT"
    if ! said=$(timeout 3 psql -XAtqw "$(conninfo "$1")" 2>&1 \
        -c "INSERT INTO public.nodes_away VALUES ($node_id) ON CONFLICT (node_id) DO UPDATE SET comes_back = false"); then
        log "stopping without leave: ${said%%$'\n'*}"
        [[ ! $said =~ ^'psql: error: '('connection to server'|'could not translate host name') ]] || rm -f "$LEFT"
    fi
}

# The standby that is to take over: one that streams, the one that has the most. One that was not heard of for a moment comes after
# the others; by a clock that is wrong, too, which does no harm.
successor() {
    local_psql -d repmgr -c "SELECT node_name FROM pg_stat_replication JOIN repmgr.nodes ON node_name = application_name
        WHERE state = 'streaming' AND type = 'standby' AND priority > 0 AND node_id NOT IN (SELECT node_id FROM public.nodes_away)
        ORDER BY reply_time > now() - interval '2 s' DESC, flush_lsn DESC, priority DESC, node_id LIMIT 1"
}

# drain: no login is accepted any more (a smart shutdown), and each session ends between two of its transactions, so that no statement
# is cut off if all are short. One whose last statement was empty has just been tested, as pools with pgJDBC do when they lend it: it is
# left for what follows. What has been under way for longer than all this may last is not waited for.
drain() {
    LOCAL_TIMEOUT=$((DRAIN + 2)) local_psql >/dev/null 2>&1 <<END || true
\\! kill -TERM $postgres_pid
DO \$\$
DECLARE
    client record;
    clients int;
    began timestamptz := clock_timestamp();
BEGIN
    LOOP
        clients := 0;
        FOR client IN SELECT pid, coalesce(xact_start, state_change) > began - interval '$DRAIN s' AS is_brief FROM pg_stat_activity
            WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND usename <> 'repmgr'
        LOOP
            clients := clients + coalesce(client.is_brief, false)::int;
            -- Looked at anew: less time passes until it is ended than a test takes.
            PERFORM pg_stat_clear_snapshot();
            PERFORM pg_terminate_backend(pid) FROM pg_stat_get_activity(client.pid)
                WHERE state = 'idle' AND (query <> '' OR clock_timestamp() - state_change > interval '100 ms');
        END LOOP;
        EXIT WHEN clients = 0 OR clock_timestamp() - began > interval '$DRAIN s';
        PERFORM pg_sleep(0.005);
        PERFORM pg_stat_clear_snapshot();
    END LOOP;
END \$\$
END
}

# stop_sending: ends PostgreSQL fast, but not before the standbys have its last WAL, if they are quick about it.
stop_sending() {
    local tries
    kill -INT "$postgres_pid" 2>/dev/null || true
    for ((tries = SEND_TIMEOUT * 10; tries > 0; tries--)); do
        kill -0 "$postgres_pid" 2>/dev/null || break
        sleep "$POLL"
    done
    pkill -TERM -P "$postgres_pid" -f walsender || true
    wait "$postgres_pid" 2>/dev/null || true
    postgres_pid=
}

# has_everything HOST: whether it has received the last record that PostgreSQL wrote here before it ended.
#
# After a crash it has not written one.
has_everything() {
    local control last
    control=$(pg_controldata -D "$PGDATA")
    grep -q '^Database cluster state: *shut down$' <<<"$control" || return 1
    last=$(sed -n 's/^Latest checkpoint location: *//p' <<<"$control")
    [[ $(at "$1" -c "SELECT pg_last_wal_receive_lsn() > '$last'" 2>/dev/null) == t ]]
}

take_over() {
    at "$1" -c "COPY (SELECT 1) TO PROGRAM '/usr/local/bin/promote --handed-over'"
}

# follow_successor HOST: has it follow the primary that its own copy of the table, or this node, knows.
follow_successor() {
    at "$1" -c "COPY (SELECT 1) TO PROGRAM 'timeout 3 repmgr -f /etc/repmgr.conf --log-level=WARNING standby follow --upstream-node-id=$successor_id'"
}

# hand_over: ends PostgreSQL, the primary's, and has a standby go on in its place. Fails if there is none to do so, or it did
# not; PostgreSQL may have ended then.
hand_over() {
    local to successor_id others streaming began
    began=$(now_ms)
    [[ $(local_psql -d repmgr -c 'SELECT pg_is_in_recovery() OR repmgr.repmgrd_is_paused()') == f ]] || return 1
    to=$(successor) && [[ -n $to ]] || return 1
    successor_id=$(id_of "$to")
    others=$(awk -v self="$node_name" '$2 != self && $4 != "away" { print $2 }' "$MEMBERS")
    streaming=$(local_psql -d repmgr -c 'SELECT node_name FROM pg_stat_replication JOIN repmgr.nodes ON node_name = application_name' |
        grep -vxF "$to" || true)
    log "handing over to $to"
    # The end of PostgreSQL makes another one, which is short then.
    if ! local_psql -c CHECKPOINT; then
        log 'there is too much to write for a hand-over in time; the others will elect one of them'
        return 1
    fi
    # shellcheck disable=SC2086 # names have no blanks in them
    at_all pause_repmgrd $others || log 'not every repmgrd could be paused'
    drain
    stop_sending
    if has_everything "$to" && take_over "$to"; then
        set_upstream "$to"
        take_leave "$to"
        # shellcheck disable=SC2086 # as above
        LIMIT=3 at_all follow_successor $streaming || true
        log "$to has taken over, after $(($(now_ms) - began)) ms"
    else
        log "$to has not taken over; the others will elect one of them"
    fi
    # shellcheck disable=SC2086 # as above
    at_all resume_repmgrd $others || true
}

# leave: ends PostgreSQL, whatever it is, as well as can be done.
leave() {
    local primary LOCAL_TIMEOUT=3
    if [[ $healing == on && $(data_state) == primary ]]; then
        hand_over || true
    elif [[ $healing == on && $(data_state) == standby ]]; then
        primary=$(active_primary)
        stop_postgres
        [[ -z $primary ]] || take_leave "$primary"
    fi
    [[ -z $postgres_pid ]] || stop_postgres
}
