#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The README's table: networks × levels × methods, as Markdown on stdout; a row per network and level count.
# Usage: methods_table.sh GPFQ DATA [NETWORKS] [LEVELS]   (DATA has mnist.h5, cifar10.h5 and models/)
# Each entry: accuracy in percent (mean relative error of the layers; seconds, evaluation included).
set -euo pipefail

gpfq=$1
data=$(realpath "$2")
networks=${3:-"mnist_mlp cifar10_cnn cifar10_cnn_decay resnet20"}
levels=${4:-"3 4 7 8 15 16"}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

methods=("paper" "search" "default" "optq" "qronos" "qronos+sweeps")
declare -A settings=(
  [paper]="quantization.preset=paper"
  [search]="quantization.refine.sweeps=0 quantization.bias_correction=false"
  [default]=""
  [optq]="quantization.method=optq quantization.refine.sweeps=0"
  [qronos]="quantization.method=qronos quantization.refine.sweeps=0"
  [qronos+sweeps]="quantization.method=qronos"
)

write_config() {  # network
  local file=cifar10.h5 samples=500 preprocess='"scale": 0.00392156862745098, "layout": "NCHW"'
  if [ "$1" = mnist_mlp ]; then
    file=mnist.h5 samples=25000 preprocess='"scale": 0.00392156862745098, "layout": "NHW"'
  elif [ "$1" = resnet20 ]; then
    preprocess="$preprocess, \"mean\": [0.485, 0.456, 0.406], \"std\": [0.229, 0.224, 0.225]"
  fi
  cat > "$folder/$1.json" <<JSON
{ "model": "$data/models/$1.onnx",
  "calibration": { "file": "$data/$file", "inputs": "train/images", "samples": $samples },
  "evaluation": { "file": "$data/$file", "inputs": "test/images", "labels": "test/labels" },
  "preprocess": { $preprocess }, "memory_per_rank": "4GiB" }
JSON
}

# A number of report.json: of the first line with the key behind the line that matches `section`.
value() {  # file section key
  sed -n "/$2/,\$p" "$1" | sed -n "s/^ *\"$3\": \([0-9.e+-]*\),*$/\1/p" | head -1
}

run() {  # network levels method -> "accuracy (error; seconds)", msq's accuracy in the file "msq"
  local out="$folder/run" arguments=(--set "quantization.levels=$2" --set "output=$folder/run" --overwrite) assignment
  for assignment in ${settings[$3]}; do arguments+=(--set "$assignment"); done
  timeout -s KILL 600 "$gpfq" quantize "$folder/$1.json" "${arguments[@]}" > "$folder/table" 2> "$folder/errors" ||
    { cat "$folder/errors" >&2; exit 1; }
  local report="$out/report.json" error seconds
  error=$(sed -n 's/^ *"relative_error": \([0-9.e+-]*\),*$/\1/p' "$report" | awk '{ sum += $1 } END { printf "%.3f", sum / NR }')
  seconds=$(sed -n 's/^  "seconds": \([0-9.e+-]*\),*$/\1/p' "$report" | awk '{ printf "%.1f", $1 }')
  [ "$3" != paper ] || value "$report" '"msq": {' top1 | awk '{ printf "%.2f", 100 * $1 }' > "$folder/msq"
  value "$report" '"quantized": {' top1 | awk -v e="$error" -v s="$seconds" '{ printf "%.2f (%s; %s s)", 100 * $1, e, s }'
}

echo "| network | levels | msq |$(printf ' %s |' "${methods[@]}")"
echo "| --- | --- | --- |$(printf ' --- |%.0s' "${methods[@]}")"
for network in $networks; do
  write_config "$network"
  for level in $levels; do
    row=""
    for method in "${methods[@]}"; do row+=" $(run "$network" "$level" "$method") |"; done
    echo "| $network | $level | $(cat "$folder/msq") |$row"
  done
done
