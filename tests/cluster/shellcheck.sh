#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# All of the project's shell scripts under shellcheck: shellcheck.sh CHECKOUT. Exit code 77 where it is missing.
set -euo pipefail
if ! command -v shellcheck >/dev/null; then
  printf 'shellcheck: Skipped\nthe program shellcheck is missing\n[  SKIPPED ] shellcheck (0 ms)\n'
  exit 77
fi
cd "$1"
mapfile -t scripts < <(find .ci launch tests -type f \( -name '*.sh' -o -name '*.sbatch' -o -path '.ci/run' \))
shellcheck --external-sources --source-path=. "${scripts[@]}"
printf '%d scripts\n' "${#scripts[@]}"
