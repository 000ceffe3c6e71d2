#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Input that is cut off in the midst of a run, under the feet of the one rank that reads there: all ranks
# end within seconds, with one message, and the last checkpoint is as good as ever.
# Usage: cut_input_test.sh PROGRAM; mpirun's options in MPIRUN_FLAGS.
# shellcheck source=tests/faults/common.sh
source "$(dirname "$0")/common.sh"
config=$folder/demo/digits.json
output=$folder/run

# begin RANKS OPTION...: in the background; its process in $job.
begin() {
  local ranks=$1
  shift
  : >"$folder/out"
  # shellcheck disable=SC2086
  timeout -s KILL 100 mpirun ${MPIRUN_FLAGS:-} -q -n "$ranks" "$program" quantize "$config" --set threads=1 --resume \
    --set quantization.form=residual --set quantization.block=64 --set memory_per_rank=32MiB --set "output=$output" "$@" \
    >>"$folder/out" 2>&1 &
  job=$!
}

# The job's ranks: children of the mpirun that is timeout's child.
find_ranks() {
  mapfile -t ranks < <(pgrep -P "$(pgrep -P "$job")" -x gpfq)
}

# hold_in_a_layer: ranks stopped after a checkpoint inside a layer.
hold_in_a_layer() {
  local i
  for ((i = 0; i < 3000; ++i)); do
    [[ -n $(compgen -G "$output/checkpoint/state-*.h5") ]] && break
    sleep 0.01
  done
  find_ranks
  ((${#ranks[@]} == 3)) || fail "there are ${#ranks[@]} ranks, expected 3"
  kill -STOP "${ranks[@]}"
}

# ends_with_a_message WHAT TEXT: the job that was held, within seconds, whatever the exit code of a fault.
ends_with_a_message() {
  local begun=$SECONDS status=0
  kill -CONT "${ranks[@]}"
  wait "$job" || status=$?
  ((status != 0 && status != 75)) || fail "$1: exit code $status"
  ((SECONDS - begun <= 20)) || fail "$1: it took $((SECONDS - begun)) s to end"
  (($(grep -c '^gpfq: ' "$folder/out") == 1)) || fail "$1: there is not one message"
  grep '^gpfq: ' "$folder/out" | grep -qE "$2" || fail "$1: '$2' is not said"
  local i
  for ((i = 0; i < 50; ++i)); do
    kill -0 "${ranks[@]}" 2>/dev/null || break
    sleep 0.1
  done
  ((i < 50)) || fail "$1: ranks still run"
  [[ -e $output/checkpoint/job.ckpt ]] || fail "$1: the checkpoint is gone"
  echo "$1: exit code $status after $((SECONDS - begun)) s: $(grep '^gpfq: ' "$folder/out" | cut -c1-160)"
}

# goes_on WHAT: with the codes of the undisturbed run.
goes_on() {
  begin 2
  wait "$job" || fail "$1: resumed, it ends with $?"
  grep -q 'resumed after layer' "$folder/out" || fail "$1: nothing was resumed"
  [[ $(hash_of "$output") == "$expected" ]] || fail "$1: other codes: $(hash_of "$output"), expected $expected"
  rm -rf "$output"
}

"$program" demo --out "$folder/demo" >"$folder/out" || fail 'no sample'
begin 2
wait "$job" || fail 'the undisturbed run'
expected=$(hash_of "$output")
rm -rf "$output"

# Between a layer's first wave of tiles and its end: weights are still to be read.
model=$folder/demo/digits_mlp.h5
cp -p "$model" "$folder/model.h5"
for bytes in 100000 $(($(stat -c %s "$model") - 8)); do
  begin 3 --set checkpoint_seconds=0
  hold_in_a_layer
  truncate -s "$bytes" "$model"
  ends_with_a_message "a model cut off at $bytes bytes" 'digits_mlp.h5 was changed while it was in use'
  begin 2
  wait "$job" && fail 'a damaged model is resumed with'
  (($(grep -c '^gpfq: ' "$folder/out") == 1)) || fail 'there is not one message about a damaged model'
  cp -p "$folder/model.h5" "$model"
  goes_on "a model cut off at $bytes bytes"
done

echo "cut_input_test: done, $expected"
