# For scripts that measure: sets up what is missing, builds, and runs a class of it-tests. Sourced.
#
# shellcheck shell=bash

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(dirname "$HERE")

# help_of SCRIPT: the comment at its top.
help_of() {
    sed -n '2,/^set/s/^# \{0,1\}//p' "$1" | sed '$d'
}

# run_class COMMAND CLASS ARGUMENT...: COMMAND is what a report calls it; its log is COMMAND.log in target.
run_class() {
    local command=$1 class=$2 target=$HERE/target
    shift 2
    "$ROOT/cluster-image/provision.sh"
    mvn -q -B -Dstyle.color=never -f "$ROOT/pom.xml" -pl driver,it-tests -am -DskipTests -Dspotless.check.skip package
    # As for the demo: the engine is local, and the cluster is removed without Testcontainers' help.
    export TESTCONTAINERS_HOST_OVERRIDE=localhost TESTCONTAINERS_RYUK_DISABLED=true
    cd "$ROOT" || return
    # shellcheck disable=SC2086 # several, or none
    exec java ${JAVA_OPTIONS:-} -cp "$target/classes:$(<"$target/demo.classpath")" \
        -Drepmgr.image="${IMAGE:-postgres-repmgr}" -Dmeasure.command="it-tests/$command $*" \
        -Dlogback.configurationFile=demo-logback.xml -Ddemo.log="$target/$command.log" "$class" "$@"
}
