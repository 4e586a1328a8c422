#!/bin/bash
# Tests of the scripts' functions, without containers.
#
#   run.sh [--with-shellcheck]      --with-shellcheck: checks the project's scripts, too
#
# shellcheck disable=SC2016 # the code in single quotes is for another shell
set -Eeuo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
IMAGE_DIR=${HERE%/*}
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

passed=0
failed=0

# check NAME EXPECTED ACTUAL
check() {
    if [[ $2 == "$3" ]]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED: %s\n  expected: %q\n  actual:   %q\n' "$1" "$2" "$3"
    fi
}

# check_contains NAME PART WHOLE
check_contains() {
    if [[ $3 == *"$2"* ]]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED: %s\n  expected in it: %q\n  actual:         %q\n' "$1" "$2" "$3"
    fi
}

# check_lacks NAME PART WHOLE
check_lacks() {
    check "$1" no "$([[ $3 == *"$2"* ]] && echo yes || echo no)"
}

# entrypoint [VARIABLE=VALUE...] -- CODE: runs CODE with the entrypoint's functions, and only those variables set, in a
# shell of its own. Prints what it says, on both channels, and the exit status if it is not 0.
entrypoint() {
    in_shell "$IMAGE_DIR/docker-entrypoint.sh" "${@:1:$#-1}" "postgres_version() { echo 17; }; ${*: -1}"
}

provision() {
    in_shell "$IMAGE_DIR/provision.sh" "$@"
}

in_shell() {
    local script=$1 status=0
    local -a variables=()
    shift
    while [[ $1 != -- ]]; do
        variables+=("$1")
        shift
    done
    env -i PATH="$PATH" TMPDIR="$WORK" LANG=C.UTF-8 PGDATA="$WORK/state/data" "${variables[@]}" \
        bash -c "source '$script'; $2" 2>&1 || status=$?
    ((status == 0)) || echo "[exit $status]"
}

# A state directory as the volume has it; without arguments an empty one.
state() {
    rm -rf "$WORK/state"
    mkdir -p "$WORK/state"
    local what
    for what in "$@"; do
        case $what in
            data) mkdir -p "$WORK/state/data" && echo 17 >"$WORK/state/data/PG_VERSION" ;;
            unfinished) touch "$WORK/state/unfinished" ;;
        esac
    done
}

settings='read_settings; echo "$auth_method|$postgres_user|$postgres_db|$primary_name|$peers|$repmgr_password|$postgres_password"'

# ---------------------------------------------------------------------------------------------- the tests

test_sourcing_does_nothing() {
    check 'sourcing the entrypoint runs nothing' '' "$(entrypoint -- '')"
    check 'sourcing provision.sh runs nothing' '' "$(provision -- '')"
}

test_settings() {
    state
    check 'defaults' 'scram-sha-256|postgres|postgres|||r|p' \
        "$(entrypoint REPMGR_PASSWORD=r POSTGRES_PASSWORD=p -- "$settings")"
    check 'the database is named like the user' 'scram-sha-256|app|app|||r|p' \
        "$(entrypoint REPMGR_PASSWORD=r POSTGRES_PASSWORD=p POSTGRES_USER=app -- "$settings")"
    check 'the database has its own name' 'scram-sha-256|app|shop|||r|p' \
        "$(entrypoint REPMGR_PASSWORD=r POSTGRES_PASSWORD=p POSTGRES_USER=app POSTGRES_DB=shop -- "$settings")"
    check 'a standby needs only the password of repmgr' 'scram-sha-256|postgres|postgres|n1||r|' \
        "$(entrypoint REPMGR_PASSWORD=r PRIMARY_NAME=n1 -- "$settings")"
    check 'a witness needs no more' 'scram-sha-256|postgres|postgres|||r|' \
        "$(entrypoint NODE_TYPE=witness REPMGR_PASSWORD=r -- "$settings")"
    check 'trust needs no password' 'trust|postgres|postgres||||' \
        "$(entrypoint POSTGRES_HOST_AUTH_METHOD=trust -- "$settings")"
    check 'peers are separated by commas and spaces' 'trust|postgres|postgres||a b-1 c_2||' \
        "$(entrypoint POSTGRES_HOST_AUTH_METHOD=trust PEERS='a, b-1 ,c_2 ' -- "$settings")"
    check 'no child gets the passwords' 'r|p|none' "$(entrypoint REPMGR_PASSWORD=r POSTGRES_PASSWORD=p -- '
        read_settings
        echo "$repmgr_password|$postgres_password|$(env | grep PASSWORD || echo none)"')"
    check 'passwords come through descriptor 3' 'a\b|c d' "$(entrypoint -- '
        read_settings --passwords-on-fd-3 3<<<$'"'a\\\\b\\nc d'"'
        echo "$repmgr_password|$postgres_password"')"

    state data
    check 'a node with data does not need the password of its user' 'scram-sha-256|postgres|postgres|||r|' \
        "$(entrypoint REPMGR_PASSWORD=r -- "$settings")"
}

test_settings_that_are_refused() {
    local answer case variables part
    state
    while IFS='|' read -r case variables part; do
        # shellcheck disable=SC2086 # several variables in one field
        answer=$(entrypoint $variables -- read_settings)
        check_contains "$case: says what" "$part" "$answer"
        check_contains "$case: exits non-zero" '[exit 1]' "$answer"
        check_lacks "$case: the failing line is not shown as well" 'failed at line' "$answer"
    done <<'END'
no password of repmgr|POSTGRES_PASSWORD=p|REPMGR_PASSWORD (or REPMGR_PASSWORD_FILE) is not set
no password of the user|REPMGR_PASSWORD=r|POSTGRES_PASSWORD (or POSTGRES_PASSWORD_FILE) is not set
a name and its file|REPMGR_PASSWORD=r REPMGR_PASSWORD_FILE=/etc/hostname|both REPMGR_PASSWORD and REPMGR_PASSWORD_FILE are set
a file that is not there|REPMGR_PASSWORD_FILE=/nonesuch|REPMGR_PASSWORD_FILE names '/nonesuch'
an empty file|REPMGR_PASSWORD_FILE=/dev/null|is empty
an unknown method|POSTGRES_HOST_AUTH_METHOD=md5|allowed are scram-sha-256 (the default) and trust
node id 0|POSTGRES_HOST_AUTH_METHOD=trust NODE_ID=0|NODE_ID is '0'; allowed is
a negative node id|POSTGRES_HOST_AUTH_METHOD=trust NODE_ID=-1|NODE_ID is '-1'
a node id that is too large|POSTGRES_HOST_AUTH_METHOD=trust NODE_ID=2147483648|NODE_ID is '2147483648'
a node id with letters|POSTGRES_HOST_AUTH_METHOD=trust NODE_ID=1x|NODE_ID is '1x'
a node name with a quote|POSTGRES_HOST_AUTH_METHOD=trust NODE_NAME=a'b|NODE_NAME has 'a'b'
a primary that is no name|POSTGRES_HOST_AUTH_METHOD=trust PRIMARY_NAME=a;b|PRIMARY_NAME has 'a;b'
a peer that is no name|POSTGRES_HOST_AUTH_METHOD=trust PEERS=ok,-x|PEERS has '-x'
an unknown type|POSTGRES_HOST_AUTH_METHOD=trust NODE_TYPE=arbiter|NODE_TYPE is 'arbiter'; allowed is data or witness
a priority below 0|POSTGRES_HOST_AUTH_METHOD=trust NODE_PRIORITY=-1|NODE_PRIORITY is '-1'; allowed is
a priority with letters|POSTGRES_HOST_AUTH_METHOD=trust NODE_PRIORITY=high|NODE_PRIORITY is 'high'
a priority that is too large|POSTGRES_HOST_AUTH_METHOD=trust NODE_PRIORITY=2147483648|NODE_PRIORITY is '2147483648'
a priority that looks octal|POSTGRES_HOST_AUTH_METHOD=trust NODE_PRIORITY=010|NODE_PRIORITY is '010'
a location with a quote|POSTGRES_HOST_AUTH_METHOD=trust NODE_LOCATION=a'b|NODE_LOCATION has 'a'b'
a port that is none|POSTGRES_HOST_AUTH_METHOD=trust HTTP_PORT=http|HTTP_PORT is 'http'; allowed are ports
a port that is too large|POSTGRES_HOST_AUTH_METHOD=trust HTTP_PORT=65536|HTTP_PORT is '65536'
PostgreSQL's own port|POSTGRES_HOST_AUTH_METHOD=trust HTTP_PORT=5432|HTTP_PORT is '5432'
a certificate without a key|POSTGRES_HOST_AUTH_METHOD=trust TLS_CERT_FILE=/c|needs both TLS_CERT_FILE and TLS_KEY_FILE
a key without a certificate|POSTGRES_HOST_AUTH_METHOD=trust TLS_KEY_FILE=/k TLS_CA_FILE=/a|needs both TLS_CERT_FILE and TLS_KEY_FILE
a CA alone|POSTGRES_HOST_AUTH_METHOD=trust TLS_CA_FILE=/a|mean nothing without TLS_CERT_FILE
clients that must use a TLS that is not there|POSTGRES_HOST_AUTH_METHOD=trust TLS_CLIENTS=require|mean nothing without
clients that maybe must|POSTGRES_HOST_AUTH_METHOD=trust TLS_CLIENTS=maybe|TLS_CLIENTS is 'maybe'
nothing or one word|POSTGRES_HOST_AUTH_METHOD=trust ALONE=yes|ALONE is 'yes'; allowed is nothing or allow
a role of PostgreSQL's|POSTGRES_HOST_AUTH_METHOD=trust POSTGRES_USER=pg_app|POSTGRES_USER is 'pg_app', which PostgreSQL keeps for itself
the template|POSTGRES_HOST_AUTH_METHOD=trust POSTGRES_DB=template1|POSTGRES_DB is 'template1', which is there for other purposes
a name too long|POSTGRES_HOST_AUTH_METHOD=trust POSTGRES_DB=a23456789b23456789c23456789d23456789e23456789f23456789g23456789h23456789|POSTGRES_DB is longer
healing by halves|POSTGRES_HOST_AUTH_METHOD=trust HEALING=maybe|HEALING is 'maybe'; allowed is on or off
a reserved user|POSTGRES_HOST_AUTH_METHOD=trust POSTGRES_USER=repmgr|POSTGRES_USER is 'repmgr'
END
    check_contains 'a password of two lines' 'has a line break in it' \
        "$(entrypoint "REPMGR_PASSWORD=a"$'\n'"b" -- read_settings)"
    check_lacks 'a refused password is not shown' hush \
        "$(entrypoint "REPMGR_PASSWORD=hush"$'\n'"b" -- read_settings)"
}

test_password_files() {
    state
    printf '%s\n' ' a$b\c:"d ' >"$WORK/secret"
    check 'the value of a file, without its line end' 'trust|postgres|postgres|||| a$b\c:"d ' \
        "$(entrypoint POSTGRES_HOST_AUTH_METHOD=trust "POSTGRES_PASSWORD_FILE=$WORK/secret" -- "$settings")"
}

test_node_ids() {
    check 'ids that are allowed' ok "$(entrypoint -- 'for id in "" 1 7 1000 2147483647; do check_node_id "$id"; done; echo ok')"
}

test_priorities() {
    check 'priorities that are allowed' ok \
        "$(entrypoint -- 'for p in "" 0 1 100 2147483647; do check_priority "$p"; done; echo ok')"
    state
    check_contains 'priority 0 makes no cluster' '[exit 1]' "$(entrypoint NODE_PRIORITY=0 -- 'task() { :; }; initialise')"
    printf '1 n1 primary there 100\n2 n2 standby there 0\n3 n3 standby there\n' >"$WORK/state/members"
    check 'who may never lead' 'n2' "$(entrypoint -- 'for n in n1 n2 n3 n4; do ! is_barred $n || echo $n; done')"
}

# The volume of a data node and that of a witness.
test_volumes() {
    state data
    check_contains 'a witness on data' 'has a cluster'"'"'s data' \
        "$(entrypoint NODE_TYPE=witness -- 'primary_name=n1 peers=; check_volume')"
    check 'a data node on data' '' "$(entrypoint -- 'primary_name= peers=; check_volume')"
    echo 7 >"$WORK/state/witness-of"
    check_contains 'a data node on what a witness has' 'is a witness' "$(entrypoint -- 'primary_name=n1 peers=; check_volume')"
    check 'a witness on what a witness has' '7 witness' "$(entrypoint NODE_TYPE=witness -- '
        primary_name=n1 peers=; check_volume; echo "$(system_identifier) $(own_report)"')"
    state
    check_contains 'a witness of nobody' 'neither PRIMARY_NAME nor PEERS' \
        "$(entrypoint NODE_TYPE=witness -- 'primary_name= peers=; check_volume')"
    check 'a witness on nothing' '' "$(entrypoint NODE_TYPE=witness -- 'primary_name= peers=n1; check_volume')"
}

test_names() {
    check 'names that are allowed' ok "$(entrypoint -- '
        for name in "" a 1 pg-repmgr-1 my.node my_node A; do check_name X "$name"; done; echo ok')"
    check_contains 'a name of 64 letters' 'allowed are' "$(entrypoint -- 'check_name X "$(printf "%064d" 0)"')"
    check_contains 'a name with a space' 'allowed are' "$(entrypoint -- 'check_name X "a b"')"
    check_contains 'a name with a line break' 'allowed are' "$(entrypoint -- "check_name X \$'a\\nb'")"
}

test_passfile() {
    check 'plain' '*:*:*:repmgr:secret' "$(entrypoint -- "pgpass_line secret")"
    check 'colons and backslashes' '*:*:*:repmgr:a\:b\\c\\\:' "$(entrypoint -- "pgpass_line 'a:b\\c\\:'")"
    check 'all else as it is' "*:*:*:repmgr:' \" \$x %s ü" "$(entrypoint "X=' \" \$x %s ü" -- 'pgpass_line "$X"')"
    state
    check 'the file is for its owner alone' 600 "$(entrypoint -- 'repmgr_password=x; write_passfile; stat -c %a "$STATE_DIR/.pgpass"')"
    check 'without a password there is no file' gone \
        "$(entrypoint -- 'repmgr_password=; write_passfile; [[ -e $STATE_DIR/.pgpass ]] || echo gone')"
}

# The addresses and DNS of a container: 172.18.0.5 is $1, and the names after it lead back there.
dns() {
    local full=$1
    shift
    cat <<END
own_addresses() { echo '172.18.0.5 fd00::5'; }
reverse_lookup() { [[ \$1 == 172.18.0.5 ]] && echo '$full'; }
forward_lookup() { case " $* " in *" \$1 "*) echo 172.18.0.5 ;; *) echo 10.9.9.9 ;; esac; }
HOSTNAME=0123456789ab
END
}

test_node_name() {
    state
    check 'the network is stripped' pg-repmgr-1 \
        "$(entrypoint -- "$(dns pg-repmgr-1.pg_stream pg-repmgr-1); derive_node_name")"
    check 'a network with dots' pg-1 "$(entrypoint -- "$(dns pg-1.my.net pg-1); derive_node_name")"
    check 'a container with dots' my.node.1 "$(entrypoint -- "$(dns my.node.1.net my.node.1); derive_node_name")"
    check 'NODE_NAME goes first' other \
        "$(entrypoint NODE_NAME=other -- "$(dns pg-repmgr-1.pg_stream pg-repmgr-1); derive_node_name")"
    check 'a name that leads elsewhere is not taken' 0123456789ab \
        "$(entrypoint -- "$(dns pg-1.net); derive_node_name")"
    check 'no answer: the host name' 0123456789ab "$(entrypoint -- "$(dns ''); derive_node_name")"
    printf "node_id=4\nnode_name='earlier'\n" >"$WORK/state/repmgr.conf"
    check 'no answer: what it was before' earlier "$(entrypoint -- "$(dns ''); derive_node_name")"
}

test_memory() {
    state
    check 'nothing remembered' '' "$(entrypoint -- 'remembered node_id')"
    check 'what is written is remembered' '12 pg-12' "$(entrypoint -- '
        node_id=12 node_name=pg-12
        write_repmgr_conf
        echo "$(remembered node_id) $(remembered node_name)"')"
    check 'repmgr.conf is for its owner alone' 600 "$(stat -c %a "$WORK/state/repmgr.conf")"
}

test_configuration() {
    local conf hba
    conf=$(entrypoint -- 'render_repmgr_conf 3 pg-3')
    check_contains 'a primary that does not answer is asked once more' $'\nreconnect_attempts=1\n' "$conf"
    check_contains 'but not where that takes two seconds each time' $'\nreconnect_attempts=0\n' \
        "$(entrypoint -- 'postgres_version() { echo 15; }; render_repmgr_conf 3 pg-3')"
    check_contains 'id' $'\nnode_id=3\n' "$conf"
    check_contains 'name' $'\nnode_name=\'pg-3\'\n' "$conf"
    check_contains 'conninfo, without a password' \
        $'\nconninfo=\'host=pg-3 port=5432 user=repmgr dbname=repmgr connect_timeout=1 tcp_user_timeout=3000 keepalives_idle=5 keepalives_interval=2 keepalives_count=3\'\n' "$conf"
    check_contains 'location and priority' $'\nlocation=\'default\'\npriority=100\n' "$conf"
    check_contains 'location and priority, given' $'\nlocation=\'b\'\npriority=7\n' \
        "$(entrypoint NODE_LOCATION=b NODE_PRIORITY=7 -- 'render_repmgr_conf 3 pg-3')"
    check_lacks 'a data node is no witness' node_type "$(entrypoint -- render_postgresql_conf)"
    check_contains 'a witness says so' "node_type = 'witness'" "$(entrypoint NODE_TYPE=witness -- render_postgresql_conf)"
    check_contains 'follow tells whom' 'standby follow -f /etc/repmgr.conf --upstream-node-id=%n' "$conf"
    check_lacks 'repmgr.conf knows no password' password "$conf"

    hba=$(entrypoint -- 'render_pg_hba scram-sha-256')
    check_lacks 'scram: nobody is trusted' trust "$hba"
    check 'scram: the network' 2 "$(grep -c '^host .* all  *scram-sha-256$' <<<"$hba")"
    check 'postgres comes in by the socket' 1 "$(grep -c '^local all  *postgres  *peer$' <<<"$hba")"
    check 'trust: the network' 2 "$(entrypoint -- 'render_pg_hba trust' | grep -c '^host .* all  *trust$')"
}

# There need be no user postgres here.
install='install() { local -a a=(); while (($#)); do case $1 in -o | -g) shift ;; *) a+=("$1") ;; esac; shift; done; command install "${a[@]}"; }'

test_tls() {
    local name files="TLS_CERT_FILE=$WORK/crt TLS_KEY_FILE=$WORK/key"
    state
    for name in '' 2; do
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=n1 -addext subjectAltName=DNS:n1 \
            -keyout "$WORK/key$name" -out "$WORK/crt$name" 2>/dev/null
    done
    check 'without TLS' '' "$(entrypoint -- tls_conninfo)"
    # shellcheck disable=SC2086 # several variables
    check 'without a CA' ' sslmode=require' "$(entrypoint $files -- "$install; install_tls; tls_conninfo")"
    # shellcheck disable=SC2086
    check 'with one' " sslmode=verify-full sslrootcert=$WORK/state/node-tls/ca.crt" \
        "$(entrypoint $files "TLS_CA_FILE=$WORK/crt" -- "$install; install_tls; tls_conninfo")"
    check 'the key is for its owner alone' '700 600' "$(stat -c %a "$WORK/state/node-tls" "$WORK/state/node-tls/server.key" | tr '\n' ' ' | sed 's/ $//')"
    check_contains 'the upstream is spoken to by TLS' "keepalives_count=3 sslmode=verify-full" "$(mkdir -p "$WORK/state/data"
        touch "$WORK/state/data/postgresql.auto.conf"
        entrypoint -- 'node_name=n1; set_upstream n2; cat "$PGDATA/postgresql.auto.conf"')"
    check_contains 'PostgreSQL has it' "ssl_key_file = '$WORK/state/node-tls/server.key'" "$(entrypoint -- render_node_conf)"
    check 'a good certificate' '' "$(entrypoint -- 'node_name=n1; check_certificate')"
    check_contains "another node's" 'it is not for the name n2' "$(entrypoint -- 'node_name=n2; check_certificate')"
    # shellcheck disable=SC2086
    check_contains 'one of another CA' 'will not trust' \
        "$(entrypoint $files "TLS_CA_FILE=$WORK/crt2" -- "$install; install_tls; node_name=n1; check_certificate")"
    # shellcheck disable=SC2086
    check_contains 'no CA any more' ' sslmode=require' "$(entrypoint $files -- "$install; install_tls; tls_conninfo")"
    check_contains "another's key" 'is not that of the certificate' \
        "$(entrypoint "TLS_CERT_FILE=$WORK/crt" "TLS_KEY_FILE=$WORK/key2" -- "$install; install_tls")"
    check_contains 'a key that is none' 'is no key' \
        "$(entrypoint "TLS_CERT_FILE=$WORK/crt" "TLS_KEY_FILE=$WORK/crt" -- "$install; install_tls")"
    check_contains 'a file that is not there' "TLS_CERT_FILE names '/nonesuch'" \
        "$(entrypoint TLS_CERT_FILE=/nonesuch "TLS_KEY_FILE=$WORK/key" -- "$install; install_tls")"
    touch "$WORK/state/.lock"
    check_contains "a running node's is left alone" 'another container uses the volume' \
        "$(entrypoint -- 'exec {lock}>"$STATE_DIR/.lock"; flock "$lock"; install_tls')"
    check 'it is still there' ' sslmode=require' "$(entrypoint -- tls_conninfo)"
    check 'no TLS any more' '' "$(entrypoint -- 'install_tls; tls_conninfo')"
    check 'nodes talk by TLS' 2 "$(entrypoint -- 'render_tls_hba ""' | grep -cE '^hostnossl (all|replication) +repmgr all reject$')"
    check 'all do' 2 "$(entrypoint -- 'render_tls_hba require' | grep -cE '^hostnossl (all|replication) +all all reject$')"
}

test_data_state() {
    state
    check 'nothing there' empty "$(entrypoint -- data_state)"
    state data
    check 'the data of a primary' primary "$(entrypoint -- data_state)"
    touch "$WORK/state/data/standby.signal"
    check 'the data of a standby' standby "$(entrypoint -- data_state)"
    echo 2 >"$WORK/state/was-primary"
    check 'a primary that is held' primary "$(entrypoint -- 'own_timeline() { echo 2; }; data_state')"
    check 'one that has got WAL of another since' standby "$(entrypoint -- 'own_timeline() { echo 3; }; data_state')"
    state data
    echo initdb >"$WORK/state/unfinished"
    check 'what initdb left behind' empty "$(entrypoint -- data_state)"
    echo clone >"$WORK/state/unfinished"
    check 'what a copy left behind' broken "$(entrypoint -- data_state)"
    state
    echo '1 n1 primary there' >"$WORK/state/members"
    check 'data that somebody took away' broken "$(entrypoint -- data_state)"
}

test_upstream() {
    state data
    printf "a = '1'\nprimary_conninfo = 'host=old'\n" >"$WORK/state/data/postgresql.auto.conf"
    check 'one upstream, and everything else as it was' \
        "a = '1'|primary_conninfo = 'host=n2 port=5432 user=repmgr application_name=n1 connect_timeout=1 tcp_user_timeout=3000 keepalives_idle=5 keepalives_interval=2 keepalives_count=3'|" \
        "$(entrypoint -- 'node_name=n1; set_upstream n2; tr "\n" "|" <"$PGDATA/postgresql.auto.conf"')"
    check 'nobody' "a = '1'|primary_conninfo = ''|" \
        "$(entrypoint -- 'node_name=n1; set_upstream ""; tr "\n" "|" <"$PGDATA/postgresql.auto.conf"')"
    check 'it is a standby now' standby "$(entrypoint -- data_state)"
}

test_holding() {
    state data
    check_contains 'a held PostgreSQL that has ended ends the container' '[exit 1]' \
        "$(entrypoint -- 'sleep 0 & postgres_pid=$!; wait "$postgres_pid"; hold')"
    check 'one that runs is left alone' runs "$(entrypoint -- 'postgres_pid=$$; hold; echo runs')"
}

# What some nodes answer: system, state, timeline, LSN and members.
nodes='ask_node() {
    case $1 in
        n1) echo "7 primary 1 0/10 - n1 n2 n3" ;;
        n2) echo "7 standby 1 0/9 n1 n1 n2 n3" ;;
        promoted) echo "7 primary 2 0/20 - n1 n2 promoted" ;;
        knows) echo "7 standby 2 0/20 promoted n1 n2 promoted knows" ;;
        other) echo "8 primary 5 0/30 - other" ;;
        w) echo "9 primary 1 0/30 n1 n1 n2 w" ;;
        unregistered) echo "9 witness 1 0/30 - n1 n2" ;;
        *) echo "! $1 does not answer" ;;
    esac
}
system_identifier() { echo 7; }
own_report() { echo standby:1:0/9; }
node_name=n2 primary_name= peers=
see() { survey; echo "${reports[*]}"; }'

# What makes room for a copy is kept, or there is no copy.
test_setting_aside() {
    local clone='reserve_node_id() { node_id=2; }; write_repmgr_conf() { :; }; task() { mkdir "$PGDATA"; echo copy >"$PGDATA/PG_VERSION"; }
        start_postgres() { :; }; if clone n1; then echo cloned; else echo failed; fi'
    state data
    check_contains 'data are set aside' 'cloned' "$(entrypoint -- "$clone")"
    check 'and kept' '17 copy' "$(cat "$WORK/state/set-aside/PG_VERSION" "$WORK/state/data/PG_VERSION" | xargs)"
    state data
    check_contains 'data that cannot be set aside' $'cannot be moved away to make room for a copy' "$(entrypoint -- "mv() { return 1; }; $clone")"
    check 'stay where they are' '17 data' "$(cat "$WORK/state/data/PG_VERSION") $(ls "$WORK/state")"
}

# A primary, which may have to stop at any moment, is not asked by SQL what it is.
test_own_report() {
    state data
    local ask='postgres_pid=1; own_timeline() { echo 3; }; local_psql() { echo "7 standby 3 0/9"; }; own_report'
    check 'a primary' 'primary:3:' "$(entrypoint -- "node_name=n1; $ask")"
    touch "$WORK/state/data/standby.signal"
    check 'a standby' 'standby:3:0/9' "$(entrypoint -- "node_name=n1; $ask")"
}

# Between its decision and the lock somebody may have been promoted, and be followed already.
test_leading_again() {
    state data
    local again='postgres_pid=1 node_name=n1; prepare_to_lead() { :; }; members_that_count() { echo n1 n2 n3; }; open_sessions() { :; }
        lock_majority() { :; }; end_sessions() { :; }; stop_postgres() { :; }; start_postgres() { echo started; }
        survey() { reports=(n1=primary:3:0/9 "$other" n3=silent); }; data_state() { echo "${now:-primary}"; }
        lead_again || echo refused'
    check 'nobody else' started "$(entrypoint other=n2=standby:3:0/9 -- "$again")"
    check_contains 'somebody else' $'n2 is the primary\nrefused' "$(entrypoint other=n2=primary:4:0/9 -- "$again")"
    check 'whom it follows' refused "$(entrypoint other=n2=silent now=standby -- "$again")"
}

test_witness_that_fails() {
    state
    check 'a witness that cannot be made ends' '[exit 1]' "$(entrypoint NODE_TYPE=witness -- '
        survey() { reports=(n1=primary:1:0/9); }; prepare_witness() { :; }; initialise() { false; echo made; }
        take_position; echo "went on"')"
}

# A volume that came from elsewhere; what is mounted beside the data is somebody else's.
test_owners() {
    check 'what becomes the property of postgres' "-R postgres:postgres $WORK/state/data -R postgres:postgres $WORK/state/members" \
        "$(entrypoint -- 'install() { :; }; log() { :; }; chown() { echo "$*"; }; mountpoint() { [[ $2 != */members ]]; }
            find() { printf "%s\n" "$PGDATA" "$STATE_DIR/certificates" "$STATE_DIR/members"; }; own_directories' | xargs)"
    check_contains 'data elsewhere' "PGDATA is '$WORK/state/data'; it has to be" "$(entrypoint -- _main)"
}

