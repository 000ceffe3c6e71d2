#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What local.sh and the batch scripts share: finding the program and its software, clearing what killed jobs left
# in shared memory, and a launcher that is told of signals. Sourced; works on one node.

gpfq_exit_stopped=75 # stopped on request, with a checkpoint
launcher_pid=
stop_asked=false
end_asked=false
was_interrupted=false
arguments=()

# say MESSAGE...: one line with the time, to stderr.
say() {
  printf '%(%F %T)T  launch: %s\n' -1 "$*" >&2
}

# give_up MESSAGE...: ends the script as gpfq ends for bad arguments.
give_up() {
  printf '%s: %s\n' "${script_name:-launch}" "$*" >&2
  exit 2
}

# show_help_if_asked ARGUMENT...: for --help, the comment at the script's top.
show_help_if_asked() {
  if [[ ${1-} == --help || ${1-} == -h ]]; then
    sed -n '3,/^[^#]/s/^#\( \|$\)//p' "$0"
    exit
  fi
}

# load_software: what GPFQ_MODULES and GPFQ_SPACK name, by a login shell's `module` and by Spack.
load_software() {
  local words
  if [[ -n ${GPFQ_MODULES-} ]]; then
    if ! declare -F module >/dev/null && [[ -r ${MODULESHOME-}/init/bash ]]; then
      # shellcheck disable=SC1091
      source "$MODULESHOME/init/bash"
    fi
    declare -F module >/dev/null || give_up "GPFQ_MODULES is '$GPFQ_MODULES', but this node has no 'module' command"
    read -ra words <<<"$GPFQ_MODULES"
    module load "${words[@]}" || give_up "'module load $GPFQ_MODULES' failed"
  fi
  if [[ -n ${GPFQ_SPACK-} ]]; then
    command -v spack >/dev/null || give_up "GPFQ_SPACK is '$GPFQ_SPACK', but 'spack' is not in PATH"
    read -ra words <<<"$GPFQ_SPACK"
    words=("$(spack load --sh "${words[@]}")") || give_up "'spack load $GPFQ_SPACK' failed"
    eval "${words[0]}"
  fi
}

# find_program HOME: prints GPFQ_PROGRAM, else the build in the checkout HOME, else gpfq in PATH.
find_program() {
  local built=$1/build/src/gpfq
  if [[ -n ${GPFQ_PROGRAM-} ]]; then
    [[ -x $GPFQ_PROGRAM ]] || give_up "GPFQ_PROGRAM is '$GPFQ_PROGRAM', which is no program on $(hostname)"
    echo "$GPFQ_PROGRAM"
  elif [[ -x $built ]]; then
    echo "$built"
  else
    command -v gpfq || give_up "no program: neither $built nor a gpfq in PATH; build it (launch/quickstart.sh)," \
      "or name it: GPFQ_PROGRAM=/path/to/gpfq"
  fi
}

# find_launcher HOME WORD: prints WORD as it is, or for `mpirun` the one that the build was made with.
find_launcher() {
  local cache=$1/build/CMakeCache.txt found=
  if [[ $2 == mpirun && -z ${GPFQ_PROGRAM-} && -r $cache ]]; then
    found=$(sed -n 's/^MPIEXEC_EXECUTABLE:[A-Z]*=//p' "$cache")
  fi
  if [[ -x $found ]]; then
    echo "$found"
  else
    command -v "$2" || give_up "there is no '$2' on $(hostname): load the MPI that gpfq was built with" \
      "(GPFQ_MODULES, GPFQ_SPACK), or set GPFQ_LAUNCHER"
  fi
}

# check_config FILE
check_config() {
  [[ -r $1 ]] || give_up "config '$1' cannot be read (in $PWD)"
}

