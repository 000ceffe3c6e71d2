#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The batch scripts on a real Slurm of four nodes: slurm_test.sh CASE, run by isolated.sh.
# shellcheck source=tests/cluster/common.sh
source "$(dirname "$0")/common.sh"
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
    --set output="$work/run" "$@")
  log=$work/gpfq-$job.log
}

log_says() {
  grep -qF -- "$1" "$log" 2>/dev/null
}

job_ended() {
  is_in_state "$job" 'COMPLETED FAILED CANCELLED NODE_FAIL TIMEOUT'
}

expect_completed() {
  wait_until 90 "job $job to end" job_ended
  is_in_state "$job" COMPLETED || fail "job $job ended as $(job_field "$job" JobState)"
}

# Slurm's own warning before the time limit, then one by hand; several nodes, several ranks and threads each.
case_plain() {
  start_slurm
  make_job "$work/job" 4 4096
  undisturbed "$work/job"
  submit --nodes=2 --ntasks-per-node=2 --cpus-per-task=2 --
  expect_completed
  cat "$log"
  expect_codes "$work/run"
}

run_case "$1"