# Two that start at the same moment both find the name free.
test_own_name() {
    state
    local ask='node_name=n1; local_psql() { echo 1.5; }; timeout() { echo "$answer"; [[ $answer != psql:* ]]; }; check_own_name; echo fine'
    check 'it answers' 'fine' "$(entrypoint answer=1.5 -- "$ask")"
    check 'another one does' '[exit 99]' "$(entrypoint answer=2.5 -- "$ask")"
    check_contains 'nobody does' 'does not reach itself by its name: psql: error' "$(entrypoint answer='psql: error: refused' -- "$ask")"
}

test_survey() {
    state
    check 'those named in the settings' 'n1=primary:1:0/10:- n2=standby:1:0/9 n3=silent' \
        "$(entrypoint -- "$nodes; primary_name=n1 peers='n3'; see")"
    check 'nobody else is known' 'n2=standby:1:0/9' "$(entrypoint -- "$nodes; see")"
    printf '1 n1 primary there\n2 n2 standby there\n3 n3 standby there\n' >"$WORK/state/members"
    check 'those remembered, in the order of ids' 'n1=primary:1:0/10:- n2=standby:1:0/9 n3=silent' \
        "$(entrypoint -- "$nodes; see")"
    check 'a primary that only the settings name' \
        'n1=primary:1:0/10:- n2=standby:1:0/9 n3=silent promoted=primary:2:0/20:-' \
        "$(entrypoint -- "$nodes; peers=promoted; see")"
    check 'a primary that only another node knows' \
        'n1=primary:1:0/10:- n2=standby:1:0/9 n3=silent promoted=primary:2:0/20:-' \
        "$(entrypoint -- "$nodes; peers=knows; see")"
    check 'whoever else does not count' 'n1=primary:1:0/10:- n2=standby:1:0/9 n3=silent' \
        "$(entrypoint -- "$nodes; peers='gone other'; see")"
    check 'a witness that nobody has registered yet is nobody to copy from' \
        'n1=primary:1:0/10:- n2=standby:1:0/9 n3=silent' "$(entrypoint -- "$nodes; peers=unregistered; see")"
    check 'and nobody who has no data takes it for a primary' 'n1=primary:1:0/10:- n2=empty unregistered=witness:1:0/30:-' \
        "$(entrypoint -- "$nodes; own_report() { echo empty; }; system_identifier() { :; }; rm \"\$MEMBERS\"
            peers='unregistered n1'; see")"
    printf '1 n1 primary there\n' >"$WORK/state/members"
    check 'this node counts, but does not lead, if it is not in the table yet' 'n1=primary:1:0/10:- n2=barred:1:0/9' \
        "$(entrypoint -- "$nodes; see")"
    printf '1 n1 primary there 0\n2 n2 standby there 0\n' >"$WORK/state/members"
    check 'a standby of priority 0 is barred, a primary is one' 'n1=primary:1:0/10:- n2=standby:1:0/9' \
        "$(entrypoint -- "$nodes; see")"
    check 'seen from elsewhere' 'n1=standby:1:0/9 n2=barred:1:0/9:n1' \
        "$(entrypoint -- "$nodes; node_name=n1; see")"
    printf '2 n2 standby there\n3 n3 standby away\n8 other standby there\n9 w witness there\n' >"$WORK/state/members"
    check 'who has left is away, whoever has its name now' 'n2=standby:1:0/9 other=away' \
        "$(printf '2 n2 standby there\n8 other standby away\n' >"$WORK/state/members"; entrypoint -- "$nodes; see" | sed 's/ n1=.*//')"
    printf '2 n2 standby there\n3 n3 standby away\n8 other standby there\n9 w witness there\n' >"$WORK/state/members"
    check 'away, foreign, witness' 'n2=standby:1:0/9 n3=away other=foreign w=witness:::n1 n1=primary:1:0/10:-' \
        "$(entrypoint -- "$nodes; see")"
}