# clean_leftovers: removes, on this node, what Open MPI left behind of this user's killed jobs: shared memory that no
# process has mapped, and session folders without processes. Young ones may belong to a job that is just starting.
# Stands alone: it is also sent to other nodes.
clean_leftovers() {
  local mapped path removed=0
  mapped=$(cat /proc/[0-9]*/maps 2>/dev/null | awk '$6 ~ "^/" { print $6 }' | sort -u) || true
  while IFS= read -r path; do
    if ! grep -qxF -- "$path" <<<"$mapped"; then
      rm -f -- "$path" && removed=$((removed + 1))
    fi
  done < <(find /dev/shm -maxdepth 1 -type f -user "$UID" -not -newermt '-10 seconds' \
    \( -name 'vader_segment.*' -o -name 'sm_segment.*' -o -name 'osc_sm.*' -o -name 'osc_rdma.*' \) 2>/dev/null)
  while IFS= read -r path; do
    if [[ $path != */pid.* || ! -d /proc/${path##*/pid.} ]] && ! grep -qF -- "$path/" <<<"$mapped"; then
      rm -rf -- "$path" && removed=$((removed + 1))
    fi
  done < <(find "${TMPDIR:-/tmp}/ompi.$(uname -n).$UID" -mindepth 1 -maxdepth 1 -type d -user "$UID" \
    -not -newermt '-60 seconds' \( -name 'pid.*' -o -name 'jf.*' \) 2>/dev/null)
  if ((removed > 0)); then
    printf 'removed %d leftovers of killed jobs on %s\n' "$removed" "$(uname -n)" >&2
  fi
}

# on_stop, on_end: USR1 asks gpfq for a checkpoint and exit 75; TERM and INT end it at once.
on_stop() {
  stop_asked=true
  was_interrupted=true
  say 'told to stop (USR1): gpfq ends at the next checkpoint'
  pass_on USR1
}

on_end() {
  end_asked=true
  was_interrupted=true
  say "told to end ($1): what is checkpointed stays"
  pass_on TERM
}

pass_on() {
  if [[ -n $launcher_pid ]]; then
    kill -s "$1" "$launcher_pid" 2>/dev/null || true
  fi
}

# watch_signals: from here on, signals are passed on to the launcher, or remembered until there is one.
watch_signals() {
  trap on_stop USR1
  trap 'on_end TERM' TERM
  trap 'on_end INT' INT
}

# launch COMMAND...: runs it in the background, where it can be told of signals, and waits; returns its exit code.
launch() {
  local status=0 again
  if [[ $end_asked == true ]]; then
    return 143
  elif [[ $stop_asked == true ]]; then
    return "$gpfq_exit_stopped" # nothing was begun, so nothing is lost
  fi
  "$@" </dev/null &
  launcher_pid=$!
  was_interrupted=false
  if [[ $end_asked == true ]]; then # between the two lines above, when there was nobody to tell
    pass_on TERM
  elif [[ $stop_asked == true ]]; then
    pass_on USR1
  fi
  wait "$launcher_pid" || status=$?
  while [[ $was_interrupted == true ]]; do # a signal ends `wait`, not the launcher
    was_interrupted=false
    again=0
    wait "$launcher_pid" || again=$?
    if ((again != 127)); then # 127: the first wait had its exit code already
      status=$again
    fi
  done
  launcher_pid=
  return "$status"
}

# resume_options PROGRESS_FILE ARGUMENT...: fills `arguments` with those given and --resume, which starts afresh where
# there is nothing to resume; an --overwrite counts until gpfq has begun to overwrite, which PROGRESS_FILE tells (empty:
# the user starts it by hand).
resume_options() {
  local progress_file=$1 argument overwrites=false
  shift
  arguments=()
  for argument in "$@"; do
    if [[ $argument == --overwrite ]]; then
      overwrites=true
    elif [[ $argument != --resume ]]; then
      arguments+=("$argument")
    fi
  done
  if [[ $overwrites == true && ! -e $progress_file ]]; then
    arguments+=(--overwrite)
  else
    arguments+=(--resume)
  fi
  if [[ -n $progress_file ]]; then
    arguments+=(--progress "$progress_file")
  fi
}
