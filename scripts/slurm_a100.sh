#!/usr/bin/env bash
# Trains on A100 nodes under SLURM: sbatch scripts/slurm_a100.sh --config=configs/joint.py --workdir=/shared/runs/joint
#
# One process per GPU; JAX finds its peers from SLURM's variables. Two minutes before the time limit, or when the job is
# preempted, SLURM sends SIGTERM: the run saves and exits 0; a preempted job is put in the queue again by SLURM itself, and so
# is, by this file, one that lost a process. It then goes on where it was saved. DRY_RUN=1 bash scripts/slurm_a100.sh … prints the command instead.
#SBATCH --job-name=empatheia
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -euo pipefail

if [ "$#" -eq 0 ]; then
  echo "usage: sbatch scripts/slurm_a100.sh --config=configs/joint.py --workdir=SHARED_FOLDER [flags of launch.py]" >&2
  exit 2
fi

export XLA_PYTHON_CLIENT_MEM_FRACTION="${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.92}"
export XLA_FLAGS="${XLA_FLAGS:-} --xla_gpu_enable_latency_hiding_scheduler=true"
command=(srun --kill-on-bad-exit=1 "${PYTHON:-python}" launch.py "$@")

if [ "${DRY_RUN:-0}" = 1 ]; then
  echo "${command[@]}"
  exit 0
fi

code=0
"${command[@]}" || code=$?
# 75: peers are gone; from 128 on: a process ended by a signal, which is how a lost one looks to srun.
if { [ "$code" -eq 75 ] || [ "$code" -ge 128 ]; } && [ "${SLURM_RESTART_COUNT:-0}" -lt "${MAX_RESTARTS:-20}" ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
