#!/usr/bin/env bats
# What a node tells of itself, and what it makes of requests. The functions alone, without containers.
#
# shellcheck disable=SC2030,SC2031 # each test is a shell of its own, on purpose

setup() {
    export PGDATA=$BATS_TEST_TMPDIR/state/data
    mkdir -p "$PGDATA"
    source "$BATS_TEST_DIRNAME/../health"
}

# is QUESTION yes|no [WORDS]: with what the variables say.
is() {
    local verdict=yes
    parse "$1" || { echo "$1: $reason" && return 1; }
    decide_answer
    [[ -z $reason ]] || verdict=no
    if [[ $verdict != "$2" || $reason != *"${3:-}"* ]]; then
        printf '%s: expected %s …%s…, got %s: %s\n' "$1" "$2" "${3:-}" "$verdict" "$reason"
        return 1
    fi
}

refuses() {
    ! parse "$1" && [[ $reason == *"$2"* ]]
}

running() {
    state=running role=$1 streams=${2:-f} lag=${3:-} registered=t repmgrd=t
    node_name=n1 node_id=1 timeline=1 lsn=0/5 upstream='' paused=f system=7
}

@test "a primary" {
    running primary
    is primary yes && is /master yes && is leader yes && is read-write yes && is /read-only yes && is readiness yes || return 1
    is replica no 'this is a primary' && is health yes && is liveness yes && is member yes
}

@test "a primary that is being ended has lost its place" {
    running primary
    touch "$STEPPING_DOWN"
    is primary no 'stepping down' && is readiness no && is health yes && is liveness yes
}

@test "a standby" {
    running standby t 1000
    is replica yes && is read-only yes && is readiness yes && is primary no 'this is a standby'
}

@test "a standby that lags" {
    running standby t 16777217
    is replica yes && is 'replica?lag=16MB' no '16777217 bytes behind' && is 'replica?lag=16777217' yes || return 1
    is '/replica?lag=1GB' yes && is 'replica?lag=1kB' no && is 'readiness?lag=16MB' no && is 'replica?lag=016777217B' yes
}

@test "a standby to which nothing streams, or that holds" {
    running standby f 0
    is replica no 'no WAL streams' && is readiness no && is health yes || return 1
    state=holding
    is replica no 'follows nobody' && is readiness no && is liveness yes
}

@test "a witness is neither" {
    running witness
    is primary no 'this is a witness' && is replica no && is read-only no && is member yes
}

@test "without PostgreSQL it only lives" {
    state=empty role=''
    is health no 'does not answer (empty)' && is primary no && is replica no && is readiness no && is member no || return 1
    is liveness yes && is state yes
}

@test "member: registered, and repmgrd runs" {
    running primary
    registered=f
    is member no 'not registered' || return 1
    registered=t repmgrd=f
    is member no 'repmgrd does not run'
}

@test "what is no question" {
    refuses nonsense 'no such question' && refuses '/primary/' 'no such' && refuses 'primary?lag=1' 'has no parameters' || return 1
    refuses 'replica?lag=' 'whole number' && refuses 'replica?lag=1.5MB' 'whole number' && refuses 'replica?lag=-1' 'whole' || return 1
    refuses 'replica?lag=1TB' 'whole number' && refuses 'replica?lag=1&x=2' 'whole number'
}

@test "without data the state is empty, and while they are made it is not" {
    psql() { return 2; }
    timeout() { shift; "$@"; }
    look && [[ $state == empty ]] || return 1
    echo initdb >"$UNFINISHED"
    look && [[ $state == initialising ]] || return 1
    echo clone >"$UNFINISHED"
    look && [[ $state == cloning ]] || return 1
    rm "$UNFINISHED"
    echo 17 >"$PGDATA/PG_VERSION"
    look && [[ $state == silent ]]
}

@test "JSON has null for what is not known, and nothing that could break out of it" {
    running standby t 7
    timeline=3 lsn=0/5000 upstream='a"b' node_name=n1 node_id=1 paused=f system=77
    [[ $(render_json why) == '{"state":"running","role":"standby","name":"n1","node_id":1,"timeline":3,"lsn":"0/5000","lag":7,"streaming":true,"upstream":"a?b","registered":true,"repmgrd_running":true,"repmgrd_paused":false,"system_identifier":"77","reason":"why"}' ]] || return 1
    role='' timeline='' streams=''
    [[ $(render_json '') == '{"state":"running","role":null,"name":"n1","node_id":1,"timeline":null,'*'"streaming":null,'* ]]
}

# answers REQUEST STATUS: the first line of the answer.
answers() {
    local line
    look() { running primary; }
    line=$(serve_request < <(printf '%b' "$1"))
    line=${line%%$'\r'*}
    [[ $line == "HTTP/1.1 $2"* ]] || { printf '%s: %s\n' "${1:0:60}" "$line" && return 1; }
}

@test "requests" {
    answers 'GET /primary HTTP/1.1\r\nHost: x\r\n\r\n' 200 && answers 'OPTIONS / HTTP/1.0\r\n\r\n' 200 || return 1
    answers 'HEAD /replica?lag=1MB HTTP/1.1\r\n\r\n' 503 && answers 'GET / HTTP/1.1\n\n' 200 || return 1
    answers 'GET /nonesuch HTTP/1.1\r\n\r\n' 404 && answers 'GET /replica?lag=a HTTP/1.1\r\n\r\n' 400 || return 1
    answers 'POST /primary HTTP/1.1\r\n\r\n' 405 && answers 'rubbish\r\n\r\n' 400 && answers 'GET primary HTTP/1.1\r\n\r\n' 400 || return 1
    answers "GET /$(printf '%03000d' 0) HTTP/1.1\r\n\r\n" 414 && answers '' 408 && answers 'GET /primary HTTP/1.1 x\r\n\r\n' 400
}

@test "the length is the body's, and HEAD has none" {
    look() { running primary; }
    local answer body
    answer=$(printf 'GET /primary HTTP/1.1\r\n\r\n' | serve_request)
    body=${answer#*$'\r\n\r\n'}
    [[ $answer == *"Content-Length: $((${#body} + 1))"$'\r\n'* && $body == '{'*'}' ]] || return 1
    answer=$(printf 'HEAD /primary HTTP/1.1\r\n\r\n' | serve_request; echo end)
    [[ $answer == *$'\r\n\r\nend' ]]
}
