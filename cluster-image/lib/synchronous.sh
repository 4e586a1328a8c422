# SYNC_MODE=quorum: no commit is acknowledged before enough nodes have it, and who that is follows the cluster's changes.
#
# Of N nodes with data that count (registered, and not away), the primary and any N/2 others have each commit that was
# acknowledged; so one of any N - N/2 has it, and decide lets nobody lead with fewer. Both sides read the number in their own
# copy of the node table, where it changes by one node at a time, and in this order, so that old and new sides meet:
#
# - A node that leaves ends first and says so then: whoever knows of its leave has all that it had acknowledged.
# - A node that comes back is first waited for by one acknowledgement more than before (in place of none, one). Then the
#   table counts it, as returning. Once that many nodes have this, too, its row goes, and N/2 will do again. Only then does it
#   take itself for one that has everything (LEFT). If it is gone before that, it is as if it had never been back.
#
# Without SYNC_MODE only the table changes; the setting is the user's.
#
# shellcheck shell=bash

SYNCHRONOUS_CONF=$STATE_DIR/conf.d/synchronous.conf     # outside of the data directory, which copies take over
ACKNOWLEDGE_TIMEOUT=2   # seconds in which the nodes must have what the table says
SETTLE=0.5              # seconds in which PostgreSQL's processes have surely read a new configuration: the signal wakes them, but
                        # nothing tells when each has read it, and a busy machine may keep one waiting

