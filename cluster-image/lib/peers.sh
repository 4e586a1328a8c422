# Who the other nodes are, and what they answer.
#
# shellcheck shell=bash

ASK_TIMEOUT=1   # seconds for a node's answer; all are asked at once

# What a node answers: its state, its timeline, its LSN or '-', and the names of all registered nodes.
#
# Its timeline is the newest of which there is WAL: the control file lags until the next checkpoint. By what the
# startup process of a standby waits for one can tell whether it has replayed all that is there; no LSN before that.
ASK="
    SELECT (SELECT system_identifier FROM pg_control_system()),
           CASE WHEN pg_is_in_recovery() THEN 'standby' ELSE 'primary' END,
           (SELECT max(('x' || substr(name, 1, 8))::bit(32)::int) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}\$'),
           CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_lsn()::text
                WHEN EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'startup'
                                AND wait_event IN ('RecoveryRetrieveRetryInterval', 'RecoveryWalStream'))
                THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::text
                ELSE '-' END,
           (SELECT string_agg(node_name, ' ' ORDER BY node_id) FROM repmgr.nodes)"

# ask_node HOST: the answer, or '!' and why there is none; one line.
ask_node() {
    local answer
    if answer=$(timeout "$ASK_TIMEOUT" psql -XAtqw -F ' ' "$(conninfo "$1")" -c "$ASK" 2>&1); then
        printf '%s\n' "$answer"
    elif [[ $answer == *'Connection refused'* ]] && has_no_data "$1"; then
        echo '- empty'
    else
        answer=${answer#psql: error: }
        printf '! %s\n' "${answer%%$'\n'*}"
    fi
}

# has_no_data HOST: whether its HTTP endpoint says that it has none. Nothing else is believed that comes without a password.
has_no_data() {
    [[ $http_port != 0 && $http_port != off ]] || return 1
    # shellcheck disable=SC2016 # the inner shell's
    timeout "$ASK_TIMEOUT" bash -c '
        exec 3<>"/dev/tcp/$1/$2" && printf "GET /state HTTP/1.0\r\n\r\n" >&3 && head -c 4096 <&3' - "$1" "$http_port" 2>/dev/null |
        grep -q '^{"state":"empty",'
}

# ask_nodes HOST...: sets answers[HOST] of each; all are asked side by side.
ask_nodes() {
    local host fd
    local -A pipes=()
    for host; do
        exec {fd}< <(ask_node "$host")
        pipes[$host]=$fd
    done
    for host; do
        fd=${pipes[$host]}
        IFS= read -r "answers[$host]" <&"$fd" || answers[$host]='! no answer'
        exec {fd}<&-
    done
}

# ---------------------------------------------------------------------------------------------- memory

# What the node table said last: 'id name type there|away', one line each, in the order of ids. While PostgreSQL is down
# nobody else can say who has to be asked, and who counts.
remember_members() {
    local members
    members=$(local_psql -d repmgr -F ' ' 2>/dev/null -c "
        SELECT node_id, node_name, type,
               CASE WHEN node_id IN (SELECT node_id FROM public.nodes_away) THEN 'away' ELSE 'there' END
          FROM repmgr.nodes ORDER BY node_id") || return 0
    if [[ -n $members && $members != "$(cat "$MEMBERS" 2>/dev/null)" ]]; then
        write_file "$MEMBERS" <<<"$members"
    fi
}

# known_members: the names, in the order of ids.
known_members() {
    [[ -r $MEMBERS ]] || return 0
    awk '{ print $2 }' "$MEMBERS"
}

# is_member NAME WHAT: whether it is that, a witness or away, say.
is_member() {
    [[ -r $MEMBERS ]] &&
        awk -v name="$1" -v what="$2" '$2 == name && ($3 == what || $4 == what) { found = 1 } END { exit !found }' "$MEMBERS"
}

# take_leave: a standby that is stopped says so, and does not count any more. Who is the last one can then go on alone.
take_leave() {
    local primary
    [[ $healing == on && $(data_state) == standby ]] || return 0
    primary=$(active_primary)
    [[ -z $primary ]] || timeout 3 psql -XAtqw "$(conninfo "$primary")" >/dev/null 2>&1 \
        -c "INSERT INTO public.nodes_away VALUES ($node_id) ON CONFLICT DO NOTHING" || log 'stopping without leave'
}

# active_primary: as the node table here has it.
active_primary() {
    local_psql -d repmgr -c "SELECT node_name FROM repmgr.nodes WHERE type = 'primary' AND active LIMIT 1" 2>/dev/null || true
}

# ---------------------------------------------------------------------------------------------- everybody at once

# survey: asks all nodes that this one has heard of, and sets reports, the arguments that decide takes.
#
# The registered nodes count. Those that are only named in the settings, or by another node, may be the primary, but
# their absence means nothing - unless this node has no data, and so has none to go by.
survey() {
    local name own_system
    local -a members extra more
    local -A answers=()
    read -r -a members <<<"$(known_members | tr '\n' ' ')"
    if ((${#members[@]} == 0)); then
        read -r -a members <<<"$(founders)"
    fi
    read -r -a extra <<<"$primary_name $peers"
    own_system=$(system_identifier)
    reports=()

    # Whom they know is asked as well; that ends, since nobody is asked twice.
    more=("${members[@]}" "${extra[@]}")
    while ((${#more[@]})); do
        local -a asked=()
        for name in "${more[@]}"; do
            [[ $name == "$node_name" || -n ${answers[$name]:-} ]] || asked+=("$name") answers[$name]=asked
        done
        ((${#asked[@]})) || break
        ask_nodes "${asked[@]}"
        more=()
        for name in "${asked[@]}"; do
            [[ ${answers[$name]} == '!'* ]] || read -r -a more <<<"${more[*]} $(cut -d' ' -f5- <<<"${answers[$name]}")"
        done
    done

    for name in "${members[@]}"; do
        if [[ $name == "$node_name" ]]; then
            reports+=("$name=$(own_report)")
        else
            reports+=("$name=$(report "$name" "${answers[$name]}" "$own_system")")
        fi
        unset "answers[$name]"
    done
    for name in "${!answers[@]}"; do
        case $(report "$name" "${answers[$name]}" "$own_system") in
            primary:*) reports+=("$name=$(report "$name" "${answers[$name]}" "$own_system")") ;;
        esac
    done
}

# founders: of a node that knows no members yet, itself and those it has been told of; the first is to make the cluster.
founders() {
    local name
    printf '%s' "$primary_name"
    # shellcheck disable=SC2086 # names have no blanks in them
    for name in $(printf '%s\n' "$node_name" $peers | sort -u); do
        [[ $name == "$primary_name" ]] || printf ' %s' "$name"
    done
}

# report NAME ANSWER OWN_SYSTEM: as decide wants it.
report() {
    local system state timeline lsn _
    read -r system state timeline lsn _ <<<"$2"
    if [[ $2 == '!'* ]]; then
        if is_member "$1" away; then echo away; else echo silent; fi
    elif [[ $state == empty ]]; then
        # Who took its leave and came back without its data does not count any more than before.
        if is_member "$1" away; then echo away; else echo empty; fi
    elif is_member "$1" witness; then
        echo witness
    elif [[ -n $3 && $system != "$3" ]]; then
        echo foreign
    else
        echo "$state:$timeline:$lsn"
    fi
}
