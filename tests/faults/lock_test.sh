#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Who may have an output folder: one job at a time, also where the file system has no locks; not one that is gone. And
# what --overwrite leaves when the job is lost before its first checkpoint.
# Usage: lock_test.sh PROGRAM LAYERS_JOB LONE_FAULT ...; mpirun's options in MPIRUN_FLAGS.
# shellcheck source=tests/faults/common.sh
source "$(dirname "$0")/common.sh"
config=$folder/layers/job.json
output=$folder/run

# quantize OPTION...: on one rank, without locks where $preload says so; exit code in $status.
quantize() {
  # shellcheck disable=SC2086
  timeout -s KILL 100 mpirun ${MPIRUN_FLAGS:-} -q ${preload:+-x LD_PRELOAD="$lone_fault" -x HDF5_USE_FILE_LOCKING=FALSE -x LONE_FAULT_NO_LOCKS=1} -n 1 \
    "$program" quantize "$config" --set threads=1 --set checkpoint_seconds=0 --set quantization.block=256 --set "output=$output" "$@" >"$folder/out" 2>&1
  status=$?
}

# expect STATUS TEXT
expect() {
  ((status == $1)) || fail "exit code $status, expected $1"
  grep -q "$2" "$folder/out" || fail "'$2' is not said"
}

# hold: a job that is stopped in its middle, in $ranks below the mpirun $job.
hold() {
  # shellcheck disable=SC2086
  mpirun ${MPIRUN_FLAGS:-} -q ${preload:+-x LD_PRELOAD="$lone_fault" -x HDF5_USE_FILE_LOCKING=FALSE -x LONE_FAULT_NO_LOCKS=1} -n 2 "$program" quantize "$config" \
    --set threads=1 --set checkpoint_seconds=0 --set quantization.block=256 --set "output=$output" --resume >"$folder/held" 2>&1 &
  job=$!
  local i
  for ((i = 0; i < 1000; ++i)); do
    [[ -n $(compgen -G "$output/checkpoint/state-*.h5") ]] && break
    sleep 0.02
  done
  mapfile -t ranks < <(pgrep -P "$job" -x gpfq)
  ((${#ranks[@]} == 2)) || fail "there are ${#ranks[@]} ranks"
  kill -STOP "${ranks[@]}"
}

# let_go: no process of it is left.
let_go() {
  kill -KILL "$job" "${ranks[@]}"
  wait "$job" 2>/dev/null
}

"$layers_job" "$folder/layers" 1 1000 >"$folder/out" || fail 'no job'
preload=
quantize
expect 0 'done in'
expected=$(grep '^  "codes_sha256"' "$output/report.json")
rm -rf "$output"

for preload in '' yes; do
  hold
  quantize --resume
  expect 2 'is in use by process'
  [[ -z $preload ]] || grep -q 'file system without locks' "$folder/held" || fail 'the log says nothing of missing locks'
  # As after kill -9 of mpirun: the ranks live a little longer than it.
  { sleep 2 && let_go; } &
  killer=$!
  quantize --resume
  expect 0 'resumed after layer'
  wait "$killer"
  [[ $(grep '^  "codes_sha256"' "$output/report.json") == "$expected" ]] || fail 'other codes'
  [[ ! -e $output/.lock && ! -e $output/.lock.held ]] || fail "a lock is left: $(ls -A "$output")"
  rm -rf "$output"
done

# Held on another host: for as long as somebody there touches it.
mkdir -p "$output"
echo -n 'process 1 on elsewhere' >"$output/.lock.held"
quantize
expect 2 'in use by process 1 on elsewhere'
touch -d '-2 minutes' "$output/.lock.held"
quantize
expect 0 'done in'

# A finished run that is overwritten by a job that is lost before its first checkpoint, which the one after it finishes.
preload=yes
cp -a "$output" "$folder/finished"
: >"$output/.overwriting"
quantize --resume
expect 0 'nothing to resume: beginning afresh'
grep -q 'holds this run' "$folder/out" && fail 'the run that was overwritten is shown as finished'
[[ ! -e $output/.overwriting ]] || fail 'a mark is left'
quantize --overwrite --progress "$folder/progress" --set quantization.levels=5
expect 0 'done in'
[[ -s $folder/progress ]] || fail '--progress made no file, or tells of no checkpoint'
quantize --resume --set quantization.levels=5 --progress "$folder/nowhere/progress"
expect 0 'holds this run, finished'
# Refused before it began: what was there is as it was.
quantize --overwrite --set quantization.levels=5 --set memory_per_rank=1KiB
((status == 2)) || fail "too little memory ends with $status"
quantize --resume --set quantization.levels=5
expect 0 'holds this run, finished'
echo 'lock_test: done'
