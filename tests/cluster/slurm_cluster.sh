#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A real Slurm on this machine: munged, slurmctld and four nodes n1 to n4, each in process, name and mount namespaces
# of its own with its own /dev/shm, so that a node can be switched off at once.
# shellcheck source=tests/cluster/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
node_names=(n1 n2 n3 n4)
slurm=$work/slurm
declare -A node_pids=()

write_configuration() {
  local node=1
  mkdir -p "$slurm"/{state,spool,log,munge}
  chmod 755 "$slurm/munge"
  (umask 277 && head -c 128 /dev/urandom >"$slurm/munge/key")
  for node in "${node_names[@]}"; do
    mkdir -p "$slurm/tmp/$node"
  done
  cat >"$slurm/slurm.conf" <<CONFIGURATION
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$slurm/munge/munge.sock
SlurmctldPort=17817
StateSaveLocation=$slurm/state
SlurmdSpoolDir=$slurm/spool/%n
TmpFS=$slurm/tmp/%n
SlurmctldPidFile=$slurm/slurmctld.pid
SlurmdPidFile=$slurm/slurmd-%n.pid
SlurmctldLogFile=$slurm/log/slurmctld.log
SlurmdLogFile=$slurm/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerNode=2000
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=1
MpiDefault=none
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=6
KillWait=3
SlurmdParameters=config_overrides
NodeName=n[1-4] NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=17821-17824 CPUs=4 CoresPerSocket=4 RealMemory=4000 State=UNKNOWN
PartitionName=debug Nodes=n[1-4] Default=YES MaxTime=INFINITE State=UP
CONFIGURATION
  export SLURM_CONF=$slurm/slurm.conf
}

# start_node NAME: its first process is a Bash that reaps what Slurm's steps leave.
start_node() {
  # shellcheck disable=SC2016
  unshare --uts --pid --fork --kill-child --mount-proc --ipc bash -c '
    hostname "$1" && mount -t tmpfs -o mode=1777 tmpfs /dev/shm
    slurmd -D -N "$1" & wait' node "$1" >"$slurm/log/node-$1.log" 2>&1 &
  node_pids[$1]=$!
}

# kill_node NAME: all of its processes at once, as when its power fails.
kill_node() {
  kill -KILL "${node_pids[$1]}"
  wait "${node_pids[$1]}" 2>/dev/null || true
}

all_idle() {
  [[ $(sinfo -h -o '%T %D' 2>/dev/null) == "idle ${#node_names[@]}" ]]
}

start_slurm() {
  local node
  ip link add eth0 type veth peer name eth1
  ip addr add 10.78.0.1/24 dev eth0
  ip link set eth0 up
  ip link set eth1 up
  write_configuration
  munged --force --num-threads=2 --key-file="$slurm/munge/key" --socket="$slurm/munge/munge.sock" \
    --pid-file="$slurm/munge/munged.pid" --log-file="$slurm/munge/munged.log" --seed-file="$slurm/munge/seed"
  slurmctld
  for node in "${node_names[@]}"; do
    start_node "$node"
  done
  wait_until 30 'four idle nodes' all_idle
  note 'Slurm is up: four nodes'
  # Four nodes of four CPUs each on a machine that may have two.
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_mpi_yield_when_idle=1
}

show_logs() {
  printf -- '--- the end of the logs ---\n'
  squeue 2>&1 || true
  tail -n 120 "$work"/*.log 2>/dev/null || true # all starts of a job
  tail -n 30 "$slurm"/log/slurmctld.log "$slurm"/log/node-*.log 2>/dev/null || true
}

# job_field JOB FIELD: as `scontrol show job` has it.
job_field() {
  scontrol show job "$1" 2>/dev/null | tr ' ' '\n' | sed -n "s/^$2=//p" | head -n 1
}

is_in_state() {
  [[ " $2 " == *" $(job_field "$1" JobState) "* ]]
}

# start_again JOB COUNT LOG: until the log has the job's start number COUNT. The two minutes that Slurm lets pass after
# a requeue are skipped; not all of them, since a node refuses credentials no newer than the end of the last start.
start_again() {
  wait_until 90 "job $1 starting the $2. time" was_started_again "$@"
  note "job $1: start $2"
}

was_started_again() {
  if grep -qF "start $2:" "$3"; then
    return 0
  elif is_in_state "$1" PENDING; then
    sleep 5
    scontrol update jobid="$1" starttime=now 2>/dev/null || true
  fi
  return 1
}
