#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The whole test suite by one command: installs what is missing, builds with the tests, runs them, and ends with
# what was skipped and CTest's own closing lines. CI adds warnings as errors and a pass with sanitizers.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=launch/lib/setup.sh
source launch/lib/setup.sh

# What the tests of each label need beyond build and tests, as in setup.sh; installed with --with-cluster.
slurm_needs=( # tests labelled slurm: daemons of a Slurm on this machine
  'slurm-wlm                  slurm          slurm           -'
  'munge                      munge          munge           munged'
  'environment-modules        modules        environment-modules modulecmd'
)
hosts_needs=( # tests labelled hosts: several hosts in network namespaces
  'iproute2                   iproute2       iproute2        ip'
)

# Labels left out: without --with-cluster, and of the pass with sanitizers (other numbers of ranks add time, not paths).
cluster_labels='^(slurm|hosts|long|campaign)$'
unsanitized_labels='^(install|data|scripts|slurm|hosts|long|campaign|faults|fuzz_hdf5|ranks(1|[3-9]|[1-9][0-9]+))$'

build_dir=build
with_cluster=false
only_sanitized=false
ctest_options=()

usage() {
  cat <<'TEXT'
usage: launch/test.sh [--with-cluster] [--sanitize] [--build-dir DIR] [CTEST_OPTION...]

  --with-cluster   also the tests that start Slurm daemons or network namespaces (root), and the long ones
  --sanitize       only a pass with address and undefined-behaviour sanitizers, on 2 ranks, in DIR-sanitize
  --build-dir DIR  where to build; default: build

Other options go to ctest, for example -R regex; -L or -LE replace the choice of labels made here. With CI=true
in the environment, warnings are errors and the sanitizers' pass follows the others.
TEXT
}

parse() {
  while (($# > 0)); do
    case $1 in
      --help | -h) usage && exit ;;
      --with-cluster) with_cluster=true ;;
      --sanitize) only_sanitized=true ;;
      --build-dir)
        build_dir=${2:?--build-dir needs a directory}
        shift
        ;;
      *) ctest_options+=("$1") ;;
    esac
    shift
  done
}

is_ci() {
  [[ ${CI-} == true ]]
}

# run_tests DIR LABELS_LEFT_OUT: shows each test as it ends and holds CTest's closing lines back for the summary.
run_tests() {
  local dir=$1 filter=(-LE "$2")
  if [[ -z $2 || " ${ctest_options[*]-} " =~ \ (-L|-LE|--label-[a-z]+)\  ]]; then
    filter=()
  fi
  printf 'tests: %s\n' "$dir"
  # Halves of a core, and one more for tests that mostly wait: see tests/CMakeLists.txt.
  ctest --test-dir "$dir" --output-on-failure --no-tests=error --parallel "$((2 * $(nproc) + 1))" \
    "${filter[@]}" "${ctest_options[@]}" </dev/null 2>&1 | tee "$dir/ctest.log" | sed -u '/% tests passed/,$d'
}

# GoogleTest's skipped tests pass in CTest's eyes; list them, with their reasons, from CTest's log.
list_skipped() {
  awk '
    /^[0-9]+\/[0-9]+ Testing: / { entry = $3 }
    / Skipped$/ { getline reason }
    /\[  SKIPPED \] [^ ]+ \(/ {
      sub(/.*\[  SKIPPED \] /, ""); sub(/ \(.*/, "")
      if (!(seen[entry, $0]++)) print "  " entry ": " $0 (reason == "" ? "" : ": " reason)
      reason = ""
    }' "$1/Testing/Temporary/LastTest.log"
}

# summarize DIR
summarize() {
  local skipped
  skipped=$(list_skipped "$1")
  if [[ -n $skipped ]]; then
    printf '\nSkipped in %s:\n%s\n' "$1" "$skipped"
  fi
  printf '\n'
  sed -n '/% tests passed/,$p' "$1/ctest.log"
}

run_plain() {
  local options=(-DGPFQ_TESTS=ON -DGPFQ_BENCHMARKS=ON) left_out=$cluster_labels
  if is_ci; then
    options+=(-DGPFQ_WARNINGS_AS_ERRORS=ON)
  fi
  if [[ $with_cluster == true ]]; then
    left_out='^campaign$'
  fi
  configure "$build_dir" Release "${options[@]}"
  build "$build_dir"
  run_tests "$build_dir" "$left_out"
}

# -Og and short debug information: with -O2 -g instrumented code takes over three times as long to compile. Open MPI
# leaks by design at exit, so leaks are not looked for; memory that cannot be had is refused as it is elsewhere. The
# tests, which are not instrumented, are those of the plain build where this follows one.
run_sanitized() {
  local dir=$build_dir-sanitize objects=
  mkdir -p "$dir"
  if [[ $only_sanitized == false ]]; then
    objects=$(realpath "$build_dir")
  fi
  configure "$dir" Debug '-DCMAKE_CXX_FLAGS_DEBUG=-Og -g1' \
    -DGPFQ_TESTS=ON -DGPFQ_BENCHMARKS=OFF -DGPFQ_SANITIZE=address,undefined -DGPFQ_TEST_OBJECTS="$objects"
  build "$dir"
  ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 GPFQ_FUZZ_COUNT=100 \
    run_tests "$dir" "$unsanitized_labels"
}

main() {
  local needs=("${build_needs[@]}" "${test_needs[@]}") status=0
  parse "$@"
  if [[ $with_cluster == true ]]; then
    needs+=("${slurm_needs[@]}" "${hosts_needs[@]}")
  fi
  provide "$build_dir" "${needs[@]}"
  prepare_mpi
  if [[ $only_sanitized == false ]]; then
    run_plain || status=$?
  fi
  if [[ $only_sanitized == true ]] || { is_ci && ((status == 0)); }; then
    run_sanitized || status=$?
    summarize "$build_dir-sanitize"
  fi
  if [[ $only_sanitized == false ]]; then
    summarize "$build_dir"
  fi
  return "$status"
}

main "$@"
