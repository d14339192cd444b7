#!/usr/bin/env bash
# A cluster of N processes on this machine, stopped all together with Ctrl-C.
#
#   scripts/cluster.sh [N [DIR]]        3 radiants in ./cluster, unless told otherwise
#
# DIR gets a configuration file per radiant (radiant-1.toml ...) and its data. Both are kept between runs: a
# file that is there is not written again, so change it as you like. To begin anew, remove DIR.
# SHARDBEARER_BIN names a binary to use; without it target/release/shardbearer is built.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
count=${1:-3}
folder=${2:-cluster}

fail() {
    printf 'cluster.sh: %s\n' "$1" >&2
    exit 2
}

(($# <= 2)) || fail "usage: scripts/cluster.sh [N [DIR]]"
# From 80 on the doors' ports would overlap.
if [[ ! $count =~ ^[1-9][0-9]?$ ]] || ((count > 80)); then
    fail "the number of radiants is 1 to 80, not '$count'"
fi

# Port number $2 of door $1, counted from 0: the same as those of 'shardbearer up'.
port() {
    case $1 in
    grpc) echo $((7400 + $2)) ;;
    resp) echo $((6400 + $2)) ;;
    http) echo $((7480 + $2)) ;;
    esac
}

# $1 as a TOML string.
quoted() {
    local text=${1//\\/\\\\}
    printf '"%s"' "${text//\"/\\\"}"
}

configuration() {
    local index=$1 name=$2 neighbors='' other
    for ((other = 0; other < count; other++)); do
        neighbors+="${neighbors:+, }\"127.0.0.1:$(port grpc "$other")\""
    done
    cat <<TOML
[radiant]
name = "$name"
data_dir = $(quoted "$folder/$name")

[listen]
grpc = "127.0.0.1:$(port grpc "$index")"
resp = "127.0.0.1:$(port resp "$index")"
http = "127.0.0.1:$(port http "$index")"

# Counts only until the cluster is founded.
[bootstrap]
neighbors = [$neighbors]
expect = $count
orders = $count
replication = $((count < 3 ? count : 3))
shards = 64
window_ms = 3000

[consensus]
engine = "openraft"
heartbeat_ms = 100
election_timeout_ms = 500

[storage]
engine = "fjall"
TOML
}

# Copies lines from standard input, each behind a name. Lives until the radiant has said its last line.
prefixed() {
    trap '' INT TERM HUP
    local line
    while IFS= read -r line || [[ -n $line ]]; do
        printf '%-11s| %s\n' "$1" "$line"
    done
}

binary=${SHARDBEARER_BIN:-}
if [[ -z $binary ]]; then
    (cd "$root" && cargo build --release --locked --package shardbearer)
    binary=${CARGO_TARGET_DIR:-$root/target}/release/shardbearer
fi
[[ -x $binary ]] || fail "$binary is no program"

mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

names=()
pids=()
stopping=

# Asks all that run to stop; again and harder after half a minute, so that nobody waits for ever.
stop() {
    stopping=1
    trap '' INT TERM HUP
    local index waited=0 running=1
    printf '\nstopping\n'
    for index in "${!pids[@]}"; do
        kill -TERM "${pids[index]}" 2>/dev/null || true
    done
    while ((running)); do
        running=0
        for index in "${!pids[@]}"; do
            kill -0 "${pids[index]}" 2>/dev/null || continue
            running=1
            if ((waited == 300)); then
                printf '%s does not stop: killed\n' "${names[index]}"
                kill -KILL "${pids[index]}" 2>/dev/null || true
            fi
        done
        if ((running)); then
            sleep 0.1
            waited=$((waited + 1))
        fi
    done
}
trap stop INT TERM HUP

for ((index = 0; index < count; index++)); do
    name=radiant-$((index + 1))
    file=$folder/$name.toml
    [[ -e $file ]] || configuration "$index" "$name" >"$file"
    # One that is stopped while it starts the others starts no more.
    [[ -z $stopping ]] || break
    "$binary" node --config "$file" > >(prefixed "$name") 2>&1 &
    pids+=("$!")
    names+=("$name")
done

if [[ -z $stopping ]]; then
    printf '%-11s  %-16s %-16s %s\n' '' gRPC RESP HTTP
    for ((index = 0; index < count; index++)); do
        printf '%-11s  %-16s %-16s %s\n' "${names[index]}" "127.0.0.1:$(port grpc "$index")" \
            "127.0.0.1:$(port resp "$index")" "127.0.0.1:$(port http "$index")"
    done
    printf 'configuration and data in %s; Ctrl-C stops all\n' "$folder"
fi

# Until all have ended, tell who ends by itself: a radiant that was killed is part of the exercise.
failed=0
while [[ -z $stopping ]]; do
    running=0
    for index in "${!pids[@]}"; do
        if kill -0 "${pids[index]}" 2>/dev/null; then
            running=1
            continue
        fi
        status=0
        wait "${pids[index]}" || status=$?
        [[ -z $stopping ]] || break
        printf '%-11s| ended with status %d; start it again with: %s node --config %s\n' \
            "${names[index]}" "$status" "$binary" "$folder/${names[index]}.toml"
        unset "pids[index]"
        ((status == 0)) || failed=1
    done
    ((running)) || exit "$failed"
    sleep 0.5 &
    wait "$!" || true
done 2>/dev/null # bash's own word on a killed job; it was just said better
wait
