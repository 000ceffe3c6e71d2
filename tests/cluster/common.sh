#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the tests on clusters share: a work folder in memory, the job and its undisturbed codes, checks. Sourced by
# scripts that isolated.sh runs, with GPFQ_PROGRAM, GPFQ_LAYERS_JOB, GPFQ_MPIEXEC, GPFQ_SOURCE and GPFQ_WORK set.
set -euo pipefail
program=${GPFQ_PROGRAM:?}
# shellcheck disable=SC2034
source_folder=${GPFQ_SOURCE:?}
work=${GPFQ_WORK:?}
own_name=$(basename "$0" .sh)

fail() {
  printf '\n%s: FAILED: %s\n' "$own_name" "$*" >&2
  if declare -F show_logs >/dev/null; then
    show_logs >&2
  fi
  exit 1
}

note() {
  printf '[%3d s] %s\n' "$SECONDS" "$*"
}

# prepare_work: an empty folder in memory, and this test's own /run and /dev/shm, which end with the namespaces.
prepare_work() {
  mkdir -p "$work"
  mount -t tmpfs -o mode=0755 tmpfs "$work"
  mount -t tmpfs -o mode=0755 tmpfs /run
  mount -t tmpfs -o mode=1777 tmpfs /dev/shm
  mkdir "$work/tmp"
  export TMPDIR=$work/tmp
  ip link set lo up
  cd "$work"
  unset GPFQ_LAUNCHER GPFQ_LAUNCHER_OPTIONS GPFQ_MODULES GPFQ_SPACK GPFQ_MEMORY_PER_RANK GPFQ_MEMORY_PERCENT GPFQ_SWEEP
}

# make_job FOLDER LAYERS SAMPLES: by the plain path, so that layers take a second.
make_job() {
  "${GPFQ_LAYERS_JOB:?}" "$1" "$2" "$3"
  sed -i 's/"levels": 3/"preset": "paper", "levels": 3/' "$1/job.json"
}

# codes_of OUTPUT: its codes_sha256; nothing without a finished run.
codes_of() {
  sed -n 's/^  "codes_sha256": "\([0-9a-f]*\)".*/\1/p' "$1/report.json" 2>/dev/null || true
}

# undisturbed FOLDER: sets `expected` to the codes of the job in FOLDER on two ranks of this machine, all at once.
undisturbed() {
  timeout -s KILL 120 "${GPFQ_MPIEXEC:?}" -n 2 "$program" quantize "$1/job.json" --set threads=1 \
    --set output="$work/undisturbed" >"$work/undisturbed.log" 2>&1 || {
    cat "$work/undisturbed.log"
    fail 'the undisturbed run failed'
  }
  expected=$(codes_of "$work/undisturbed")
  [[ $expected =~ ^[0-9a-f]{64}$ ]] || fail 'the undisturbed run reports no codes_sha256'
  rm -rf "$work/undisturbed"
  note "undisturbed: ${expected:0:16}"
}

# expect_codes OUTPUT
expect_codes() {
  local codes
  codes=$(codes_of "$1")
  [[ $codes == "$expected" ]] || fail "$1 has codes '$codes', the undisturbed run $expected"
  note "$(basename "$1"): the undisturbed codes"
}

# expect_text FILE TEXT
expect_text() {
  grep -qF -- "$2" "$1" || {
    cat "$1"
    fail "$1 does not say '$2'"
  }
}

# wait_until SECONDS WHAT COMMAND...: asks every tenth of a second.
wait_until() {
  local until=$((SECONDS + $1)) what=$2
  shift 2
  while ! "$@"; do
    ((SECONDS < until)) || fail "waited for $what in vain"
    sleep 0.1
  done
}

# run_case NAME: the script's function case_NAME.
run_case() {
  declare -F "case_$1" >/dev/null || fail "no case '$1'"
  prepare_work
  "case_$1"
  note 'passed'
}
