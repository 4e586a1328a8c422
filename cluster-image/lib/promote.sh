# Becoming the primary: one at a time, with the consent of a majority, and only if there is none.
#
# repmgrd elects without a vote: two nodes whose tables differ may each find that they have won, and would then write to
# one timeline, each its own. So a promotion takes a lock on a majority of the nodes, and looks round once more.
#
# shellcheck shell=bash

PROMOTION_LOCK=4711     # an advisory lock; on a standby, too, it ends with the session that holds it
HICCUP=1000             # milliseconds for which a primary that refuses is still waited for
DOUBT=5000              # milliseconds after which a promotion that others do not agree to is given up

now_ms() {
    echo $((${EPOCHREALTIME/./} / 1000))
}

# What a node is asked for: the lock, and with SYNC_MODE=quorum that it gets no more WAL from the old primary, which could
# otherwise acknowledge what nobody counts on any more. It says t or f.
consent_sql() {
    echo "SELECT pg_try_advisory_lock($PROMOTION_LOCK) AS consents \\gset"
    if [[ ${SYNC_MODE:-} == quorum && -z $handed_over ]]; then
        cat <<'END'
SELECT :'consents' AND pg_is_in_recovery() AS asks \gset
\if :asks
SET statement_timeout = '2s';
ALTER SYSTEM SET primary_conninfo = '';
SELECT pg_reload_conf() \g /dev/null
DO $$ BEGIN WHILE EXISTS (SELECT FROM pg_stat_get_wal_receiver() WHERE pid IS NOT NULL) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;
\endif
END
    fi
    echo "\\echo $1 :consents"
}

# lock_majority VOTES: takes the lock on all nodes that give it, and sets consenting to their names; fails if, with VOTES more,
# they are no majority. The sessions live until this shell ends. Two nodes have no majority: there, the other one's absence is
# no reason to stay without a primary.
lock_majority() {
    local host fd answers known said deadline votes
    local -a members
    deadline=$((since + 1000 * (ASK_TIMEOUT + 1)))
    read -r -a members <<<"$(members_that_count | tr '\n' ' ')"
    known=${#members[@]}
    said=$(mktemp)
    for host in "${members[@]}"; do
        exec {fd}> >(psql -XAtqw -v ON_ERROR_STOP=1 "$(conninfo "$host")" >>"$said" 2>/dev/null || echo "$host -" >>"$said")
        consent_sql "$host" >&"$fd"
    done
    while :; do
        answers=$(wc -l <"$said")
        consenting=$(sed -n 's/ t$//p' "$said" | tr '\n' ' ')
        votes=$(($(wc -w <<<"$consenting") + $1))
        if ((answers >= known || $(now_ms) >= deadline)); then
            break
        fi
        # With SYNC_MODE=quorum, the one that is needed may be slow to consent.
        if [[ ${SYNC_MODE:-} != quorum || -n $handed_over ]] && ((votes * 2 > known)); then
            break
        fi
        sleep 0.05
    done
    # Who has been silent for that long need not be asked again; who refused may be about to come back.
    if (($(now_ms) - since >= 900 * ASK_TIMEOUT)); then
        for host in "${members[@]}"; do
            grep -qxE "$host [tf]" "$said" || mute+=" $host"
        done
    fi
    rm -f "$said"
    if ((votes * 2 <= known && !(known < 3 && votes > 0))); then
        log "not promoting: $votes of $known nodes consent, which is no majority"
        return 1
    fi
}

# objection: why this node must not be promoted, by what all say now, or nothing.
objection() {
    local node name state timeline seen answer
    local -a agreed=()
    for node in "${reports[@]}"; do
        name=${node%%=*}
        IFS=: read -r state timeline _ seen <<<"${node#*=}"
        if [[ $name != "$node_name" ]]; then
            if [[ $state == primary && $timeline -ge $(own_timeline) ]]; then
                echo "$name is the primary"
                return
            elif [[ -n $seen && $seen != - && $seen != "$node_name" && " ${reports[*]}" != *" $seen=standby"* ]]; then
                echo "$name still sees $seen"
                return
            fi
        fi
        [[ $state != standby || " $consenting " == *" $name "* ]] || node=$name=silent
        agreed+=("$node")
    done
    if [[ ${SYNC_MODE:-} == quorum && ${ALONE:-} != allow ]]; then
        answer=$(decide "$node_name" 0 "${agreed[@]}")
        [[ $answer == 'lead '* ]] || echo "${answer#* - }"
    fi
}

# promote [--handed-over]: what repmgrd runs when it has elected this node. A primary that was only away for a moment is not
# replaced. One that hands over has ended, has seen to it that this node has all that it had, and gives its vote.
promote() {
    local why since handed_over=${1:-} consenting='' mute=''
    since=$(now_ms)
    remember_members
    if [[ ${ALONE:-} != allow ]]; then
        lock_majority $((${#handed_over} > 0)) || return 1
    fi
    while [[ -z $handed_over ]]; do
        survey
        why=$(objection)
        [[ -n $why ]] || (($(now_ms) - since < HICCUP)) || break
        if [[ $why == *' is the primary' ]] || (($(now_ms) - since >= DOUBT)); then
            log "not promoting: $why"
            return 1
        fi
        sleep 0.2
    done
    prepare_to_lead || return 1
    repmgr -f "$REPMGR_CONF" --log-level=WARNING standby promote >&2
}
