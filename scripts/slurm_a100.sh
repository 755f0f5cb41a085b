#!/usr/bin/env bash
# Trains on A100 nodes under SLURM: sbatch scripts/slurm_a100.sh --config=configs/joint.py --workdir=/shared/runs/joint
# Submit it from the folder of launch.py; the workdir must be the same folder on all nodes.
#
# One process per GPU; JAX finds its peers from SLURM's variables. What happens at the end is decided by the process that ended
# first, which notes its exit code in WORKDIR/exit-code:
#   done                                            the job ends
#   a user's error (2), a bug (1), interrupted (130) the job ends with that code
#   a process was killed or lost (75, a signal)     the job goes into the queue again, at most MAX_RESTARTS times
#   stopped by SIGTERM, which SLURM sends before a preemption, and this script two minutes before the time limit: everything is
#   saved, and the job goes into the queue again
#   still running GRACE_SECONDS (90) after that, since Python answers no signal inside a compilation: the job goes into the queue
#   again as it is, at most MAX_RESTARTS times; it loses the steps since the last save
# DRY_RUN=1 bash scripts/slurm_a100.sh … prints the command instead. PYTHON names another Python than .venv/bin/python.
#SBATCH --job-name=empatheia
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -euo pipefail

usage="usage: sbatch scripts/slurm_a100.sh --config=configs/joint.py --workdir=SHARED_FOLDER [flags of launch.py]"
workdir=
for argument in "$@"; do
  case "$argument" in --workdir=?*) workdir=${argument#--workdir=} ;; esac
done
if [ -z "$workdir" ]; then
  echo "$usage" >&2
  exit 2
fi

python=${PYTHON:-.venv/bin/python}
export XLA_PYTHON_CLIENT_MEM_FRACTION="${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.92}"
export XLA_FLAGS="${XLA_FLAGS:-} --xla_gpu_enable_latency_hiding_scheduler=true"
# srun does not take it from the job since SLURM 22.05.
[ -z "${SLURM_CPUS_PER_TASK:-}" ] || export SRUN_CPUS_PER_TASK="${SRUN_CPUS_PER_TASK:-$SLURM_CPUS_PER_TASK}"
export EMPATHEIA_EXIT_FILE="$workdir/exit-code"
command=(srun --kill-on-bad-exit=1 "$python" launch.py "$@")

if [ "${DRY_RUN:-0}" = 1 ]; then
  echo "${command[@]}"
  exit 0
fi
if ! command -v srun >/dev/null; then
  echo "error: there is no srun; submit this file by sbatch on a machine of the cluster, or start launch.py itself" >&2
  exit 2
fi
if ! command -v "$python" >/dev/null; then
  echo "error: there is no $python in $PWD; make the environment there (see the README), or set PYTHON" >&2
  exit 2
fi
if [ -z "${SLURM_JOB_ID:-}" ]; then
  echo "error: this is no job of SLURM; submit this file (sbatch scripts/slurm_a100.sh …), or start launch.py itself" >&2
  exit 2
fi
mkdir -p "$workdir"
rm -f "$EMPATHEIA_EXIT_FILE"

# SLURM tells this shell that the time limit is near, not the processes: only a shell can act while they compile.
near_limit=no
trap 'near_limit=yes' USR1
code=0
"${command[@]}" &
step=$!
wait "$step" || code=$? # a signal ends the waiting, not the step
if [ "$near_limit" = yes ]; then
  scancel --signal=TERM "$SLURM_JOB_ID" || true # to the processes, without this shell
  for ((second = 0; second < ${GRACE_SECONDS:-90}; second++)); do
    kill -0 "$step" 2>/dev/null || break
    sleep 1
  done
  if kill -0 "$step" 2>/dev/null; then
    echo "note: the processes did not stop before the time limit; the job starts again from its last save" >&2
    code=143
  else
    code=0
    wait "$step" || code=$?
  fi
fi
first=
[ ! -s "$EMPATHEIA_EXIT_FILE" ] || read -r first _ <"$EMPATHEIA_EXIT_FILE"

again=no
case "${first:-$code}" in
  0) [ -z "$first" ] || again=yes ;; # only a run that was stopped notes a 0
  75) again=counted ;;
  1 | 2 | 130) code=${first:-$code} ;;
  *) [ "${first:-$code}" -lt 128 ] || again=counted ;; # ended by a signal, which is how a lost process looks to srun
esac
if [ "$again" = counted ] && [ "${SLURM_RESTART_COUNT:-0}" -ge "${MAX_RESTARTS:-20}" ]; then
  echo "error: the job was started again ${SLURM_RESTART_COUNT} times already; it ends with exit code $code" >&2
  again=no
fi
[ "$again" = no ] || scontrol requeue "$SLURM_JOB_ID"
exit "$code"
