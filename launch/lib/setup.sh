#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What quickstart.sh and test.sh share: the packages gpfq stands on, its CMake build, and settings for mpirun
# on one machine. Sourced from the repository's root; each step leaves one line on the screen and a log.

# What a build needs: Debian package, environment module, Spack spec ("-": none), and the commands any one of
# which shows that the need is met from elsewhere. Used by the scripts that source this file.
# shellcheck disable=SC2034
build_needs=(
  'g++                        gcc            gcc@12          g++,c++'
  'cmake                      cmake          cmake           cmake'
  'ninja-build                ninja          ninja           ninja,make'
  'openmpi-bin                openmpi        openmpi         -'
  'libopenmpi-dev             openmpi        openmpi         -'
  'libhdf5-openmpi-dev        hdf5-parallel  hdf5+mpi        -'
  'libeigen3-dev              eigen          eigen           -'
  'libopenblas-dev            openblas       openblas        -'
  'libboost-serialization-dev boost          boost+serialization -'
  'libssl-dev                 openssl        openssl         -'
  'nlohmann-json3-dev         nlohmann-json  nlohmann-json   -'
  'libcli11-dev               cli11          cli11           -'
  'libfmt-dev                 fmt            fmt             -'
  'libspdlog-dev              spdlog         spdlog+fmt_external -'
  'libonnx-dev                onnx           onnx            -'
  'libprotobuf-dev            protobuf       protobuf        -'
)
# shellcheck disable=SC2034
test_needs=(
  'libgtest-dev               googletest     googletest      -'
  'libbenchmark-dev           benchmark      benchmark       -'
  'shellcheck                 shellcheck     shellcheck      shellcheck'
  'procps                     procps         procps          pgrep'
)

missing_packages=()
missing_modules=()
missing_specs=()

# fail MESSAGE...: ends the script with one message.
fail() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# run_step LABEL LOG COMMAND...: runs the command with its output in the log; one line with the time it took.
run_step() {
  local label=$1 log=$2 started=$SECONDS status=0
  shift 2
  printf '%-44s' "$label"
  "$@" </dev/null >"$log" 2>&1 || status=$?
  if ((status == 0)); then
    printf '%4d s\n' $((SECONDS - started))
  else
    printf '%4d s  FAILED\n' $((SECONDS - started))
  fi
  return "$status"
}

# must_step LABEL LOG COMMAND...: the same, and the end of the script with the log's tail if the command fails.
must_step() {
  run_step "$@" || show_tail_and_fail "$1" "$2"
}

show_tail_and_fail() {
  printf '\n--- the end of %s ---\n' "$2" >&2
  tail -n 40 "$2" >&2
  printf -- '---\n' >&2
  fail "the step '$1' failed; all of its output is in $2"
}

