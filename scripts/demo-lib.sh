# What scripts/demo is made of: steps that print what they run, expectations that end it, and the cleaning up.
# Sourced by it. Variables: work, daemon, redis, reader (pids, or empty), made_run_secrets.

DEADLINE_SECONDS=10
output='' # of the last command
to_be_refused=''
bold='' plain=''
[ ! -t 1 ] || bold=$'\033[1m' plain=$'\033[0m'

step() { printf '\n%s# %s%s\n' "$bold" "$*" "$plain"; }

fail() {
    printf '\ndemo: FAILED: %s\n' "$*" >&2
    [ ! -s "$work/daemon.log" ] || { echo "demo: the daemon's last words:" >&2; tail -n 5 "$work/daemon.log" >&2; }
    exit 1
}

# Each of these prints a command and what it says, keeps that for expect_output, and fails when the command does.

run() { # COMMAND...
    printf '$ %s\n' "$*"
    kept "$@" </dev/null
}

run_with_input() { # INPUT COMMAND...: the input is not shown; it is a secret
    local input=$1
    shift
    printf '$ … | %s\n' "$*"
    kept "$@" < <(printf %s "$input")
}

refused() { # run COMMAND... | inside SCRIPT | read_held: it must not succeed
    to_be_refused=yes
    "$@"
    to_be_refused=''
}

inside() { # SCRIPT: in the task's mount namespace, as user redis
    printf 'task$ %s\n' "$1"
    kept "${in_task[@]}" sh -c "$1" </dev/null
}

read_held() { # the file behind descriptor $held, through it and not through its name
    printf '$ head -c 1 <&%s\n' "$held"
    kept head -c 1 <&"$held"
}

kept() { # COMMAND...
    local status=0
    output=$(timeout "$DEADLINE_SECONDS" "$@" 2>&1) || status=$?
    [ -z "$output" ] || sed 's/^/    /' <<<"$output"
    [ "$status" != 124 ] || fail "no answer within $DEADLINE_SECONDS s: $*"
    [ -z "$to_be_refused" ] || [ "$status" != 0 ] || fail "it was not refused: $*"
    [ -n "$to_be_refused" ] || [ "$status" = 0 ] || fail "it ended with code $status: $*"
}

expect_output() { # PATTERN WHAT: one line of the output matches
    grep -qE -- "$1" <<<"$output" || fail "$2 (expected a line like /$1/)"
    printf '    ok: %s\n' "$2"
}

wait_for() { # WHAT PREDICATE...
    local what=$1 until=$((SECONDS + DEADLINE_SECONDS))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$until" ] || fail "after $DEADLINE_SECONDS s still not: $what"
        sleep 0.02
    done
    printf '    ok: %s\n' "$what"
}

# --- the daemon ----------------------------------------------------------------------------------------------------------

start_daemon() {
    local command=(secretfs daemon --state-dir "$work/state" --runtime-dir "$work/run" --root-key "file:$work/key/root.key")
    printf '$ %s &\n' "${command[*]}"
    "${command[@]}" 2>daemon.log &
    daemon=$!
    wait_for "the daemon is ready" daemon_ready
}

daemon_ready() {
    kill -0 "$daemon" 2>/dev/null || fail "the daemon ended: $(cat daemon.log)"
    grep -q '"event": "ready"' daemon.log
}

stop_daemon() {
    local began=$SECONDS code=0
    printf '$ kill %s\n' "$daemon"
    kill "$daemon"
    wait "$daemon" || code=$?
    daemon=''
    [ "$code" = 0 ] || fail "the daemon ended with code $code"
    [ $((SECONDS - began)) -le 5 ] || fail "the daemon took more than 5 s to end"
    ! grep -q " $work/run/mnt " /proc/mounts || fail "the file system is still mounted"
    printf '    ok: it ended with code 0, and nothing is mounted\n'
}

fs_pid() { sed -nE 's/.*"child ready".*"secretfs\.fs", "pid": ([0-9]+).*/\1/p' daemon.log | tail -n 1; }

kill_fs() {
    local old
    old=$(fs_pid)
    printf '$ kill -9 %s\n' "$old"
    kill -9 "$old"
    wait_for "a new fs serves" another_fs_than "$old"
}

another_fs_than() { [ "$(fs_pid)" != "$1" ]; }

no_tasks() { [ -z "$(secretfs ps -q)" ]; }

# --- redis and a reader beside it ----------------------------------------------------------------------------------------

# The configuration comes from standard input, a pipe: the password is on no command line and in no file but the secret.
start_redis() {
    local script='exec redis-server - --port 0 --unixsocket "$PWD/redis/sock" --dir "$PWD/redis" --logfile log <<END
requirepass "$(cat /run/secrets/redis_secret)"
save ""
END'
    printf "$ secretfs run --service redis --user redis -- sh -c '%s' &\n" "$script"
    secretfs run --service redis --user redis -- sh -c "$script" &
    redis=$!
    in_task=(nsenter --target "$redis" --mount --root --wdns="$work" --setuid "$(id -u redis)" --setgid "$(id -g redis)")
    wait_for "redis-server listens" redis_listens
}

redis_listens() {
    kill -0 "$redis" 2>/dev/null || fail "redis-server ended: $(cat redis/log 2>/dev/null)"
    [ -S redis/sock ]
}

start_reader() { # in the task, as redis: counts what it reads; an error is a line in reader.errors
    local script='wanted=$(cat /run/secrets/redis_secret)
while :; do
    got=$(cat /run/secrets/redis_secret) || echo "cannot read"
    [ "$got" = "$wanted" ] || echo "wrong bytes"
    echo >&3
done'
    : >reader.count
    "${in_task[@]}" sh -c "$script" </dev/null >reader.errors 2>&1 3>>reader.count &
    reader=$!
    wait_for "a reader in the task opens and reads the file in a loop" reader_reads_more_than 10
}

reader_reads_more_than() { [ "$(wc -l <reader.count)" -gt "$1" ]; }

stop_reader() {
    local before
    before=$(wc -l <reader.count)
    wait_for "it still reads" reader_reads_more_than "$before"
    kill "$reader"
    wait "$reader" || :
    reader=''
    [ ! -s reader.errors ] || fail "the reader saw: $(sort reader.errors | uniq -c | head -n 3)"
    printf '    ok: %s reads meanwhile, every one right\n' "$(wc -l <reader.count)"
}

# --- the end, however it comes --------------------------------------------------------------------------------------------

clean_up() {
    local code=$?
    trap - EXIT
    trap '' INT TERM
    for pid in $reader $redis; do end "$pid"; done
    [ -z "$daemon" ] || end "$daemon"
    umount --lazy "$work/run/mnt" 2>/dev/null || :
    cd /
    rm -rf --one-file-system "$work"
    [ -z "$made_run_secrets" ] || rmdir /run/secrets 2>/dev/null || :
    exit "$code"
}

end() { # PID: politely, and after 6 s not
    local pid=$1 until=$((SECONDS + 6))
    kill "$pid" 2>/dev/null || return 0
    while kill -0 "$pid" 2>/dev/null; do
        [ "$SECONDS" -lt "$until" ] || kill -9 "$pid" 2>/dev/null || :
        sleep 0.05
    done
    wait "$pid" 2>/dev/null || :
}
