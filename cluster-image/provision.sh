#!/bin/bash
# Brings a machine to where clusters can be started: a Docker engine that answers, the base image, the node image.
# What is there already is left alone, so it can be run again at any time, and by several at once.
#
#   provision.sh [--with-test-tools]      --with-test-tools: shellcheck and bats, too
#
# Environment: IMAGE (postgres-repmgr) and BASE_IMAGE (debian:trixie-slim), the two images' names.
# It can be sourced: nothing runs then.
set -Eeuo pipefail

IMAGE=${IMAGE:-postgres-repmgr}
BASE_IMAGE=${BASE_IMAGE:-debian:trixie-slim}
IMAGE_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SOURCES_LABEL=io.github.repmgrjdbc.sources
PULL_TIMEOUT=60      # seconds; where there is no registry, one should not wait for it
ENGINE_TIMEOUT=60    # seconds for a started engine to answer

say() {
    printf 'provision: %s\n' "$*"
}

fail() {
    printf 'provision: ERROR: %s\n' "$*" >&2
    exit 1
}

# logged WHAT COMMAND...: one line when it begins; the command's output only if it fails.
logged() {
    local what=$1 output began=$SECONDS status=0
    shift
    say "$what …"
    output=$("$@" 2>&1 </dev/null) || status=$?
    if ((status != 0)); then
        printf '%s\n' "$output" >&2
        fail "$what: failed with status $status; its output is above"
    fi
    say "$what: done in $((SECONDS - began)) s"
}

is_root() {
    [[ $(id -u) == 0 ]]
}

has_apt() {
    command -v apt-get >/dev/null
}

