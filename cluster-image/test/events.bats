#!/usr/bin/env bats
# How repmgr's events reach the programs that are to be told. The functions alone, without containers.
#
# shellcheck disable=SC2016 # the code in single quotes is for another shell

setup() {
    mkdir -p "$BATS_TEST_TMPDIR/state" "$BATS_TEST_TMPDIR/hooks"
    export PGDATA=$BATS_TEST_TMPDIR/state/data SEEN=$BATS_TEST_TMPDIR/seen
    source "$BATS_TEST_DIRNAME/../events"
    HOOKS_DIR=$BATS_TEST_TMPDIR/hooks HOOK_TIMEOUT=1
    cd "$BATS_TEST_TMPDIR"
}

# hook NAME COMMANDS
hook() {
    printf '#!/bin/bash\n%s\n' "$2" >"$HOOKS_DIR/$1"
    chmod +x "$HOOKS_DIR/$1"
}

# as_repmgr_runs_it DETAILS: the command of repmgr.conf, filled in as repmgr does: quotes escaped, cut off at 1023 bytes.
as_repmgr_runs_it() {
    local value command
    value=$(render_event_command)
    value=${value#"event_notification_command='"}
    value=$(printf '%b' "${value%\'}" && echo .)
    command=${value%.}
    command=${command//%n/7} command=${command//%e/standby_promote} command=${command//%s/1}
    command=${command//%t/2026-11-25 14:00:00+00}
    local details=${1//\"/\\\"}
    command=${command//%d/"$details"}
    command=${command//\/usr\/local\/bin\/events/\"$BATS_TEST_TMPDIR/events\"}
    sh -c "${command:0:1023}"
}

@test "details reach a program as they are, whatever is in them" {
    local details
    cat >events <<'END'
#!/bin/bash
printf '%s|' "$@" "$(cat)" >"$SEEN"
END
    chmod +x events
    for details in 'plain' 'a "quoted" name' "it's" '$(touch oops) `touch oops` ${HOME} \\ ; touch oops #' '" ; touch oops ; "' \
        $'two\nlines\ntouch oops' "$(printf '%02000d' 0)"; do
        rm -f "$SEEN"
        as_repmgr_runs_it "$details" 2>errors
        [[ ! -e oops && ! -s errors ]] || { cat errors; return 1; }
        local expected="7|standby_promote|1|2026-11-25 14:00:00+00|${details//\"/\\\"}|"
        if ((${#details} < 1000)); then
            [[ $(<"$SEEN") == "$expected" ]] || { printf '%s\n%s\n' "$expected" "$(<"$SEEN")"; return 1; }
        else
            [[ $(<"$SEEN") == '7|standby_promote|1|2026-11-25 14:00:00+00|0000'* ]] || return 1
        fi
    done
}

@test "without the directory nothing is run" {
    rmdir "$HOOKS_DIR"
    [[ -z $(render_event_command) ]]
}

@test "programs are run in the order of their names, with the event's arguments" {
    hook 20-second 'printf "second " >>"$SEEN"'
    hook 10-first 'printf "%s|" "$@" >>"$SEEN"'
    echo 'not executable' >"$HOOKS_DIR/15-no"
    _events 7 standby_promote 0 'at noon' <<<'a \"quoted\" name'
    wait
    [[ $(<"$SEEN") == '7|standby_promote|f|at noon|a "quoted" name|second ' ]] || { cat "$SEEN"; return 1; }
}

@test "one that fails or hangs is ended, and the next is run all the same" {
    hook 10-fails 'exit 3'
    hook 20-hangs 'sleep 30'
    hook 30-next 'echo "says so"; touch "$SEEN"'
    _events 7 x 1 t </dev/null >/dev/null 2>log    # as repmgrd has it
    wait
    for _ in {1..50}; do ! grep -q 'says so' log || break; sleep 0.1; done
    cat log
    [[ -e $SEEN ]] && grep -q '\[node\] WARNING: 10-fails has failed at the event x (status 3)' log || return 1
    grep -q '\[node\] WARNING: 20-hangs has not dealt with the event x within 1 s' log || return 1
    grep -q '\[event 30-next\] INFO: says so' log
}

@test "repmgr does not wait for them" {
    hook 10-slow 'sleep 0.5; touch "$SEEN"'
    _events 7 x 1 t </dev/null >/dev/null 2>&1
    [[ ! -e $SEEN ]] || return 1
    wait
    [[ -e $SEEN ]]
}
