#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs that are killed (kill -9 of a rank or of mpirun) at random moments and resumed on other numbers of ranks until
# they are done: each must end with the codes of the undisturbed run. The moments follow from the seed.
# Usage: kill_campaign.sh PROGRAM LAYERS_JOB CONV_JOB [RUNS [SEED]]; the jobs are programs that write one, without a network
# and with a convolutional one; mpirun's options in MPIRUN_FLAGS.
set -uo pipefail
program=$(realpath "$1")
layers_job=$(realpath "$2")
conv_job=$(realpath "$3")
runs=${4:-6}
RANDOM=${5:-1}
most_attempts=60
hang_seconds=60
# Runs take turns: residual form with little memory, so that there are waves, and a radius for each neuron or one for the
# layer, which is searched for in a pass of its own; Gram form, with several chunks of rows; a convolutional network with
# a grouped layer, which is evaluated at the end.
kinds=(neuron layer gram conv)
residual=(--set quantization.form=residual --set quantization.block=16 --set memory_per_rank=72MiB
  --set quantization.radius.rule=search --set quantization.refine.sweeps=2)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

fail() {
  echo "kill_campaign: $*" >&2
  exit 1
}

# choose KIND: sets `config` and `settings`.
choose() {
  config=$folder/demo/digits.json
  case $1 in
    gram)
      config=$folder/layers/job.json
      settings=(--set quantization.form=gram --set memory_per_rank=72MiB)
      ;;
    conv)
      config=$folder/conv/job.json
      settings=(--set memory_per_rank=64MiB)
      ;;
    *) settings=("${residual[@]}" --set quantization.radius.per="$1") ;;
  esac
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

# Waits for the job to end, and for ranks that lost their mpirun. A job that hangs is killed, and told of.
wait_for_end() {
  local waited=0 limit=$((hang_seconds + 4 * whole_ms / 1000))
  while kill -0 "$job" 2>/dev/null; do
    sleep 0.1
    ((++waited < limit * 10)) && continue
    kill -9 "$job"
    fail "a job has not ended $limit s after a kill, or its start: $(cat "$folder/out")"
  done
  wait "$job" 2>/dev/null
  status=$?
  waited=0
  while pgrep -f "output=$output" >/dev/null; do
    sleep 0.1
    ((++waited < hang_seconds * 10)) || fail "ranks still run $hang_seconds s after the kill"
  done
}

hash_of() {
  sed -n 's/^  "codes_sha256": "\([0-9a-f]*\)".*/\1/p' "$1/report.json"
}

# note_loss BEGUN INTERVAL: milliseconds since the last checkpoint, or the start, beyond the interval; the most in $most_lost.
note_loss() {
  local saved now
  now=$(date +%s%3N)
  saved=$(stat -c %.3Y "$output/checkpoint/job.ckpt" 2>/dev/null | tr -d .)
  saved=${saved:-0}
  local lost=$((now - (saved > $1 ? saved : $1) - $2))
  most_lost=$((lost > most_lost ? lost : most_lost))
}

# run_killed NUMBER: counts its kills in $kills.
run_killed() {
  output=$folder/run$1
  local attempt ranks=3
  for ((attempt = 1; attempt <= most_attempts; ++attempt)); do
    local interval_ms=$((RANDOM % 2 * 1000 + RANDOM % 3 * 100)) begun
    begun=$(date +%s%3N)
    launch "$ranks" --resume --set "checkpoint_seconds=$((interval_ms / 1000)).$((interval_ms % 1000 / 100))"
    # Up to the length of an undisturbed run and a bit, in milliseconds: later attempts are left alone more often.
    local moment=$((RANDOM * 32768 + RANDOM))
    moment=$((moment % (whole_ms * (3 + attempt) / 3)))
    sleep "$((moment / 1000)).$(printf %03d $((moment % 1000)))"
    if kill -0 "$job" 2>/dev/null; then
      kill -9 "$(victim)" 2>/dev/null && kills=$((kills + 1)) && note_loss "$begun" "$interval_ms"
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
"$layers_job" "$folder/layers" 2 12000 || fail "no job"
"$conv_job" "$folder/conv" 1500 || fail "no network"
whole_ms=60000
declare -A hashes lengths
for kind in "${kinds[@]}"; do
  choose "$kind"
  output=$folder/undisturbed-$kind
  begun=$(date +%s%N)
  launch 3
  wait_for_end
  ((status == 0)) || fail "the undisturbed run failed: $(cat "$folder/out")"
  lengths[$kind]=$((($(date +%s%N) - begun) / 1000000))
  hashes[$kind]=$(hash_of "$output")
done
kills=0
most_lost=0
for ((run = 1; run <= runs; ++run)); do
  kind=${kinds[run % ${#kinds[@]}]}
  choose "$kind"
  expected=${hashes[$kind]}
  whole_ms=${lengths[$kind]}
  run_killed "$run"
done
echo "kill_campaign: $runs of $runs runs ended as undisturbed after $kills kills, at most $most_lost ms of work lost beyond checkpoint_seconds (undisturbed: ${lengths[*]} ms)"
