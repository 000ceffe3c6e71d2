#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# launch/local.sh: a stop on request and the same command again, a killed launcher and what it leaves behind.
# shellcheck source=tests/cluster/common.sh
source "$(dirname "$0")/common.sh"
log=$work/run.log

log_says() {
  grep -qF -- "$1" "$log" 2>/dev/null
}

# The job on three ranks; its exit code.
local_run() {
  "$source_folder/launch/local.sh" -n 3 job/job.json --set checkpoint_seconds=0 --set output="$work/run" \
    >>"$log" 2>&1
}

rm -rf "$work"
mkdir -p "$work/tmp"
export TMPDIR=$work/tmp
trap 'rm -rf "$work"' EXIT
cd "$work"
make_job "$work/job" 5 4096
undisturbed "$work/job"

local_run &
script=$!
wait_until 60 'the second layer' log_says "layer 'layer1'"
kill -USR1 "$(pgrep -P "$script" || echo "$script")"
status=0
wait "$script" || status=$?
((status == 75)) || fail "stopped on request, it ends with $status"
expect_text "$log" 'stopped with a checkpoint'

# A segment without a process, as killed jobs leave them, and the folder of an mpirun that is gone.
leftover=/dev/shm/vader_segment.left.$$.0
touch -d '-1 hour' "$leftover"
folder=$TMPDIR/ompi.$(uname -n).$UID/pid.4194399
mkdir -p "$folder"
touch -d '-1 hour' "$folder"
local_run || fail "started again, it ends with $?"
expect_text "$log" 'resumed'
expect_codes "$work/run"
[[ ! -e $leftover && ! -e $folder ]] || fail 'leftovers of killed jobs are still there'

# An --overwrite counts until gpfq has begun to overwrite.
resumes_by() {
  # shellcheck source=launch/lib/job.sh
  (source "$source_folder/launch/lib/job.sh" && resume_options "$1" --levels 3 --overwrite && echo "${arguments[*]}")
}
[[ $(resumes_by '') == '--levels 3 --overwrite' ]] || fail "by hand: $(resumes_by '')"
[[ $(resumes_by begun) == '--levels 3 --overwrite --progress begun' ]] || fail "not begun: $(resumes_by begun)"
touch begun
[[ $(resumes_by begun) == '--levels 3 --resume --progress begun' ]] || fail "begun: $(resumes_by begun)"

# A launcher whose path has spaces, and one with options.
launcher_of() {
  # shellcheck disable=SC2016
  GPFQ_LAUNCHER=$1 SLURM_NTASKS=2 home=$source_folder script_name=test bash -c 'source "$home/launch/lib/slurm.sh"
    rank_count=2 ranks_on_nodes=2 threads=1 most_ranks=2
    launcher_command
    printf "%s\n" "${launcher[@]}" "fence ${SLURM_PMIX_FENCE-}"'
}
mkdir -p 'with space'
printf '#!/bin/sh\n' >'with space/mpirun'
chmod +x 'with space/mpirun'
found=$(launcher_of "$PWD/with space/mpirun")
[[ $found == *$'\n'"$PWD/with space/mpirun"$'\n'* ]] || fail "a path with spaces: $found"
found=$(launcher_of "$GPFQ_MPIEXEC -q")
[[ $found == *$'\n-q\n'* ]] || fail "a launcher with options: $found"
# srun's fences, unless the user knows better.
found=$(launcher_of srun)
[[ $found == *$'\n--mpi=pmix\n'* && $found == *'fence ring' ]] || fail "srun: $found"
found=$(SLURM_PMIX_FENCE=tree launcher_of srun)
[[ $found == *'fence tree' ]] || fail "srun with a fence of the user's: $found"

status=0
"$source_folder/launch/local.sh" nowhere.json 2>"$work/message.txt" || status=$?
((status == 2)) || fail "a config that is not there ends with $status"
expect_text "$work/message.txt" 'nowhere.json'
note 'passed'
