#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# mpirun over TCP on three hosts, and file systems as clusters have them: hosts_test.sh CASE, run by isolated.sh.
# shellcheck source=tests/cluster/hosts.sh
source "$(dirname "$0")/hosts.sh"
log=$work/run.log

# quantize HOSTS OPTION...: the job on these hosts ("h1:2,h2:2"), each rank with a thread; its exit code.
quantize() {
  local hosts=$1
  shift
  timeout -s KILL 100 "$GPFQ_MPIEXEC" --host "$hosts" "$program" quantize "$work/job/job.json" --set threads=1 \
    --set output="$work/run" --set checkpoint_seconds=0 "$@" >>"$log" 2>&1 </dev/null
}

log_says() {
  grep -qF -- "$1" "$log" 2>/dev/null
}

# Different ranks per host, then one host slowed: memory is shared inside hosts, blocks are exchanged between them.
case_tcp() {
  start_hosts
  make_job "$work/job" 2 2048
  undisturbed "$work/job"
  quantize h1:2,h2:1,h3:3 || fail "three hosts end with $?"
  expect_text "$log" '6 ranks'
  expect_codes "$work/run"
  slow_down h2 80mbit
  quantize h1:1,h2:1,h3:2 --overwrite || fail "with a slow host three end with $?"
  expect_codes "$work/run"
}

# A host dies: the job ends in seconds, and goes on without it.
case_killed() {
  local launcher status=0 started
  start_hosts
  make_job "$work/job" 12 4096
  undisturbed "$work/job"
  quantize h1:1,h2:1,h3:1 &
  launcher=$!
  wait_until 60 'the second layer' log_says "layer 'layer1'"
  kill_host h2
  started=$SECONDS
  wait "$launcher" || status=$?
  ((status != 0)) || fail 'the job does not mind a dead host'
  ((status != 137)) || fail 'the job had to be killed'
  note "ended with $status after $((SECONDS - started)) s"
  quantize h1:1,h3:2 --resume || fail "resumed on two hosts, it ends with $?"
  expect_text "$log" 'resumed'
  expect_codes "$work/run"
}

# Shared memory of 16 MiB, as containers have it: blocks are copied, and the log says so; the same codes over several hosts.
case_small_shm() {
  start_hosts
  make_job "$work/job" 2 8192
  undisturbed "$work/job"
  export SHM_OPTIONS=mode=1777,size=16m
  quantize h1:3 || fail "small shared memory ends with $?"
  expect_text "$work/run/log" '/dev/shm is too small'
  expect_codes "$work/run"
  # Of two ranks on a host, whose own segments are smaller, one block may find room.
  quantize h1:2,h3:2 --overwrite || fail "small shared memory on two hosts ends with $?"
  expect_codes "$work/run"
}

# expect_refusal TEXT OPTION...: exit code 2, one message, nothing left behind.
expect_refusal() {
  local text=$1 status=0
  shift
  : >"$log"
  quantize h1:2 "$@" || status=$?
  ((status == 2)) || fail "expected exit code 2 and '$text', found $status"
  expect_text "$log" "$text"
  (($(grep -c '^gpfq: ' "$log") == 1)) || fail 'there is not one message'
}

# Output and scratch on file systems of their own; each too small is refused before work starts.
case_folders() {
  local name
  start_hosts
  make_job "$work/job" 2 2048
  undisturbed "$work/job"
  for name in output scratch; do
    mkdir "$name" "small_$name"
    mount -t tmpfs -o size=200m tmpfs "$name"
    mount -t tmpfs -o size=1m tmpfs "small_$name"
  done
  expect_refusal 'the result and its checkpoints need' --set output="$work/small_output/run" --set scratch="$work/scratch"
  expect_refusal 'scratch needs' --set output="$work/output/run" --set scratch="$work/small_scratch"
  expect_refusal 'the result, its checkpoints and scratch together need' --set output="$work/small_output/run"
  for name in output scratch small_output small_scratch; do
    [[ -z $(ls "$name") ]] || fail "a refused job leaves $(ls "$name") in $name"
  done
  quantize h1:2 --set output="$work/output/run" --set scratch="$work/scratch" || fail "two file systems end with $?"
  expect_codes "$work/output/run"
  [[ -z $(ls scratch) ]] || fail "scratch keeps $(ls scratch)"
}

run_case "$1"
