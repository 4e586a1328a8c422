# A witness votes, and never has the cluster's data. It has a PostgreSQL of its own, with a copy of the node table that
# it must keep itself: nothing replicates to it.
#
# shellcheck shell=bash

WITNESS_OF=$STATE_DIR/witness-of    # on a witness: the system identifier of the cluster that it votes in
COPY_ROLES_INTERVAL=10              # seconds until a changed password has arrived
ASTRAY_TIMEOUT=10                   # seconds for which repmgrd may watch another node than the primary

NODE_TABLE="
    SELECT node_id, upstream_node_id, active, node_name, type, location, priority, conninfo, repluser, slot_name, config_file
      FROM repmgr.nodes ORDER BY node_id"

# Whom the driver may log in as. The superusers of a witness are its own.
READERS="
    COPY (WITH RECURSIVE readers AS (
              SELECT member FROM pg_auth_members WHERE roleid = 'repmgr_metadata'::regrole
              UNION SELECT m.member FROM pg_auth_members m JOIN readers r ON m.roleid = r.member)
          SELECT rolname, rolpassword, rolvaliduntil FROM pg_authid JOIN readers ON oid = member
           WHERE rolcanlogin AND rolname <> 'repmgr' ORDER BY rolname) TO STDOUT"

is_witness() {
    [[ ${NODE_TYPE:-data} == witness ]]
}

# The volume of the one is no volume of the other.
check_volume() {
    if is_witness; then
        [[ -e $WITNESS_OF || $(data_state) == empty ]] ||
            die "NODE_TYPE is 'witness', but this volume has a cluster's data; a witness needs a volume of its own"
        [[ -n $primary_name || -n $peers || -s $MEMBERS ]] ||
            die "NODE_TYPE is 'witness', but neither PRIMARY_NAME nor PEERS names a node of the cluster"
    elif [[ -e $WITNESS_OF ]]; then
        die "NODE_TYPE is 'data', but this volume is a witness's; take another one"
    fi
}

# take_witness_place: there is nothing to decide, since nobody takes a witness for a primary. Whatever it has can be made
# again.
take_witness_place() {
    local primary waiting=''
    while [[ ! -s $PGDATA/PG_VERSION || -e $UNFINISHED ]]; do
        survey
        read -r primary _ <<<"$(newest_primary "${reports[@]}")"
        if [[ -n $primary ]]; then
            if prepare_witness "$primary"; then
                # Not in a condition: there a failing command would not end it.
                initialise
                return
            fi
        elif [[ -z $waiting ]]; then
            waiting=yes
            log 'wait: no node answers as the primary of a cluster'
        fi
        sleep 0.5
    done
    start_postgres
}

prepare_witness() {
    local system
    system=$(timeout 10 psql -XAtqw "$(conninfo "$1")" -c 'SELECT system_identifier FROM pg_control_system()') || return 1
    reserve_node_id "$1" || return 1
    log "becoming a witness of the cluster of $1, as node $node_id"
    write_file "$WITNESS_OF" <<<"$system"
}

# ask_primary PRIMARY SQL
ask_primary() {
    timeout "$ASK_TIMEOUT" psql -XAtqw "$(conninfo "$1")" -c "$2" 2>/dev/null
}

# register_witness [PRIMARY]: unless the table there has this witness as it is now, and the copy here is the same.
register_witness() {
    local primary=${1:-} table
    if [[ -z $primary ]]; then
        survey
        read -r primary _ <<<"$(newest_primary "${reports[@]}")"
        [[ -n $primary ]] || return 1
    fi
    table=$(ask_primary "$primary" "$NODE_TABLE") || return 1
    if ! is_registered witness || [[ $table != "$(local_psql -d repmgr -c "$NODE_TABLE")" ]]; then
        log "taking over the node table of $primary, with node $node_id as a witness in it"
        timeout 60 repmgr -f "$REPMGR_CONF" -h "$primary" -U repmgr -d repmgr --log-level=ERROR witness register --force >&2
    fi
}

# copy_roles PRIMARY: the roles that may read the node table there may do so here, with the same passwords; nobody else.
# A password is its verifier, and goes in by standard input; a statement that fails is shown nowhere.
copy_roles() {
    local readers
    readers=$(ask_primary "$1" "$READERS") || return 0
    [[ $readers != "${copied_readers:-}" ]] || return 0
    {
        echo 'SET log_statement = none; SET log_min_error_statement = panic; SET log_min_duration_statement = -1;'
        echo 'CREATE TEMP TABLE reader (name name, verifier text, until timestamptz);'
        printf 'COPY reader FROM STDIN;\n%s\\.\n' "${readers:+$readers$'\n'}"
        cat "$SHARE_DIR/witness-roles.sql"
    } | local_psql -v VERBOSITY=terse -d repmgr >&2 || return 0
    copied_readers=$readers
}

# What watch is on other nodes. repmgrd copies the node table as well, but not in every version after every failover.
watch_witness() {
    local primary now copied_since='' astray_since='' copied_readers=none
    while :; do
        sleep "$WATCH_INTERVAL"
        remember_members || true
        end_forgotten_pause || true
        survey
        read -r primary _ <<<"$(newest_primary "${reports[@]}")"
        [[ -n $primary ]] || continue
        now=$SECONDS
        register_witness "$primary" || true
        if [[ -z $copied_since ]] || ((now - copied_since >= COPY_ROLES_INTERVAL)); then
            copied_since=$now
            copy_roles "$primary"
        fi
        if is_astray; then
            : "${astray_since:=$now}"
            if ((now - astray_since >= ASTRAY_TIMEOUT)); then
                log 'repmgrd still watches a node that is not the primary any more; ending it, so that it begins anew'
                local_psql -d repmgr -c 'SELECT pid FROM repmgr.get_repmgrd_pid() pid WHERE pid > 0' | xargs -r kill || true
                astray_since=
            fi
        else
            astray_since=
        fi
    done
}

# is_astray: whether repmgrd watches another node than the primary.
is_astray() {
    [[ $(local_psql -d repmgr -c "
        SELECT repmgr.repmgrd_is_running() AND repmgr.get_upstream_node_id() NOT IN
               (SELECT node_id FROM repmgr.nodes WHERE type = 'primary' AND active)" 2>/dev/null) == t ]]
}