# is_installed PACKAGE COMMANDS: whether dpkg knows the package as installed, or one of the commands is there.
is_installed() {
  local name
  for name in ${2//,/ }; do
    if command -v "$name" >/dev/null; then
      return 0
    fi
  done
  [[ $(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null) == installed* ]]
}

# find_missing NEED...: fills missing_packages, missing_modules and missing_specs.
find_missing() {
  local need package module spec commands
  missing_packages=() missing_modules=() missing_specs=()
  for need in "$@"; do
    read -r package module spec commands <<<"$need"
    if is_installed "$package" "$commands"; then
      continue
    fi
    missing_packages+=("$package")
    if [[ " ${missing_modules[*]-} " != *" $module "* ]]; then
      missing_modules+=("$module")
      missing_specs+=("$spec")
    fi
  done
}

# as_root COMMAND...: as root already, or by a sudo that asks nothing.
as_root() {
  if ((EUID == 0)); then
    "$@"
  else
    sudo -n "$@"
  fi
}

can_install() {
  command -v apt-get >/dev/null && as_root true 2>/dev/null
}

apt_install() {
  local apt=(as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
    apt-get -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
  "${apt[@]}" update || true # one broken source of many is not ours to judge; the next line is
  "${apt[@]}" install --no-install-recommends "$@"
}

# provide DIR NEED...: installs what is missing where that is allowed; else leaves it to CMake to find it all.
provide() {
  local dir=$1
  shift
  mkdir -p "$dir"
  find_missing "$@"
  if ((${#missing_packages[@]} == 0)) || ! can_install; then
    return 0
  fi
  must_step "packages: installing ${#missing_packages[@]} that are missing" "$dir/apt.log" \
    apt_install "${missing_packages[@]}"
  hash -r
  find_missing "$@"
}

# Says, in one message, what to install by each of the three usual ways.
explain_missing() {
  cat >&2 <<MESSAGE

Packages are missing, and they can only be installed by root or with a sudo that asks no password:
  ${missing_packages[*]}
Any one of these brings them; then start again:
  Debian, Ubuntu:  sudo apt-get install --no-install-recommends ${missing_packages[*]}
  Modules:         module load ${missing_modules[*]}
                   (names vary from site to site)
  Spack:           spack install ${missing_specs[*]}  &&  spack load ${missing_specs[*]}
MESSAGE
}

# require_cmake: there is no going on without it.
require_cmake() {
  if ! command -v cmake >/dev/null; then
    explain_missing
    fail 'CMake is among them, so there is nothing to build with'
  fi
}

# Choices made once, when a build directory is new; later runs keep what is in its cache.
first_time_options() {
  echo "-DCMAKE_BUILD_TYPE=$1"
  if command -v ninja >/dev/null; then
    echo '-GNinja'
  fi
  # The default instruction set is x86-64-v3; an older processor builds for itself.
  if [[ $(uname -m) == x86_64 ]] && ! grep -qw avx2 /proc/cpuinfo; then
    echo '-DGPFQ_ARCH=native'
  fi
}

# configure DIR BUILD_TYPE OPTION...: CMake's configure step. A failed first one leaves no cache behind, so that
# what is installed next is looked for afresh.
configure() {
  local dir=$1 build_type=$2 is_new=false options=()
  shift 2
  require_cmake
  if [[ ! -f $dir/CMakeCache.txt ]]; then
    is_new=true
    mapfile -t options < <(first_time_options "$build_type")
  fi
  if run_step "configure: $dir" "$dir/configure.log" cmake -S . -B "$dir" "${options[@]}" "$@"; then
    return 0
  fi
  if [[ $is_new == true ]]; then
    rm -rf "$dir/CMakeCache.txt" "$dir/CMakeFiles"
  fi
  if ((${#missing_packages[@]} == 0)); then
    show_tail_and_fail "configure: $dir" "$dir/configure.log"
  fi
  explain_missing
  fail "CMake did not find them elsewhere either; what it said is in $dir/configure.log"
}

# Compilers to run at once: one per core, and no more than one per GiB of free memory.
job_count() {
  local cores free_gib
  cores=$(nproc)
  free_gib=$(awk '/^MemAvailable:/ { print int($2 / 1048576) }' /proc/meminfo)
  if ((${free_gib:-cores} < cores)); then
    cores=$((free_gib > 1 ? free_gib : 1))
  fi
  echo "$cores"
}

# build DIR [--target NAME]
build() {
  local dir=$1 jobs
  shift
  jobs=$(job_count)
  must_step "build: $dir, $jobs at a time" "$dir/build.log" cmake --build "$dir" --parallel "$jobs" "$@"
}

# cached DIR NAME: the value of a variable in the build directory's CMake cache.
cached() {
  sed -n "s/^$2:[A-Z]*=//p" "$1/CMakeCache.txt"
}

# Settings for mpirun on one machine: more ranks than cores are welcome and yield to each other, none is pinned
# (programs that run side by side would share one core), and root may start them. What the user has set stays.
prepare_mpi() {
  export OMPI_MCA_rmaps_base_oversubscribe=${OMPI_MCA_rmaps_base_oversubscribe-1}
  export OMPI_MCA_mpi_yield_when_idle=${OMPI_MCA_mpi_yield_when_idle-1}
  export OMPI_MCA_hwloc_base_binding_policy=${OMPI_MCA_hwloc_base_binding_policy-none}
  # Containers often forbid reading another process' memory, and Open MPI then complains at every message.
  export OMPI_MCA_btl_vader_single_copy_mechanism=${OMPI_MCA_btl_vader_single_copy_mechanism-none}
  # The same in the words of Open MPI 5.
  export PRTE_MCA_rmaps_default_mapping_policy=${PRTE_MCA_rmaps_default_mapping_policy-:oversubscribe}
  export PRTE_MCA_hwloc_default_binding_policy=${PRTE_MCA_hwloc_default_binding_policy-none}
  if ((EUID == 0)); then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  fi
}
