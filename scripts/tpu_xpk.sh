#!/usr/bin/env bash
# Trains on TPU slices of a GKE cluster by xpk: scripts/tpu_xpk.sh CLUSTER TYPE IMAGE --config=configs/joint.py --workdir=/shared/run
#   TYPE as xpk writes it (v5litepod-16, v5p-128, v6e-16); IMAGE: a container with this package in /app, as the target `tpu` of the
#   Dockerfile makes it. BUILD=1 makes it from this checkout and pushes it first.
#
# The workdir must be a folder that all hosts mount: attach Filestore, or a bucket by Cloud Storage FUSE, to the cluster once
# (`xpk storage attach … --mount-point=/shared --auto-mount=true`). A workdir of the form gs://… is refused: a run's folder holds
# a lock and files that grow.
#
# The workload restarts by itself after a kill, a lost host (exit code 75) and a preemption, at most MAX_RESTARTS times, and resumes; a
# user's error (2) and a bug (1) end it. At a preemption Kubernetes sends SIGTERM, the training saves and ends with 0, which for
# Kubernetes would mean that the work is done: the container then ends with 75. DRY_RUN=1 prints the command.
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
# In one line, since xpk writes it into YAML. xpk sends SIGTERM to the shell that runs it, which passes it on.
inside="cd /app || exit 1; export EMPATHEIA_EXIT_FILE=/tmp/exit-code; rm -f /tmp/exit-code; trap 'kill -TERM \$run' TERM;"
inside="$inside python launch.py $(printf '%q ' "$@")& run=\$!; while kill -0 \$run 2>/dev/null; do wait \$run; done;"
inside="$inside wait \$run; code=\$?; [ \$code != 0 ] || [ ! -s /tmp/exit-code ] || code=75; exit \$code"
command=(
  xpk workload create
  --cluster="$cluster" --workload="${WORKLOAD:-empatheia}" --tpu-type="$type" --num-slices="${SLICES:-1}"
  --docker-image="$image" --max-restarts="${MAX_RESTARTS:-20}" --restart-on-exit-codes=75 --termination-grace-period-seconds=120
  --command="$inside"
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
