#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The batch scripts on a real Slurm of four nodes: slurm_test.sh CASE, run by isolated.sh.
# shellcheck source=tests/cluster/slurm_cluster.sh
source "$(dirname "$0")/slurm_cluster.sh"
script=$source_folder/launch/slurm/quantize.sbatch

# submit SBATCH_OPTION... -- GPFQ_OPTION...: sets `job` and `log`.
submit() {
  local options=()
  while [[ $1 != -- ]]; do
    options+=("$1")
    shift
  done
  shift
  job=$(sbatch --parsable --time=10 "${options[@]}" "$script" "$work/job/job.json" \
    --set checkpoint_seconds=0 --set output="$work/run" "$@")
  log=$work/gpfq-$job.log
}

log_says() {
  grep -qF -- "$1" "$log" 2>/dev/null
}

# begun_in START: whether the job's start number START has ended a layer of its own, and not yet the job.
begun_in() {
  sed -n "/start $1:/,\$p" "$log" 2>/dev/null | grep -F "layer 'layer" >/dev/null
}

# hold_in START: waits for that and holds the ranks, so that what happens next happens in the midst of the job.
hold_in() {
  wait_until 60 "a layer of start $1" begun_in "$1"
  hold_ranks
}

# ask_to_stop START: a warning by hand, in the midst of that start.
ask_to_stop() {
  hold_in "$1"
  scancel --signal=USR1 --batch "$job"
  wait_until 30 'the script to pass the signal on' stop_told_in "$1"
  go_on
}

stop_told_in() {
  sed -n "/start $1:/,\$p" "$log" | grep -F 'told to stop (USR1)' >/dev/null
}

job_ended() {
  is_in_state "$job" 'COMPLETED FAILED CANCELLED NODE_FAIL TIMEOUT'
}

# The job has ended, or goes on now: Slurm's warnings may send it back into the queue more often than a case does.
job_ended_at_last() {
  if is_in_state "$job" PENDING; then
    sleep 5
    scontrol update jobid="$job" starttime=now 2>/dev/null || true
  fi
  job_ended
}

expect_completed() {
  wait_until 120 "job $job to end" job_ended_at_last
  is_in_state "$job" COMPLETED || fail "job $job ended as $(job_field "$job" JobState)"
}

# expect_starts COUNT: that the job was started so often.
expect_starts() {
  expect_text "$log" "start $1:"
  if log_says "start $(($1 + 1)):"; then
    fail "job $job was started more than $1 times"
  fi
}

# The processes of this test's namespace; there are no others to be seen.
hold_ranks() {
  pkill -STOP -x gpfq
}

go_on() {
  pkill -CONT -x gpfq
}

# Slurm's own warning before the time limit, which it looks at twice a minute: the ranks are held meanwhile. Then the limit
# itself, in the midst of a block: what was checkpointed is not lost, nor the job. Several nodes, ranks and threads each.
case_warning() {
  start_slurm
  make_job "$work/job" 12 4096
  undisturbed "$work/job"
  submit --nodes=2 --ntasks-per-node=2 --cpus-per-task=2 --time=10 --signal=B:USR1@595 --
  hold_in 1
  wait_until 100 "Slurm's warning" stop_told_in 1
  go_on
  start_again "$job" 2 "$log"
  hold_in 2
  scontrol update jobid="$job" endtime="$(date -d '2 seconds' +%FT%T)"
  wait_until 100 'the time limit' log_says 'ended by the time limit'
  wait_until 30 'the job to be back in the queue' is_in_state "$job" PENDING
  scontrol update jobid="$job" timelimit=20 # far from the next warning
  start_again "$job" 3 "$log"
  expect_completed
  sed -n '/start 3:/,$p' "$log" | grep -F 'resumed after' >/dev/null || fail 'start 3 did not resume'
  expect_codes "$work/run"
}

is_down() {
  sinfo -h -o '%N %T' -n "$1" | grep -q ' down'
}

# A node dies that ranks run on, which the script sees; then the one that runs the script, which Slurm is told of (it
# would see it by itself, as it does the first one, after half a minute).
case_node_killed() {
  local node
  start_slurm
  make_job "$work/job" 12 4096
  undisturbed "$work/job"
  submit --nodes=2 --ntasks-per-node=1 --
  wait_until 60 'the first layer' begun_in 1
  [[ $(job_field "$job" BatchHost) == n1 ]] || fail 'the script does not run on n1'
  kill_node n2
  note 'killed n2'
  wait_until 30 'the script to see it' log_says 'a rank or a node was lost'
  wait_until 60 'n2 to be down' is_down n2
  start_again "$job" 2 "$log"
  wait_until 60 'the next layer' begun_in 2
  node=$(job_field "$job" BatchHost)
  kill_node "$node"
  note "killed $node"
  scontrol update nodename="$node" state=down reason=killed
  start_again "$job" 3 "$log"
  expect_completed
  expect_starts 3
  expect_codes "$work/run"
}

