#!/bin/bash
# The entrypoint of a repmgr node. It finds out who the node is, gives it data (a new cluster, a clone, or what is
# there already), starts PostgreSQL and repmgrd as the user postgres, and stays as their supervisor.
#
# It can be sourced: nothing runs then, so that tests can call the functions one by one.
set -Eeuo pipefail

: "${PGDATA:=/var/lib/postgresql/data}"
STATE_DIR=${PGDATA%/*}                    # the volume: data directory, repmgr.conf, .pgpass
SHARE_DIR=/usr/local/share/postgres-repmgr
REPMGR_CONF=$STATE_DIR/repmgr.conf        # /etc/repmgr.conf is a link to it; also the memory of the node's id
HOOKS_DIR=/docker-entrypoint-events.d     # programs that are told of repmgr's events
TLS_DIR=$STATE_DIR/node-tls               # key and certificates, as postgres may read them; without TLS it is not there
NODE_CONF=$STATE_DIR/conf.d/node.conf     # PostgreSQL's settings that are this node's own
NODE_HBA=$STATE_DIR/pg_hba.conf           # the same of who may connect; with TLS only
UNFINISHED=$STATE_DIR/unfinished          # exists while the data directory is being made; says by what
WAS_PRIMARY=$STATE_DIR/was-primary        # exists while the data of a primary are held as a standby's
STEPPING_DOWN=$STATE_DIR/stepping-down    # exists while PostgreSQL is being ended in order to take its place anew
LEFT=$STATE_DIR/left                      # exists from when this node takes its leave until it has caught up with the others
PAUSED_UNTIL=$STATE_DIR/paused-until      # exists while another node that hands over has paused the repmgrd here; says until when
MEMBERS=$STATE_DIR/members                # what the node table said last
POLL=0.1
NAME_IS_TAKEN=99                          # the exit status of what would be repmgrd, if another node answers to the name of this one

postgres_pid=
repmgrd_pid=
watch_pid=
guard_pid=
task_pid=
http_pid=
formatters=()

LIB_DIR=$(dirname "${BASH_SOURCE[0]}")/lib
[[ -d $LIB_DIR ]] || LIB_DIR=/usr/local/lib/postgres-repmgr
# shellcheck source=lib/decide.sh
source "$LIB_DIR/decide.sh"
# shellcheck source=lib/peers.sh
source "$LIB_DIR/peers.sh"
# shellcheck source=lib/position.sh
source "$LIB_DIR/position.sh"
# shellcheck source=lib/promote.sh
source "$LIB_DIR/promote.sh"
# shellcheck source=lib/synchronous.sh
source "$LIB_DIR/synchronous.sh"
# shellcheck source=lib/leave.sh
source "$LIB_DIR/leave.sh"
# shellcheck source=lib/watch.sh
source "$LIB_DIR/watch.sh"
# shellcheck source=lib/witness.sh
source "$LIB_DIR/witness.sh"

log() {
    log_as INFO "$*"
}

die() {
    log_as ERROR "$*"
    exit 1
}

# log_as LEVEL TEXT: to where the log was before a formatter came between, so that nothing said in the end is lost.
log_as() {
    local now=$EPOCHREALTIME
    TZ=UTC printf '%(%F %T)T.%s UTC [node] %s: %s\n' "${now%.*}" "${now:(-6):3}" "$1" "${2//$'\n'/ }" >&"${log_fd:-2}"
}

# The lines of SOURCE, from standard input, in the log's format. To standard error where there is no log: of what repmgrd starts,
# standard output leads nowhere.
format_log() {
    exec perl "$LIB_DIR/format-log.pl" "$1" >&"${log_fd:-2}"
}

# What is not in the log's format by itself is brought into it.
open_log() {
    exec {log_fd}>&1
    exec > >(format_log node) 2>&1
    formatters=($!)
}

# The formatters end with what they read from; they get a second for the last lines.
close_log() {
    local tries
    [[ -n ${log_fd:-} ]] || return 0
    exec >&"$log_fd" 2>&1
    for ((tries = 50; tries > 0; tries--)); do
        kill -0 "${formatters[@]}" 2>/dev/null || return 0
        sleep 0.02
    done
}

# launch SOURCE COMMAND...: starts it in the background, with a formatter for what it says. $! is the command.
launch() {
    local pid fd
    local -a old=("${formatters[@]}")
    formatters=()
    for pid in "${old[@]}"; do
        if kill -0 "$pid" 2>/dev/null; then formatters+=("$pid"); fi
    done
    exec {fd}> >(format_log "$1")
    formatters+=($!)
    "${@:2}" >&"$fd" 2>&1 {fd}>&- &
    # Only what the command is holds it, so that the formatter ends with it.
    exec {fd}>&-
}

# ---------------------------------------------------------------------------------------------- settings

# secret NAME: the value of NAME, or of the file that NAME_FILE names; empty when neither is set.
secret() {
    local name=$1 file_name=$1_FILE value
    local file=${!file_name:-}
    value=${!name:-}
    if [[ -n $value && -n $file ]]; then
        die "both $name and $file_name are set; set one of them"
    fi
    if [[ -n $file ]]; then
        [[ -r $file && ! -d $file ]] || die "$file_name names '$file', which is no file that is there and can be read"
        value=$(<"$file")
        [[ -n $value ]] || die "the file '$file' that $file_name names is empty"
    fi
    # A password file has one line per password, and bytes of NUL end a string.
    if [[ $value == *$'\n'* || $value == *$'\r'* ]]; then
        die "$name has a line break in it; a password is one line"
    fi
    printf '%s' "$value"
}

# Reads and checks everything that does not need the network. Passwords are taken from file descriptor 3 when the
# part that ran as root has read them already.
read_settings() {
    auth_method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
    postgres_user=${POSTGRES_USER:-postgres}
    postgres_db=${POSTGRES_DB:-$postgres_user}
    primary_name=${PRIMARY_NAME:-}
    healing=${HEALING:-on}
    peers=$(split_names "${PEERS:-}")
    http_port=${HTTP_PORT:-8008}
    tls_clients=${TLS_CLIENTS:-}

    check_auth_method "$auth_method"
    check_word HEALING "$healing" on off
    check_word ALONE "${ALONE:-}" '' allow
    check_word SYNC_MODE "${SYNC_MODE:-}" '' quorum
    check_word NODE_TYPE "${NODE_TYPE:-data}" data witness
    check_port HTTP_PORT "$http_port"
    check_word TLS_CLIENTS "$tls_clients" '' require
    check_tls
    check_node_id "${NODE_ID:-}"
    check_priority "${NODE_PRIORITY:-}"
    check_name NODE_LOCATION "${NODE_LOCATION:-}"
    check_name NODE_NAME "${NODE_NAME:-}"
    check_name PRIMARY_NAME "$primary_name"
    local peer
    for peer in $peers; do
        check_name PEERS "$peer"
    done
    if [[ $postgres_user == repmgr || $postgres_user == repmgr_metadata ]]; then
        die "POSTGRES_USER is '$postgres_user', which this image keeps for itself; take another name"
    elif [[ $postgres_user == pg_* || $postgres_user == public || $postgres_user == none ]]; then
        die "POSTGRES_USER is '$postgres_user', which PostgreSQL keeps for itself; take another name"
    fi
    check_length POSTGRES_USER "$postgres_user"
    check_length POSTGRES_DB "$postgres_db"
    case $postgres_db in
        template0 | template1 | repmgr) die "POSTGRES_DB is '$postgres_db', which is there for other purposes; take another name" ;;
    esac

    if [[ ${1:-} == --passwords-on-fd-3 ]]; then
        IFS= read -r -u 3 repmgr_password
        IFS= read -r -u 3 postgres_password
        exec 3<&-
    else
        repmgr_password=$(secret REPMGR_PASSWORD) || exit 1
        postgres_password=$(secret POSTGRES_PASSWORD) || exit 1
    fi
    # No child has any use for them.
    unset REPMGR_PASSWORD POSTGRES_PASSWORD REPMGR_PASSWORD_FILE POSTGRES_PASSWORD_FILE
    check_passwords
}

check_auth_method() {
    case $1 in
        scram-sha-256 | trust) ;;
        *) die "POSTGRES_HOST_AUTH_METHOD is '$1'; allowed are scram-sha-256 (the default) and trust (no passwords)" ;;
    esac
}

# check_word SETTING VALUE ALLOWED...
check_word() {
    local word words=''
    for word in "${@:3}"; do
        [[ $2 != "$word" ]] || return 0
        words+=${words:+ or }${word:-nothing}
    done
    die "$1 is '$2'; allowed is $words"
}

check_node_id() {
    [[ -z $1 || ($1 =~ ^[1-9][0-9]{0,9}$ && $1 -le 2147483647) ]] ||
        die "NODE_ID is '$1'; allowed is a whole number from 1 to 2147483647, or nothing"
}

check_priority() {
    [[ -z $1 || ($1 =~ ^(0|[1-9][0-9]{0,9})$ && $1 -le 2147483647) ]] ||
        die "NODE_PRIORITY is '$1'; allowed is a whole number from 0 (never the primary) to 2147483647, or nothing"
}

# check_length SETTING NAME: PostgreSQL cuts names off.
check_length() {
    (($(printf '%s' "$2" | wc -c) <= 63)) || die "$1 is longer than PostgreSQL's names may be: allowed are up to 63 bytes"
}

# check_port SETTING PORT: a port of our own, or none.
check_port() {
    [[ $2 == off || ($2 =~ ^(0|[1-9][0-9]{0,4})$ && $2 -le 65535 && $2 -ne 5432) ]] ||
        die "$1 is '$2'; allowed are ports from 1 to 65535 but 5432, and 0 or off for none"
}

check_tls() {
    if [[ -n ${TLS_CERT_FILE:-} && -n ${TLS_KEY_FILE:-} ]]; then
        return
    elif [[ -n ${TLS_CERT_FILE:-}${TLS_KEY_FILE:-} ]]; then
        die 'TLS needs both TLS_CERT_FILE and TLS_KEY_FILE; only one of them is set'
    elif [[ -n ${TLS_CA_FILE:-}$tls_clients ]]; then
        die 'TLS_CA_FILE and TLS_CLIENTS mean nothing without TLS_CERT_FILE and TLS_KEY_FILE'
    fi
}

# check_name SETTING NAME: what is safe in a conninfo, in repmgr.conf and as a host name.
check_name() {
    [[ -z $2 || $2 =~ ^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$ ]] ||
        die "$1 has '$2'; allowed are up to 63 letters, digits, '.', '_' and '-'; the first and the last must be a letter or a digit"
}

check_passwords() {
    [[ $auth_method == trust ]] && return
    [[ -n $repmgr_password ]] ||
        die 'REPMGR_PASSWORD (or REPMGR_PASSWORD_FILE) is not set: the password with which the nodes of one cluster' \
            'talk to each other, the same on all of them. POSTGRES_HOST_AUTH_METHOD=trust does without passwords,' \
            'for experiments on a network of your own'
    is_witness && return
    [[ -n $primary_name || $(data_state) != empty ]] || check_superuser_password
}

check_superuser_password() {
    [[ -n $postgres_password || $auth_method == trust ]] ||
        die "POSTGRES_PASSWORD (or POSTGRES_PASSWORD_FILE) is not set: the password of '$postgres_user' in the new" \
            'cluster. (A node that joins a cluster names it with PRIMARY_NAME and does not need this one.)' \
            'POSTGRES_HOST_AUTH_METHOD=trust does without passwords, for experiments on a network of your own'
}

# "a, b c" -> "a b c"
split_names() {
    local names
    read -r -a names <<<"${1//,/ }"
    printf '%s' "${names[*]}"
}

# ---------------------------------------------------------------------------------------------- root, briefly

# A volume made by somebody else belongs to root; so may the secret files. This is all that root is needed for.
own_directories() {
    install -d -o postgres -g postgres -m 0700 "$STATE_DIR"
    install -d -o postgres -g postgres -m 2775 /var/run/postgresql
    local entry
    while IFS= read -r entry; do
        # What is mounted beside the data is somebody else's.
        if [[ $entry == "$PGDATA" ]] || ! mountpoint -q "$entry"; then
            log "making $entry the property of postgres"
            chown -R postgres:postgres "$entry"
        fi
    done < <(find "$STATE_DIR" -mindepth 1 -maxdepth 1 ! -user postgres)
}

# Root may be the only one who can read them; PostgreSQL wants a key that is its own, and nobody else's. Each start takes them
# anew.
install_tls() {
    # Not from under a node that runs on this volume.
    if [[ -e $STATE_DIR/.lock ]] && ! flock --nonblock "$STATE_DIR/.lock" true; then
        die "another container uses the volume $STATE_DIR"
    fi
    if [[ -z ${TLS_CERT_FILE:-} ]]; then
        rm -rf "$TLS_DIR"
        return
    fi
    local -a owner=()
    [[ $EUID != 0 ]] || owner=(-o postgres -g postgres)
    install -d "${owner[@]}" -m 0700 "$TLS_DIR"
    install_tls_file TLS_KEY_FILE server.key
    install_tls_file TLS_CERT_FILE server.crt
    if [[ -n ${TLS_CA_FILE:-} ]]; then
        install_tls_file TLS_CA_FILE ca.crt
        openssl x509 -in "$TLS_DIR/ca.crt" -noout 2>/dev/null || die "TLS_CA_FILE names '$TLS_CA_FILE', which is no certificate"
    else
        rm -f "$TLS_DIR/ca.crt"
    fi

    local key certificate
    key=$(openssl pkey -in "$TLS_DIR/server.key" -passin pass: -pubout 2>/dev/null) ||
        die "TLS_KEY_FILE names '$TLS_KEY_FILE', which is no key, or one that needs a passphrase"
    certificate=$(openssl x509 -in "$TLS_DIR/server.crt" -noout -pubkey 2>/dev/null) ||
        die "TLS_CERT_FILE names '$TLS_CERT_FILE', which is no certificate"
    [[ $key == "$certificate" ]] || die 'the key of TLS_KEY_FILE is not that of the certificate in TLS_CERT_FILE'
}

# install_tls_file SETTING NAME
install_tls_file() {
    [[ -r ${!1} && -s ${!1} ]] || die "$1 names '${!1}', which is not there, empty, or cannot be read"
    install "${owner[@]}" -m 0600 "${!1}" "$TLS_DIR/$2"
}

# Says what the others will find wrong with the certificate, but starts: they may be told something else.
check_certificate() {
    local why
    [[ -e $TLS_DIR/ca.crt ]] || return 0
    why=$(openssl verify -CAfile "$TLS_DIR/ca.crt" -untrusted "$TLS_DIR/server.crt" "$TLS_DIR/server.crt" 2>&1) ||
        log_as WARNING "the others will not trust this node's certificate: ${why#*: }"
    openssl x509 -in "$TLS_DIR/server.crt" -noout -checkhost "$node_name" | grep -q 'does match' ||
        log_as WARNING "the others will not trust this node's certificate: it is not for the name $node_name"
}

# The passwords go through a pipe: they are in the environment of no process that lives on but the init.
continue_as_postgres() {
    exec setpriv --reuid=postgres --regid=postgres --init-groups -- \
        "${BASH_SOURCE[0]}" --passwords-on-fd-3 3<<<"$repmgr_password"$'\n'"$postgres_password"
}

# ---------------------------------------------------------------------------------------------- who am I

own_addresses() {
    hostname -I
}

# The lookup must ask DNS alone: /etc/hosts knows a container's address under its id.
reverse_lookup() {
    getent -s hosts:dns hosts "$1" | awk '{ print $2; exit }'
}

forward_lookup() {
    getent -s hosts:dns ahosts "$1" | awk '{ print $1 }'
}

# Docker's DNS calls a container's address "name.network", and both may have dots in them: the name is the shortest
# beginning that leads back to the address. Fails when there is none (the default bridge has no such DNS).
name_of_address() {
    local address=$1 full name=''
    full=$(reverse_lookup "$address") || return 1
    [[ -n $full ]] || return 1
    local part parts
    IFS=. read -r -a parts <<<"$full"
    for part in "${parts[@]}"; do
        name+=${name:+.}$part
        if forward_lookup "$name" | grep -qxF "$address"; then
            printf '%s' "$name"
            return 0
        fi
    done
    return 1
}

# The name under which the other nodes reach this one. Given, or the container's name as Docker's DNS has it, or
# what it was before, or the host name.
derive_node_name() {
    local address name
    if [[ -n ${NODE_NAME:-} ]]; then
        printf '%s' "$NODE_NAME"
        return
    fi
    for address in $(own_addresses); do
        if name=$(name_of_address "$address"); then
            printf '%s' "$name"
            return
        fi
    done
    name=$(remembered node_name)
    printf '%s' "${name:-$HOSTNAME}"
}

# Nothing runs here yet: who answers under this node's name is another one, and would be taken for it.
check_name_is_free() {
    local status=0
    pg_isready -q -h "$node_name" -t 1 || status=$?
    ((status > 1)) || name_is_taken
}

name_is_taken() {
    die "another node is called $node_name: PostgreSQL answers there. Each node needs a name of its own (NODE_NAME)"
}

# remembered SETTING: from the repmgr.conf of an earlier start, empty when there is none.
remembered() {
    [[ -r $REPMGR_CONF ]] || return 0
    sed -n "s/^$1='\{0,1\}\([^']*\)'\{0,1\}\$/\1/p" "$REPMGR_CONF"
}

# ---------------------------------------------------------------------------------------------- files

# Writes standard input to a file that only postgres can read, whole or not at all; also where it is called in a condition, in
# which bash goes on after a command that fails.
write_file() {
    (umask 077 && cat >"$1.new") && mv "$1.new" "$1"
}

# In a password file ':' separates and '\' escapes.
pgpass_line() {
    local escaped=${1//\\/\\\\}
    printf '*:*:*:repmgr:%s\n' "${escaped//:/\\:}"
}

# Every start writes it anew, from the environment. libpq finds it in the home directory, so that no conninfo and
# no configuration file needs to have the password.
write_passfile() {
    if [[ -n $repmgr_password ]]; then
        pgpass_line "$repmgr_password" | write_file "$STATE_DIR/.pgpass"
    else
        rm -f "$STATE_DIR/.pgpass"
    fi
}

# Who vanishes in the middle of an answer is noticed after about seven seconds, in the middle of a question after three: repmgrd asks
# the primary once a second, and elects nobody as long as it waits.
KEEPALIVES=' tcp_user_timeout=3000 keepalives_idle=5 keepalives_interval=2 keepalives_count=3'

conninfo() {
    printf 'host=%s port=5432 user=repmgr dbname=repmgr connect_timeout=1%s' "$1" "$KEEPALIVES$proof$(tls_conninfo)"
}

# Who only has a node's name must not get the password: the server has to prove that it knows it, too. libpq 16 and later can
# insist on that (its documentation, "require_auth").
proof=''
demand_proof() {
    if [[ ${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256} == scram-sha-256 ]] && (($(postgres_version) >= 16)); then
        proof=' require_auth=scram-sha-256'
    fi
}

# What makes the nodes talk to each other by TLS only.
tls_conninfo() {
    if [[ -e $TLS_DIR/ca.crt ]]; then
        printf ' sslmode=verify-full sslrootcert=%s' "$TLS_DIR/ca.crt"
    elif [[ -e $TLS_DIR/server.crt ]]; then
        printf ' sslmode=require'
    fi
}

postgres_version() {
    postgres --version | sed 's/.* \([0-9]*\)\..*/\1/'
}

