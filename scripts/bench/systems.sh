# shellcheck shell=bash
# The systems that are compared: where their programs come from, how they are started and stopped, what they use.
# Read by scripts/bench.sh.
# shellcheck disable=SC2154,SC2034 # what is not set here is set there, and the other way round

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

etcd_clients=(23790 23791 23792)
etcd_peers=(23890 23891 23892)
cluster_ports=(17000 17001 17002 17003 17004 17005) # each also uses the port 10000 above it
plain_port=17100
radiants_resp=127.0.0.1:6400,127.0.0.1:6401,127.0.0.1:6402
radiants_grpc=127.0.0.1:7400,127.0.0.1:7401,127.0.0.1:7402

endpoints() { printf '127.0.0.1:%s\n' "$@" | paste -sd, -; }

port_is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

ports_are_free() {
    local port
    for port in "${etcd_clients[@]}" "${etcd_peers[@]}" "${cluster_ports[@]}" "$plain_port" \
        640{0,1,2} 740{0,1,2} 748{0,1,2}; do
        port_is_free "$port" || fail "port $port is in use; stop what uses it"
    done
}

# Process ids by name.
declare -A pids=()

stop_all() {
    trap '' INT TERM
    local name
    # A radiant's processes are stopped by scripts/cluster.sh, which waits for them.
    for name in "${!pids[@]}"; do
        kill -TERM "${pids[$name]}" 2>/dev/null || true
    done
    wait
}

start() {
    local name=$1
    shift
    "$@" >"$run/$name.log" 2>&1 &
    pids[$name]=$!
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

start_etcd_member() {
    local index=$1 members='' other
    for other in 0 1 2; do
        members+=${members:+,}e$other=http://127.0.0.1:${etcd_peers[other]}
    done
    start "etcd-$index" etcd --name "e$index" --data-dir "$run/etcd-$index" \
        --listen-client-urls "http://127.0.0.1:${etcd_clients[index]}" \
        --advertise-client-urls "http://127.0.0.1:${etcd_clients[index]}" \
        --listen-peer-urls "http://127.0.0.1:${etcd_peers[index]}" \
        --initial-advertise-peer-urls "http://127.0.0.1:${etcd_peers[index]}" \
        --initial-cluster "$members" --quota-backend-bytes 8589934592 --log-level warn
}

etcd_answers() { env ETCDCTL_API=3 etcdctl --endpoints "$(endpoints "${etcd_clients[@]}")" "$@"; }

start_etcd() {
    local index
    for index in 0 1 2; do
        start_etcd_member "$index"
    done
    await etcd etcd_answers endpoint health
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

radiant_count=3

# So many radiants in a folder of this name; their configuration can be changed by SHARDBEARER_* variables.
start_radiants() {
    radiants=$run/$1
    SHARDBEARER_BIN=$binary start radiants "$root/scripts/cluster.sh" "$radiant_count" "$radiants"
    local port
    for ((port = 6400; port < 6400 + radiant_count; port++)); do
        await "the radiant at $port" stores "$port"
    done
}

stop_radiants() {
    kill -TERM "${pids[radiants]}" 2>/dev/null || true
    wait "${pids[radiants]}" || true
    unset 'pids[radiants]'
}

pid_of_radiant() { cat "$radiants/radiant-$1/lock"; }

start_radiant_again() {
    start "radiant-$1-again" "$binary" node --config "$radiants/radiant-$1.toml"
}

# The processes of a system, with commas between.
processes() {
    local name
    case $1 in
    shardbearer*) for ((name = 1; name <= radiant_count; name++)); do pid_of_radiant "$name" && echo; done ;;
    redis-cluster) for name in "${cluster_ports[@]}"; do echo "${pids[redis-$name]}"; done ;;
    redis-plain) echo "${pids[redis-plain]}" ;;
    etcd) for name in 0 1 2; do echo "${pids[etcd-$name]}"; done ;;
    esac | sed '/^$/d' | paste -sd, -
}

# Seconds of processor time that processes have used, and bytes that they have resident.
cpu_seconds() {
    local pid total=0 ticks
    for pid in ${1//,/ }; do
        ticks=$(sed 's/.*) //' "/proc/$pid/stat" | cut -d' ' -f12,13 | tr ' ' +)
        total=$((total + ticks))
    done
    jq -n "$total / 100"
}
resident() {
    local pid most=0 kib
    for pid in ${1//,/ }; do
        kib=$(awk '/^VmRSS:/ { print $2 }' "/proc/$pid/status")
        ((kib <= most)) || most=$kib
    done
    echo $((most * 1024))
}
