#!/usr/bin/env bash
#SBATCH --job-name=gpfq-gather
#SBATCH --output=gpfq-%j-gather.log
#SBATCH --ntasks=1
# SPDX-License-Identifier: Apache-2.0
# The tables of several runs as one: a line per run (runs.csv: accuracy, codes, seconds) and a line per layer and run
# (layers.csv), in the folder that holds the runs' output folders.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: launch/slurm/gather.sh FOLDER [NAME...]

Gathers FOLDER/*/report.json and report.csv into FOLDER/runs.csv and FOLDER/layers.csv and prints the first.
With NAMEs, the runs that are expected there: one that is missing is named and the exit code is 1.
TEXT
}

# run_line REPORT.JSON: levels, accuracy and the rest of one run, as gpfq writes them: a key per line.
run_line() {
  awk -F'": ' '
    function value() { sub(/,$/, "", $2); gsub(/"/, "", $2); return $2 }
    /^  "codes_sha256": / { codes = value() }
    /^    "(analog|quantized|msq)": \{/ { split($1, word, "\""); network = word[2] }
    /^      "top1": / && network != "" { top1[network] = value() }
    /^  "layers": / { network = "" }
    /^      "relative_error": / { error = value(); if (error != "null" && error > worst) worst = error }
    END { printf "%s,%s,%s,%s,%s\n", top1["analog"], top1["quantized"], top1["msq"], worst, codes }' "$1"
}

gather() {
  local folder=$1 run header=run,float_top1,gpfq_top1,msq_top1,largest_relative_error,codes_sha256
  shift
  echo "$header" >"$folder/runs.csv.partial"
  : >"$folder/layers.csv.partial"
  for run in "$@"; do
    [[ -r $folder/$run/report.json ]] || continue
    printf '%s,%s\n' "$run" "$(run_line "$folder/$run/report.json")" >>"$folder/runs.csv.partial"
    awk -v run="$run" -v first="$([[ -s $folder/layers.csv.partial ]] || echo 1)" \
      'NR == 1 { if (first) print "run," $0; next } { print run "," $0 }' \
      "$folder/$run/report.csv" >>"$folder/layers.csv.partial"
  done
  mv "$folder/runs.csv.partial" "$folder/runs.csv"
  mv "$folder/layers.csv.partial" "$folder/layers.csv"
}

main() {
  local folder=${1-} run runs=() missing=()
  if [[ -z $folder || $folder == --help || $folder == -h ]]; then
    usage
    [[ -n $folder ]] || exit 2
    return
  fi
  runs=("${@:2}")
  if ((${#runs[@]} == 0)); then
    mapfile -t runs < <(find "$folder" -mindepth 2 -maxdepth 2 -name report.json -printf '%h\n' | sed 's|.*/||' | sort)
  fi
  for run in "${runs[@]}"; do
    [[ -r $folder/$run/report.json ]] || missing+=("$run")
  done
  if ((${#runs[@]} == ${#missing[@]})); then
    printf 'gather.sh: no finished run in %s (a run has a report.json)\n' "$folder" >&2
    exit 1
  fi
  gather "$folder" "${runs[@]}"
  cat "$folder/runs.csv"
  printf '\nper layer: %s/layers.csv\n' "$folder"
  if ((${#missing[@]} > 0)); then
    printf 'gather.sh: not finished: %s\n' "${missing[*]}" >&2
    exit 1
  fi
}

main "$@"
