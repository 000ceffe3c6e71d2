#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Disks that fill up while a job runs, or that cannot be written at all: disk_test.sh CASE, run by isolated.sh.
# shellcheck source=tests/cluster/common.sh
source "$(dirname "$0")/common.sh"
log=$work/run.log
whole_size=64m

# begin RANKS OPTION...: a job on file systems of its own for output and scratch, in the background.
begin() {
  local ranks=$1
  shift
  : >"$log"
  timeout -s KILL 60 "$GPFQ_MPIEXEC" -q -n "$ranks" "$program" quantize demo/digits.json --set threads=1 \
    --set quantization.form=residual --set quantization.block=16 --set memory_per_rank=28MiB --resume \
    --set output="$work/output/run" --set scratch="$work/scratch" "$@" >>"$log" 2>&1 </dev/null &
  launcher=$!
}

# finish: waits for the job; its exit code in `status`.
finish() {
  status=0
  wait "$launcher" || status=$?
}

log_says() {
  grep -qF -- "$1" "$log"
}

# leave_room FOLDER KIBIBYTES: of the file system mounted there.
leave_room() {
  local used
  used=$(df --output=used "$1" | tail -n 1)
  mount -o remount,size=$((used + $2 + 1))k "$1"
}

make_disks() {
  local name
  for name in output scratch; do
    mkdir "$name"
    mount -t tmpfs -o size=$whole_size tmpfs "$name"
  done
  "$program" demo --out demo >/dev/null
  begin 2
  finish
  ((status == 0)) || fail "the undisturbed run ends with $status: $(cat "$log")"
  expected=$(codes_of output/run)
  rm -rf output/run
}

# resumed WHAT: with the disk as it was before, the job goes on and leaves results alone.
resumed() {
  begin 2
  finish
  ((status == 0)) || fail "$1: resumed, it ends with $status: $(cat "$log")"
  [[ $(codes_of output/run) == "$expected" ]] || fail "$1: other codes than the undisturbed run's"
  [[ $(cd output/run && echo *) == 'log quantized.h5 report.csv report.json' ]] || fail "$1: it leaves $(ls -A output/run)"
  [[ -z $(ls -A scratch) ]] || fail "$1: scratch keeps $(ls -A scratch)"
}

# run_into_full DISK MOMENT KIBIBYTES SECONDS: a job on 3 ranks that checkpoints every SECONDS, held when its log has
# MOMENT; from then on DISK has room for KIBIBYTES more. False where the job was done before.
run_into_full() {
  begin 3 --set checkpoint_seconds="$4"
  while ! log_says "$2" && kill -0 "$launcher" 2>/dev/null; do
    sleep 0.01
  done
  pkill -STOP -x gpfq || true # the processes of this test's namespace; there are no others to be seen
  leave_room "$1" "$3"
  pkill -CONT -x gpfq || true
  held=$SECONDS
  finish
  mount -o remount,size=$whole_size "$1"
  ((status != 0))
}

# fails_full DISK MOMENT KIBIBYTES SECONDS: such a job ends with one message, and goes on when there is room again.
fails_full() {
  local what="$1 full after '$2' but for $3 KiB, checkpoints every $4 s" attempt
  for ((attempt = 1; attempt < 10; ++attempt)); do
    if run_into_full "$@"; then
      break
    fi
    rm -rf output/run
  done
  ((status == 2)) || fail "$what: exit code $status, expected 2: $(cat "$log")"
  (($(grep -c '^gpfq: ' "$log") == 1)) || fail "$what: there is not one message: $(cat "$log")"
  grep -qF " are free in $work/$1" "$log" || fail "$what: it is not said which disk is full: $(cat "$log")"
  ((SECONDS - held <= 20)) || fail "$what: it took $((SECONDS - held)) s to end"
  [[ ! -e output/run/report.json ]] || fail "$what: there is a report"
  note "$what: $(grep '^gpfq: ' "$log" | cut -c1-250)"
  resumed "$what"
  rm -rf output/run
}

# Every kind of write: the result, activations, states, the manifest, the codes, the reports.
case_full() {
  local moment
  RANDOM=1
  make_disks
  for moment in 0 200 900; do
    fails_full output 'beginning afresh' "$moment" 600
  done
  for moment in 0 3000 7000; do
    fails_full scratch 'beginning afresh' "$moment" 600
  done
  for moment in "'hidden1'" "'hidden2'" "'output'"; do
    fails_full output "$moment" 0 600
  done
  fails_full scratch "'hidden1'" $((RANDOM % 1000)) 600
  fails_full output "'hidden1'" 0 0
  fails_full output "'hidden1'" $((RANDOM % 200)) 0
  fails_full output "'hidden2'" $((RANDOM % 30)) 0
}

# refused FOLDER WHAT: exit code 2 and one message that says why and where, before anything is written.
refused() {
  begin 2
  finish
  ((status == 2)) || fail "$2: exit code $status, expected 2: $(cat "$log")"
  (($(grep -c '^gpfq: ' "$log") == 1)) || fail "$2: there is not one message: $(cat "$log")"
  grep '^gpfq: ' "$log" | grep -F "$work/$1" | grep -qiE 'read-only|read only' || fail "$2: it says $(cat "$log")"
  note "$2: $(grep '^gpfq: ' "$log")"
}

# Disks that nothing can be written to, from the start or from a stop with a checkpoint on.
case_read_only() {
  local name
  make_disks
  for name in output scratch; do
    mount -o remount,ro "$name"
    refused "$name" "read-only $name"
    mount -o remount,rw "$name"
    [[ -z $(ls -A output)$(ls -A scratch) ]] || fail "read-only $name: something is left: $(ls -A output scratch)"
  done
  begin 3 --set checkpoint_seconds=0
  wait_until 30 'a checkpoint inside a layer' compgen -G 'output/run/checkpoint/state-*.h5' >/dev/null
  pkill -USR1 -x gpfq
  finish
  ((status == 75)) || fail "stopped on request, it ends with $status: $(cat "$log")"
  for name in output scratch; do
    mount -o remount,ro "$name"
    refused "$name" "$name read-only since the stop"
    mount -o remount,rw "$name"
  done
  resumed 'writable again'
  expect_text "$log" 'resumed after layer'
}

run_case "$1"
