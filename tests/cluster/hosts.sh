#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Hosts h1 to h3 with addresses of their own in network namespaces, joined by a bridge; mpirun starts its daemons there
# as it would by ssh, so that ranks of different hosts talk TCP.
# shellcheck source=tests/cluster/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
host_names=(h1 h2 h3)

start_hosts() {
  local host number=0
  ip link add bridge0 type bridge
  ip addr add 10.77.0.254/24 dev bridge0
  ip link set bridge0 up
  for host in "${host_names[@]}"; do
    number=$((number + 1))
    ip netns add "$host"
    ip link add "port$number" type veth peer name eth0 netns "$host"
    ip link set "port$number" master bridge0 up
    ip -n "$host" addr add "10.77.0.$number/24" dev eth0
    ip -n "$host" link set eth0 up
    ip -n "$host" link set lo up
  done
  cat >remote_shell <<'SHELL'
#!/usr/bin/env bash
# In place of ssh: [OPTION...] HOST COMMAND...
while [[ $1 == -* ]]; do shift; done
host=$1
shift
exec ip netns exec "$host" unshare --uts --mount bash -c "hostname $host; mount -t tmpfs -o ${SHM_OPTIONS:-mode=1777} tmpfs /dev/shm; $*"
SHELL
  chmod +x remote_shell
  export OMPI_MCA_plm=rsh OMPI_MCA_plm_rsh_agent=$work/remote_shell
  export OMPI_MCA_oob_tcp_if_include=10.77.0.0/24 OMPI_MCA_btl_tcp_if_include=10.77.0.0/24
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_mpi_yield_when_idle=1
  export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_rmaps_base_oversubscribe=1
  note 'three hosts are up'
}

# kill_host NAME: all of its processes at once.
kill_host() {
  local pids
  mapfile -t pids < <(ip netns pids "$1")
  ((${#pids[@]} > 0)) || fail "nothing runs on $1"
  kill -KILL "${pids[@]}"
  note "killed $1"
}

# slow_down HOST RATE: what it sends.
slow_down() {
  ip netns exec "$1" tc qdisc add dev eth0 root tbf rate "$2" burst 64kb latency 50ms
}

show_logs() {
  tail -n 30 "$work"/*.log 2>/dev/null || true
}
