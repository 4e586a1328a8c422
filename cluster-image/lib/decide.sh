# Where a node stands when it starts, and what follows from it: one function, without a side effect.
#
# shellcheck shell=bash

GRACE=10        # seconds for which nodes that do not answer are waited for, where one could go on without them: those that start
                # together are there by then. No more than ELECTION_TIMEOUT, which a failover has waited already
RECOVERY=300    # the same for nodes that are in the middle of the recovery from a crash: they answer after it, if it ever ends
LEADS_ON=60     # seconds for which an old primary goes before others that have as much

# lsn_number LSN: '1/A0' as a number; -1 when it is not known.
lsn_number() {
    if [[ $1 =~ ^[0-9A-F]+/[0-9A-F]+$ ]]; then
        echo $(((16#${1%/*} << 32) + 16#${1#*/}))
    else
        echo -1
    fi
}

# up_to_timeline TIMELINE SELF NODE=STATE[:TIMELINE[:LSN]]...: how many of the nodes that answer, but for SELF, are on no newer one.
up_to_timeline() {
    local limit=$1 self=$2 node state timeline count=0
    shift 2
    for node; do
        IFS=: read -r state timeline _ <<<"${node#*=}"
        case $state in
            primary | standby | barred | left | witness)
                [[ ${node%%=*} == "$self" || ${timeline:-0} -gt $limit ]] || count=$((count + 1))
                ;;
        esac
    done
    echo "$count"
}

# decide SELF WAITED NODE=STATE[:TIMELINE[:LSN[:SEEN]]]...
#
# WAITED is for how many seconds the same nodes have not answered. The nodes come in the order in which
# they may lead (by priority, then by id), SELF among them; of nodes without data, the first one is to make the cluster.
# Its own STATE is what its data are of:
#
#   empty     there are none, and never were
#   broken    they were being made when the node stopped
#   primary   a primary, standby   a standby, barred   one that may never lead
#
# that of another node what it answers:
#
#   empty     it has no data either
#   primary   it takes writes
#   standby   it is in recovery, following somebody or waiting like this one
#   barred    the same, and it may never lead
#   witness   it has a database cluster of its own, and counts
#   starting  it has data, and says that it cannot be asked yet: after a crash it first replays what it wrote
#   silent    no answer (silent:without-commits of one that need not have any: a witness, or barred)
#   away      it took its leave when it stopped, and does not count
#   left      it took its leave, and has not caught up since with those who went on
#   back      the same, and it does not count yet
#   foreign   it is of another database cluster
#   refusing  it runs, so it has data, but does not answer this node, which has none
#
# A LSN is known, of this node and of others, once all WAL that is there has been replayed. A primary that has crashed does not
# even answer before that: it is starting.
#
# SEEN is whom it follows; itself, if it waits and was the primary: of those that have as much, it leads on. Where nothing is lost and
# nobody was promoted there is no failover. But it may be unable to lead, and is not waited for longer than LEADS_ON.
#
# With SYNC_MODE=quorum nobody leads who might lack a commit: of N nodes with data that count, the primary and N/2 more have
# each commit that was acknowledged (lib/synchronous.sh), so that of any N - N/2 one has it; and who has left is none of them.
# Of two nodes either may go on: the other one cannot acknowledge anything.
#
# Prints an action, a node or '-', and the reason:
#
#   initialise -   make a new cluster          clone NODE    copy it
#   follow NODE    stream from it              rejoin NODE   the same, after giving up what it does not have
#   lead -         be the primary              hold -        serve reads, and ask again
#   wait -         do not start, and ask again
decide() {
    local self=$1 waited=$2 first=${3%%=*} node name state timeline lsn seen
    local own_state='' own_timeline=0 own_lsn=-1
    local primary='' primary_timeline=0 data_at='' witness='' silent='' foreign='' refusing=''
    local patience=$GRACE
    local best='' best_timeline=-1 best_lsn=-1 replaying=''
    local known=0 there=0 with_data=0 up_to_date=0
    shift 2
    for node; do
        name=${node%%=*}
        IFS=: read -r state timeline lsn seen <<<"${node#*=}"
        timeline=${timeline:-0} lsn=$(lsn_number "${lsn:-}")
        if [[ $name == "$self" ]]; then
            own_state=$state own_timeline=$timeline own_lsn=$lsn
            [[ $state != primary ]] || seen=$self
        fi
        case $state in
            away) continue ;;
            left) data_at+=" $name" ;;
            back)
                data_at+=" $name"
                continue
                ;;
            silent) silent+=" $name" ;;
            starting) silent+=" $name" patience=$RECOVERY ;;
            foreign) foreign+=" $name" ;;
            refusing) refusing+=" $name" ;;
            primary)
                if [[ $name != "$self" ]] && ((timeline > primary_timeline)); then
                    primary=$name primary_timeline=$timeline
                fi
                ;;
        esac
        known=$((known + 1))
        [[ $state == witness || $state == barred || $timeline == without-commits ]] || with_data=$((with_data + 1))
        case $state in
            primary | standby | barred)
                there=$((there + 1))
                [[ $name == "$self" ]] || data_at+=" $name"
                if [[ $state == barred ]]; then
                    continue
                fi
                up_to_date=$((up_to_date + 1))
                if ((lsn < 0)); then
                    replaying+=" $name"
                elif ((timeline > best_timeline || (timeline == best_timeline && lsn > best_lsn))) ||
                    { ((timeline == best_timeline && lsn == best_lsn && waited < LEADS_ON)) && [[ $seen == "$name" ]]; }; then
                    best=$name best_timeline=$timeline best_lsn=$lsn
                fi
                ;;
            left) there=$((there + 1)) ;;
            witness) there=$((there + 1)) witness+=" $name" ;;
        esac
    done

    case $own_state in
        empty | broken)
            if [[ -n $primary ]]; then
                echo "clone $primary it is the primary"
            elif [[ -n $data_at ]]; then
                echo "wait - there are data on$data_at, but no primary"
            elif [[ -n $refusing ]]; then
                echo "wait - there are data on$refusing, where this node is refused"
            elif [[ $own_state == broken ]]; then
                echo "wait - the data here are not whole, or of no use; no node to copy them from answers"
            elif [[ -n $witness ]]; then
                echo "wait - of a cluster that there is, only$witness answers, which has no data"
            elif [[ -n $foreign ]]; then
                echo "wait - another cluster answers at$foreign"
            elif [[ $first != "$self" ]]; then
                echo "wait - $first is to make the cluster"
            elif [[ -n $silent ]] && ((waited < GRACE)); then
                echo "wait - no answer from$silent, which may have data"
            else
                echo 'initialise - nobody has data'
            fi
            return
            ;;
    esac

    if [[ -n $primary ]]; then
        if ((primary_timeline < own_timeline)); then
            if ((waited >= GRACE && (known < 3 || $(up_to_timeline "$primary_timeline" "$self" "$@") * 2 > known))); then
                echo "clone $primary a majority is on timeline $primary_timeline; nobody has gone on from $own_timeline here"
            else
                echo "hold - $primary is primary on timeline $primary_timeline, older than $own_timeline here"
            fi
        elif [[ $own_state != primary ]]; then
            echo "follow $primary it is the primary on timeline $primary_timeline"
        elif ((primary_timeline > own_timeline)); then
            echo "rejoin $primary it was promoted to timeline $primary_timeline; this node was primary on $own_timeline"
        else
            echo "hold - $primary is primary on timeline $own_timeline as this node was: one of the two must not be"
        fi
    elif [[ $own_state == left || $own_state == back ]]; then
        echo "hold - there is no primary; this node took its leave, and the others may have gone on without it"
    elif ((known == 1)) && [[ $own_state != barred ]]; then
        echo 'lead - it is the only node'
    elif ((own_lsn < 0)); then
        echo 'hold - no node answers as the primary; replaying what is here'
    elif ((there * 2 <= known)) && [[ ${ALONE:-} != allow ]] && ! { [[ ${SYNC_MODE:-} == quorum ]] && ((known < 3)); }; then
        echo "hold - $there of $known nodes are there, which is no majority; no answer from$silent$foreign"
    elif [[ -z $best$replaying ]]; then
        echo 'hold - there is no primary, and no node is there that may lead'
    elif [[ -n $replaying ]]; then
        echo "hold - there is no primary; waiting until$replaying have replayed what they have"
    elif [[ ${SYNC_MODE:-} == quorum && ${ALONE:-} != allow ]] && ((up_to_date < with_data - with_data / 2)); then
        echo "hold - there is no primary; $up_to_date of $with_data nodes may lack a commit that was acknowledged; no answer from$silent$foreign"
    elif [[ -n $silent && ${SYNC_MODE:-} != quorum ]] && ((waited < patience)) && [[ ${ALONE:-} != allow ]]; then
        echo "hold - there is no primary; waiting $patience s for$silent, which may have more"
    elif [[ $best == "$self" ]]; then
        echo "lead - no node is primary, and of the $there of $known nodes there this one has the most"
    else
        echo "hold - there is no primary; $best has the most and is to lead"
    fi
}