# reconnect_attempts VERSION: how often repmgrd asks a primary again that does not answer, before it elects another. What a hiccup
# needs is looked after in promote. libpq before 17 takes connect_timeout=1 as 2 (its documentation, "connect_timeout"), so that
# there the first attempt is patient enough.
reconnect_attempts() {
    if (($1 >= 17)); then echo 1; else echo 0; fi
}

# render_repmgr_conf ID NAME
#
# A primary that is killed refuses connections at once: repmgrd notices within a second, and promote waits for one more.
render_repmgr_conf() {
    cat <<END
# Written by the entrypoint at every start; node_id and node_name are also its memory.
node_id=$1
node_name='$2'
conninfo='$(conninfo "$2")'
data_directory='$PGDATA'
location='${NODE_LOCATION:-default}'
priority=${NODE_PRIORITY:-100}

failover=automatic
promote_command='/usr/local/bin/promote'
follow_command='repmgr standby follow -f /etc/repmgr.conf --upstream-node-id=%n'
monitor_interval_secs=1
reconnect_attempts=$(reconnect_attempts "$(postgres_version)")
reconnect_interval=1

log_level=INFO
END
    render_event_command
}

# repmgr puts the details between an event's quotes as they are but for double quotes, and hands all that to a shell. In a
# here-document no shell looks at them; nobody can know what ends it.
render_event_command() {
    local end=END_$SRANDOM
    [[ -d $HOOKS_DIR ]] || return 0
    cat <<END
event_notification_command='/usr/local/bin/events %n %e %s "%t" <<"$end"\\n%d\\n$end\\n'
END
}

