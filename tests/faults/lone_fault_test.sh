#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# One rank of three runs out of memory, at allocations all over a job: the others must not wait for it. All ranks end
# within seconds, with one message that names the rank, and the job can be resumed. And a file that brings HDF5 down: before
# the job has begun, and on a rank at work; and MPI that fails on one rank.
# Usage: lone_fault_test.sh PROGRAM LAYERS_JOB LONE_FAULT CONV_JOB [TIMES]; mpirun's options in MPIRUN_FLAGS.
# shellcheck source=tests/faults/common.sh
source "$(dirname "$0")/common.sh"
times=${5:-4}
output=$folder/run

# quantize KIND RANK NAME=VALUE OPTION...: with the variable in the environment; exit code in $status.
quantize() {
  local kind=$1 rank=$2 variable=$3 config=$folder/demo/digits.json settings=()
  shift 3
  case $kind in
    residual) settings=(--set quantization.form=residual --set quantization.block=64 --set memory_per_rank=34MiB) ;;
    nodes) # as if every rank had a node of its own, which reads everything by itself
      settings=(--set quantization.form=residual --set quantization.block=64 --set memory_per_rank=34MiB
        --set stream.ranks_per_node=1 --set stream.exchange=false)
      ;;
    gram)
      config=$folder/layers/job.json
      settings=(--set quantization.form=gram --set memory_per_rank=72MiB)
      ;;
  esac
  # shellcheck disable=SC2086
  timeout -s KILL 60 mpirun ${MPIRUN_FLAGS:-} -q -x LD_PRELOAD="$lone_fault" -x LONE_FAULT_RANK="$rank" -x "$variable" -n 3 \
    "$program" quantize "$config" --set threads=1 "${settings[@]}" --set "output=$output" "$@" >"$folder/out" 2>&1
  status=$?
}

"$program" demo --out "$folder/demo" >"$folder/out" || fail 'no sample'
"$layers_job" "$folder/layers" 1 6000 >"$folder/out" || fail 'no job'
for kind in residual nodes gram; do
  quantize "$kind" 1 LONE_FAULT_COUNT="$folder/count"
  ((status == 0)) || fail "$kind: the undisturbed run ends with $status"
  expected=$(hash_of "$output")
  read -r count _ <"$folder/count"
  ((count > 100)) || fail "$kind: $count allocations were counted"
  for ((i = 1; i <= times; ++i)); do
    rank=$((i % 3))
    # The first tenth is the program's start.
    chosen=$((count / 10 + (count * 9 / 10) * (2 * i - 1) / (2 * times)))
    rm -rf "$output"
    begun=$SECONDS
    quantize "$kind" "$rank" LONE_FAULT_ALLOCATION="$chosen" --set checkpoint_seconds=0.2
    what="$kind, allocation $chosen of $count on rank $rank"
    ((status != 137 && SECONDS - begun <= 30)) || fail "$what: it hangs"
    if ((status == 0)); then
      [[ $(hash_of "$output") == "$expected" ]] || fail "$what: done, with other codes"
      echo "$what: done without it"
      continue
    fi
    (($(grep -c '^gpfq: ' "$folder/out") == 1)) || fail "$what: there is not one message"
    grep '^gpfq: ' "$folder/out" | grep -q "out of memory.*rank $rank/3" || fail "$what: what happened is not said"
    echo "$what: exit code $status after $((SECONDS - begun)) s: $(grep '^gpfq: ' "$folder/out" | cut -c1-120)"
  done
  if [[ ! -e $output/report.json ]]; then
    quantize "$kind" 1 LONE_FAULT_ALLOCATION=0 --resume --set checkpoint_seconds=0.2
    ((status == 0)) || fail "$kind: resumed, it ends with $status"
    [[ $(hash_of "$output") == "$expected" ]] || fail "$kind: resumed, it ends with other codes"
  fi
  rm -rf "$output"
done

# mpi_fails RANK REDUCTION: all ranks end, with a message in MPI's words; what the job has then is as good as ever.
mpi_fails() {
  local begun=$SECONDS
  quantize gram "$1" LONE_FAULT_MPI="$2" --set checkpoint_seconds=0
  ((status != 0 && status != 137 && status != 75 && SECONDS - begun <= 30)) ||
    fail "MPI fails at reduction $2 of rank $1: exit code $status after $((SECONDS - begun)) s"
  grep -q '^gpfq: MPI_Allreduce failed: MPI_ERR_OTHER: known error not in list' "$folder/out" ||
    fail "MPI fails at reduction $2 of rank $1: what happened is not said"
  echo "reduction $2 of $reductions on rank $1: exit code $status: $(grep '^gpfq: ' "$folder/out" | cut -c1-120)"
  quantize gram 1 LONE_FAULT_MPI=0 --resume
  ((status == 0)) || fail "MPI failed at reduction $2 of rank $1: resumed, it ends with $status"
  [[ $(hash_of "$output") == "$expected" ]] || fail "MPI failed at reduction $2 of rank $1: resumed, it ends with other codes"
  rm -rf "$output"
}
for rank in 0 1; do
  quantize gram "$rank" LONE_FAULT_COUNT="$folder/count" --set checkpoint_seconds=0
  rm -rf "$output"
  read -r _ _ reductions _ <"$folder/count"
  ((reductions > 20)) || fail "$reductions reductions were counted on rank $rank"
  mpi_fails "$rank" $((reductions / 2 + rank * (reductions / 2 - 3)))
done

# fallen RANK READ: one message, which names a file, and exit code 2.
fallen() {
  rm -rf "$output"
  quantize residual "$1" LONE_FAULT_READ="$2"
  ((status == 2)) || fail "HDF5 falls at read $2 of rank $1: exit code $status"
  (($(grep -c '^gpfq: ' "$folder/out") == 1)) || fail "HDF5 falls at read $2 of rank $1: there is not one message"
  grep -q "^gpfq: reading $folder/demo/.* was ended by a signal (SIGSEGV)" "$folder/out" ||
    fail "HDF5 falls at read $2 of rank $1: the file is not named"
}
fallen 0 1 # in the process that tries the job's files
[[ ! -e $output ]] || fail 'a file that cannot be read leaves an output folder behind'
fallen 1 1
echo 'lone_fault_test: done'
