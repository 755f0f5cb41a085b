#!/usr/bin/env bash
# Trains on TPU slices of a GKE cluster by xpk: scripts/tpu_xpk.sh CLUSTER TYPE IMAGE --config=configs/joint.py --workdir=…
#   TYPE as xpk writes it (v5litepod-16, v5p-128, v6e-16); IMAGE: a container with this package installed in /app.
#
# The workload restarts by itself after a preemption or a lost host (exit code 75) and resumes. DRY_RUN=1 prints the command.
set -euo pipefail

if [ "$#" -lt 4 ]; then
  echo "usage: scripts/tpu_xpk.sh CLUSTER TYPE IMAGE --config=configs/joint.py --workdir=SHARED_FOLDER [flags]" >&2
  exit 2
fi
cluster=$1 type=$2 image=$3
shift 3
command=(
  xpk workload create
  --cluster="$cluster" --workload="${WORKLOAD:-empatheia}" --tpu-type="$type" --num-slices="${SLICES:-1}"
  --docker-image="$image" --max-restarts="${MAX_RESTARTS:-20}" --termination-grace-period-seconds=120
  --command="cd /app && python launch.py $(printf '%q ' "$@")"
)
if [ "${DRY_RUN:-0}" = 1 ]; then
  printf '%q ' "${command[@]}"
  echo
else
  "${command[@]}"
fi
