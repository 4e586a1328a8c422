# Taking the place in the cluster that decide names: what is done with the data directory, and how PostgreSQL starts.
#
# shellcheck shell=bash

STREAMING_TIMEOUT=15    # seconds without progress after which a standby is said not to get on with its primary

# ---------------------------------------------------------------------------------------------- the data

# The state of the data, as decide has it. A held primary is started as a standby; a mark beside it has the timeline that it was the
# primary of. Once it has got WAL of another, from a candidate that it has given its vote, it is a standby like any other.
data_state() {
    if [[ -e $UNFINISHED ]]; then
        # What initdb left behind is as good as nothing.
        if [[ $(<"$UNFINISHED") == initdb ]]; then echo empty; else echo broken; fi
    elif [[ ! -s $PGDATA/PG_VERSION ]]; then
        # Somebody may have removed the data of a node of a cluster that lives.
        if [[ -s $MEMBERS ]]; then echo broken; else echo empty; fi
    elif [[ -e $PGDATA/standby.signal && ! (-e $WAS_PRIMARY && $(<"$WAS_PRIMARY") == "$(own_timeline)") ]]; then
        echo standby
    else
        echo primary
    fi
}

# begin_data WHAT: from here to finish_data, the data directory is of no use.
begin_data() {
    echo "$1" >"$UNFINISHED"
}

finish_data() {
    rm -f "$UNFINISHED" "$WAS_PRIMARY"
}

# note_damage: a control file that is damaged says nothing, and PostgreSQL does not start with it.
note_damage() {
    local control
    [[ ! -e $UNFINISHED && -s $PGDATA/PG_VERSION ]] || return 0
    control=$(pg_controldata -D "$PGDATA" 2>&1) || true
    if [[ $control != *'system identifier'* || $control == *'CRC'*'not match'* ]]; then
        log "the control file in $PGDATA is damaged: these data are of no use as they are"
        begin_data damage
    fi
}

# The identifier of the database cluster, or nothing; a witness's is that of the one it votes in.
system_identifier() {
    if is_witness; then
        cat "$WITNESS_OF" 2>/dev/null || true
        return
    fi
    [[ -e $UNFINISHED || ! -s $PGDATA/PG_VERSION ]] || pg_controldata -D "$PGDATA" | sed -n 's/^Database system identifier: *//p'
}

