#!/usr/bin/env bash
# Trains on TPU slices of a GKE cluster by xpk: scripts/tpu_xpk.sh CLUSTER TYPE IMAGE --config=configs/joint.py --workdir=/shared/run
#   TYPE as xpk writes it (v5litepod-16, v5p-128, v6e-16); IMAGE: a container with this package in /app, as the target `tpu` of the
#   Dockerfile makes it. BUILD=1 makes it from this checkout and pushes it first.
#
# The workdir must be a folder that all hosts mount: attach Filestore, or a bucket by Cloud Storage FUSE, to the cluster once
# (`xpk storage attach … --mount-point=/shared --auto-mount=true`). A workdir of the form gs://… is refused: a run's folder holds
# a lock and files that grow. The workload restarts by itself after a preemption or a lost host (exit code 75) and resumes.
# DRY_RUN=1 prints the command.
set -euo pipefail

if [ "$#" -lt 4 ]; then
  echo "usage: scripts/tpu_xpk.sh CLUSTER TYPE IMAGE --config=configs/joint.py --workdir=SHARED_FOLDER [flags]" >&2
  exit 2
fi
cluster=$1 type=$2 image=$3
shift 3
for argument in "$@"; do
  case "$argument" in
    --workdir=*://*)
      echo "error: $argument; expected a folder that all hosts mount, see the beginning of this file" >&2
      exit 2
      ;;
  esac
done
command=(
  xpk workload create
  --cluster="$cluster" --workload="${WORKLOAD:-empatheia}" --tpu-type="$type" --num-slices="${SLICES:-1}"
  --docker-image="$image" --max-restarts="${MAX_RESTARTS:-20}" --termination-grace-period-seconds=120
  --command="cd /app && python launch.py $(printf '%q ' "$@")"
)
run() {
  if [ "${DRY_RUN:-0}" = 1 ]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}
if [ "${BUILD:-0}" = 1 ]; then
  run docker build --target=tpu --tag="$image" "$(dirname "$0")/.."
  run docker push "$image"
fi
run "${command[@]}"
