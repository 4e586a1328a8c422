# Who the other nodes are, and what they answer.
#
# shellcheck shell=bash

ASK_TIMEOUT=1   # seconds for a node's answer, and for that by HTTP of one that refuses connections; all are asked at once

# What a node answers: its state, its timeline, its LSN or '-', the node that it follows if its repmgrd has just seen it, '.' if it was
# the primary of this timeline and waits, or '-', and the names of all registered nodes.
#
# Its timeline is the newest of which there is WAL: the control file lags until the next checkpoint. By what the
# startup process of a standby waits for one can tell whether it has replayed all that is there; no LSN before that.
NEWEST="(SELECT max(('x' || substr(name, 1, 8))::bit(32)::int) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}\$')"
ASK="
    SELECT (SELECT system_identifier FROM pg_control_system()),
           CASE WHEN current_setting('cluster_image.node_type', true) = 'witness' THEN 'witness'
                WHEN NOT pg_is_in_recovery() THEN 'primary'
                WHEN (pg_stat_file('../${LEFT##*/}', true)).size IS NULL THEN 'standby' ELSE 'left' END,
           $NEWEST,
           CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_lsn()::text
                WHEN EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'startup'
                                AND wait_event IN ('RecoveryRetrieveRetryInterval', 'RecoveryWalStream'))
                THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::text
                ELSE '-' END,
           coalesce((SELECT node_name FROM repmgr.nodes
              WHERE node_id = repmgr.get_upstream_node_id() AND repmgr.get_upstream_last_seen() BETWEEN 0 AND 1),
              CASE WHEN pg_read_file('../${WAS_PRIMARY##*/}', 0, 20, true) = $NEWEST || E'\\n' THEN '.' END, '-'),
           (SELECT string_agg(node_name, ' ' ORDER BY node_id) FROM repmgr.nodes)"