# These go into the data directory, not on the command line: clones take them over, and repmgr and pg_rewind, which
# start PostgreSQL themselves, see them.
render_postgresql_conf() {
    cat <<'END'

# ---- of the cluster image ----
listen_addresses = '*'
shared_preload_libraries = 'repmgr'
hot_standby = on
wal_log_hints = on                      # pg_rewind; the data checksums would do as well
max_wal_senders = 16
max_replication_slots = 16
wal_keep_size = '512MB'                 # a standby may be away that long, and pg_rewind needs old WAL
max_slot_wal_keep_size = '2GB'          # a dead standby's slot must not fill the disk
wal_retrieve_retry_interval = '500ms'   # a standby is back soon after its upstream
wal_receiver_status_interval = '1s'     # a primary knows who hears it
wal_sender_timeout = '10s'              # and who does not
include_dir = '../conf.d'               # what is this node's own, and not for copies
END
    # By this the others tell a witness from a primary, also one that is not registered.
    if is_witness; then echo "cluster_image.node_type = 'witness'"; fi
}

# What is this node's own, and not the cluster's: beside the data directory, where no copy of the primary's overwrites it.
# PostgreSQL finds it by a line in postgresql.conf (include_dir), whoever starts it.
render_node_conf() {
    cat <<END
# Written by the entrypoint at every start.
log_destination = 'stderr'
logging_collector = off
log_timezone = 'UTC'
log_line_prefix = '%m [postgres] '
END
    [[ -e $TLS_DIR/server.crt ]] || return 0
    cat <<END
ssl = on
ssl_cert_file = '$TLS_DIR/server.crt'
ssl_key_file = '$TLS_DIR/server.key'
hba_file = '$NODE_HBA'
END
}

