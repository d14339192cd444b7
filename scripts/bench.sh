#!/usr/bin/env bash
# Three radiants beside etcd and Redis on this machine, taking turns on the same load; medians, ratios, and
# which targets fall short. Never part of the tests: machines differ by more than most changes do.
#
#   scripts/bench.sh [--rounds 3] [--warm-up 2] [--duration 10] [--only CASE]
#   scripts/bench.sh --report FILE        the tables of an earlier run
#
# The peers come from Debian's packages, unpacked under target/bench/ without being installed; needs no root.
# Elsewhere etcd, etcdctl, redis-server, redis-cli and jq are taken from the PATH.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cache=${CARGO_TARGET_DIR:-$root/target}/bench
run=$cache/run

rounds=3 warm_up=2 duration=10 only='' report=''
while (($#)); do
    case $1 in
    --rounds) rounds=${2:?} ;;
    --warm-up) warm_up=${2:?} ;;
    --duration) duration=${2:?} ;;
    --only) only=${2:?} ;;
    --report) report=${2:?} ;;
    *)
        sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
        exit 2
        ;;
    esac
    shift 2
done

say() { printf '== %s\n' "$*" >&2; }
fail() {
    printf 'bench.sh: %s\n' "$1" >&2
    exit 1
}

# --- the peers' programs ---------------------------------------------------------------------------------