test_answers() {
    check 'who holds and was the primary is seen by itself' 'n1=standby:1:0/9:n1' "$(state; entrypoint -- 'echo "n1=$(report n1 "7 standby 1 0/9 . n1 n2" 7)"')"
    local sense='for answer in "${answers[@]}"; do if makes_sense "$answer"; then printf yes; else printf no; fi; done'
    check 'what nodes say' yesyesyesyes "$(entrypoint -- "answers=('7001 primary 1 0/A0 - n1 n2' '1 standby 2 - n1 n1 n2'
        '1 left 12 AB/1 n-1.x n1' '1 witness 1 0/30 - '); $sense")"
    check 'what is calculated with must be numbers' nonononononono "$(entrypoint -- "answers=('7 primary x[\$(touch gotcha)] 0/A0 - n1'
        '7 primary  0/A0 - n1' '\$(id) primary 1 0/A0 - n1' '7 owner 1 0/A0 - n1' '7 primary 1 0-A0 - n1' '7 primary 1 0/A0' ''); $sense")"
    check 'in the middle of its recovery' 'starting starting silent silent' "$(state; entrypoint -- 'for why in \
        "! FATAL: the database system is starting up" "! FATAL: the database system is not yet accepting connections" \
        "! FATAL: password authentication failed" "! connection refused"; do
        printf "%s " "$(data_state() { echo standby; }; report n3 "$why" 7)"; done' | sed 's/ $//')"
}

