#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The README's table: networks × levels × methods. Each run's line goes to RESULTS, so that the script goes on where it was
# stopped; then all lines in RESULTS are printed as Markdown. DATA has mnist.h5, cifar10.h5 and models/.
# Usage: methods_table.sh GPFQ DATA RESULTS [NETWORKS] [LEVELS] [METHODS]
# Environment: RANKS (1), IMAGES for calibration (500), DIGITS for MNIST's (25000), TESTED images for accuracy (0: all).
set -euo pipefail

gpfq=$1
data=$(realpath "$2")
results=$3
ranks=${RANKS:-1}
networks=${4:-"mnist_mlp resnet20 cifar10_cnn cifar10_cnn_decay"}
levels=${5:-"3 4 7 8 15 16"}
methods=${6:-"paper msq search default optq qronos qronos+4,b spfq soft hard order"}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
touch "$results"

path="quantization.refine.sweeps=0 quantization.bias_correction=false"  # and nothing after it
declare -A settings=(
  [paper]="quantization.preset=paper"
  [msq]="quantization.method=msq"
  [search]="$path"
  [search+4]="quantization.bias_correction=false"
  [search+b]="quantization.refine.sweeps=0"
  [default]=""
  [optq]="quantization.method=optq $path"
  [qronos]="quantization.method=qronos $path"
  [qronos+4,b]="quantization.method=qronos"
  [spfq]="quantization.method=spfq $path"
  [soft]="quantization.threshold=1 $path"
  [hard]="quantization.threshold=1 quantization.sparsity=hard $path"
  [order]="quantization.order=activation $path"
)

launch() {
  if [ "$ranks" = 1 ]; then timeout -s KILL 900 "$gpfq" "$@"; else timeout -s KILL 900 mpirun -n "$ranks" "$gpfq" "$@"; fi
}

# job.json quantizes, test.json evaluates: only what the table needs, once.
write_configs() {  # network
  local file=cifar10.h5 samples=${IMAGES:-500} preprocess='"scale": 0.00392156862745098, "layout": "NCHW"'
  if [ "$1" = mnist_mlp ]; then
    file=mnist.h5 samples=${DIGITS:-25000} preprocess='"scale": 0.00392156862745098, "layout": "NHW"'
  elif [ "$1" = resnet20 ]; then
    preprocess="$preprocess, \"mean\": [0.485, 0.456, 0.406], \"std\": [0.229, 0.224, 0.225]"
  fi
  local common="\"model\": \"$data/models/$1.onnx\",
  \"calibration\": { \"file\": \"$data/$file\", \"inputs\": \"train/images\", \"samples\": $samples },
  \"preprocess\": { $preprocess }, \"threads\": 1, \"output\": \"run\""
  echo "{ $common }" > "$folder/job.json"
  echo "{ $common, \"evaluation\": { \"file\": \"$data/$file\", \"inputs\": \"test/images\", \"labels\": \"test/labels\",
    \"samples\": ${TESTED:-0} } }" > "$folder/test.json"
}

# Runs gpfq with its messages in files; they are shown when it fails. Its processor time goes to the file "seconds".
TIMEFORMAT='%U %S'
quiet() {
  { time launch "$@" > "$folder/said" 2> "$folder/errors"; } 2> "$folder/seconds" || { cat "$folder/errors" >&2; exit 1; }
}

accuracy() {
  quiet evaluate "$1" --config "$folder/test.json"
  sed -n 's/.*(\([0-9]*\) of \([0-9]*\)).*/\1 \2/p' "$folder/said"
}

run() {  # network levels method
  local arguments=(--set "quantization.levels=$2" --overwrite) assignment error seconds found
  for assignment in ${settings[$3]}; do arguments+=(--set "$assignment"); done
  quiet quantize "$folder/job.json" "${arguments[@]}"
  error=$(sed -n 's/^ *"relative_error": \([0-9.e+-]*\),*$/\1/p' "$folder/run/report.json" | awk '{ sum += $1 } END { printf "%.4f", sum / NR }')
  seconds=$(awk '{ printf "%.2f", $1 + $2 }' "$folder/seconds")
  found=$(accuracy "$folder/run/quantized.h5")
  echo "$1 $2 $3 $found $error $seconds" >> "$results"
}

for level in $levels; do
  for network in $networks; do
    write_configs "$network"
    if ! grep -q "^$network 0 float " "$results"; then
      found=$(accuracy "$data/models/$network.onnx")
      echo "$network 0 float $found 0 0" >> "$results"
    fi
    for method in $methods; do
      case $method$((level % 2)) in soft0 | hard0) continue ;; esac  # an even number of levels has no zero
      grep -qF "$network $level $method " "$results" || run "$network" "$level" "$method"
    done
  done
done

# Percent right, mean relative error of the layers; processor seconds in a table of their own, the mean over levels.
awk -v methods="$methods" -v networks="$networks" -v levels="$levels" '
  { right[$1, $2, $3] = 100 * $4 / $5; error[$1, $2, $3] = $6
    if ($2 > 0) { seconds[$1, $3] += $7; runs[$1, $3]++ } }
  END {
    m = split(methods, method, " "); n = split(networks, network, " "); l = split(levels, level, " ")
    printf "| network | levels |"; for (i = 1; i <= m; i++) printf " %s |", method[i]; print ""
    printf "| --- | --- |"; for (i = 1; i <= m; i++) printf " --- |"; print ""
    for (k = 1; k <= n; k++)
      for (j = 1; j <= l; j++) {
        printf "| %s (%.1f) | %s |", network[k], right[network[k], 0, "float"], level[j]
        for (i = 1; i <= m; i++) {
          at = network[k] SUBSEP level[j] SUBSEP method[i]
          if (at in right) printf " %.1f %s |", right[at], substr(sprintf("%.2f", error[at]), 1 + (error[at] < 0.995)); else printf " |"
        }
        print ""
      }
    print ""
    printf "| processor seconds |"; for (i = 1; i <= m; i++) printf " %s |", method[i]; print ""
    printf "| --- |"; for (i = 1; i <= m; i++) printf " --- |"; print ""
    for (k = 1; k <= n; k++) {
      printf "| %s |", network[k]
      for (i = 1; i <= m; i++) {
        at = network[k] SUBSEP method[i]
        if (at in runs) printf " %.1f |", seconds[at] / runs[at]; else printf " |"
      }
      print ""
    }
  }' "$results"
