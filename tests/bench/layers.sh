#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Whole jobs with synthetic layers, one JSON line each: strong scaling over ranks, weak scaling in neurons, cost against
# inputs and samples. Usage: layers.sh PROGRAM [MOST_RANKS [EDGE]]; mpirun's options in MPIRUN_FLAGS, runs of each job in
# REPEAT (3), steps of the last two series in FACTORS.
# shellcheck disable=SC2017
set -euo pipefail
program=$1
most_ranks=${2:-$(nproc)}
edge=${3:-4096}
read -ra factors <<<"${FACTORS:-1 2 4}"
commit=$(git -C "$(dirname "$0")" describe --always --dirty 2>/dev/null || echo unknown)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

bench() {  # series, ranks, inputs, neurons, samples
  # shellcheck disable=SC2086
  mpirun ${MPIRUN_FLAGS:-} -n "$2" "$program" bench --inputs "$3" --neurons "$4" --samples "$5" --levels 15 \
    --repeat "${REPEAT:-3}" --folder "$folder" 2>"$folder/log" |
    sed "s/^{/{\"series\":\"$1\",\"commit\":\"$commit\",/" || { cat "$folder/log" >&2; exit 1; }
}

for ((ranks = 1; ranks <= most_ranks; ranks *= 2)); do bench strong "$ranks" "$edge" "$edge" "$edge"; done
for ((ranks = 1; ranks <= most_ranks; ranks *= 2)); do bench weak "$ranks" "$edge" $((edge / 2 * ranks)) "$edge"; done
for factor in "${factors[@]}"; do bench inputs 1 $((edge / 4 * factor)) $((edge / 4)) "$edge"; done
for factor in "${factors[@]}"; do bench samples 1 "$edge" $((edge / 4)) $((edge / 4 * factor)); done