# render_tls_hba CLIENTS: goes before all that is in the data directory.
render_tls_hba() {
    local who=repmgr
    [[ $1 != require ]] || who=all
    cat <<END
# Written by the entrypoint at every start: these two lines, and what is in the data directory's pg_hba.conf.
hostnossl all         $who all reject
hostnossl replication $who all reject
END
}

write_node_conf() {
    if [[ -e $TLS_DIR/server.crt ]]; then
        { render_tls_hba "$tls_clients" && cat "$PGDATA/pg_hba.conf"; } | write_file "$NODE_HBA"
    fi
    render_node_conf | write_file "$NODE_CONF"
}

# render_pg_hba METHOD
#
# Through the local socket the operating system's user postgres is the role postgres, without a password.
render_pg_hba() {
    cat <<END
local all         postgres     peer
local all         all          $1
host  replication repmgr  all  $1
host  all         all     all  $1
END
}

# ---------------------------------------------------------------------------------------------- where do I stand

# Holds the volume for as long as this script or a PostgreSQL that it started lives. Who has it may remove what
# earlier containers left behind.
lock_volume() {
    exec {volume_lock}>"$STATE_DIR/.lock"
    flock --nonblock "$volume_lock" || die "another container uses the volume $STATE_DIR"
    rm -f "$PGDATA/postmaster.pid" /var/run/postgresql/.s.PGSQL.5432{,.lock}
    mkdir -p "$STATE_DIR/conf.d"
}

