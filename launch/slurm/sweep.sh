#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Submits a sweep over alphabets by one command: an array of jobs, one per number of levels, and a last job that
# gathers their tables when all have ended.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
  cat <<'TEXT'
usage: launch/slurm/sweep.sh LEVELS CONFIG [SBATCH_OPTION...] [-- GPFQ_OPTION...]

  launch/slurm/sweep.sh 3,4,8,16 my.json --nodes=2 --ntasks-per-node=32 --mem=64G --time=4:00:00

One job per number of levels (2 to 256), each in $GPFQ_SWEEP/levels-<M> (GPFQ_SWEEP: default sweep, here). When all
have ended, a small job writes runs.csv and layers.csv there. The same command goes on with what is not finished.
The environment of launch/slurm/quantize.sbatch applies.
TEXT
}

# Options for a job's size are the array's; where a job goes counts for the gathering one, too.
place_options() {
  local option
  for option in "$@"; do
    case $option in
      --partition=* | --account=* | --qos=* | --reservation=* | --clusters=*) echo "$option" ;;
    esac
  done
}

main() {
  local levels=${1-} config=${2-} options=() names=() level array last place
  if [[ $levels == --help || $levels == -h ]]; then
    usage
    return
  fi
  if [[ ! $levels =~ ^[0-9]+(,[0-9]+)*$ || -z $config ]]; then
    usage >&2
    exit 2
  fi
  if [[ ! -r $config ]]; then
    printf 'sweep.sh: config %s cannot be read\n' "'$config'" >&2
    exit 2
  fi
  shift 2
  while (($# > 0)) && [[ $1 != -- ]]; do
    options+=("$1")
    shift
  done
  (($# == 0)) || shift
  export GPFQ_SWEEP
  GPFQ_SWEEP=$(realpath -m "${GPFQ_SWEEP:-sweep}")
  mkdir -p "$GPFQ_SWEEP"
  for level in ${levels//,/ }; do
    names+=("levels-$(printf %03d "$((10#$level))")")
  done
  array=$(sbatch --parsable --array="$levels" "${options[@]}" "$here/sweep.sbatch" "$config" "$@")
  mapfile -t place < <(place_options "${options[@]}")
  last=$(sbatch --parsable --dependency="afterany:${array%%;*}" "${place[@]}" \
    "$here/gather.sh" "$GPFQ_SWEEP" "${names[@]}")
  printf 'array %s: levels %s; then job %s writes %s/runs.csv and layers.csv\n' \
    "${array%%;*}" "$levels" "${last%%;*}" "$GPFQ_SWEEP"
}

main "$@"
