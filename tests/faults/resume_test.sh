#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A run that is asked to stop, and what a later one makes of what it left: whole, of something else, in use, damaged.
# Usage: resume_test.sh PROGRAM; mpirun's options in MPIRUN_FLAGS.
# shellcheck source=tests/faults/common.sh
source "$(dirname "$0")/common.sh"
# Every block ends with a checkpoint, which makes the run long enough to be met in the middle.
settings=(--set quantization.form=residual --set quantization.block=8 --set memory_per_rank=28MiB --set checkpoint_seconds=0)

# quantize RANKS OUTPUT OPTIONS...: status in $status, what it says in $folder/out.
quantize() {
  local ranks=$1 output=$2
  shift 2
  # shellcheck disable=SC2086
  timeout -s KILL 120 mpirun ${MPIRUN_FLAGS:-} -q -n "$ranks" "$program" quantize "$config" "${settings[@]}" \
    --set "output=$output" "$@" >"$folder/out" 2>&1
  status=$?
}

# expect STATUS TEXT: of the last quantize.
expect() {
  ((status == $1)) || fail "exit code $status, expected $1"
  grep -q "$2" "$folder/out" || fail "'$2' was not said"
}

# Puts a byte's complement at an offset of a file.
flip() {
  local byte
  byte=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
  printf '%b' "\\x$(printf %02x $((255 - byte)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# damaged NAME FILE ACTION...: a copy of the stopped run in which ACTION was done to FILE is refused, and not touched.
damaged() {
  local name=$1 file=$2
  shift 2
  rm -rf "$folder/copy"
  cp -a "$folder/stopped" "$folder/copy"
  "$@" "$folder/copy/$file"
  rm -rf "$folder/run"
  cp -a "$folder/copy" "$folder/run"
  quantize 2 "$folder/run" --resume
  expect 2 "gpfq: "
  [[ -e $folder/run/checkpoint/job.ckpt ]] || fail "$name: the checkpoint is gone"
  echo "$name: $(grep -m1 'gpfq: ' "$folder/out" | cut -c1-150)"
}

truncate_half() {
  truncate -s $(($(stat -c %s "$1") / 2)) "$1"
}

flip_middle() {
  flip "$1" $(($(stat -c %s "$1") / 2))
}

flip_header() {
  flip "$1" 100
}

"$program" demo --out "$folder/demo" >"$folder/out" || fail "no sample"
config=$folder/demo/digits.json
quantize 2 "$folder/whole" --set checkpoint_seconds=600
((status == 0)) || fail "the undisturbed run"
expected=$(hash_of "$folder/whole")
quantize 2 "$folder/whole" --resume --set checkpoint_seconds=600
expect 0 "holds this run, finished: codes_sha256 $expected"
quantize 2 "$folder/whole"
expect 2 "overwrite"
quantize 2 "$folder/whole" --resume --set quantization.levels=5
expect 2 "config quantization.levels"

# Stopped in the middle, by the signal that mpirun hands on. The folder is where the copies will be: their scratch has its name.
# shellcheck disable=SC2086
mpirun ${MPIRUN_FLAGS:-} -q -n 3 "$program" quantize "$config" "${settings[@]}" --set "output=$folder/run" --resume \
  >"$folder/out" 2>&1 &
job=$!
for ((i = 0; i < 600; ++i)); do
  [[ -n $(compgen -G "$folder/run/checkpoint/state-*.h5") ]] && break
  sleep 0.05
done
"$program" inspect "$folder/run/checkpoint/job.ckpt" >"$folder/inspected" || fail "a checkpoint cannot be looked into"
grep -q "checkpoint of version" "$folder/inspected" || fail "what is in a checkpoint is not said"
timeout -s KILL 60 mpirun -q -n 1 "$program" quantize "$config" "${settings[@]}" --set "output=$folder/run" --resume \
  >"$folder/second" 2>&1
second=$?
kill -USR1 "$job"
wait "$job"
status=$?
if ((second != 2)) || ! grep -q "is in use by process" "$folder/second"; then
  fail "a second job on the folder: $second $(cat "$folder/second")"
fi
expect 75 "stopped on request with a checkpoint"
cp -a "$folder/run" "$folder/stopped"
echo "stopped: $(cd "$folder/stopped" && find . -type f | sort | tr '\n' ' ')"

# What is planned for checkpoints has room for two such files.
planned=$("$program" plan "$config" "${settings[@]}" --ranks 3 --json | sed -n 's/^ *"checkpoint_bytes": \([0-9]*\).*/\1/p')
state=$(stat -c %s "$folder"/stopped/checkpoint/state-*.h5 | sort -n | tail -n 1)
((2 * state <= planned && planned <= 10 * state)) || fail "$planned bytes are planned for checkpoints, a state has $state"

quantize 2 "$folder/run"
expect 2 "resume goes on with it"
quantize 2 "$folder/run" --resume --set quantization.radius.scale=3
expect 2 "config quantization.radius.scale"
quantize 4 "$folder/run" --resume --set checkpoint_seconds=600
expect 0 "resumed after layer"
[[ $(hash_of "$folder/run") == "$expected" ]] || fail "other codes: $(hash_of "$folder/run"), expected $expected"
[[ ! -e $folder/run/checkpoint && ! -e $folder/run/scratch ]] || fail "something is left: $(ls -A "$folder/run")"

cd "$folder/stopped" || exit 1
mapfile -t states < <(find checkpoint -name 'state-*.h5')
mapfile -t tensors < <(find scratch -name '*_analog.h5' | sort)  # the first is whole, what follows still grows
cd "$folder" || exit 1
((${#states[@]} > 0 && ${#tensors[@]} > 0)) || fail "the stopped run has no states or no activations"
for way in truncate_half flip_middle flip_header; do
  damaged "manifest, $way" checkpoint/job.ckpt "$way"
  damaged "state, $way" "${states[0]}" "$way"
  damaged "activations, $way" "${tensors[0]}" "$way"
done
damaged "result, truncate_half" quantized.h5.partial truncate_half
damaged "result, flip_header" quantized.h5.partial flip_header
damaged "no activations" "${tensors[0]}" rm
damaged "no state" "${states[0]}" rm
echo "resume_test: done, $expected"