# The port is not open before everything is in place: nobody can connect to half a cluster.
initialise() {
    if ! is_witness; then
        [[ ${NODE_PRIORITY:-} != 0 ]] || die 'NODE_PRIORITY is 0: this node never leads, so it makes no cluster'
        # Asked again: PRIMARY_NAME may have been this node's own.
        check_superuser_password
        log 'making a new cluster'
    fi
    begin_data initdb
    rm -rf "$PGDATA"
    : "${node_id:=${NODE_ID:-1}}"
    write_repmgr_conf
    task initdb --pgdata="$PGDATA" --username=postgres --data-checksums --encoding=UTF8 --locale=C.UTF-8 \
        --auth-local=peer --auth-host=scram-sha-256 --no-instructions
    render_postgresql_conf >>"$PGDATA/postgresql.conf"
    render_pg_hba "$auth_method" | write_file "$PGDATA/pg_hba.conf"
    start_postgres -c listen_addresses=
    create_metadata
    stop_postgres
    finish_data
    start_postgres
}

# reserve_node_id PRIMARY: sets node_id to the id that it has reserved for this node. A conflict is final, silence is not.
reserve_node_id() {
    local answer status=0
    answer=$(timeout 10 psql -XAtqw "$(conninfo "$1")" \
        -c "SELECT public.reserve_node_id('$node_name', ${NODE_ID:-NULL})" 2>&1) || status=$?
    # In the words of metadata.sql; all else may be better in a moment.
    case $answer in
        *' is taken by node '* | *' asks for '*) die "$1 gave this node no id: ${answer%%$'\n'*}" ;;
    esac
    ((status == 0)) || return 1
    node_id=$answer
}

