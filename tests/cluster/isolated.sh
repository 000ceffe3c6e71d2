#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs a test in namespaces of its own: processes, network, mounts, host name, shared memory. However the test ends,
# killed too, the kernel ends its daemons and takes its addresses, /tmp, /run and /dev/shm away; the machine's are
# not touched. Exit code 77 (skipped) where that or a program that is needed is not to be had.
#
#   isolated.sh "PROGRAM..." SCRIPT [ARGUMENT...]
set -euo pipefail

skip() {
  printf 'launch: Skipped\n%s\n[  SKIPPED ] %s (0 ms)\n' "$1" "${name_of_test:-cluster}"
  exit 77
}

needed=$1
name_of_test=$(basename "$2" .sh).${3-}
script=$2
shift 2
for name in $needed unshare mount; do
  command -v "$name" >/dev/null || skip "'$name' is missing (launch/test.sh --with-cluster installs it, as root)"
done
((EUID == 0)) || skip 'namespaces need root'
namespaces=(unshare --pid --fork --kill-child --mount --propagation private --mount-proc --net --uts --ipc)
"${namespaces[@]}" true 2>/dev/null || skip 'this machine allows no namespaces'
exec "${namespaces[@]}" bash "$script" "$@"
