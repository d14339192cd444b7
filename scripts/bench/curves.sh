# shellcheck shell=bash
# How throughput, latency, moves and restarts change with what grows, of radiants alone. Read by scripts/bench.sh.
# A result's case is 'grows/WHAT/HOW', its system the amount.
# shellcheck disable=SC2154 # set there

# One point: what grows, how much, what is done, and the load's arguments.
point() {
    local what=$1 amount=$2 how=$3 reads=0.0
    shift 3
    [[ $how != get ]] || reads=1.0
    note 1 "grows/$what/$how" "$amount" "$(drive shardbearer --read-share "$reads" --warm-up 1 --duration "$curve_seconds" "$@")"
}

# A set, and a get of the same keys.
both() {
    local what=$1 amount=$2
    shift 2
    point "$what" "$amount" set "$@"
    point "$what" "$amount" get --no-fill "$@"
}

grow_values() {
    local bytes keys
    start_radiants values
    for bytes in 16 256 4096 65536 1048576; do
        # As many as fit into 32 MiB, so that what grows is the value alone.
        keys=$((33554432 / bytes))
        both 'bytes of a value' "$bytes" --clients 16 --value-size "$bytes" --keys $((keys > 10000 ? 10000 : keys))
    done
    stop_radiants
}

grow_clients() {
    local clients
    start_radiants clients
    for clients in 1 4 16 64 256 1024 4096; do
        both 'connections' "$clients" --clients "$clients" --value-size 256 --keys 10000
    done
    stop_radiants
}

# The same radiants with more and more keys, then how long one of them takes to start with these.
grow_keys() {
    local keys begun how
    start_radiants keys
    for keys in $curve_keys; do
        drive shardbearer --clients 16 --pipeline 32 --value-size 256 --keys "$keys" --warm-up 0 --duration 1 >/dev/null
        for how in set get; do
            point keys "$keys" "$how" --no-fill --clients 64 --value-size 256 --keys "$keys"
        done
        note 1 grows/keys/memory "$keys" "{\"bytes\": $(resident "$(processes shardbearer)")}"
        kill -KILL "$(pid_of_radiant 3)"
        sleep 1
        begun=$(jq -n "$(date +%s%N) / 1e9")
        start_radiant_again 3
        await 'the third radiant' curl -fs 127.0.0.1:7482/readyz
        note 1 grows/keys/restart "$keys" "{\"seconds\": $(seconds_since "$begun")}"
    done
    stop_radiants
}

# Clusters of different shapes: a name, the setting that makes it so, and the amounts.
grow_shape() {
    local what=$1 setting=$2 amount
    shift 2
    for amount; do
        export "$setting=$amount"
        # Each order has a shard at least.
        [[ $what != orders ]] || export SHARDBEARER_BOOTSTRAP_SHARDS=64
        start_radiants "$what-$amount"
        unset "$setting" SHARDBEARER_BOOTSTRAP_SHARDS
        drive shardbearer --clients 64 --value-size 256 --keys 10000 --warm-up 0 --duration 1 >/dev/null
        # Until each shard has its keyspace; see events.sh.
        sleep 10
        both "$what" "$amount" --clients 64 --value-size 256 --keys 10000
        stop_radiants
    done
}

grow_radiants() {
    for radiant_count in 3 5 7 9; do
        start_radiants "radiants-$radiant_count"
        both radiants "$radiant_count" --clients 64 --value-size 256 --keys 10000
        stop_radiants
    done
    radiant_count=3
}

# Seconds that a shard of so many MiB takes to another order and back, without clients.
grow_shards_that_move() {
    local mib shard source other begun there
    start_radiants moves
    shard=$(tagged_shard)
    for mib in 1 8 64 256; do
        drive shardbearer --tag "$tag" --clients 16 --value-size 4096 --keys $((mib * 256)) --read-share 1 \
            --warm-up 0 --duration 1 >/dev/null
        source=$(owner_of "$shard")
        other=$("$binary" --output json orders | jq "[.[] | select((.control | not) and .id != $source) | .id][0]")
        for there in "$other" "$source"; do
            begun=$(jq -n "$(date +%s%N) / 1e9")
            "$binary" shard move "$shard" --to "$there" --watch >>"$run/bench.log" 2>&1 ||
                say "the move of $mib MiB failed; see $run/bench.log"
            note 1 'grows/MiB of a shard/move' "$mib" "{\"seconds\": $(seconds_since "$begun")}"
        done
    done
    stop_radiants
}

all_curves() {
    if wanted values; then grow_values; fi
    if wanted clients; then grow_clients; fi
    if wanted keys; then grow_keys; fi
    if wanted shards; then grow_shape shards SHARDBEARER_BOOTSTRAP_SHARDS 16 64 256 1000; fi
    if wanted orders; then grow_shape orders SHARDBEARER_BOOTSTRAP_ORDERS 1 4 16 64; fi
    if wanted radiants; then grow_radiants; fi
    if wanted moves; then grow_shards_that_move; fi
}
