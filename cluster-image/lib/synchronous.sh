# SYNC_MODE=quorum: no commit is acknowledged before enough nodes have it, and who that is follows the cluster's changes.
#
# Of N nodes with data that count (registered, and not away), the primary and any N/2 others have each commit that was
# acknowledged; so one of any N - N/2 has it, and decide lets nobody lead with fewer. Both sides read the number in their own
# copy of the node table, where it changes by one node at a time, and in this order, so that old and new sides meet:
#
# - A node that leaves ends first and says so then: whoever knows of its leave has all that it had acknowledged.
# - A node that comes back is first waited for by one acknowledgement more than before (in place of none, one). Then the
#   table counts it. Once that many nodes have this, too, N/2 will do again.
#
# Without SYNC_MODE only the table changes.
#
# shellcheck shell=bash

SYNCHRONOUS_CONF=$STATE_DIR/conf.d/synchronous.conf     # outside of the data directory, which copies take over
ACKNOWLEDGE_TIMEOUT=2   # seconds in which the nodes must have what the table says

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

# others_that_count: the names of the other nodes whose acknowledgement counts, by the node table here.
others_that_count() {
    local_psql -d repmgr -c "SELECT coalesce(string_agg(node_name, ' ' ORDER BY node_id), '') FROM repmgr.nodes
        WHERE type <> 'witness' AND priority > 0 AND node_id <> $node_id AND node_id NOT IN (SELECT node_id FROM public.nodes_away)"
}

# who_returns: a node that is away by the table, and that streams from here.
who_returns() {
    local_psql -d repmgr -c "SELECT node_name FROM public.nodes_away JOIN repmgr.nodes USING (node_id)
        WHERE node_name IN (SELECT application_name FROM pg_stat_replication WHERE state = 'streaming') ORDER BY node_id LIMIT 1"
}

# set_synchronous NAMES [RETURNING]: from now on, or from the next start.
set_synchronous() {
    local text="# returning: ${2:-nobody}"$'\n'"synchronous_standby_names = '$1'"
    if [[ $text != "$(cat "$SYNCHRONOUS_CONF" 2>/dev/null)" ]]; then
        [[ ${SYNC_MODE:-} != quorum ]] || log "synchronous: ${1:-no standby}${2:+, until $2 counts}"
        write_file "$SYNCHRONOUS_CONF" <<<"$text"
        [[ -z $postgres_pid ]] || kill -HUP "$postgres_pid"
    fi
}

# returning_node: whom set_synchronous was told of last; nobody, in most cases.
returning_node() {
    sed -n 's/^# returning: //p' "$SYNCHRONOUS_CONF" 2>/dev/null || echo nobody
}

# wait_for_others: for N/2 of them, from now on. A standby does so, too, so that nothing is left to do when it is promoted.
wait_for_others() {
    local names
    local -a others
    names=$(others_that_count) || return 1
    read -r -a others <<<"$names"
    [[ ${SYNC_MODE:-} == quorum ]] || others=()
    set_synchronous "$(synchronous_names $(((${#others[@]} + 1) / 2)) "${others[@]}")"
}

# prepare_to_lead: returns when whatever is committed from now on will wait for the others.
prepare_to_lead() {
    local names tries
    wait_for_others || return 1
    names=$(sed -n "s/^synchronous_standby_names = '\(.*\)'$/\1/p" "$SYNCHRONOUS_CONF")
    for ((tries = 20; tries > 0; tries--)); do
        [[ $(local_psql -c 'SHOW synchronous_standby_names') != "$names" ]] || return 0
        sleep "$POLL"
    done
    log 'PostgreSQL does not take over whom to wait for'
    return 1
}

# count_again CONDITION: the nodes of which that is true, in the table.
count_again() {
    local_psql -d repmgr -c "SET synchronous_commit = local; DELETE FROM public.nodes_away
        WHERE node_id IN (SELECT node_id FROM repmgr.nodes WHERE $1)"
}

# is_acknowledged COUNT NAME...: whether that many of them have all that is here now.
is_acknowledged() {
    local count=$1 list end=$((SECONDS + ACKNOWLEDGE_TIMEOUT)) lsn
    shift
    list=$(printf "'%s'," "$@")
    lsn=$(local_psql -c 'SELECT pg_current_wal_insert_lsn()') || return 1
    while [[ $(local_psql -c "SELECT count(*) >= $count FROM pg_stat_replication
        WHERE application_name IN (${list%,}) AND flush_lsn >= '$lsn'") != t ]]; do
        ((SECONDS < end)) || return 1
        sleep "$POLL"
    done
}

# keep_membership: of a primary, once a second. Takes one step, if there is one to take.
keep_membership() {
    local returns returning names
    local -a others
    # These acknowledge nothing.
    count_again "type = 'witness' OR node_id = $node_id" || return 1
    returns=$(who_returns) && names=$(others_that_count) || return 1
    read -r -a others <<<"$names"
    returning=$(returning_node)
    if [[ ${SYNC_MODE:-} != quorum ]]; then
        [[ -z $returns ]] || count_again "node_name = '$returns'"
    elif [[ -n $returns && $returning == nobody ]]; then
        # The processes that send WAL have a second to read this.
        set_synchronous "$(synchronous_names $(((${#others[@]} + 1) / 2 + 1)) "${others[@]}" "$returns")" "$returns"
        return
    elif [[ -n $returns && $returning == "$returns" ]]; then
        count_again "node_name = '$returns'"
        return
    elif [[ " ${others[*]} " == *" $returning "* ]]; then
        # It was one node less when this began, so that the number then was that of the others now.
        is_acknowledged $((${#others[@]} / 2 + 1)) "${others[@]}" || return 0
    fi
    wait_for_others
}
