#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From a fresh machine to a first result: installs what is missing, builds gpfq, writes the embedded sample and
# quantizes it on two ranks. Can be run again at any time; nothing is done twice.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=launch/lib/setup.sh
source launch/lib/setup.sh

usage() {
  cat <<'TEXT'
usage: launch/quickstart.sh [CMAKE_OPTION...]

Installs missing Debian or Ubuntu packages (as root or with a sudo that asks nothing), builds gpfq in build/,
writes the sample to demo/ and quantizes it with mpirun on two ranks. Options go to CMake's configure step,
for example -DGPFQ_ONNX=OFF or -DGPFQ_ARCH=native.
TEXT
}

# A new build directory gets the program alone; one that has the tests keeps them.
choose_options() {
  if [[ ! -f build/CMakeCache.txt ]]; then
    printf '%s\n' -DGPFQ_TESTS=OFF -DGPFQ_BENCHMARKS=OFF
  fi
}

quantize_sample() {
  local launcher
  launcher=$(cached build MPIEXEC_EXECUTABLE)
  printf 'quantize: demo/digits.json on 2 ranks\n\n'
  "${launcher:-mpirun}" -n 2 build/src/gpfq quantize demo/digits.json --overwrite </dev/null
}

main() {
  local options
  if [[ ${1-} == --help || ${1-} == -h ]]; then
    usage
    return
  fi
  provide build "${build_needs[@]}"
  mapfile -t options < <(choose_options)
  configure build Release "${options[@]}" "$@"
  build build --target gpfq
  prepare_mpi
  must_step 'sample: demo/' build/demo.log build/src/gpfq demo --out demo
  quantize_sample
}

main "$@"
