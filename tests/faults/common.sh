#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the tests of faults begin with: the program, what makes jobs and faults where the test is given it, a folder that
# goes with the test. Sourced, with the test's own arguments: PROGRAM [LAYERS_JOB LONE_FAULT CONV_JOB].
# shellcheck disable=SC2034 # used by the tests
set -uo pipefail
program=$(realpath "$1")
if (($# >= 4)); then
  layers_job=$(realpath "$2")
  lone_fault=$(realpath "$3")
  conv_job=$(realpath "$4")
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
own_name=$(basename "$0" .sh)

# fail MESSAGE...: with what the job said last.
fail() {
  echo "$own_name: FAILED: $*" >&2
  cat "$folder/out" >&2
  exit 1
}

# hash_of OUTPUT: its codes_sha256.
hash_of() {
  sed -n 's/^  "codes_sha256": "\([0-9a-f]*\)".*/\1/p' "$1/report.json"
}

# results OUTPUT: codes and accuracy.
results() {
  grep -E '^  "codes_sha256"|"top[15]_correct"' "$1/report.json"
}
