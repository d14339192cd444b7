#!/usr/bin/env bash
# A cluster of N processes on this machine, stopped all together with Ctrl-C.
#
#   scripts/cluster.sh [--grpc-port PORT] [--resp-port PORT] [--http-port PORT] [N [DIR]]
#
# 3 radiants in ./cluster, unless told otherwise. The ports are those of the first radiant (7400, 6400, 7480); each
# further one has the next of each.
#
# DIR gets a configuration file per radiant (radiant-1.toml ...) and its data. Both are kept between runs: a
# file that is there is not written again, so change it as you like. To begin anew, remove DIR.
# SHARDBEARER_BIN names a binary to use; without it target/release/shardbearer is built.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)

fail() {
    printf 'cluster.sh: %s\n' "$1" >&2
    exit 2
}

# The comment above.
help() {
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p;}' "$0"
    exit
}

# shellcheck disable=SC2034 # read by name, in port
grpc=7400 resp=6400 http=7480
words=()
while (($#)); do
    case $1 in
    -h | --help) help ;;
    --grpc-port=* | --resp-port=* | --http-port=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" && continue ;;
    --grpc-port | --resp-port | --http-port)
        if [[ ! ${2:-} =~ ^[1-9][0-9]{0,4}$ ]] || (($2 > 65535)); then
            fail "$1 needs a port"
        fi
        # shellcheck disable=SC2034 # read by name, in port
        case $1 in
        --grpc-port) grpc=$2 ;;
        --resp-port) resp=$2 ;;
        --http-port) http=$2 ;;
        esac
        shift
        ;;
    -*) fail "there is no option $1; see --help" ;;
    *) words+=("$1") ;;
    esac
    shift
done
((${#words[@]} <= 2)) || fail "too many words; see --help"
count=${words[0]:-3}
folder=${words[1]:-cluster}
if [[ ! $count =~ ^[1-9][0-9]?$ ]] || ((count > 80)); then
    fail "the number of radiants is 1 to 80, not '$count'"
fi
for first in grpc resp http; do
    ((${!first} + count - 1 <= 65535)) || fail "there is no port $((${!first} + count - 1))"
    for other in grpc resp http; do
        [[ $first != "$other" ]] || continue
        if ((${!first} <= ${!other} && ${!other} < ${!first} + count)); then
            fail "the $first ports, $count from ${!first} on, overlap the $other ports from ${!other} on"
        fi
    done
done

# Port number $2 of door $1, counted from 0: the same as those of 'shardbearer up'.
port() {
    echo $((${!1} + $2))
}

# What the file $1 has for the door $2.
listens() {
    sed -n "/^\[listen\]/,/^\[[^l]/s/^ *$2 *= *\"\{0,1\}\([^\"#]*\)\"\{0,1\}.*/\1/p" "$1" | head -n 1
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
    local index pid waited=0 running=1
    printf '\nstopping\n'
    for index in "${!names[@]}"; do
        # One that was started again by hand belongs to the cluster, too.
        pid=$(cat "$folder/${names[index]}/lock" 2>/dev/null) || continue
        if [[ $pid =~ ^[0-9]+$ && $(ps -o args= -p "$pid" 2>/dev/null) == *"node --config"*"${names[index]}.toml"* ]]; then
            pids[index]=$pid
        fi
    done
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
        # From the files, which may be older than this call, and edited.
        file=$folder/${names[index]}.toml
        printf '%-11s  %-16s %-16s %s\n' "${names[index]}" "$(listens "$file" grpc)" "$(listens "$file" resp)" \
            "$(listens "$file" http)"
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
