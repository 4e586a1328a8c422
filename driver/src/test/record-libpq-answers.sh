#!/bin/bash
# Asks the real libpq what it makes of connection strings: writes behind each line of a file what psql says to it.
#
#   record-libpq-answers.sh FILE [IMAGE]      IMAGE: one with psql, default postgres-repmgr
#
# A line is TEXT, or TEXT<TAB>ANSWER from an earlier run; both with backslash escapes that bash and Java read alike
# (\\ \n \t \r \f \0ooo). Lines that begin with '#', and empty ones, stay as they are. To add a case, add a line and run
# this.
#
# Nothing answers to psql: the container has no network but loopback, and nobody listens there. So psql goes through all
# addresses of a connection string, in their order, and says of each that it failed. n1, n2 and n3 have an address there
# since psql names the port only of a name that resolves.
set -euo pipefail

# Runs in the container: lines from standard input, answered ones to standard output.
answer_lines() {
    local line text conninfo answer
    unset "${!PG@}"
    export LC_ALL=C.UTF-8 PGCONNECT_TIMEOUT=2
    printf '127.0.1.%d n%d\n' 1 1 2 2 3 3 >>/etc/hosts
    while IFS= read -r line; do
        if [[ -z $line || $line == '#'* ]]; then
            printf '%s\n' "$line"
            continue
        fi
        text=${line%%$'\t'*}
        # The x keeps line ends that $( ) would take off.
        conninfo=$(printf '%bx' "$text")
        conninfo=${conninfo%x}
        # psql takes a text without '=' for the name of a database: this makes it a connection string all the same.
        [[ $conninfo == postgres://* || $conninfo == postgresql://* ]] || conninfo="user=nobody $conninfo"
        answer=$(psql --no-password --no-psqlrc --dbname="$conninfo" --command='' 2>&1 </dev/null) || true
        answer=${answer#psql: error: }
        answer=${answer//$'\n\tIs the server running on that host and accepting TCP/IP connections?'/}
        answer=${answer//$'\n\tIs the server running locally and accepting connections on that socket?'/}
        answer=${answer//\\/\\\\}
        answer=${answer//$'\n'/\\n}
        answer=${answer//$'\t'/\\t}
        answer=${answer//$'\r'/\\r}
        answer=${answer//$'\f'/\\f}
        answer=${answer//$'\v'/\\013}
        printf '%s\t%s\n' "$text" "$answer"
    done
}

file=${1:?'usage: record-libpq-answers.sh FILE [IMAGE]'}
image=${2:-postgres-repmgr}

answered=$(docker run --rm --interactive --network none --entrypoint bash "$image" \
    -c "$(declare -f answer_lines); answer_lines" <"$file")
printf '%s\n' "$answered" >"$file"