# ensure_commands COMMAND=PACKAGE...: installs the packages of those commands that are missing.
ensure_commands() {
    local pair
    local -a missing=()
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
    done
    ((${#missing[@]} > 0)) || return 0
    has_apt || fail "not found: ${missing[*]}. This is no Debian or Ubuntu, so please install them by hand"
    is_root || fail "not found: ${missing[*]}. Please run this as root, or: apt-get install ${missing[*]}"
    logged "installing ${missing[*]}" apt_install "${missing[@]}"
}

apt_install() {
    apt-get -q update &&
        DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 install --no-install-recommends "$@"
}

# ---------------------------------------------------------------------------------------------- engine

engine_answers() {
    timeout 20 docker info >/dev/null 2>&1
}

ensure_engine() {
    if engine_answers; then
        say 'Docker engine: is there, it answers'
        return
    fi
    check_engine_is_ours
    ensure_commands docker=docker.io dockerd=docker.io iptables=iptables
    # On some machines the installation has started it.
    engine_answers || start_engine
}

# An engine that somebody else is in charge of is not ours to start.
check_engine_is_ours() {
    if [[ -n ${DOCKER_HOST:-} ]]; then
        fail "no Docker engine answers at DOCKER_HOST=$DOCKER_HOST; start it, or unset DOCKER_HOST"
    fi
    is_root || fail 'no Docker engine answers to this user: start the engine, join the group docker if there is one,' \
        'or run this as root'
    has_apt || command -v dockerd >/dev/null ||
        fail 'no Docker engine answers, and this is no Debian or Ubuntu: please install and start one'
}

has_systemd() {
    [[ -d /run/systemd/system ]]
}

engine_log() {
    if [[ -w /var/log ]]; then
        echo /var/log/dockerd.log
    else
        echo "${TMPDIR:-/tmp}/dockerd.log"
    fi
}

start_engine() {
    local log deadline=$((SECONDS + ENGINE_TIMEOUT))
    log=$(engine_log)
    if has_systemd; then
        say 'starting the Docker engine (systemd)'
        systemctl start docker || fail 'systemctl start docker failed; "journalctl -u docker" says why'
    else
        # Detached, and without this script's lock: it goes on after the script.
        say "starting the Docker engine in the background, its log is $log"
        (
            [[ -z ${lock:-} ]] || exec {lock}>&-
            exec setsid -f dockerd >>"$log" 2>&1 </dev/null
        )
    fi
    until engine_answers; do
        if ((SECONDS >= deadline)); then
            tail -n 30 "$log" >&2 2>/dev/null || true
            fail "the Docker engine does not answer after $ENGINE_TIMEOUT s; the end of its log is above"
        fi
        sleep 0.2
    done
    say 'Docker engine: answers'
}

# ---------------------------------------------------------------------------------------------- images

has_image() {
    docker image inspect "$1" >/dev/null 2>&1
}

# "debian:trixie-slim" -> "trixie"; fails for what debootstrap cannot make.
suite_of() {
    [[ $1 =~ ^debian:([a-z]+)(-slim)?$ ]] && printf '%s' "${BASH_REMATCH[1]}"
}

ensure_base_image() {
    local suite
    if has_image "$BASE_IMAGE"; then
        say "base image $BASE_IMAGE: is there"
        return
    fi
    say "pulling $BASE_IMAGE …"
    if timeout "$PULL_TIMEOUT" docker pull -q "$BASE_IMAGE" >/dev/null 2>&1; then
        say "pulling $BASE_IMAGE: done"
        return
    fi
    suite=$(suite_of "$BASE_IMAGE") ||
        fail "$BASE_IMAGE cannot be pulled, and only debian:SUITE or debian:SUITE-slim can be made here"
    say "it cannot be pulled; making it from Debian's packages"
    is_root || fail 'making a base image needs root'
    ensure_commands debootstrap=debootstrap
    logged "making $BASE_IMAGE with debootstrap" bootstrap_image "$suite" "$BASE_IMAGE"
}

# bootstrap_image SUITE NAME, in a subshell, so that the directory is removed on every way out.
bootstrap_image() (
    directory=$(mktemp -d)
    trap 'rm -rf --one-file-system "$directory"' EXIT
    trap 'exit 1' INT TERM
    debootstrap --variant=minbase "$1" "$directory" &&
        tar -C "$directory" --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' -c . |
        docker import --change 'CMD ["bash"]' - "$2"
)

# What the node image is made of: its files and its base.
sources_hash() {
    {
        docker image inspect --format '{{.Id}}' "$BASE_IMAGE"
        (cd "$IMAGE_DIR" && sha256sum Dockerfile docker-entrypoint.sh events health promote metadata.sql witness-roles.sql lib/*)
    } | sha256sum | cut -c 1-16
}

ensure_node_image() {
    local wanted present
    wanted=$(sources_hash)
    present=$(docker image inspect --format "{{index .Config.Labels \"$SOURCES_LABEL\"}}" "$IMAGE" 2>/dev/null) || true
    if [[ $present == "$wanted" ]]; then
        say "node image $IMAGE: is there, built from these files"
        return
    fi
    logged "building $IMAGE" docker build --build-arg "BASE_IMAGE=$BASE_IMAGE" \
        --label "$SOURCES_LABEL=$wanted" --tag "$IMAGE" "$IMAGE_DIR"
}

# One at a time: the second waits, and then finds everything there.
take_lock() {
    exec {lock}>"${TMPDIR:-/tmp}/postgres-repmgr-provision-$(id -u).lock"
    if ! flock --nonblock "$lock"; then
        say 'another provision.sh is at work, waiting for it'
        flock "$lock"
    fi
}

_main() {
    local test_tools=no
    case "$*" in
        '') ;;
        --with-test-tools) test_tools=yes ;;
        -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && return ;;
        *) fail "unknown argument '$*'; allowed is --with-test-tools" ;;
    esac
    take_lock
    if [[ $test_tools == yes ]]; then
        ensure_commands shellcheck=shellcheck bats=bats
    fi
    ensure_engine
    ensure_base_image
    ensure_node_image
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    _main "$@"
fi