test_files() {
    state
    check 'a file is written' new "$(entrypoint -- 'write_file "$STATE_DIR/f" <<<new && cat "$STATE_DIR/f"')"
    echo old >"$WORK/state/f"
    check 'one that cannot be written whole stays as it was, in a condition, too' 'failed old' \
        "$(entrypoint -- 'cat() { command cat; return 1; }; if write_file "$STATE_DIR/f" <<<new; then echo written; else printf "failed "; fi
            command cat "$STATE_DIR/f"')"
    check 'whom to wait for is not taken for written then' failed \
        "$(entrypoint SYNC_MODE=quorum -- 'log() { :; }; cat() { return 1; }; mkdir -p "${SYNCHRONOUS_CONF%/*}"; set_synchronous n1 || echo failed')"
    check 'without SYNC_MODE it is not said at all' '' \
        "$(entrypoint -- 'set_synchronous n1; cat "$SYNCHRONOUS_CONF" 2>/dev/null || true')"
}

test_empty_nodes() {
    state
    local empty='http_port=8008
        psql() { echo "psql: error: connection to server at \"n1\" (10.0.0.1), port 5432 failed: Connection refused"; return 2; }
        timeout() { shift; if [[ $1 == psql ]]; then "$@"; else echo "$body"; fi; }'
    check 'a node that says that it is empty' '- empty' "$(entrypoint -- "$empty; body='{\"state\":\"empty\",\"role\":null}'; ask_node n1")"
    check_contains 'nothing else is believed' 'Connection refused' \
        "$(entrypoint -- "$empty; body='{\"state\":\"running\",\"role\":\"primary\"}'; ask_node n1")"
    check_contains 'nor is anybody asked without an endpoint' 'Connection refused' \
        "$(entrypoint -- "$empty; http_port=off; body='{\"state\":\"empty\",'; ask_node n1")"
    check_contains 'nor if PostgreSQL has answered' '! FATAL' "$(entrypoint -- "$empty
        psql() { echo FATAL; return 2; }; body='{\"state\":\"empty\",'; ask_node n1")"
    check 'as decide wants it' 'empty' "$(entrypoint -- 'report n1 "- empty" 7')"
    echo '1 n1 standby away' >"$WORK/state/members"
    check 'who is away stays away' 'away' "$(entrypoint -- 'report n1 "- empty" 7')"
}

test_founders() {
    check 'alone' 'n2' "$(entrypoint -- 'node_name=n2 primary_name= peers=; read -r x <<<"$(founders)"; echo "$x"')"
    check 'the primary first' 'n9 n1 n2' "$(entrypoint -- 'node_name=n2 primary_name=n9 peers="n1 n9"; founders')"
    check 'else by name' ' n1 n2 n3' "$(entrypoint -- 'node_name=n2 primary_name= peers="n3 n1"; founders')"
}

# What the log has, without the time.
formatted() {
    printf '%s\n' "$1" | perl "$IMAGE_DIR/lib/format-log.pl" "$2" | sed -E 's/^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}\.[0-9]{3} UTC //'
}

# shellcheck disable=SC2016
test_log() {
    local line='2026-11-25 14:26:04.123 UTC [node] INFO: as it is'
    check 'what has the format passes' "$line" "$(perl "$IMAGE_DIR/lib/format-log.pl" x <<<"$line")"
    check 'a level with nothing to say' '' "$(formatted '[2026-11-25 14:00:00] [DETAIL] ' repmgrd)$(formatted 'DETAIL:' repmgr)"
    check "repmgrd's lines" '[repmgrd] NOTICE: this' "$(formatted '[2026-11-25 14:00:00] [NOTICE] this' repmgrd)"
    check "repmgr's lines" '[repmgr] WARNING: this' "$(formatted 'WARNING: this' repmgr)"
    check "the tools' lines" '[pg_rewind] ERROR: this' "$(formatted 'pg_rewind: error: this' pg_rewind)"
    check 'lines without anything' '[initdb] INFO: this' "$(formatted 'this' initdb)"
    check 'PostgreSQL before it has its configuration' '2026-11-25 14:26:04.123 UTC [postgres] FATAL: no' \
        "$(perl "$IMAGE_DIR/lib/format-log.pl" postgres <<<'2026-11-25 14:26:04.123 GMT [12] FATAL:  no')"
    check 'a line that goes on' '[postgres] STATEMENT: two' "$(printf '2026-11-25 14:26:04.123 UTC [postgres] STATEMENT:  one\n\ttwo\n\n' |
        perl "$IMAGE_DIR/lib/format-log.pl" postgres | tail -n 1 | cut -d' ' -f4-)"
    local time='[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}\.[0-9]{3}'
    line=$(entrypoint -- 'die $'"'a\\nb'")
    check 'an own line, which is one' yes "$([[ $line =~ ^$time\ UTC\ \[node\]\ ERROR:\ a\ b$'\n' ]] && echo yes || echo "$line")"
    check 'the last lines of what was launched are waited for' 'x:last end' "$(entrypoint -- '
        format_log() { sleep 0.3; sed "s/^/$1:/" >&$log_fd; }
        open_log; launch x echo last; wait $!; close_log; echo end' | tr '\n' ' ' | sed 's/ $//')"
    check "a tool's next lines" '[pg_rewind] INFO: next' "$(formatted 'pg_rewind: next' pg_rewind)"
    check 'a status is that of the command' 3 "$(entrypoint -- 'open_log; s=0; task bash -c "exit 3" || s=$?; echo $s >&$log_fd')"
}

test_back_off() {
    check 'delays: growing and bounded' '1 2 4 5 5' "$(entrypoint -- '
        d=0; for i in 1 2 3 4 5; do d=$(next_delay $d 1); printf "%s " "$d"; done' | sed 's/ $//')"
    check 'from the beginning after a long run' 1 "$(entrypoint -- 'next_delay 5 30')"
}

test_sql() {
    check 'quotes' "'it''s'" "$(entrypoint -- "sql_literal \"it's\"")"
    check 'backslashes are as they are' "'a\\b'" "$(entrypoint -- "sql_literal 'a\\b'")"
    check_lacks 'a role without a password' PASSWORD "$(entrypoint -- "sql_role app SUPERUSER ''")"
    # shellcheck disable=SC1003 # no quote is escaped here
    check_contains 'a role with one' "format('ALTER ROLE %I PASSWORD %L', 'app', 'x''%s\\') \\gexec" \
        "$(entrypoint -- "sql_role app SUPERUSER \"x'%s\\\\\"")"
}

# What the image is made of is also what its label is made from, and what the jar has.
test_files_of_the_image() {
    local file pattern pom hashed
    [[ -e $IMAGE_DIR/pom.xml ]] || return 0
    hashed=$(grep 'sha256sum Dockerfile' "$IMAGE_DIR/provision.sh")
    pom=$(<"$IMAGE_DIR/pom.xml")
    while read -r file; do
        check_contains "$file is part of the label" " ${file%/}" "$hashed"
        pattern=$file
        [[ $file != */ ]] || pattern="$file**"
        [[ $pom != *"<include>*.${file##*.}</include>"* ]] || pattern="*.${file##*.}"
        check_contains "$file is in the jar" "<include>$pattern</include>" "$pom"
    done < <(sed -n 's/^COPY \(.*\) [^ ]*$/\1/p' "$IMAGE_DIR/Dockerfile" | tr ' ' '\n')
}

