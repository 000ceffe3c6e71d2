#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A job inside a Slurm allocation: ranks, threads and memory as the allocation has them, a stop with a checkpoint
# when Slurm warns, and the way back into the queue. Sourced by the batch scripts, which set `home` (the checkout) and `script_name`.
: "${home:?}" "${script_name:?}"
# shellcheck source=launch/lib/job.sh
source "$home/launch/lib/job.sh"

gpfq_exit_not_run=255 # the launcher's 0 for ranks that never started

# expand_counts '2(x3),1': one count per node and line, as SLURM_TASKS_PER_NODE has them.
expand_counts() {
  local part count times
  for part in ${1//,/ }; do
    count=${part%%(*}
    times=1
    if [[ $part == *'(x'* ]]; then
      times=${part##*(x}
      times=${times%)}
    fi
    while ((times-- > 0)); do
      echo "$count"
    done
  done
}

# derive_shape: sets `threads`, `rank_count`, `ranks_on_nodes` (as SLURM_TASKS_PER_NODE) and `most_ranks` of a node.
# A job that asked for no tasks gets a rank for every `threads` CPUs.
derive_shape() {
  local count counts=()
  threads=${SLURM_CPUS_PER_TASK:-1}
  if [[ -n ${SLURM_NTASKS-}${SLURM_NTASKS_PER_NODE-} ]]; then
    # shellcheck disable=SC2153
    mapfile -t counts < <(expand_counts "$SLURM_TASKS_PER_NODE")
  else
    mapfile -t counts < <(expand_counts "$SLURM_JOB_CPUS_PER_NODE")
    for count in "${!counts[@]}"; do
      counts[count]=$((counts[count] > threads ? counts[count] / threads : 1))
    done
  fi
  rank_count=0
  most_ranks=0
  for count in "${counts[@]}"; do
    rank_count=$((rank_count + count))
    most_ranks=$((count > most_ranks ? count : most_ranks))
  done
  ranks_on_nodes=$(IFS=, && echo "${counts[*]}")
}

# node_mebibytes: what the job may use of this node: its allocation, else the share of its CPUs.
node_mebibytes() {
  local total all_cpus
  if ((${SLURM_MEM_PER_NODE:-0} > 0)); then
    echo "$SLURM_MEM_PER_NODE"
  elif ((${SLURM_MEM_PER_CPU:-0} > 0)); then
    echo $((SLURM_MEM_PER_CPU * SLURM_CPUS_ON_NODE))
  else
    total=$(awk '/^MemTotal:/ { print int($2 / 1024) }' /proc/meminfo)
    all_cpus=$(nproc --all)
    echo $((SLURM_CPUS_ON_NODE < all_cpus ? total * SLURM_CPUS_ON_NODE / all_cpus : total))
  fi
}

# derive_memory: sets `memory_per_rank`. The rest of the node's memory is for libraries, MPI and the page cache.
derive_memory() {
  local percent=${GPFQ_MEMORY_PERCENT:-80}
  memory_per_rank=${GPFQ_MEMORY_PER_RANK:-$(($(node_mebibytes) * percent / 100 / most_ranks))MiB}
}

# clean_nodes: clean_leftovers on every node of the job; not worth a failed job, nor waiting for a node that is gone.
clean_nodes() {
  timeout -k 5 60 srun --mpi=none --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --cpus-per-task=1 \
    bash -c "$(declare -f clean_leftovers); clean_leftovers" </dev/null ||
    say 'shared memory could not be cleaned on all nodes'
}

# launcher_command: fills `launcher`. mpirun starts ranks where the allocation has tasks and leaves threads where the
# system puts them (Slurm's CPUs may be hardware threads, which mpirun counts differently); srun pins by itself. Slurm's
# fences in the shape of a tree let ranks out of MPI_Init before all are in it, where Open MPI crashes now and then; its
# rings wait for all.
launcher_command() {
  local words options=()
  words=("${GPFQ_LAUNCHER:-mpirun}")
  if [[ ! -x ${words[0]} ]]; then # not a program as it stands, whose path may have spaces: a command with options
    read -ra words <<<"${words[0]}"
  fi
  read -ra options <<<"${GPFQ_LAUNCHER_OPTIONS-}"
  if [[ ${words[0]##*/} == srun ]]; then
    if [[ " ${words[*]} ${options[*]-} " != *' --mpi='* ]]; then
      words+=(--mpi=pmix)
    fi
    export SLURM_PMIX_FENCE=${SLURM_PMIX_FENCE-ring}
    launcher=("${words[@]}" -K1 --ntasks="$rank_count" --cpus-per-task="$threads")
    if [[ -z ${SLURM_NTASKS-}${SLURM_NTASKS_PER_NODE-} ]]; then
      launcher+=(--ntasks-per-node="$most_ranks")
    fi
  else
    words[0]=$(find_launcher "$home" "${words[0]}") || exit
    launcher=(env -u SLURM_CPUS_PER_TASK SLURM_TASKS_PER_NODE="$ranks_on_nodes"
      "${words[@]}" -n "$rank_count" --bind-to none)
  fi
  launcher+=("${options[@]}")
}

# steadily COMMAND...: one that a signal to all of the job's processes, as at the time limit, does not end.
steadily() {
  (trap '' TERM INT USR1 && exec "$@")
}

# requeue REASON: back into the queue, where the same script resumes; Slurm ends this one.
requeue() {
  say "$1: back into the queue (job $job_name resumes there)"
  if ! steadily scontrol requeue "$job_name"; then
    forget_starts
    say 'this Slurm does not requeue the job: submit it again by the same command to go on'
  fi
  exit "$gpfq_exit_stopped"
}

# The starts of this job, in small files in the folder of submission: how far it had got when it last began, and how many
# starts in a row have not come further. Where nothing can be written there, every start counts.
find_start_files() {
  local stem=${SLURM_SUBMIT_DIR:-.}/.gpfq-${SLURM_CLUSTER_NAME:+$SLURM_CLUSTER_NAME-}$SLURM_JOB_ID
  starts_file=$stem.starts
  progress_file=$stem.progress # gpfq's, with every checkpoint
  if ((${SLURM_RESTART_COUNT:-0} == 0)); then
    forget_starts
  fi
}

forget_starts() {
  rm -f "$starts_file" "$progress_file" 2>/dev/null || true
}

read_progress() {
  cat "$progress_file" 2>/dev/null || true
}

# count_start: sets `vain_starts`, those in a row before this one that saved nothing, and `earlier_progress`.
count_start() {
  local count=0 progress=
  earlier_progress=$(read_progress)
  vain_starts=0
  if [[ -r $starts_file ]] && { read -r count && IFS= read -r progress; } <"$starts_file" && [[ $progress == "$earlier_progress" ]]; then
    vain_starts=$count
  fi
  printf '%d\n%s\n' $((vain_starts + 1)) "$earlier_progress" 2>/dev/null >"$starts_file" || vain_starts=${SLURM_RESTART_COUNT:-0}
}

# may_start_again: whether this start has put a checkpoint on disk, or few have not.
may_start_again() {
  [[ $(read_progress) != "$earlier_progress" ]] || ((vain_starts < ${GPFQ_RETRIES:-2}))
}

# run_job CONFIG [GPFQ_OPTION...]: the whole job.
run_job() {
  local config=${1-} status=0 printed
  [[ -n $config ]] || give_up "a config is needed: sbatch [SBATCH_OPTION...] $script_name CONFIG [GPFQ_OPTION...]"
  shift
  [[ -n ${SLURM_JOB_ID-} ]] || give_up 'this is a batch script: sbatch '"$script_name $config"
  watch_signals
  check_config "$config"
  load_software
  program=$(find_program "$home") || exit
  # One task of an array has the array's own number, which means all of them.
  job_name=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
  job_name=${job_name:-$SLURM_JOB_ID}
  find_start_files
  count_start
  derive_shape
  derive_memory
  launcher_command
  resume_options "$progress_file" "$@"
  say "job $SLURM_JOB_ID, start $((${SLURM_RESTART_COUNT:-0} + 1)): $rank_count ranks on $SLURM_JOB_NODELIST" \
    "($ranks_on_nodes), $threads threads and $memory_per_rank each, by ${GPFQ_LAUNCHER:-mpirun}"
  clean_nodes
  printed=$(mktemp)
  launch "${launcher[@]}" "$program" quantize "$config" --set threads="$threads" \
    --set memory_per_rank="$memory_per_rank" "${arguments[@]}" >"$printed" || status=$?
  steadily cat "$printed"
  # srun may end with 0 where Slurm could not launch the tasks; a run that is done has printed its table.
  if ((status == 0)) && [[ ! -s $printed ]]; then
    say 'the launcher ended with exit code 0, but gpfq has printed no results: it did not run'
    status=$gpfq_exit_not_run
  fi
  rm -f "$printed"
  end_start "$status"
  exit "$status"
}

# end_start STATUS: the end of the job, or its way back into the queue.
end_start() {
  local reason=
  if (($1 == 0)); then
    forget_starts
    say 'done'
    return
  fi
  find_reason "$1"
  if [[ -n $reason ]] && may_start_again; then
    requeue "$reason"
  elif [[ -n $reason ]]; then
    say "$reason too often, with nothing new saved in between; to go on, submit it again, without --overwrite" \
      "(more --time, or a warning nearer to its end by --signal=B:USR1@SECONDS, leave more to work in)"
    forget_starts
  else
    say "ended with exit code $1"
    if [[ $end_asked == false ]]; then # else Slurm may be about to start it again by itself
      forget_starts
    fi
  fi
  if [[ $end_asked == false ]]; then
    clean_nodes # there is no next start to do it
  fi
}

# find_reason STATUS: sets `reason`, for which the job goes on later; none where it is over. 2 comes with a message of
# gpfq's own, which another start would only repeat; above 128 a rank or a node was lost, and so it may have been with 1,
# where MPI failed in a rank that is left. A job that somebody has cancelled stays so.
find_reason() {
  local shown
  shown=$(steadily scontrol show job "$job_name" 2>/dev/null) || true
  if [[ $shown == *JobState=CANCELLED* ]]; then
    reason=
  elif (($1 == gpfq_exit_stopped)) && [[ $end_asked == false ]]; then
    reason='stopped on request'
  elif [[ $shown == *Reason=TimeLimit* ]]; then
    reason='ended by the time limit, before it could stop with a checkpoint'
  elif [[ $end_asked == true ]]; then
    reason=
  elif (($1 != 1 && $1 < 128)); then
    reason=
  elif [[ $stop_asked == true ]]; then
    reason="ended with exit code $1 while it stopped"
  else
    reason="ended with exit code $1 (a rank or a node was lost)"
  fi
}
