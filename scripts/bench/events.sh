# shellcheck shell=bash
# What happens to a cluster: a herald that dies, a shard that moves, a radiant that starts again, an hour of rest, and
# what it holds. Read by scripts/bench.sh.
# shellcheck disable=SC2154 # set there

# The keys of these measurements are in one shard, by this hash tag.
tag=bench-one

# The shard of the tag: the slots of the first table are dealt out evenly.
tagged_shard() {
    local shards
    shards=$("$binary" --output json shards | jq length)
    echo $(($(redis-cli -p 6400 cluster keyslot "{$tag}") * shards / 16384 + 1))
}
owner_of() { "$binary" --output json shards | jq ".[] | select(.id == $1) | .order"; }
herald_of() { "$binary" --output json orders | jq ".[] | select(.id == $1) | .herald"; }
leads() { [[ $(herald_of "$1") != null ]]; }

# Seconds into a load at which the event comes.
event_after=3
event_load=(--clients 8 --keys 1000 --rate 500 --read-share 0 --warm-up 1 --duration 10 --value-size 256)

# The longest time without an answer while the leader of the keys is killed.
failover_of_shardbearer() {
    local order herald result
    order=$(owner_of "$(tagged_shard)")
    await 'a herald' leads "$order"
    herald=$(herald_of "$order")
    drive_unwatched shardbearer-grpc "${event_load[@]}" --tag "$tag" >"$run/failover.json" &
    local load=$!
    sleep "$event_after"
    kill -KILL "$(pid_of_radiant "$herald")"
    wait "$load"
    result=$(cat "$run/failover.json")
    start_radiant_again "$herald"
    await "radiant $herald" curl -fs "127.0.0.1:$((7479 + herald))/readyz"
    note "$1" failover shardbearer "$result"
}

failover_of_etcd() {
    local leader result
    leader=$(etcd_answers endpoint status -w json |
        jq -r '[.[] | .Status.header.member_id == .Status.leader] | index(true)')
    drive_unwatched etcd "${event_load[@]}" >"$run/failover.json" &
    local load=$!
    sleep "$event_after"
    kill -KILL "${pids[etcd-$leader]}"
    wait "$load"
    result=$(cat "$run/failover.json")
    start_etcd_member "$leader"
    await etcd etcd_answers endpoint health
    note "$1" failover etcd "$result"
}

# How long the writes of a shard wait while it moves, and how long those of the others.
move() {
    local round=$1 shard source destination quiet moving others
    shard=$(tagged_shard)
    source=$(owner_of "$shard")
    destination=$("$binary" --output json orders |
        jq "[.[] | select((.control | not) and .id != $source) | .id][0]")
    local others_load=(--clients 8 --keys 10000 --rate 500 --read-share 0 --warm-up 1 --value-size 256)
    # 100 000 keys of 256 bytes, two thousand writes a second, as performance is asked for.
    local its_load=(--clients 32 --keys 100000 --tag "$tag" --rate 2000 --read-share 0 --value-size 256)
    drive shardbearer-grpc "${its_load[@]}" --warm-up 0 --duration 1 >/dev/null
    drive shardbearer-grpc "${others_load[@]}" --duration 1 >/dev/null
    # Quiet is the same, but for the move.
    drive shardbearer-grpc "${its_load[@]}" --no-fill --warm-up 1 --duration 8 >/dev/null &
    local load=$!
    quiet=$(drive shardbearer-grpc "${others_load[@]}" --no-fill --duration 8)
    wait "$load"
    drive shardbearer-grpc "${its_load[@]}" --no-fill --warm-up 1 --duration 8 >"$run/moving.json" &
    load=$!
    drive shardbearer-grpc "${others_load[@]}" --no-fill --duration 8 >"$run/others.json" &
    local beside=$!
    sleep 2
    "$binary" shard move "$shard" --to "$destination" --watch >>"$run/bench.log" 2>&1 ||
        say "the move of shard $shard failed; see $run/bench.log"
    wait "$load" "$beside"
    moving=$(cat "$run/moving.json") others=$(cat "$run/others.json")
    note "$round" move shardbearer "$moving"
    note "$round" others-quiet shardbearer "$quiet"
    note "$round" others-moving shardbearer "$others"
}

all_events() {
    if wanted failover; then
        failover_of_shardbearer "$1"
        failover_of_etcd "$1"
    fi
    if wanted move; then move "$1"; fi
}

# --- once: what takes a cluster of its own -----------------------------------------------------------------

seconds_since() { jq -n "$(date +%s%N) / 1e9 - $1"; }

# Memory with a million keys, and a restart with them.
million() {
    local result begun
    start_radiants million
    drive shardbearer --clients 16 --pipeline 32 --keys 1000000 --value-size 256 --read-share 0.5 \
        --warm-up 0 --duration 2 >/dev/null
    note 1 memory shardbearer "{\"bytes\": $(resident "$(processes shardbearer)")}"
    drive redis-plain --clients 16 --pipeline 32 --keys 1000000 --value-size 256 --read-share 0.5 \
        --warm-up 0 --duration 2 >/dev/null
    note 1 memory redis-plain "{\"bytes\": $(resident "$(processes redis-plain)")}"
    kill -KILL "$(pid_of_radiant 3)"
    sleep 1
    begun=$(jq -n "$(date +%s%N) / 1e9")
    start_radiant_again 3
    await 'the third radiant' curl -fs 127.0.0.1:7482/readyz
    note 1 restart shardbearer "{\"seconds\": $(seconds_since "$begun")}"
    stop_radiants
}

# Processor time of a cluster that has nothing to do.
idle() {
    local before after seconds=20
    SHARDBEARER_BOOTSTRAP_ORDERS=32 start_radiants idle
    sleep 5
    before=$(cpu_seconds "$(processes shardbearer)")
    sleep "$seconds"
    after=$(cpu_seconds "$(processes shardbearer)")
    note 1 idle shardbearer "{\"share\": $(jq -n "($after - $before) / $seconds / 3")}"
    stop_radiants
}

shards() {
    local count
    for count in 16 1000; do
        SHARDBEARER_BOOTSTRAP_SHARDS=$count start_radiants "shards-$count"
        # A shard's first row makes its keyspace, with some ten fsyncs on each radiant; that is over before it is measured.
        drive shardbearer --clients 64 --keys "$keys" --value-size 256 --read-share 0 --warm-up 0 --duration 1 >/dev/null
        sleep 15
        note 1 "shards-$count" shardbearer "$(drive shardbearer --no-fill --clients 64 --keys "$keys" --value-size 256 \
            --read-share 0 --warm-up "$warm_up" --duration "$duration")"
        stop_radiants
    done
}

all_sizes() {
    stop_radiants
    if wanted memory; then million; fi
    if wanted idle; then idle; fi
    if wanted shards; then shards; fi
}