# The newest timeline of which there is WAL here, or that of the last checkpoint.
own_timeline() {
    local -a files
    files=("$PGDATA"/pg_wal/[0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F]????????????????)
    local newest=${files[-1]##*/}
    if [[ -e ${files[-1]} ]]; then
        echo $((16#${newest:0:8}))
    else
        pg_controldata -D "$PGDATA" | sed -n "s/^Latest checkpoint's TimeLineID: *//p"
    fi
}

own_report() {
    local state lsn=''
    if is_witness; then
        echo witness
        return
    fi
    state=$(data_state)
    case $state in
        empty | broken) echo "$state" ;;
        *)
            # Nothing depends on how much a primary has: a fence must not wait for its answer.
            if [[ -n $postgres_pid && -e $PGDATA/standby.signal ]]; then
                lsn=$(local_psql -d repmgr -F ' ' -c "$ASK" 2>/dev/null | cut -d' ' -f4) || lsn=''
            fi
            [[ $state != standby || ! -e $LEFT ]] || state=left
            # A primary that is held has no place yet, and may be barred from its old one.
            [[ -n $postgres_pid && ! -e $PGDATA/standby.signal ]] || ! is_barred "$node_name" || state=standby
            echo "$(standing "$node_name" "$state"):$(own_timeline):$lsn"
            ;;
    esac
}

# upstream_conninfo HOST STANDBY: how that standby streams from there.
upstream_conninfo() {
    printf 'host=%s port=5432 user=repmgr application_name=%s connect_timeout=1%s' "$1" "$2" "$KEEPALIVES$proof$(tls_conninfo)"
}

# set_upstream HOST: whom PostgreSQL streams from when it starts next; nobody, if HOST is empty. The last line counts.
set_upstream() {
    local file=$PGDATA/postgresql.auto.conf value=''
    [[ -z $1 ]] || value=$(upstream_conninfo "$1" "$node_name")
    {
        grep -v '^primary_conninfo *=' "$file" || true
        printf "primary_conninfo = '%s'\n" "$value"
    } | write_file "$file" && touch "$PGDATA/standby.signal"
}

# What is in the way is kept, once: it may have rows that nobody else has.
set_data_aside() {
    [[ -s $PGDATA/PG_VERSION ]] || return 0
    rm -rf "$STATE_DIR/set-aside"
    if ! mv "$PGDATA" "$STATE_DIR/set-aside"; then
        log "the data in $PGDATA cannot be moved away to make room for a copy: the volume has to be $STATE_DIR, which they are a part of"
        return 1
    fi
    log "the data that were here are kept in $STATE_DIR/set-aside, until the next time"
}

# ---------------------------------------------------------------------------------------------- the places

# As a standby of nobody: it serves reads, and can be asked how much WAL it has.
hold() {
    if [[ -n $postgres_pid ]]; then
        kill -0 "$postgres_pid" 2>/dev/null || die 'PostgreSQL has ended by itself; the container ends with it'
        return 0
    fi
    [[ -e $PGDATA/standby.signal ]] || own_timeline >"$WAS_PRIMARY"
    set_upstream '' || die "cannot write to $PGDATA"
    launch_postgres
}

lead() {
    if [[ $(data_state) == primary ]]; then
        lead_again
        return
    fi
    hold
    await_postgres && (promote)
}

# lead_again: the old primary goes on. As for a promotion, a majority must consent, and does so to one only, until it is up: the
# replay of what it wrote since its last checkpoint begins anew. And as for a promotion, it looks round once more, since somebody may
# have been promoted before.
lead_again() {
    local said='' status=0 node
    local -a members
    local -A sessions=()
    if [[ -n $postgres_pid ]]; then
        prepare_to_lead || return 1
        read -r -a members <<<"$(members_that_count | tr '\n' ' ')"
        if [[ ${ALONE:-} != allow ]] && ((${#members[@]} > 1)); then
            said=$(mktemp)
            # A minute for the replay. After a longer one there is no lock any more, and the newer timeline wins, if there is one.
            open_sessions 60 "${members[@]}"
            lock_majority 0 "${members[@]}" || status=1
        fi
        if ((status == 0)); then
            survey
            for node in "${reports[@]}"; do
                if [[ $node == *=primary:* && $node != "$node_name="* ]]; then
                    log "not leading: ${node%%=*} is the primary"
                    status=1
                fi
            done
        fi
        ((status > 0)) || stop_postgres
        # By now it may follow whom it gave its vote.
        [[ $(data_state) == primary ]] || status=1
    fi
    if ((status == 0)); then
        rm -f "$PGDATA/standby.signal" "$WAS_PRIMARY"
        start_postgres || status=1
    fi
    end_sessions
    [[ -z $said ]] || rm -f "$said"
    return "$status"
}

follow() {
    if set_upstream "$1" && stream && gets_on; then
        # It has held as one that was primary, perhaps; it is a standby now like any other.
        rm -f "$WAS_PRIMARY"
    else
        rejoin "$1"
    fi
}

# Has PostgreSQL stream from where set_upstream says. One that holds goes on: started anew, it would replay once more all that it has,
# and the primary be short of it meanwhile. It is told once it answers: before that, the signal might end it.
stream() {
    if [[ -z $postgres_pid ]]; then
        start_postgres
    else
        await_postgres && kill -HUP "$postgres_pid"
    fi
}

# Gives up what the primary does not have, and follows it.
rejoin() {
    local host=$1
    [[ -z $postgres_pid ]] || stop_postgres
    log "rewinding to what $host has"
    # Its control file must know its timeline; and of ours, PostgreSQL in single-user mode must be able to end a
    # recovery that a crash has left to be done, which it refuses as a standby.
    timeout 60 psql -XAtqw "$(conninfo "$host")" -c CHECKPOINT >/dev/null || return 1
    begin_data rewind || return 1
    rm -f "$PGDATA/standby.signal" "$PGDATA/postmaster.pid"
    if task pg_rewind --target-pgdata="$PGDATA" --source-server="$(conninfo "$host")" >&2; then
        set_upstream "$host" || return 1
        finish_data
        if start_postgres && gets_on; then return; fi
    fi
    log "rewinding has not brought this node to what $host has; copying all of it"
    clone "$host"
}

clone() {
    [[ -z $postgres_pid ]] || stop_postgres
    case $(data_state) in
        empty | broken) [[ ! -e $UNFINISHED || $(<"$UNFINISHED") == clone ]] || set_data_aside || return 1 ;;
        *) set_data_aside || return 1 ;;
    esac
    begin_data clone || return 1
    rm -rf "$PGDATA"
    reserve_node_id "$1" && write_repmgr_conf || return 1
    log "cloning from $1 as node $node_id"
    task repmgr -f "$REPMGR_CONF" -d "$(conninfo "$1")" \
        --log-level=WARNING standby clone --fast-checkpoint >&2 || return 1
    touch "$LEFT" || return 1
    finish_data
    start_postgres
}

# FED: whether WAL arrives, from whom, and on which timeline. A receiver that asks for what is gone streams, too, for a moment, and
# is started anew 500 ms later (wal_retrieve_retry_interval). One that is older than that, by some 200 ms for a busy machine, goes on.
FED="SELECT sender_host || ' ' || received_tli FROM pg_stat_wal_receiver JOIN pg_stat_activity USING (pid)
    WHERE status = 'streaming' AND backend_start < clock_timestamp() - interval '700 ms'"

# Whether WAL arrives from the primary, or will as soon as what is here has been replayed. Notes for watch that it does.
gets_on() {
    local now before='' since=$SECONDS
    while ((SECONDS - since < STREAMING_TIMEOUT)); do
        now=$(local_psql -d repmgr -F ' ' -c "
            SELECT pg_last_wal_replay_lsn(), EXISTS ($FED)" 2>/dev/null) || now=''
        if [[ $now == *' t' ]]; then
            fed=yes
            return 0
        fi
        if [[ $now != "$before" ]]; then
            before=$now since=$SECONDS
        fi
        kill -0 "$postgres_pid" 2>/dev/null || return 1
        sleep "$POLL"
    done
    return 1
}

# Asks, decides and acts until the node has its place: PostgreSQL runs, as the primary or following it.
take_position() {
    local action target reason said='' silent was_silent='' since=$SECONDS pause=0.5
    fed=''
    if is_witness; then
        take_witness_place
        return
    fi
    while :; do
        [[ -z $postgres_pid ]] || remember_members || true
        survey
        silent=$(printf '%s\n' "${reports[@]}" | grep -E '=(silent|starting)$' || true)
        if [[ $silent != "$was_silent" ]]; then
            was_silent=$silent since=$SECONDS
        fi
        # What is wrong with a password, say, is for people to mend.
        read -r action target reason <<<"$(decide "$node_name" $((SECONDS - since)) "${reports[@]}")${complaints:+;$complaints}"
        if [[ "$action $target $reason" != "$said" ]]; then
            said="$action $target $reason"
            if [[ $target == - ]]; then log "$action: $reason"; else log "$action $target: $reason"; fi
        fi
        case $action in
            initialise)
                # Not in a condition: there a failing command would not end it.
                initialise
                return
                ;;
            clone | follow | rejoin)
                if "$action" "$target"; then return; fi
                # To fail again at once would only be a load on the other one.
                pause=$((${pause%.*} < 10 ? ${pause%.*} * 2 + 1 : 20))
                ;;
            lead)
                if lead; then return; fi
                ;;
            hold)
                # Another state of things: what failed may not fail again.
                pause=0.5
                hold
                ;;
            wait) pause=0.5 ;;
        esac
        sleep "$pause"
    done
}