write_repmgr_conf() {
    render_repmgr_conf "$node_id" "$node_name" | write_file "$REPMGR_CONF"
}

# ---------------------------------------------------------------------------------------------- running

# Runs a command in the background and waits for it: a signal is then dealt with at once, not after the command.
task() {
    local status=0
    launch "$1" "$@"
    task_pid=$!
    wait "$task_pid" || status=$?
    task_pid=
    return "$status"
}

local_psql() {
    timeout "${LOCAL_TIMEOUT:-300}" psql -XAtqw -v ON_ERROR_STOP=1 -h /var/run/postgresql -U postgres "$@"
}

# launch_postgres [OPTION...]
launch_postgres() {
    write_node_conf
    launch postgres postgres -D "$PGDATA" "$@"
    postgres_pid=$!
}

# start_postgres [OPTION...]: returns when it answers; fails if it ends instead.
start_postgres() {
    launch_postgres "$@"
    await_postgres
}

await_postgres() {
    until pg_isready -q -h /var/run/postgresql; do
        if ! kill -0 "$postgres_pid" 2>/dev/null; then
            postgres_pid=
            log 'PostgreSQL did not start; the reason is above'
            return 1
        fi
        sleep "$POLL"
    done
}

# Fast, but clean.
stop_postgres() {
    kill -INT "$postgres_pid" 2>/dev/null || true
    wait "$postgres_pid" 2>/dev/null || true
    postgres_pid=
}

sql_literal() {
    printf "'%s'" "${1//\'/\'\'}"
}

# sql_role NAME ATTRIBUTES PASSWORD: creates the role unless it is there, and gives it its password, if any.
sql_role() {
    local name
    name=$(sql_literal "$1")
    cat <<END
SELECT format('CREATE ROLE %I', $name)
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = $name) \gexec
SELECT format('ALTER ROLE %I LOGIN $2', $name) \gexec
END
    [[ -z $3 ]] || printf "SELECT format('ALTER ROLE %%I PASSWORD %%L', %s, %s) \\\\gexec\n" "$name" "$(sql_literal "$3")"
}

# sql_database NAME OWNER
sql_database() {
    local name owner
    name=$(sql_literal "$1") owner=$(sql_literal "$2")
    cat <<END
SELECT format('CREATE DATABASE %I OWNER %I', $name, $owner)
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = $name) \gexec
END
}

# Roles, databases and repmgr's metadata of a new cluster. Passwords go in by standard input, and a statement that
# fails is not logged.
create_metadata() {
    {
        echo 'SET log_min_error_statement = panic;'
        echo "SET client_encoding = 'UTF8';"
        sql_role repmgr 'SUPERUSER REPLICATION' "$repmgr_password"
        # What repmgr writes is needed for the others to follow, so it does not wait for them.
        echo 'ALTER ROLE repmgr SET synchronous_commit = local;'
        sql_role "$postgres_user" SUPERUSER "$postgres_password"
        sql_database repmgr repmgr
        sql_database "$postgres_db" "$postgres_user"
    } | local_psql -d postgres
    local_psql -d repmgr -f "$SHARE_DIR/metadata.sql"
    local_psql -d repmgr -c "SELECT public.reserve_node_id('$node_name', $node_id)" >/dev/null
}

