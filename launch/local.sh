#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# One quantization on this machine: a rank per core, memory as is free, what killed jobs left in shared memory
# cleared first. Started again by the same command it resumes; signals reach gpfq.
set -euo pipefail
home=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
script_name=launch/local.sh
# shellcheck source=launch/lib/job.sh
source "$home/launch/lib/job.sh"

usage() {
  cat <<'TEXT'
usage: launch/local.sh [-n RANKS] [-t THREADS] CONFIG [GPFQ_OPTION...]

  -n RANKS     default: one per core and THREADS
  -t THREADS   of a rank; default 1

Runs `mpirun -n RANKS gpfq quantize CONFIG --resume` with memory_per_rank as 80 % of the free memory allows; options of
`gpfq quantize` may follow, for example --set quantization.levels=16, or --overwrite to start afresh.
  kill -USR1 PID of this script   stop with a checkpoint, exit code 75; the same command goes on
  kill PID, or Ctrl-C             end now; the last checkpoint stays
From the environment: GPFQ_PROGRAM, GPFQ_MODULES, GPFQ_SPACK, GPFQ_LAUNCHER, GPFQ_MEMORY_PERCENT and
GPFQ_MEMORY_PER_RANK, as in launch/slurm/quantize.sbatch.
TEXT
}

# Cores that this process may use: no more than there are (a core may show as two processors), and than a
# container's share of them.
core_count() {
  local count cores quota period
  count=$(nproc)
  cores=$(lscpu -p=CORE,SOCKET 2>/dev/null | grep -v '^#' | sort -u | wc -l) || cores=$count
  if ((cores > 0 && cores < count)); then
    count=$cores
  fi
  if read -r quota period 2>/dev/null </sys/fs/cgroup/cpu.max && [[ $quota != max ]]; then
    cores=$(((quota + period - 1) / period))
    count=$((cores < count ? cores : count))
  fi
  echo "$count"
}

# Free memory, or what a container leaves, in MiB.
free_mebibytes() {
  local free limit used
  free=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)
  if read -r limit 2>/dev/null </sys/fs/cgroup/memory.max && [[ $limit != max ]] &&
    read -r used 2>/dev/null </sys/fs/cgroup/memory.current; then
    limit=$(((limit - used) / 1048576))
    free=$((limit < free ? limit : free))
  fi
  echo "$free"
}

# More ranks than cores must yield to each other; root has to say that it means it.
prepare_launcher() {
  local cores=$1 ranks=$2
  if ((ranks > cores)); then
    export OMPI_MCA_rmaps_base_oversubscribe=${OMPI_MCA_rmaps_base_oversubscribe-1}
    export OMPI_MCA_mpi_yield_when_idle=${OMPI_MCA_mpi_yield_when_idle-1}
    export PRTE_MCA_rmaps_default_mapping_policy=${PRTE_MCA_rmaps_default_mapping_policy-:oversubscribe}
  fi
  if ((EUID == 0)); then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  fi
}

main() {
  local ranks='' threads=1 config cores memory launcher status=0
  while [[ ${1-} == -* ]]; do
    case $1 in
      --help | -h) usage && exit ;;
      -n | -t)
        [[ ${2-} =~ ^[1-9][0-9]*$ ]] || give_up "$1 needs a number, found '${2-}'"
        if [[ $1 == -n ]]; then ranks=$2; else threads=$2; fi
        shift 2
        ;;
      *) give_up "unknown option $1 (before the config); see --help" ;;
    esac
  done
  config=${1-}
  if [[ -z $config ]]; then
    usage >&2
    exit 2
  fi
  shift
  watch_signals
  check_config "$config"
  load_software
  program=$(find_program "$home") || exit
  launcher=$(find_launcher "$home" "${GPFQ_LAUNCHER:-mpirun}") || exit
  cores=$(core_count)
  ranks=${ranks:-$((cores > threads ? cores / threads : 1))}
  memory=${GPFQ_MEMORY_PER_RANK:-$(($(free_mebibytes) * ${GPFQ_MEMORY_PERCENT:-80} / 100 / ranks))MiB}
  resume_options '' "$@"
  prepare_launcher "$cores" $((ranks * threads))
  clean_leftovers
  say "$ranks ranks, $threads threads and $memory each; kill -USR1 $$ stops with a checkpoint"
  launch "$launcher" -n "$ranks" --bind-to none "$program" quantize "$config" --set threads="$threads" \
    --set memory_per_rank="$memory" "${arguments[@]}" || status=$?
  if ((status == gpfq_exit_stopped)); then
    say 'stopped with a checkpoint: the same command goes on'
  fi
  clean_leftovers
  exit "$status"
}

main "$@"