test_provision() {
    check 'a suite, slim' trixie "$(provision -- 'suite_of debian:trixie-slim')"
    check 'a suite' bookworm "$(provision -- 'suite_of debian:bookworm')"
    check 'no suite' '[exit 1]' "$(provision -- 'suite_of postgres:17')"
    check_contains 'an unknown argument' "unknown argument '--nonesuch'" "$(provision -- '_main --nonesuch')"
    check_contains 'somebody else has the engine' 'no Docker engine answers at DOCKER_HOST=tcp://x' \
        "$(provision DOCKER_HOST=tcp://x -- 'engine_answers() { false; }; ensure_engine')"
    check_contains 'no engine, not root' 'or run this as root' \
        "$(provision -- 'engine_answers() { false; }; is_root() { false; }; ensure_engine')"
    check_contains 'no engine, no apt' 'please install and start one' \
        "$(provision -- 'engine_answers() { false; }; is_root() { true; }; has_apt() { false; }
            command() { false; }; ensure_engine')"
    check_contains 'a package that is missing, not root' 'apt-get install some-package' \
        "$(provision -- 'is_root() { false; }; has_apt() { true; }; ensure_commands nonesuch-command=some-package')"
    check 'nothing is missing' '' "$(provision -- 'ensure_commands bash=bash')"
    check_contains 'a failed step shows its output' 'why it failed' \
        "$(provision -- 'logged step bash -c "echo why it failed; exit 3"')"
    check_contains 'a failed step fails' 'step: failed with status 3' \
        "$(provision -- 'logged step bash -c "exit 3"')"
    check_contains 'a second one waits' 'another provision.sh is at work' "$(provision -- '
        (take_lock; touch "$TMPDIR/taken"; sleep 0.3) &
        until [[ -e $TMPDIR/taken ]]; do sleep 0.02; done; take_lock')"
}