# is_registered ROLE: whether this node's own copy of the table has it as it is now. The row can be one of an earlier
# life: a dead primary's that comes back as a standby, one that is marked inactive, or one that follows somebody else.
# repmgrd refuses to run on those. repmgr gives every witness the priority 0.
is_registered() {
    local priority=${NODE_PRIORITY:-100}
    [[ $1 != witness ]] || priority=0
    [[ $(local_psql -d repmgr -c "SELECT active FROM repmgr.nodes WHERE node_id = $node_id AND type = '$1'
        AND node_name = '$node_name' AND conninfo = '$(conninfo "$node_name")'
        AND location = '${NODE_LOCATION:-default}' AND priority = $priority
        AND (type = 'primary' OR upstream_node_id IN (SELECT node_id FROM repmgr.nodes WHERE type = 'primary' AND active))
        " 2>/dev/null) == t ]]
}

# count_me_later: a node that is registered now, or may lead from now on, has to be let in first, as if it came back.
count_me_later() {
    local primary
    [[ $(local_psql -d repmgr -c "SELECT count(*) FROM repmgr.nodes WHERE node_id = $node_id AND type <> 'witness' AND priority > 0") == 0 ]] ||
        return 0
    primary=$(active_primary)
    [[ -n $primary ]] || return 1
    touch "$LEFT"
    timeout 10 psql -XAtqw "$(conninfo "$primary")" \
        -c "INSERT INTO public.nodes_away VALUES ($node_id) ON CONFLICT (node_id) DO UPDATE SET comes_back = false"
}

# Registers the node unless it is, and waits until its own copy of the table says so: repmgrd looks there.
ensure_registered() {
    local role=standby tries
    if is_witness; then
        register_witness
        return
    fi
    [[ -e $PGDATA/standby.signal ]] || role=primary
    if ! is_registered "$role"; then
        if [[ $role == standby ]]; then count_me_later || return 1; fi
        log "registering node $node_id as a $role"
        repmgr -f "$REPMGR_CONF" --log-level=ERROR "$role" register --force > >(format_log repmgr) 2>&1 || return 1
        for ((tries = 100; tries > 0; tries--)); do
            is_registered "$role" && return
            sleep "$POLL"
        done
        log 'the registration has not arrived in the copy of the table here'
        return 1
    fi
}

# check_own_name: of two that start at the same moment, each has found the name free. But repmgr and repmgrd know a node by its name
# alone: those of the one that the name does not lead to would register the other one, and watch over it.
check_own_name() {
    local sql='SELECT extract(epoch FROM pg_postmaster_start_time())' here there
    here=$(LOCAL_TIMEOUT=3 local_psql -c "$sql")
    if ! there=$(timeout 3 psql -XAtqw "$(conninfo "$node_name")" -c "$sql" 2>&1); then
        log "this node does not reach itself by its name: ${there%%$'\n'*}"
        exit 1
    fi
    [[ $here == "$there" ]] || exit "$NAME_IS_TAKEN"
}

# start_repmgrd DELAY
start_repmgrd() {
    launch repmgrd become_repmgrd "$1"
    repmgrd_pid=$!
    repmgrd_since=$SECONDS
}

become_repmgrd() {
    sleep "$1"
    check_own_name
    ensure_registered || exit 1
    log "node $node_id is registered, starting repmgrd"
    exec repmgrd -f "$REPMGR_CONF" --no-pid-file --daemonize=false
}

# next_delay DELAY RAN: how long to wait before repmgrd is started again, having run RAN seconds after DELAY:
# 1, 2, 4, then every 5 seconds; from the beginning once it has run for half a minute.
next_delay() {
    local delay=$(($1 == 0 || $2 >= 30 ? 1 : $1 * 2))
    echo $((delay > 5 ? 5 : delay))
}

# repmgrd cannot start or ends when there is nothing to watch, as on a standby whose upstream is down; PostgreSQL still
# serves, so it is started again for as long as it takes. When PostgreSQL ends by itself, the container does. Returns
# when the node's place has to be taken anew, with everything stopped.
supervise() {
    local ended delay=0 status
    start_repmgrd 0
    rm -f "$STEPPING_DOWN"
    watch &
    watch_pid=$!
    end_when_thawed &
    guard_pid=$!
    while :; do
        ended='' status=0
        # shellcheck disable=SC2086 # none, once it has done what it is for
        wait -n -p ended "$postgres_pid" "$repmgrd_pid" "$watch_pid" $guard_pid || status=$?
        case $ended in
            "$postgres_pid")
                postgres_pid=
                if [[ -e $STEPPING_DOWN ]]; then
                    end_watch
                    end_repmgrd
                    return
                fi
                die "PostgreSQL has ended by itself (status $status); the container ends with it"
                ;;
            "$repmgrd_pid")
                if ((status == NAME_IS_TAKEN)); then
                    # Without leave: it would be that of the other one.
                    healing=off
                    end_watch
                    stop_postgres
                    name_is_taken
                fi
                delay=$(next_delay "$delay" $((SECONDS - repmgrd_since - delay)))
                log "repmgrd has ended or did not start (status $status), starting it again in $delay s"
                start_repmgrd "$delay"
                ;;
            "$guard_pid")
                guard_pid=
                # If not, it has not ended PostgreSQL: it failed.
                [[ -e $STEPPING_DOWN ]] || die "what looks after a standstill of this node has ended by itself (status $status)"
                ;;
            "$watch_pid")
                watch_pid=
                end_watch
                [[ $status == 0 ]] || kill -QUIT "$postgres_pid" 2>/dev/null || true
                end_repmgrd
                stop_postgres
                return
                ;;
        esac
    done
}

