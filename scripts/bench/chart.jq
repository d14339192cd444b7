# The loads of a run of scripts/bench.sh as a drawing: for each case a group of bars, of operations a second.
include "report";

def colour: {
    "shardbearer": "#3b6fb6", "shardbearer-hop": "#8fb1dd", "shardbearer-grpc": "#5f8fcb", "etcd": "#d98032",
    "redis-cluster": "#b0413e", "redis-plain": "#d9a3a1"
  }[.] // "#888888";

def thousands: tostring | [match(".{1,3}(?=(.{3})*$)"; "g").string] | join(" ");

# Bars of one case share a scale of their own: the cases differ by a hundred times.
def group($medians; $case):
  [$medians[] | select(.case == $case and .ops != null)] as $bars
  | ($bars | map(.ops) | max) as $most
  | [$bars[] | {label: .system, text: (.ops | round | thousands), width: (.ops / $most * 420), fill: (.system | colour)}];

def chart:
  medians as $medians
  | [loads[] as $case | {case: $case, bars: group($medians; $case)} | select(.bars | length > 0)]
  | reduce .[] as $group ({y: 30, out: []};
      .out += ["<text x=\"10\" y=\"\(.y)\" font-weight=\"bold\">\($group.case)</text>"] | .y += 8
      | reduce $group.bars[] as $bar (.;
          .out += [
            "<rect x=\"150\" y=\"\(.y)\" width=\"\($bar.width | round)\" height=\"14\" fill=\"\($bar.fill)\"/>",
            "<text x=\"144\" y=\"\(.y + 11)\" text-anchor=\"end\">\($bar.label)</text>",
            "<text x=\"\(156 + ($bar.width | round))\" y=\"\(.y + 11)\">\($bar.text)</text>"
          ] | .y += 18)
      | .y += 22)
  | "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"660\" height=\"\(.y)\" font-family=\"sans-serif\" font-size=\"11\">",
    "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>",
    "<text x=\"150\" y=\"14\">operations a second, medians; each case has a scale of its own</text>",
    .out[], "</svg>";