# Downloads and unpacks what is needed, once. The libraries are those that Redis and jq link to.
fetch_peers() {
    local packages=(etcd-server etcd-client redis-server redis-tools jq libjq1 libonig5 libjemalloc2 liblzf1 libatomic1)
    if command -v apt-get >/dev/null && [[ ! -e $cache/unpacked ]]; then
        say "fetching ${packages[*]}"
        mkdir -p "$cache/debs" "$cache/root"
        (cd "$cache/debs" && apt-get -qq -o APT::Sandbox::User=root download "${packages[@]}" >&2) ||
            fail "apt-get download failed; 'apt-get update' may help, as may installing ${packages[*]:0:5} by hand"
        local package
        for package in "$cache"/debs/*.deb; do
            dpkg -x "$package" "$cache/root"
        done
        touch "$cache/unpacked"
    fi
    PATH=$cache/root/usr/bin:$PATH
    local libraries
    libraries=$(find "$cache/root" -name '*.so.*' -printf '%h:' 2>/dev/null || true)
    [[ -z $libraries ]] || export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:-}
    local program
    for program in etcd etcdctl redis-server redis-cli jq; do
        command -v "$program" >/dev/null || fail "there is no $program on this machine"
    done
}

# --- the systems -----------------------------------------------------------------------------------------

etcd_clients=(23790 23791 23792)
etcd_peers=(23890 23891 23892)
cluster_ports=(17000 17001 17002 17003 17004 17005) # each also uses the port 10000 above it
plain_port=17100
radiants_resp=127.0.0.1:6400,127.0.0.1:6401,127.0.0.1:6402
radiants_grpc=127.0.0.1:7400,127.0.0.1:7401,127.0.0.1:7402

endpoints() { printf '127.0.0.1:%s\n' "$@" | paste -sd, -; }

pids=()
stop() {
    trap '' INT TERM
    local pid
    # A radiant's processes are stopped by scripts/cluster.sh, which waits for them.
    for pid in "${pids[@]}"; do
        kill -TERM "$pid" 2>/dev/null || true
    done
    wait
}

start() {
    local name=$1
    shift
    "$@" >"$run/$name.log" 2>&1 &
    pids+=("$!")
}

# Waits until a command succeeds.
await() {
    local what=$1 tries
    shift
    for ((tries = 0; tries < 600; tries++)); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
    fail "$what is not ready after a minute; see $run/*.log"
}

port_is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

start_etcd() {
    local members='' index
    for index in 0 1 2; do
        members+=${members:+,}e$index=http://127.0.0.1:${etcd_peers[index]}
    done
    for index in 0 1 2; do
        start "etcd-$index" etcd --name "e$index" --data-dir "$run/etcd-$index" \
            --listen-client-urls "http://127.0.0.1:${etcd_clients[index]}" \
            --advertise-client-urls "http://127.0.0.1:${etcd_clients[index]}" \
            --listen-peer-urls "http://127.0.0.1:${etcd_peers[index]}" \
            --initial-advertise-peer-urls "http://127.0.0.1:${etcd_peers[index]}" \
            --initial-cluster "$members" --quota-backend-bytes 8589934592 --log-level warn
    done
    await etcd env ETCDCTL_API=3 etcdctl --endpoints "$(endpoints "${etcd_clients[@]}")" endpoint health
}

cluster_is_up() { redis-cli -p "$1" cluster info | grep -q cluster_state:ok; }
stores() { [[ $(redis-cli -p "$1" set bench-ready yes) == OK ]]; }
answers() { [[ $(redis-cli -p "$1" ping) == PONG ]]; }

start_redis() {
    local port nodes=()
    for port in "${cluster_ports[@]}"; do
        mkdir -p "$run/redis-$port"
        start "redis-$port" redis-server --port "$port" --bind 127.0.0.1 --dir "$run/redis-$port" --save '' \
            --cluster-enabled yes --appendonly yes --appendfsync always --logfile ''
        nodes+=("127.0.0.1:$port")
    done
    start redis-plain redis-server --port "$plain_port" --bind 127.0.0.1 --dir "$run" --save '' --appendonly no
    for port in "${cluster_ports[@]}" "$plain_port"; do
        await "Redis at $port" answers "$port"
    done
    redis-cli --cluster create "${nodes[@]}" --cluster-replicas 1 --cluster-yes >"$run/redis-create.log" ||
        fail "the Redis Cluster did not form; see $run/redis-create.log"
    for port in "${cluster_ports[@]}"; do
        await "Redis Cluster at $port" cluster_is_up "$port"
    done
}

start_radiants() {
    SHARDBEARER_BIN=$binary start radiants "$root/scripts/cluster.sh" 3 "$run/radiants"
    local port
    for port in 6400 6401 6402; do
        await "the radiant at $port" stores "$port"
    done
}

# --- the load --------------------------------------------------------------------------------------------

# case | clients | pipeline | share of reads | systems in turn
cases=(
    'set-1|1|1|0.0|shardbearer etcd redis-cluster'
    'set-64|64|1|0.0|shardbearer shardbearer-hop shardbearer-grpc etcd redis-cluster redis-plain'
    'get-64|64|1|1.0|shardbearer shardbearer-hop shardbearer-grpc etcd redis-cluster redis-plain'
    'set-256|256|1|0.0|shardbearer etcd'
    'set-16x32|16|32|0.0|shardbearer redis-plain'
)

# The arguments of 'shardbearer bench' for a system. Both sharded stores are asked by a client that knows
# their slots; 'shardbearer-hop' is what a plain Redis client gets, asking whichever radiant.
target_of() {
    case $1 in
    shardbearer) echo --target resp --redis-cluster --endpoints "$radiants_resp" ;;
    shardbearer-hop) echo --target resp --endpoints "$radiants_resp" ;;
    shardbearer-grpc) echo --target grpc --endpoints "$radiants_grpc" ;;
    etcd) echo --target etcd --endpoints "$(endpoints "${etcd_clients[@]}")" ;;
    redis-cluster) echo --target resp --redis-cluster --endpoints "$(endpoints "${cluster_ports[@]:0:3}")" ;;
    redis-plain) echo --target resp --endpoints "127.0.0.1:$plain_port" ;;
    esac
}

# One measurement, as a line of JSON. One that fails is a line too, and shows up in the table.
measure() {
    local round=$1 name=$2 clients=$3 pipeline=$4 reads=$5 system=$6 target result
    read -ra target <<<"$(target_of "$system")"
    if ! result=$(timeout $((warm_up + duration + 60)) "$binary" bench "${target[@]}" --clients "$clients" \
        --pipeline "$pipeline" --value-size 256 --keys 100000 --read-share "$reads" --warm-up "$warm_up" \
        --duration "$duration" --output json 2>>"$run/bench.log"); then
        say "round $round $name $system failed; see $run/bench.log"
        result=null
    fi
    jq -nc --argjson round "$round" --arg case "$name" --arg system "$system" --argjson result "${result:-null}" \
        '{$round, $case, $system, $result}' | tee -a "$results" |
        jq -r 'include "bench"; "   round \(.round)  \(.case)  \(.system)  \(figures | "\(.ops) operations/s")"' \
            -L "$root/scripts" >&2
}

tables() { jq -rs -L "$root/scripts" 'include "bench"; report' "$1"; }

fetch_peers
if [[ -n $report ]]; then
    tables "$report"
    exit
fi

binary=${SHARDBEARER_BIN:-}
if [[ -z $binary ]]; then
    (cd "$root" && cargo build --release --locked --package shardbearer)
    binary=${CARGO_TARGET_DIR:-$root/target}/release/shardbearer
fi
for port in "${etcd_clients[@]}" "${etcd_peers[@]}" "${cluster_ports[@]}" "$plain_port" \
    640{0,1,2} 740{0,1,2} 748{0,1,2}; do
    port_is_free "$port" || fail "port $port is in use; stop what uses it"
done

rm -rf "$run"
mkdir -p "$run"
results=$cache/results-$(date -u +%Y%m%dT%H%M%SZ).jsonl
trap 'exit 130' INT TERM
trap stop EXIT
say 'starting etcd, Redis and three radiants'
start_etcd
start_redis
start_radiants

for ((round = 1; round <= rounds; round++)); do
    for line in "${cases[@]}"; do
        IFS='|' read -r name clients pipeline reads systems <<<"$line"
        [[ -z $only || $only == "$name" ]] || continue
        for system in $systems; do
            measure "$round" "$name" "$clients" "$pipeline" "$reads" "$system"
        done
    done
done

printf '\n%s, %s cores, %s, %s\n' "$(uname -sr)" "$(nproc)" "$(etcd --version | head -1)" \
    "$(redis-server --version | cut -d' ' -f1-3)"
printf '%s rounds of %s s; figures in %s\n\n' "$rounds" "$duration" "$results"
tables "$results"
