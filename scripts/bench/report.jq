# The tables of scripts/bench.sh, from its lines of JSON.

# A figure of a load.
def figures:
  .result | {
    ops: .all?.ops_per_second, p50: .all?.p50_us, p99: .all?.p99_us, max: .all?.max_us, gap: .longest_gap_ms?,
    errors: (.errors? // 0), cpu: .servers?.cpu_us_per_op, rss: .servers?.rss_bytes,
    plain: (.bytes? // .seconds? // .share?)
  };

def round2: . * 100 | round / 100;
def shown: if . == null then "-" elif . >= 100 then round elif . < 0.1 then . * 10000 | round / 10000 else round2 end | tostring;

# A line for who waits.
def said:
  if .result == null then "failed"
  elif .result.all then figures | "\(.ops | shown) operations/s, p99 \(.p99) µs, longest gap \(.gap | shown) ms"
  else .result | to_entries | map("\(.key) \(.value | shown)") | join(", ") end;

def known: map(select(. != null)) | sort;
def median: known | if length == 0 then null else .[(length - 1) / 2 | floor] end;

def medians:
  group_by([.case, .system])
  | map({
      case: .[0].case, system: .[0].system, failed: map(select(.result == null)) | length,
      low: map(figures.ops) | known | first, high: map(figures.ops) | known | last,
      errors: map(figures.errors) | max
    } + (map(figures) as $all
      | ["ops", "p50", "p99", "max", "gap", "cpu", "rss", "plain"]
      | map(. as $name | {($name): ($all | map(.[$name]) | median)}) | add));

def of($case; $system): map(select(.case == $case and .system == $system)) | .[0] // {};

def over($a; $b): if $a == null or $b == null or $b == 0 then null else $a / $b end;

def padded($width): . + " " * ([$width - length, 0] | max);
def led($width): " " * ([$width - length, 0] | max) + .;

def table($medians; $case):
  ($medians | of($case; "shardbearer").ops) as $ours
  | [$medians[] | select(.case == $case)]
  | if length == 0 then empty else
      ($case | padded(18)) + ("operations/s" | led(14)) + ("from" | led(9)) + ("to" | led(9)) + ("p50 µs" | led(9))
        + ("p99 µs" | led(9)) + ("CPU µs" | led(9)) + ("MiB" | led(7)) + ("errors" | led(8)) + ("shardbearer is" | led(16)),
      (.[] | ("  " + .system | padded(18)) + (.ops | shown | led(14)) + (.low | shown | led(9)) + (.high | shown | led(9))
        + (.p50 | shown | led(9)) + (.p99 | shown | led(9)) + (.cpu | shown | led(9))
        + (over(.rss; 1048576) | if . == null then "-" else round | tostring end | led(7)) + (.errors | shown | led(8))
        + (over($ours; .ops) | if . == null then "-" else shown + " x" end | led(16))
        + (if .failed > 0 then "   \(.failed) failed" else "" end)),
      ""
    end;

# What is aimed at. Where there is a peer, as ratios of figures of one run: those of one machine and one sitting.
def targets:
  . as $m
  | def ops($case; $system): $m | of($case; $system).ops;
    def p50($case; $system): $m | of($case; $system).p50;
    def p99($case; $system): $m | of($case; $system).p99;
    def plain($case; $system): $m | of($case; $system).plain;
    def ratio($name; $a; $b; $must; $aim):
      over($a; $b) as $value
      | [$name, $value, ">=", $must, "must"], [$name, $value, ">=", $aim, "aim"];
    def least($name; $value; $must; $aim):
      [$name, $value, "<=", $must, "must"], [$name, $value, "<=", $aim, "aim"];
    [
      ["set, 64 clients, to etcd", over(ops("set-64"; "shardbearer"); ops("set-64"; "etcd")), ">=", 3, "must"],
      ["set, 64 clients, to Redis Cluster", over(ops("set-64"; "shardbearer"); ops("set-64"; "redis-cluster")), ">=", 1, "aim"],
      ["get, 64 clients, to etcd", over(ops("get-64"; "shardbearer"); ops("get-64"; "etcd")), ">=", 6, "must"],
      ["get, 64 clients, to Redis Cluster", over(ops("get-64"; "shardbearer"); ops("get-64"; "redis-cluster")), ">=", 1, "aim"],
      ["set, 16 clients x 32, to etcd with 256", over(ops("set-16x32"; "shardbearer"); ops("set-256"; "etcd")), ">=", 12, "must"],
      ["set, 16 clients x 32, to one Redis", over(ops("set-16x32"; "shardbearer"); ops("set-16x32"; "redis-plain")), ">=", 0.5, "aim"],
      ["gRPC put, 64 tasks, to etcd", over(ops("set-64"; "shardbearer-grpc"); ops("set-64"; "etcd")), ">=", 2.5, "must"],
      least("one client, set, p50 to etcd's"; over(p50("set-1"; "shardbearer"); p50("set-1"; "etcd")); 1; 0.45),
      ["set, 64 clients, p99 to etcd's", over(p99("set-64"; "shardbearer"); p99("set-64"; "etcd")), "<=", 0.5, "must"],
      ["set, 64 clients, p99 to Redis Cluster's", over(p99("set-64"; "shardbearer"); p99("set-64"; "redis-cluster")), "<=", 1, "aim"],
      least("gap after a herald's kill -9, s"; over($m | of("failover"; "shardbearer").gap; 1000); 1; 0.6),
      least("p99 of a shard that moves, ms"; over(p99("move"; "shardbearer"); 1000); 100; 20),
      ["longest wait of it, ms", over($m | of("move"; "shardbearer").max; 1000), "<=", 100, "aim"],
      least("p99 of others meanwhile, to quiet"; over(p99("others-moving"; "shardbearer"); p99("others-quiet"; "shardbearer")); 2; 1.2),
      ["MiB of a radiant with a million keys", over(plain("memory"; "shardbearer"); 1048576), "<=", 1024, "must"],
      ["the same to one Redis", over(plain("memory"; "shardbearer"); plain("memory"; "redis-plain")), "<=", 1, "aim"],
      least("idle with 32 orders, of a core each"; plain("idle"; "shardbearer"); 0.05; 0.01),
      least("restart with a million keys, s"; plain("restart"; "shardbearer"); 10; 2),
      ratio("1 000 shards to 16"; ops("shards-1000"; "shardbearer"); ops("shards-16"; "shardbearer"); 0.9; 1)
    ];

def verdict:
  . as [$_, $value, $sign, $bound]
  | if $value == null then "not measured"
    elif ($sign == ">=" and $value >= $bound) or ($sign == "<=" and $value <= $bound) then "met"
    else "FALLS SHORT" end;

def loads: ["set-1", "set-16", "set-64", "set-256", "set-16x32", "get-1", "get-64", "get-16x32"];

def report:
  medians as $medians
  | (loads[] as $case | table($medians; $case)),
    ($medians | [of("failover"; "shardbearer"), of("failover"; "etcd")]
      | map(select(.gap != null) | "  \(.system | padded(16))\(.gap | shown | led(14)) ms")
      | if length > 0 then "without an answer, when the leader is killed", .[], "" else empty end),
    ("target" | padded(44)) + ("measured" | led(10)) + ("asked" | led(10)),
    ($medians | targets[] | ("  " + .[0] | padded(44)) + (.[1] | shown | led(10))
      + ("\(.[2]) \(.[3])" | led(10)) + "   " + (.[4] | padded(6)) + verdict);
