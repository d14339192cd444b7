# shellcheck shell=bash
# Throughput and latency: the same load on one system after the other. Read by scripts/bench.sh.
# shellcheck disable=SC2154 # set there

# case | clients | pipeline | share of reads | systems in turn
loads=(
    'set-1|1|1|0.0|shardbearer shardbearer-grpc etcd redis-cluster'
    'set-16|16|1|0.0|shardbearer shardbearer-grpc etcd redis-cluster'
    'set-64|64|1|0.0|shardbearer shardbearer-hop shardbearer-grpc etcd redis-cluster redis-plain'
    'set-256|256|1|0.0|shardbearer shardbearer-grpc etcd redis-cluster'
    'set-16x32|16|32|0.0|shardbearer redis-plain'
    'get-1|1|1|1.0|shardbearer etcd redis-cluster'
    'get-64|64|1|1.0|shardbearer shardbearer-hop shardbearer-grpc etcd redis-cluster redis-plain'
    'get-16x32|16|32|1.0|shardbearer redis-plain'
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

# 'shardbearer bench' on a system, as JSON; 'null' if it failed, so that it shows up in the table.
drive() {
    local system=$1
    shift
    drive_unwatched "$system" --pids "$(processes "$system")" "$@"
}

# The same where one of the processes is going to be killed, so that none of them is looked at.
drive_unwatched() {
    local system=$1 target
    shift
    read -ra target <<<"$(target_of "$system")"
    timeout $((warm_up + duration + 600)) "$binary" bench "${target[@]}" --output json "$@" 2>>"$run/bench.log" ||
        echo null
}

# Notes a result as a line of JSON.
note() {
    local round=$1 name=$2 system=$3 result=$4
    [[ $result != null ]] || say "round $round $name $system failed; see $run/bench.log"
    jq -nc --argjson round "$round" --arg case "$name" --arg system "$system" --argjson result "$result" \
        '{$round, $case, $system, $result}' | tee -a "$results" |
        jq -r 'include "report"; "   round \(.round)  \(.case)  \(.system)  \(said)"' -L "$root/scripts/bench" >&2
}

wanted() { [[ -z $only || $only == "$1" ]]; }

# Stores that have all keys by now.
declare -A filled=()

measure_load() {
    local round=$1 name=$2 clients=$3 pipeline=$4 reads=$5 system=$6 result fill=()
    local store=${system%-hop}
    store=${store%-grpc}
    [[ -z ${filled[$store]:-} ]] || fill=(--no-fill)
    result=$(drive "$system" --clients "$clients" --pipeline "$pipeline" --value-size 256 --keys "$keys" \
        --read-share "$reads" --warm-up "$warm_up" --duration "$duration" "${fill[@]}")
    [[ $result == null ]] || filled[$store]=yes
    note "$round" "$name" "$system" "$result"
}

all_loads() {
    local line name clients pipeline reads systems system
    for line in "${loads[@]}"; do
        IFS='|' read -r name clients pipeline reads systems <<<"$line"
        wanted "$name" || continue
        for system in $systems; do
            measure_load "$1" "$name" "$clients" "$pipeline" "$reads" "$system"
        done
    done
}