# With a false engine, which answers a moment after its start and lives on.
engine='engine_answers() { [[ -e $TMPDIR/answers ]]; }
has_systemd() { false; }
engine_log() { echo "$TMPDIR/engine.log"; }
PATH=$TMPDIR/bin:$PATH'

test_starting_the_engine() {
    mkdir -p "$WORK/bin"
    printf '#!/bin/bash\necho starts; sleep 0.3; touch "$TMPDIR/answers"; exec sleep 3\n' >"$WORK/bin/dockerd"
    chmod +x "$WORK/bin/dockerd"
    check_contains 'the engine is waited for' 'Docker engine: answers' "$(provision -- "$engine; take_lock; start_engine")"
    check 'the engine has its log' starts "$(<"$WORK/engine.log")"
    check 'the engine does not keep the lock' '' "$(provision -- take_lock)"

    rm "$WORK/answers"
    printf '#!/bin/bash\necho no cgroups here; exit 1\n' >"$WORK/bin/dockerd"
    check_contains 'an engine that does not start: its log' 'no cgroups here' \
        "$(provision -- "$engine; ENGINE_TIMEOUT=1; start_engine")"
    check_contains 'an engine that does not start' 'does not answer after 1 s' \
        "$(provision -- "$engine; ENGINE_TIMEOUT=1; start_engine")"
}

