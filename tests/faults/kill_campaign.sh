#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs that are killed (kill -9 of a rank or of mpirun) at random moments and resumed on other numbers of ranks until
# they are done: each must end with the codes of the undisturbed run. The moments follow from the seed.
# Usage: kill_campaign.sh PROGRAM [RUNS [SEED]]; mpirun's options in MPIRUN_FLAGS.
set -uo pipefail
program=$(realpath "$1")
runs=${2:-6}
RANDOM=${3:-1}
most_attempts=60
hang_seconds=60
# The form whose layers can be left in the middle; little memory, so that there are waves.
settings=(--set quantization.form=residual --set quantization.block=16 --set memory_per_rank=14MiB)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

fail() {
  echo "kill_campaign: $*" >&2
  exit 1
}

# launch RANKS OPTIONS...: mpirun in the background; its process in $job.
launch() {
  local ranks=$1
  shift
  # shellcheck disable=SC2086
  mpirun ${MPIRUN_FLAGS:-} -q -n "$ranks" "$program" quantize "$config" --set "output=$output" "${settings[@]}" "$@" >"$folder/out" 2>&1 &
  job=$!
}

# One of the ranks (any process of the program below mpirun), or mpirun itself.
victim() {
  local children
  mapfile -t children < <(pgrep -P "$job")
  local pick=$((RANDOM % (${#children[@]} + 1)))
  if ((pick < ${#children[@]})); then echo "${children[pick]}"; else echo "$job"; fi
}

# Waits for the job to end, and for ranks that lost their mpirun.
wait_for_end() {
  local waited=0
  wait "$job" 2>/dev/null
  status=$?
  while pgrep -f "output=$output" >/dev/null; do
    sleep 0.1
    ((++waited < hang_seconds * 10)) || fail "ranks still run $hang_seconds s after the kill"
  done
}

hash_of() {
  sed -n 's/^  "codes_sha256": "\([0-9a-f]*\)".*/\1/p' "$1/report.json"
}

# run_killed NUMBER: counts its kills in $kills.
run_killed() {
  output=$folder/run$1
  local attempt ranks=3
  for ((attempt = 1; attempt <= most_attempts; ++attempt)); do
    launch "$ranks" --resume --set "checkpoint_seconds=$((RANDOM % 2)).$((RANDOM % 3))"
    # Up to the length of an undisturbed run and a bit, in milliseconds: later attempts are left alone more often.
    local moment=$((RANDOM * 32768 + RANDOM))
    moment=$((moment % (whole_ms * (3 + attempt) / 3)))
    sleep "$((moment / 1000)).$(printf %03d $((moment % 1000)))"
    if kill -0 "$job" 2>/dev/null; then
      kill -9 "$(victim)" 2>/dev/null && kills=$((kills + 1))
    fi
    wait_for_end
    if ((status == 0)) && [[ -f $output/report.json ]]; then
      [[ $(hash_of "$output") == "$expected" ]] || fail "run $1 ended with other codes: $(hash_of "$output")"
      [[ ! -e $output/checkpoint && ! -e $output/scratch ]] || fail "run $1 left something: $(ls -A "$output")"
      return
    fi
    # Exit code 2 is the program's own refusal: nothing that a kill leaves behind may be refused.
    ((status != 2)) || fail "run $1, attempt $attempt: $(cat "$folder/out")"
    ranks=$((RANDOM % 4 + 1))
  done
  fail "run $1 is not done after $most_attempts attempts: $(cat "$folder/out")"
}

"$program" demo --out "$folder/demo" >/dev/null || fail "no sample"
config=$folder/demo/digits.json
output=$folder/undisturbed
begun=$(date +%s%N)
launch 3
wait_for_end
((status == 0)) || fail "the undisturbed run failed: $(cat "$folder/out")"
whole_ms=$((($(date +%s%N) - begun) / 1000000))
expected=$(hash_of "$output")
kills=0
for ((run = 1; run <= runs; ++run)); do run_killed "$run"; done
echo "kill_campaign: $runs of $runs runs ended with $expected after $kills kills (undisturbed: $whole_ms ms)"