end_watch() {
    local pid
    for pid in $watch_pid $guard_pid; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    watch_pid='' guard_pid=''
}

# One that hangs must not keep the node from taking its place.
end_repmgrd() {
    if [[ -n $repmgrd_pid ]]; then
        kill "$repmgrd_pid" 2>/dev/null || true
        local deadline=$((SECONDS + 2))
        while kill -0 "$repmgrd_pid" 2>/dev/null; do
            ((SECONDS < deadline)) || kill -KILL "$repmgrd_pid" 2>/dev/null || true
            sleep 0.02
        done
        wait "$repmgrd_pid" 2>/dev/null || true
        repmgrd_pid=
    fi
}

# The HTTP endpoint: socat runs `health --http` for each request, at most 32 at a time, each for 5 s at most. It is started
# again whenever it ends.
serve_http() {
    local socat_pid=''
    [[ $http_port != 0 && $http_port != off ]] || return 0
    trap 'kill "$socat_pid" 2>/dev/null || true; exit 0' TERM
    while :; do
        socat -lf /dev/null "TCP-LISTEN:$http_port,fork,reuseaddr,max-children=32,backlog=64" \
            EXEC:'timeout 5 health --http' </dev/null &
        socat_pid=$!
        wait "$socat_pid" || true
        log "the HTTP endpoint at port $http_port has ended; starting it again in a second"
        sleep 1
    done
}

# On every way out: repmgrd first, so that it does not act upon what follows, then PostgreSQL.
stop_children() {
    trap '' TERM INT
    if [[ -n $task_pid ]]; then
        kill "$task_pid" 2>/dev/null || true
    fi
    end_watch
    end_repmgrd
    if [[ -n $postgres_pid ]]; then
        LOCAL_TIMEOUT=3 remember_members || true
        leave
    fi
    if [[ -n $http_pid ]]; then
        kill "$http_pid" 2>/dev/null || true
    fi
    close_log
}

# For a script that another process runs while the entrypoint watches over PostgreSQL.
beside_the_entrypoint() {
    export HOME=$STATE_DIR
    peers=$(split_names "${PEERS:-}")
    primary_name=${PRIMARY_NAME:-}
    http_port=${HTTP_PORT:-8008}
    demand_proof
    node_name=$(remembered node_name)
    node_id=$(remembered node_id)
    postgres_pid=$(head -n 1 "$PGDATA/postmaster.pid")
}

_main() {
    # docker run IMAGE COMMAND runs the command instead.
    if (($#)) && [[ $1 != --passwords-on-fd-3 ]]; then
        exec "$@"
    fi

    exec 2>&1
    trap 'log_as ERROR "failed at line $LINENO: $BASH_COMMAND"' ERR
    # Relative to it is found what a node must remember of itself, by other nodes, too.
    [[ $PGDATA == /var/lib/postgresql/data ]] || die "PGDATA is '$PGDATA'; it has to be /var/lib/postgresql/data, on the volume /var/lib/postgresql"
    read_settings "$@"
    demand_proof
    if [[ $EUID == 0 ]]; then
        own_directories
        install_tls
        continue_as_postgres
    fi
    [[ ${1:-} == --passwords-on-fd-3 ]] || install_tls
    export HOME=$STATE_DIR
    cd "$STATE_DIR"
    open_log
    trap 'log "stopping"; exit 0' TERM INT
    trap stop_children EXIT

    lock_volume
    check_volume
    write_passfile
    node_name=$(derive_node_name)
    check_name 'the host name' "$node_name"
    log "this is $node_name"
    check_name_is_free
    check_certificate
    serve_http &
    http_pid=$!

    node_id=$(remembered node_id)
    if [[ -n $node_id ]]; then
        [[ ${NODE_ID:-$node_id} == "$node_id" ]] || die "NODE_ID is '$NODE_ID', but this volume is of node $node_id"
        write_repmgr_conf
    elif [[ $(data_state) != empty ]]; then
        die "$REPMGR_CONF does not say which node this is: keep all of $STATE_DIR on the volume"
    fi

    note_damage
    if [[ $healing == off && $(data_state) != empty ]]; then
        log "starting with the data as they are, since HEALING is off"
        start_postgres
    else
        take_position
    fi
    while :; do
        supervise
        take_position
    done
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    _main "$@"
fi
