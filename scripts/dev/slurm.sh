#!/usr/bin/env bash
# A SLURM cluster of one node on this machine, for trying sweeps and for `make test-slurm`; no root needed, no cgroups.
#
#   eval "$(scripts/dev/slurm.sh start)"   start it; exports SLURM_CONF, so that sbatch, srun and sinfo find it
#   scripts/dev/slurm.sh status            what runs on it
#   scripts/dev/slurm.sh stop              end its jobs and daemons, remove its folder
#
# Everything it writes lies in one private folder: $SLURM_DEV_DIR, or zoomexp-slurm-<user> in the folder for temporary
# files. Two partitions share the node: `main`, and `urgent`, whose jobs preempt those of `main`: SIGTERM, 20 seconds
# of grace, back into the queue. Debian has the packages: apt-get install slurmctld slurmd munge
set -euo pipefail

PATH="$PATH:/usr/sbin:/sbin"
DIR="${SLURM_DEV_DIR:-${TMPDIR:-/tmp}/zoomexp-slurm-$(id -un)}"
PORT="${SLURM_DEV_PORT:-26817}"
DAEMONS=(slurmd slurmctld munged)
export SLURM_CONF="$DIR/slurm.conf"

main() {
    case "${1:-}" in
        start) require && start ;;
        status) require && status ;;
        stop) stop ;;
        *) fail "usage: scripts/dev/slurm.sh start | status | stop" ;;
    esac
}

fail() {
    echo "error: $1" >&2
    exit "${2:-2}"
}

require() {
    local missing=() command
    for command in munged slurmctld slurmd sinfo sbatch srun scontrol scancel; do
        command -v "$command" > /dev/null || missing+=("$command")
    done
    [ ${#missing[@]} -eq 0 ] || fail "not installed: ${missing[*]}; Debian: apt-get install slurmctld slurmd munge" 3
}

running() {  # running DAEMON: is the process in its pid file alive?
    [ -s "$DIR/$1.pid" ] && kill -0 "$(cat "$DIR/$1.pid")" 2> /dev/null
}

start() {
    if [ -e "$DIR" ]; then
        running slurmctld && running slurmd && ready && { say_where; return; }
        fail "$DIR is there, but no cluster runs in it; first: scripts/dev/slurm.sh stop" 1
    fi
    trap 'code=$?; [ $code -eq 0 ] || { tail -n 3 "$DIR"/*.log >&2 || true; stop; }' EXIT
    mkdir -m 755 "$DIR" "$DIR/state" "$DIR/spool"
    (umask 077 && head -c 1024 /dev/urandom > "$DIR/munge.key")
    write_configuration
    munged --force --key-file="$DIR/munge.key" --seed-file="$DIR/munge.seed" --socket="$DIR/munge.socket" \
        --pid-file="$DIR/munged.pid" --log-file="$DIR/munged.log" >&2
    slurmctld >&2
    slurmd >&2
    for _ in $(seq 60); do
        ready && { say_where; return; }
        sleep 0.5
    done
    fail "the node did not become idle within 30 seconds" 1
}

write_configuration() {
    local user host memory
    user=$(id -un) host=$(hostname -s)
    memory=$(awk '/^MemTotal/ {print int($2 / 1024)}' /proc/meminfo)
    echo "CgroupPlugin=cgroup/v1" > "$DIR/cgroup.conf"  # read, and not used: processes are tracked through /proc
    cat > "$SLURM_CONF" << END
ClusterName=zoomexp
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$user
SlurmdUser=$user
SlurmctldPort=$PORT
SlurmdPort=$((PORT + 1))
AuthType=auth/munge
CredType=cred/munge
# A job that is requeued waits until its old credentials are void: 5 seconds instead of two minutes.
AuthInfo=socket=$DIR/munge.socket,cred_expire=5
StateSaveLocation=$DIR/state
SlurmdSpoolDir=$DIR/spool
SlurmctldPidFile=$DIR/slurmctld.pid
SlurmdPidFile=$DIR/slurmd.pid
SlurmctldLogFile=$DIR/slurmctld.log
SlurmdLogFile=$DIR/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=1,bf_interval=1,sched_min_interval=100000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=10
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(getconf _NPROCESSORS_ONLN) RealMemory=$memory State=UNKNOWN
PartitionName=main Nodes=$host Default=YES PriorityTier=1 GraceTime=20 MaxTime=INFINITE
PartitionName=urgent Nodes=$host PriorityTier=2 PreemptMode=OFF MaxTime=INFINITE
END
}

ready() {
    sinfo --noheader --format=%t 2> /dev/null | grep -qE '^(idle|mix|alloc)$'
}

say_where() {
    echo "export SLURM_CONF='$SLURM_CONF'"
}

status() {
    [ -e "$DIR" ] || fail "no cluster: $DIR is not there" 1
    sinfo
    squeue
}

stop() {
    trap - EXIT
    [ -e "$DIR" ] || return 0
    [ -e "$SLURM_CONF" ] || fail "$DIR is not a folder that start has made" 1
    if running slurmctld; then
        scancel --full --signal=KILL --user="$(id -un)" 2> /dev/null || true
        scancel --user="$(id -un)" 2> /dev/null || true
        for _ in $(seq 30); do
            [ -z "$(squeue --noheader 2> /dev/null)" ] && break
            sleep 0.5
        done
    fi
    for daemon in "${DAEMONS[@]}"; do
        if running "$daemon"; then end "$(cat "$DIR/$daemon.pid")"; fi
    done
    rm -rf "$DIR"
}

end() {  # end PID: politely, then not
    kill "$1" 2> /dev/null || return 0
    for _ in $(seq 20); do
        kill -0 "$1" 2> /dev/null || return 0
        sleep 0.25
    done
    kill -KILL "$1" 2> /dev/null || true
}

main "$@"
