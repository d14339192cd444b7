# The results of 'scripts/bench.sh --curves' as a table and as a drawing.
include "report";

# A point: what grows, what is done, how much of it, and the figure: operations a second, MiB or seconds.
def points:
  [.[] | select(.case | startswith("grows/")) | (.case / "/") as $name
    | {what: $name[1], how: $name[2], x: (.system | tonumber), result: .result}
    | . + (
        if .result.all then {y: .result.all.ops_per_second, p99: .result.all.p99_us, unit: "operations/s"}
        elif .result.bytes then {y: (.result.bytes / 1048576), unit: "MiB of a radiant"}
        else {y: .result.seconds, unit: "s"} end)]
  | map(select(.y != null));

def table:
  points | group_by(.what)[]
  | (.[0].what), (group_by(.x)[] | "  \(.[0].x | tostring | led(9))" + (map(
      "   \(.how) \(.y | shown) \(.unit)" + (if .p99 then ", p99 \(.p99) µs" else "" end)) | join("")));

# A line in a frame of 260 x 120; both axes are logarithmic from the least to the most.
def scaled($all; $size): ($all | min | log10) as $least | ($all | max | log10) as $most
  | if $most == $least then $size / 2 else (log10 - $least) / ($most - $least) * $size end | round;

def short: if . >= 1000000 then "\(. / 1000000 | round2)M" elif . >= 1000 then "\(. / 1000 | round2)k" else shown end;

def frame($x0; $y0):
  (map(.x)) as $xs | (map(.y)) as $ys
  | def at: [$x0 + (.x | scaled($xs; 260)), $y0 + 120 - (.y | scaled($ys; 120))];
    "<rect x=\"\($x0)\" y=\"\($y0)\" width=\"260\" height=\"120\" fill=\"none\" stroke=\"#cccccc\"/>",
    "<text x=\"\($x0)\" y=\"\($y0 - 8)\" font-weight=\"bold\">\(map(.how) | unique | join(", ")), \(.[0].unit), by \(.[0].what)</text>",
    (group_by(.how)[] | sort_by(.x) | (if .[0].how == "get" then "#d98032" else "#3b6fb6" end) as $colour
      | "<polyline fill=\"none\" stroke=\"\($colour)\" stroke-width=\"2\" points=\"\(map(at | map(tostring) | join(",")) | join(" "))\"/>",
        (.[] | at as [$px, $py]
          | "<circle cx=\"\($px)\" cy=\"\($py)\" r=\"2.5\" fill=\"\($colour)\"/>",
            "<text x=\"\($px)\" y=\"\($py - 5)\" text-anchor=\"middle\" font-size=\"8\" fill=\"\($colour)\">\(.y | short)</text>")),
    ($xs | unique[] | "<text x=\"\($x0 + scaled($xs; 260))\" y=\"\($y0 + 133)\" text-anchor=\"middle\" font-size=\"8\">\(short)</text>");

def chart:
  [points | group_by([.what, .unit])[]] as $frames
  | (($frames | length) + 1) / 2 | floor as $rows
  | "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"680\" height=\"\($rows * 180 + 20)\" font-family=\"sans-serif\" font-size=\"11\">",
    "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>",
    ($frames | to_entries[] | (.key % 2 * 330 + 30) as $x | ((.key / 2 | floor) * 180 + 30) as $y | .value | frame($x; $y)),
    "</svg>";
