# The tables of scripts/bench.sh, from its lines of JSON.

# A figure of a measurement by its name, wherever in the document it stands.
def figure($name):
  first(.. | objects | to_entries[] | select((.key | test($name)) and (.value | type == "number")) | .value) // null;

def figures:
  .result | {
    ops: figure("^(ops|operations)_per_s(ec|econd)?$"),
    p50: figure("^p50(_us)?$"),
    p99: figure("^p99(_us)?$"),
    errors: (figure("^errors$") // 0)
  };

def median: map(select(. != null)) | sort | if length == 0 then null else .[(length - 1) / 2 | floor] end;

def medians:
  group_by([.case, .system])
  | map({
      case: .[0].case, system: .[0].system, failed: map(select(.result == null)) | length,
      ops: map(figures.ops) | median, p50: map(figures.p50) | median, p99: map(figures.p99) | median,
      errors: map(figures.errors) | max
    });

def of($case; $system): map(select(.case == $case and .system == $system)) | .[0] // {};

def over($a; $b): if $a == null or $b == null or $b == 0 then null else $a / $b end;
def round2: . * 100 | round / 100;
def shown: if . == null then "-" elif . >= 100 then round else round2 end | tostring;

def padded($width): . + " " * ([$width - length, 0] | max);
def led($width): " " * ([$width - length, 0] | max) + .;

def table($medians; $case):
  ($medians | of($case; "shardbearer").ops) as $ours
  | [$medians[] | select(.case == $case)]
  | if length == 0 then empty else
      ($case | padded(18)) + ("operations/s" | led(14)) + ("p50 µs" | led(10)) + ("p99 µs" | led(10))
        + ("errors" | led(8)) + ("shardbearer is" | led(17)),
      (.[] | ("  " + .system | padded(18)) + (.ops | shown | led(14)) + (.p50 | shown | led(10))
        + (.p99 | shown | led(10)) + (.errors | shown | led(8))
        + (over($ours; .ops) | if . == null then "-" else shown + " x" end | led(17))
        + (if .failed > 0 then "   \(.failed) failed" else "" end)),
      ""
    end;

# What is aimed at, as ratios of figures of one run: those of one machine and one sitting.
def targets:
  . as $m
  | def ops($case; $system): $m | of($case; $system).ops;
    def p50($case; $system): $m | of($case; $system).p50;
    def p99($case; $system): $m | of($case; $system).p99;
    [
      ["set, 64 clients, to etcd", over(ops("set-64"; "shardbearer"); ops("set-64"; "etcd")), ">=", 3, "must"],
      ["set, 64 clients, to Redis Cluster", over(ops("set-64"; "shardbearer"); ops("set-64"; "redis-cluster")), ">=", 1, "aim"],
      ["get, 64 clients, to etcd", over(ops("get-64"; "shardbearer"); ops("get-64"; "etcd")), ">=", 6, "must"],
      ["get, 64 clients, to Redis Cluster", over(ops("get-64"; "shardbearer"); ops("get-64"; "redis-cluster")), ">=", 1, "aim"],
      ["set, 16 clients x 32, to etcd with 256", over(ops("set-16x32"; "shardbearer"); ops("set-256"; "etcd")), ">=", 12, "must"],
      ["set, 16 clients x 32, to one Redis", over(ops("set-16x32"; "shardbearer"); ops("set-16x32"; "redis-plain")), ">=", 0.5, "aim"],
      ["gRPC put, 64 tasks, to etcd", over(ops("set-64"; "shardbearer-grpc"); ops("set-64"; "etcd")), ">=", 2.5, "must"],
      ["one client, set, p50 to etcd's", over(p50("set-1"; "shardbearer"); p50("set-1"; "etcd")), "<=", 1, "must"],
      ["one client, set, p50 to etcd's", over(p50("set-1"; "shardbearer"); p50("set-1"; "etcd")), "<=", 0.45, "aim"],
      ["set, 64 clients, p99 to etcd's", over(p99("set-64"; "shardbearer"); p99("set-64"; "etcd")), "<=", 0.5, "must"],
      ["set, 64 clients, p99 to Redis Cluster's", over(p99("set-64"; "shardbearer"); p99("set-64"; "redis-cluster")), "<=", 1, "aim"]
    ];

def verdict:
  . as [$_, $value, $sign, $bound]
  | if $value == null then "not measured"
    elif ($sign == ">=" and $value >= $bound) or ($sign == "<=" and $value <= $bound) then "met"
    else "FALLS SHORT" end;

def report:
  medians as $medians
  | ("set-1", "set-64", "get-64", "set-256", "set-16x32" | table($medians; .)),
    ("target" | padded(44)) + ("measured" | led(10)) + ("asked" | led(10)),
    ($medians | targets[] | ("  " + .[0] | padded(44)) + (.[1] | shown | led(10))
      + ("\(.[2]) \(.[3])" | led(10)) + "   " + (.[4] | padded(6)) + verdict);