# Beside the image's scripts also those of the demo and the checks, where they are.
test_shellcheck() {
    local script output
    local -a scripts
    mapfile -t scripts < <(ls "$IMAGE_DIR"/*.sh "$IMAGE_DIR/events" "$IMAGE_DIR/health" "$IMAGE_DIR/promote" "$HERE"/*.sh "$HERE"/*.bats "$IMAGE_DIR"/../demo "$IMAGE_DIR"/../verify \
        "$IMAGE_DIR"/../it-tests/{cost,load,race,measure-faults,run-class.sh} \
        "$IMAGE_DIR"/../driver/src/test/*.sh 2>/dev/null)
    if ! command -v bats >/dev/null; then
        check 'bats is installed' yes no
    fi
    if ! command -v shellcheck >/dev/null; then
        check 'shellcheck is installed' yes no
        return
    fi
    for script in "${scripts[@]}"; do
        [[ -f $script ]] || continue
        output=$(shellcheck -x -P SCRIPTDIR "$script" 2>&1) || true
        if [[ -n $output ]]; then
            printf '%s\n' "$output"
            output='what is above'
        fi
        check "shellcheck of ${script##*/}" '' "$output"
    done
}

test_decisions() {
    local output
    command -v bats >/dev/null || return 0
    output=$(bats "$HERE"/*.bats 2>&1) || true
    check_lacks 'decisions, case by case' $'\nnot ok' $'\n'"$output"
    check 'each case is run' "$(cat "$HERE"/*.bats | grep -c '^@test ')" "$(grep -c '^ok ' <<<"$output")"
}

for name in $(compgen -A function test_); do
    if [[ $name != test_shellcheck || ${1:-} == --with-shellcheck ]]; then
        "$name"
    fi
done

printf '%d passed, %d failed\n' "$passed" "$failed"
((failed == 0))