# synchronous_names COUNT NAME...: the value of synchronous_standby_names.
synchronous_names() {
    local count=$1 name list=''
    shift
    ((count > 0 && $# > 0)) || return 0
    for name; do
        list+=${list:+, }\"$name\"
    done
    echo "ANY $count ($list)"
}

# nodes_where CONDITION: the names of the nodes with data, in the order of ids, by the node table here.
nodes_where() {
    local_psql -d repmgr -c "SELECT coalesce(string_agg(node_name, ' ' ORDER BY node_id), '')
        FROM repmgr.nodes LEFT JOIN public.nodes_away away USING (node_id) WHERE type <> 'witness' AND priority > 0 AND $1"
}

# The names of the other nodes whose acknowledgement counts; those that are away; those that are on their way back.
others_that_count() {
    nodes_where "node_id <> $node_id AND away.comes_back IS DISTINCT FROM false"
}

nodes_away() {
    nodes_where 'NOT away.comes_back'
}

nodes_returning() {
    nodes_where 'away.comes_back'
}

# is_streaming NAME: whether it gets WAL from here.
is_streaming() {
    [[ $(local_psql -c "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND application_name = '$1'") != 0 ]]
}

# change_away STATEMENT: of repmgr's table of who is away. Nobody waits for anybody here.
change_away() {
    local_psql -d repmgr -c "SET synchronous_commit = local; $1"
}

# set_synchronous NAMES: from now on, or from the next start. Fails if it cannot be written.
set_synchronous() {
    local text=''
    # Without SYNC_MODE the setting is the user's; a file from earlier times must say nothing.
    [[ ${SYNC_MODE:-} != quorum ]] || text="synchronous_standby_names = '$1'"
    if [[ $text != "$(cat "$SYNCHRONOUS_CONF" 2>/dev/null)" ]]; then
        [[ ${SYNC_MODE:-} != quorum ]] || log "synchronous: ${1:-no standby}"
        write_file "$SYNCHRONOUS_CONF" <<<"$text" || return 1
        [[ -z $postgres_pid ]] || kill -HUP "$postgres_pid"
    fi
}

# wait_for_others: for N/2 of them, or one more as long as somebody is on its way back, from now on. A standby does so, too,
# so that nothing is left to do when it is promoted. The value is left in names.
wait_for_others() {
    local on_its_way count
    local -a others
    names=$(others_that_count) && on_its_way=$(nodes_returning) || return 1
    read -r -a others <<<"$names"
    count=$(((${#others[@]} + 1) / 2))
    # Without it there is one node less, so that this is one more than half of those.
    [[ -z $on_its_way ]] || count=$((${#others[@]} / 2 + 1))
    [[ ${SYNC_MODE:-} == quorum ]] || others=()
    names=$(synchronous_names "$count" "${others[@]}")
    set_synchronous "$names"
}

# prepare_to_lead: returns when whatever is committed from now on will wait for the others.
prepare_to_lead() {
    local names='' tries
    wait_for_others || return 1
    [[ ${SYNC_MODE:-} == quorum ]] || return 0
    for ((tries = 20; tries > 0; tries--)); do
        [[ $(local_psql -c 'SHOW synchronous_standby_names') != "$names" ]] || return 0
        sleep "$POLL"
    done
    log "PostgreSQL does not take over whom to wait for: synchronous_standby_names is" \
        "$(local_psql -c "SELECT format('%L, by %s', setting, coalesce(sourcefile, source)) FROM pg_settings
            WHERE name = 'synchronous_standby_names'")"
    return 1
}

# is_acknowledged COUNT NAME...: whether that many of them have, and know, all that is here now.
is_acknowledged() {
    local count=$1 list end=$((SECONDS + ACKNOWLEDGE_TIMEOUT)) lsn
    shift
    list=$(printf "'%s'," "$@")
    lsn=$(local_psql -c 'SELECT pg_current_wal_insert_lsn()') || return 1
    while [[ $(local_psql -c "SELECT count(*) >= $count FROM pg_stat_replication
        WHERE application_name IN (${list%,}) AND replay_lsn >= '$lsn'") != t ]]; do
        ((SECONDS < end)) || return 1
        sleep "$POLL"
    done
}

# keep_membership: of a primary, once a second.
keep_membership() {
    local node names
    # These acknowledge nothing.
    change_away "DELETE FROM public.nodes_away USING repmgr.nodes
        WHERE nodes_away.node_id = nodes.node_id AND (type = 'witness' OR priority = 0 OR nodes.node_id = $node_id)" || return 1
    for node in $(nodes_returning); do
        rely_on "$node" || return 1
    done
    for node in $(nodes_away); do
        # One at a time: half of the old ones and half of the new ones must meet.
        [[ -z $(nodes_returning) ]] || break
        # Who has just been registered is known here in a second.
        if [[ -n $(id_of "$node") ]] && is_streaming "$node"; then
            let_in "$node" && rely_on "$node" || return 1
        fi
    done
    wait_for_others
}

# let_in NODE: has it counted; one more acknowledgement is waited for before that.
let_in() {
    local names
    local -a others
    if [[ ${SYNC_MODE:-} == quorum ]]; then
        names=$(others_that_count) || return 1
        read -r -a others <<<"$names"
        set_synchronous "$(synchronous_names $(((${#others[@]} + 1) / 2 + 1)) "${others[@]}" "$1")" || return 1
        # For the processes that send WAL to read this.
        sleep "$SETTLE"
        # If nobody was waited for until now, it is the checkpointer that has commits wait at all; its next checkpoint begins
        # after it has read this.
        ((${#others[@]} > 0)) || LOCAL_TIMEOUT=30 local_psql -c CHECKPOINT || return 1
    fi
    change_away "UPDATE public.nodes_away SET comes_back = true WHERE node_id = $(id_of "$1")"
}

# rely_on NODE: once enough have it that it counts; not if it is gone again before that.
rely_on() {
    local names
    local -a others
    names=$(others_that_count) || return 1
    read -r -a others <<<"$names"
    if [[ ${SYNC_MODE:-} != quorum ]] || is_acknowledged $((${#others[@]} / 2 + 1)) "${others[@]}"; then
        change_away "DELETE FROM public.nodes_away WHERE node_id = $(id_of "$1")"
    elif ! is_streaming "$1"; then
        change_away "UPDATE public.nodes_away SET comes_back = false WHERE node_id = $(id_of "$1")"
    fi
}
