#!/usr/bin/env bash
# Trains on a Cloud TPU slice by gcloud: scripts/tpu_pod.sh NAME ZONE TYPE --config=configs/joint.py --workdir=gs://BUCKET/run
#   TYPE, for example: v5litepod-16, v5p-128, v6e-16, v4-32
#
# Creates the slice unless it exists, copies this checkout to every host, installs it, and starts the same command on all
# hosts; JAX finds the peers from the TPU's metadata. Run it again after a preemption: training resumes. The slice stays until
# you delete it. DRY_RUN=1 prints the commands instead.
set -euo pipefail

if [ "$#" -lt 4 ]; then
  echo "usage: scripts/tpu_pod.sh NAME ZONE TYPE --config=configs/joint.py --workdir=SHARED_FOLDER [flags of launch.py]" >&2
  exit 2
fi
name=$1 zone=$2 type=$3
shift 3
case "$type" in
  v4-*) image=tpu-ubuntu2204-base ;;
  v5litepod-*) image=v2-alpha-tpuv5-lite ;;
  v5p-*) image=v2-alpha-tpuv5 ;;
  v6e-*) image=v2-alpha-tpuv6e ;;
  *)
    echo "error: unknown TPU type $type; expected v4-N, v5litepod-N, v5p-N or v6e-N" >&2
    exit 2
    ;;
esac

run() {
  if [ "${DRY_RUN:-0}" = 1 ]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}
tpu=(gcloud compute tpus tpu-vm)
archive=$(mktemp -t empatheia-XXXXXX.tar.gz)
trap 'rm -f "$archive"' EXIT

if [ "${DRY_RUN:-0}" = 1 ] || ! "${tpu[@]}" describe "$name" --zone="$zone" >/dev/null 2>&1; then
  run "${tpu[@]}" create "$name" --zone="$zone" --accelerator-type="$type" --version="$image" ${SPOT:+--spot}
fi
run git archive --format=tar.gz --output="$archive" HEAD
run "${tpu[@]}" scp "$archive" "$name":empatheia.tar.gz --zone="$zone" --worker=all
flags=$(printf '%q ' "$@")
run "${tpu[@]}" ssh "$name" --zone="$zone" --worker=all --command="
set -e
mkdir -p empatheia && tar -xzf empatheia.tar.gz -C empatheia && cd empatheia
python3 -m venv .venv && .venv/bin/pip install -q . 'jax[tpu]'
.venv/bin/python launch.py $flags"
