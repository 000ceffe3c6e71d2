#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A stop that is asked for right after a checkpoint, whatever the job is at then: reading samples, sums, factors, tiles,
# propagation, evaluation. It ends with 75 at the next occasion, and the run goes on to the codes and the accuracy of an
# undisturbed one. SIGTERM does not wait for an occasion, and loses nothing that a checkpoint holds.
# Usage: stop_test.sh PROGRAM LAYERS_JOB LONE_FAULT CONV_JOB; mpirun's options in MPIRUN_FLAGS.
# shellcheck source=tests/faults/common.sh
source "$(dirname "$0")/common.sh"
job=
trap 'if [[ -n $job ]]; then kill -KILL -- "-$job" 2>/dev/null; fi; rm -rf "$folder"' EXIT
output=$folder/run

# start RANKS NAME=VALUE OPTION...: with the variable in the environment of the ranks; the process in $job.
start() {
  local ranks=$1 variable=$2
  shift 2
  # shellcheck disable=SC2086
  timeout -s KILL 100 mpirun ${MPIRUN_FLAGS:-} -q -x LD_PRELOAD="$lone_fault" -x LONE_FAULT_RANK=0 -x "$variable" -n "$ranks" \
    "$program" quantize "$config" --set threads=1 "${settings[@]}" --set "output=$output" "$@" >"$folder/out" 2>&1 &
  job=$!
}

# finish: waits for the job; exit code in $status.
finish() {
  wait "$job"
  status=$?
  job=
}

# quantize RANKS NAME=VALUE OPTION...: start and finish.
quantize() {
  start "$@"
  finish
}

# run_undisturbed NAME=VALUE: its results in $expected.
run_undisturbed() {
  quantize 3 "$1"
  ((status == 0)) || fail "$kind: the undisturbed run ends with $status"
  expected=$(results "$output")
  rm -rf "$output"
}

# stop_at SAVE: then on to the end on another number of ranks; layers whose activations the stopped run had kept in $stored.
stop_at() {
  quantize 3 LONE_FAULT_STOP="$1"
  ((status == 75)) || fail "$kind, stopped after checkpoint $1 of $count: exit code $status"
  grep -q 'stopped on request with a checkpoint' "$folder/out" || fail "$kind: what happened is not said"
  "$program" inspect "$output/checkpoint/job.ckpt" >"$folder/inspected"
  stored=$(find "$output" -name '*_analog.h5' | wc -l)
  quantized=$(find "$output" -name '*_quantized.h5' | wc -l)
  ((stored <= 2 && quantized <= stored)) ||
    fail "$kind, stopped after checkpoint $1 of $count: $stored and $quantized files of activations, at most two each are of use"
  if (($1 == count - 1)); then refuses_other_codes; fi
  quantize 2 LONE_FAULT_STOP=0 --resume
  ((status == 0)) || fail "$kind, stopped after checkpoint $1 of $count: resumed, it ends with $status"
  [[ $(results "$output") == "$expected" ]] || fail "$kind, stopped after checkpoint $1 of $count: other results"
  rm -rf "$output"
}

# refuses_other_codes: finished ones that have changed in the file since are seen by their checksums, and nothing is touched.
refuses_other_codes() {
  local file=$output/quantized.h5.partial middle
  middle=$(($(stat -c %s "$file") * 5 / 8)) # codes are most of the file
  cp "$file" "$folder/partial"
  tail -c "+$((middle + 1))" "$folder/partial" | head -c 1000 | LC_ALL=C tr '\000-\377' '\001-\377\000' |
    dd of="$file" bs=1 seek="$middle" conv=notrunc status=none
  quantize 2 LONE_FAULT_STOP=0 --resume
  ((status == 2)) || fail "$kind: other codes in a stopped run's result: exit code $status"
  grep -q '^gpfq: .*codes' "$folder/out" || fail "$kind: other codes in a stopped run's result: that is not said"
  mv "$folder/partial" "$file"
}

# end_at_once: SIGTERM as soon as there is a checkpoint, then on to the end. mpirun leaves ranks a second: the job is longer.
end_at_once() {
  local waited=0
  run_undisturbed LONE_FAULT_STOP=0
  start 3 LONE_FAULT_STOP=0
  until [[ -e $output/checkpoint/job.ckpt ]]; do
    kill -0 "$job" || fail "$kind: ended before its first checkpoint"
    sleep 0.02
  done
  kill -TERM "$job"
  while pgrep -f "output=$output" >/dev/null; do
    ((++waited < 100)) || fail "$kind: still there 10 s after SIGTERM"
    sleep 0.1
  done
  finish
  ((status != 0 && status != 2 && status != 75)) || fail "$kind, SIGTERM: exit code $status"
  quantize 2 LONE_FAULT_STOP=0 --resume
  ((status == 0)) || fail "$kind, SIGTERM: resumed, it ends with $status"
  grep -q 'resumed after' "$output/log" || fail "$kind, SIGTERM: it did not go on from a checkpoint"
  [[ $(results "$output") == "$expected" ]] || fail "$kind, SIGTERM: other results"
  rm -rf "$output"
  echo "$kind: ended by SIGTERM, and went on"
}

# try_kind: every checkpoint of a few, those at the end among them.
try_kind() {
  local i
  run_undisturbed LONE_FAULT_COUNT="$folder/count"
  read -r _ count _ <"$folder/count"
  ((count > 4)) || fail "$kind: $count checkpoints"
  for i in 1 $((count / 3)) $((count * 2 / 3)) $((count - 1)); do
    stop_at "$i"
    if ((i == 1)); then stored_at_first=$stored; fi
  done
  echo "$kind: stopped after 4 of $count checkpoints"
}

"$conv_job" "$folder/conv" 400 >"$folder/out" || fail 'no network'
"$conv_job" "$folder/long" 4000 >"$folder/out" || fail 'no network'
"$layers_job" "$folder/layers" 1 3000 >"$folder/out" || fail 'no job'
kind=network
config=$folder/conv/job.json
settings=(--set checkpoint_seconds=0 --set quantization.block=512 --set memory_per_rank=64MiB)
try_kind
grep -q 'evaluated' "$folder/inspected" || fail 'the last stop was not in the evaluation'
((stored_at_first > 0)) || fail 'the first stop had no activations'
((stored == 0)) || fail "activations of $stored layers are still there in the evaluation"
kind=long
config=$folder/long/job.json
settings=(--set checkpoint_seconds=0 --set quantization.block=512 --set memory_per_rank=128MiB)
end_at_once
kind=factors
config=$folder/layers/job.json
settings=(--set checkpoint_seconds=0 --set quantization.block=512 --set memory_per_rank=128MiB --set quantization.method=qronos --set quantization.form=gram)
try_kind
kind=channelwise
config=$folder/conv/job.json
settings=(--set checkpoint_seconds=0 --set quantization.block=512 --set memory_per_rank=64MiB --set quantization.conv=channelwise --set quantization.radius.rule=search)
try_kind
echo 'stop_test: done'