# ask_node HOST: the answer, or '!' and why there is none; one line.
ask_node() {
    local answer
    if answer=$(timeout "$ASK_TIMEOUT" psql -XAtqw -F ' ' "$(conninfo "$1")" -c "$ASK" 2>&1); then
        if makes_sense "$answer"; then printf '%s\n' "$answer"; else echo '! its answer makes no sense'; fi
    elif [[ $answer == *'Connection refused'* ]] && has_no_data "$1"; then
        echo '- empty'
    else
        answer=${answer#psql: error: }
        printf '! %s\n' "${answer%%$'\n'*}"
    fi
}

# makes_sense ANSWER: it is input from the network, and is calculated with.
makes_sense() {
    [[ $1 =~ ^[0-9]{1,20}\ (primary|standby|left|witness)\ [0-9]{1,9}\ ([0-9A-F]{1,8}/[0-9A-F]{1,8}|-)\ [A-Za-z0-9_.-]+( [^[:cntrl:]]*)?$ ]]
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
        IFS= read -r 'answers[$host]' <&"$fd" || answers[$host]='! no answer'
        exec {fd}<&-
    done
}

# ---------------------------------------------------------------------------------------------- memory

# What the node table said last: 'id name type there|away priority', one line each, in the order in which they may lead.
# While PostgreSQL is down nobody else can say who has to be asked, and who counts.
remember_members() {
    local members
    members=$(local_psql -d repmgr -F ' ' 2>/dev/null -c "
        SELECT node_id, node_name, type,
               CASE WHEN node_id IN (SELECT node_id FROM public.nodes_away WHERE NOT comes_back) THEN 'away' ELSE 'there' END, priority
          FROM repmgr.nodes ORDER BY priority DESC, node_id") || return 0
    if [[ -n $members && $members != "$(cat "$MEMBERS" 2>/dev/null)" ]]; then
        write_file "$MEMBERS" <<<"$members"
    fi
}

# known_members: the names, in the order in which they may lead.
known_members() {
    [[ -r $MEMBERS ]] || return 0
    awk '{ print $2 }' "$MEMBERS"
}

# members_that_count: the names of those that are not away; this node is not, if it asks.
members_that_count() {
    awk -v self="$node_name" '$4 != "away" || $2 == self { print $2 }' "$MEMBERS"
}

# is_member NAME WHAT: whether it is that, a witness or away, say.
is_member() {
    [[ -r $MEMBERS ]] &&
        awk -v name="$1" -v what="$2" '$2 == name && ($3 == what || $4 == what) { found = 1 } END { exit !found }' "$MEMBERS"
}

# id_of NAME
id_of() {
    awk -v name="$1" '$2 == name { print $1 }' "$MEMBERS"
}

# is_barred NAME: whether it may never lead.
is_barred() {
    [[ -r $MEMBERS ]] &&
        awk -v name="$1" '$2 == name && NF > 4 && $5 == 0 { found = 1 } END { exit !found }' "$MEMBERS"
}

# active_primary: as the node table here has it.
active_primary() {
    local_psql -d repmgr -c "SELECT node_name FROM repmgr.nodes WHERE type = 'primary' AND active LIMIT 1" 2>/dev/null || true
}

# ---------------------------------------------------------------------------------------------- everybody at once

# names_in TEXT: what can be a node's name. An answer is input from the network.
names_in() {
    local word
    for word in $1; do
        [[ ! $word =~ ^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$ ]] || printf '%s ' "$word"
    done
}

# survey: asks all nodes that this one has heard of, and sets reports, the arguments that decide takes; down, the names of
# those where nothing runs; and complaints, what those said that refused to answer.
#
# The registered nodes count. Those that are only named in the settings, or by another node, may be the primary, but
# their absence means nothing - unless this node has no data, and so has none to go by.
survey() {
    local name own_system own without_row=''
    local -a members extra more
    local -A answers=()
    read -r -a members <<<"$(known_members | tr '\n' ' ')"
    if ((${#members[@]} == 0)); then
        read -r -a members <<<"$(founders)"
    fi
    # Without a row, not there yet or not any more, it cannot lead; but it is not nobody.
    if [[ " ${members[*]} " != *" $node_name "* ]]; then
        members+=("$node_name") without_row=yes
    fi
    read -r -a extra <<<"$primary_name $peers"
    own_system=$(system_identifier)
    reports=() down=() complaints=''

    # Whom they know is asked as well; that ends, since nobody is asked twice.
    more=("${members[@]}" "${extra[@]}")
    while ((${#more[@]})); do
        local -a asked=()
        for name in "${more[@]}"; do
            [[ $name == "$node_name" || -n ${answers[$name]:-} ]] && continue
            if [[ " ${mute:-} " == *" $name "* ]]; then
                answers[$name]='! no answer a moment ago'
            else
                asked+=("$name") answers[$name]=asked
            fi
        done
        ((${#asked[@]})) || break
        ask_nodes "${asked[@]}"
        more=()
        for name in "${asked[@]}"; do
            [[ ${answers[$name]} == '!'* ]] || read -r -a more <<<"${more[*]} $(names_in "$(cut -d' ' -f6- <<<"${answers[$name]}")")"
        done
    done

    for name in "${!answers[@]}"; do
        case ${answers[$name]} in
            '!'*'Connection refused'* | '!'*'could not translate host name'*) down+=("$name") ;;
            '!'*FATAL:*) complaints+=" $name says:${answers[$name]#*FATAL:}" ;;
        esac
    done
    for name in "${members[@]}"; do
        if [[ $name == "$node_name" ]]; then
            own=$(own_report)
            [[ -z $without_row ]] || own=${own/#standby:/barred:}
            reports+=("$name=$own")
        else
            reports+=("$name=$(report "$name" "${answers[$name]}" "$own_system")")
        fi
        unset 'answers[$name]'
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

# report NAME ANSWER OWN_SYSTEM: as decide wants it, and whom the node sees.
report() {
    local system state timeline lsn seen _
    read -r system state timeline lsn seen _ <<<"$2"
    [[ $seen != . ]] || seen=$1
    if [[ $2 == '!'*FATAL:* && $(data_state) == empty ]]; then
        echo refusing
    elif [[ $2 == '!'* ]]; then
        if is_member "$1" away; then
            echo away
        elif is_member "$1" witness || is_barred "$1"; then
            echo silent:without-commits
        elif [[ $2 =~ FATAL:.*(starting\ up|not\ yet\ accepting|in\ recovery) ]]; then
            echo starting
        else
            echo silent
        fi
    elif [[ $state == empty ]]; then
        # Who took its leave and came back without its data does not count any more than before.
        if is_member "$1" away; then echo away; else echo empty; fi
    elif is_member "$1" witness; then
        echo "witness:::$seen"
    elif [[ -n $3 && $system != "$3" ]]; then
        # Nor does who has its name now.
        if is_member "$1" away; then echo away; else echo foreign; fi
    else
        echo "$(standing "$1" "$state"):$timeline:$lsn:$seen"
    fi
}

# standing NAME STATE: the STATE of a node that answers. Who took its leave is as good as any other, unless the others can
# acknowledge commits without it.
standing() {
    if [[ $2 != primary ]] && is_barred "$1"; then
        echo barred
    elif [[ $2 == primary || ${SYNC_MODE:-} != quorum || ${ALONE:-} == allow ]]; then
        echo "${2/left/standby}"
    elif is_member "$1" away; then
        echo back
    else
        echo "$2"
    fi
}
