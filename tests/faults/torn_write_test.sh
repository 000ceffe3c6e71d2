#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A rank that is killed in the midst of a write: half of it is in the file, a flush or a renaming does not happen. All
# ranks end, what is left is never refused, and the run goes on to the codes of an undisturbed one.
# Usage: torn_write_test.sh PROGRAM LAYERS_JOB LONE_FAULT CONV_JOB [TIMES]; mpirun's options in MPIRUN_FLAGS.
# shellcheck source=tests/faults/common.sh
source "$(dirname "$0")/common.sh"
times=${5:-3}
output=$folder/run

# quantize RANKS RANK NAME=VALUE OPTION...: with the variable in the environment of the ranks; exit code in $status.
quantize() {
  local ranks=$1 rank=$2 variable=$3
  shift 3
  # shellcheck disable=SC2086
  timeout -s KILL 60 mpirun ${MPIRUN_FLAGS:-} -q -x LD_PRELOAD="$lone_fault" -x LONE_FAULT_RANK="$rank" -x "$variable" -n "$ranks" \
    "$program" quantize "$folder/conv/job.json" --set threads=1 --set checkpoint_seconds=0 --set quantization.block=512 \
    --set memory_per_rank=64MiB --set "output=$output" "$@" >"$folder/out" 2>&1
  status=$?
}

# killed RANK VARIABLE CHOSEN COUNT
killed() {
  local rank=$1 what="rank $1 killed in $2 $3 of $4" begun=$SECONDS
  rm -rf "$output"
  quantize 3 "$rank" "LONE_FAULT_$2=$3"
  if ((status == 0)); then # ranks share the work as it comes: this one had less of it
    [[ $(results "$output") == "$expected" ]] || fail "$what: done, with other results"
    return
  fi
  kills=$((kills + 1))
  ((status != 0 && status != 2 && status != 75)) || fail "$what: exit code $status"
  ((SECONDS - begun <= 30)) || fail "$what: it took $((SECONDS - begun)) s to end"
  quantize 2 0 "LONE_FAULT_$2=0" --resume
  ((status == 0)) || fail "$what: resumed, it ends with $status"
  [[ $(results "$output") == "$expected" ]] || fail "$what: resumed, it ends with other results"
  echo "$what: $(grep -m1 -o 'resumed after layer [^;]*\|nothing to resume\|holds this run, finished' "$folder/out")"
}

"$conv_job" "$folder/conv" 400 >"$folder/out" || fail 'no network'
kills=0
for rank in 0 1; do
  rm -rf "$output"
  quantize 3 "$rank" LONE_FAULT_COUNT="$folder/count"
  ((status == 0)) || fail "the undisturbed run ends with $status"
  expected=$(results "$output")
  read -r _ _ _ writes steps <"$folder/count"
  ((writes > 20 && steps > 20)) || fail "rank $rank: $writes writes and $steps steps were counted"
  for ((i = 1; i <= times; ++i)); do
    killed "$rank" WRITE $((writes * (2 * i - 1) / (2 * times))) "$writes"
    killed "$rank" STEP $((steps * (2 * i - 1) / (2 * times) + i % 3)) "$steps"
  done
done
((kills >= 2 * times)) || fail "only $kills ranks were killed"
echo 'torn_write_test: done'