# srun starts the ranks; one is killed, then a stop on request.
case_srun() {
  export GPFQ_LAUNCHER=srun
  start_slurm
  make_job "$work/job" 12 4096
  undisturbed "$work/job"
  submit --nodes=3 --ntasks=4 --
  wait_until 60 'the first layer' begun_in 1
  pkill -KILL --oldest -x gpfq
  wait_until 30 'the script to see a killed rank' log_says 'a rank or a node was lost'
  start_again "$job" 2 "$log"
  ask_to_stop 2
  start_again "$job" 3 "$log"
  expect_completed
  expect_starts 3
  expect_codes "$work/run"
}

array_task_runs() {
  log=$work/gpfq-$1-levels-$2.log
  log_says "layer 'layer0'"
}

# An array over alphabets, one task of which is stopped and requeued; the last job waits for it.
case_sweep() {
  local line array last level
  declare -A codes
  start_slurm
  make_job "$work/job" 8 4096
  for level in 3 16; do
    timeout -s KILL 120 "$GPFQ_MPIEXEC" -n 2 "$program" quantize "$work/job/job.json" --set threads=1 \
      --set output="$work/alone-$level" --set quantization.levels="$level" >"$work/alone-$level.log" 2>&1
    codes[$level]=$(codes_of "$work/alone-$level")
  done
  [[ ${codes[3]} != "${codes[16]}" ]] || fail 'both alphabets give the same codes'
  line=$("$source_folder/launch/slurm/sweep.sh" 3,16 "$work/job/job.json" --ntasks=2 --time=10 \
    -- --set checkpoint_seconds=0)
  note "$line"
  array=${line#array }
  array=${array%%:*}
  last=${line##*job }
  last=${last%% *}
  wait_until 60 'the first layer with 16 levels' array_task_runs "$array" 16
  scancel --signal=USR1 --batch "${array}_16"
  job=${array}_3 && expect_completed
  is_in_state "$last" PENDING || fail 'the last job did not wait'
  start_again "${array}_16" 2 "$log"
  job=${array}_16 && expect_completed
  job=$last && expect_completed
  for level in 3 16; do
    grep -q "^levels-0*$level,.*,${codes[$level]}\$" sweep/runs.csv || fail "runs.csv has other codes for $level levels"
  done
  (($(wc -l <sweep/layers.csv) == 17)) || fail 'layers.csv has not a line per layer and run'
  if "$source_folder/launch/slurm/gather.sh" sweep levels-003 levels-004 2>missing.txt; then
    fail 'gather.sh misses no run'
  fi
  expect_text missing.txt 'not finished: levels-004'
}

# What a user gets wrong ends the job with a message, not in the queue; modules are loaded.
case_refusals() {
  start_slurm
  make_job "$work/job" 1 512
  undisturbed "$work/job"
  submit --ntasks=2 -- --set quantization.levles=3
  wait_until 60 'the job to end' job_ended
  [[ $(job_field "$job" ExitCode) == 2:0 ]] || fail "a wrong key ends with $(job_field "$job" ExitCode)"
  expect_text "$log" levles
  expect_starts 1
  GPFQ_MODULES=no_such_module submit --ntasks=1 --
  wait_until 60 'the job to end' job_ended
  [[ $(job_field "$job" ExitCode) == 2:0 ]] || fail "a wrong module ends with $(job_field "$job" ExitCode)"
  expect_text "$log" no_such_module
  GPFQ_LAUNCHER=/bin/true GPFQ_RETRIES=0 submit --ntasks=1 --
  wait_until 60 'the job to end' job_ended
  [[ $(job_field "$job" ExitCode) == 255:0 ]] || fail "a launcher that starts nothing ends with $(job_field "$job" ExitCode)"
  expect_text "$log" 'it did not run'
  # Loading takes longer than the time before the warning.
  # shellcheck disable=SC2016
  printf '#!/bin/sh\necho "loading, ${SLURM_RESTART_COUNT:-0}" >&2\nexec sleep 100\n' >slow && chmod +x slow
  GPFQ_LAUNCHER=$work/slow GPFQ_RETRIES=1 submit --ntasks=1 --
  wait_until 60 'the first start to load' log_says 'loading, 0'
  scancel --signal=USR1 --batch "$job"
  start_again "$job" 2 "$log"
  wait_until 60 'the second start to load' log_says 'loading, 1'
  scancel --signal=USR1 --batch "$job"
  wait_until 60 'the job to end' job_ended
  expect_text "$log" 'with nothing new saved in between'
  expect_starts 2
  # Cancelled: it stays so.
  GPFQ_LAUNCHER=$work/slow submit --ntasks=1 --
  wait_until 60 'the job to load' log_says 'loading'
  scancel "$job"
  wait_until 60 'the job to end' job_ended
  is_in_state "$job" CANCELLED || fail "a cancelled job is $(job_field "$job" JobState)"
  mkdir modules
  printf '#%%Module\nsetenv GPFQ_PROGRAM %s\n' "$program" >modules/gpfq
  MODULESHOME=/usr/share/modules MODULEPATH=$work/modules GPFQ_MODULES=gpfq GPFQ_PROGRAM=/nowhere submit --nodes=2 --exclusive --
  expect_completed
  expect_text "$log" "8 ranks on n[1-2] (4,4), 1 threads and 400MiB each"
  expect_codes "$work/run"
}

run_case "$1"
