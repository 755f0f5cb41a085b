#!/usr/bin/env bash
# Trains on a Cloud TPU slice by gcloud:
#   SHARED=gs://BUCKET scripts/tpu_pod.sh NAME ZONE TYPE --config=configs/joint.py --workdir=/mnt/shared/runs/joint
#   TYPE, for example: v5litepod-16, v5p-128, v6e-16, v4-32
#
# Creates the slice unless it exists, mounts SHARED on every host as /mnt/shared, copies this checkout there as it lies here (with
# changes and new Python files), installs it, and starts the same command on all hosts in the background; the log stays on each host as
# empatheia/run.log and is followed here.
# SHARED is a bucket (mounted by gcsfuse) or an NFS share such as Filestore's (10.0.0.2:/share, the better choice: a bucket
# rewrites a file for each line that is added). Weights and data lie there too: --config.networks.weights_dir=/mnt/shared/weights
# --config.data.path=/mnt/shared/data/avamerg. UPLOAD="weights data/avamerg" copies these folders of this machine there first.
# A workdir of the form gs://… is refused: a run's folder holds a lock and files that grow.
#
# The hosts find each other by the TPU's metadata, as JAX does. Run it again after a preemption: training resumes. The slice stays until
# you delete it. SPOT=1 asks for a spot slice; DRY_RUN=1 prints the commands instead.
set -euo pipefail

if [ "$#" -lt 4 ]; then
  echo "usage: SHARED=gs://BUCKET scripts/tpu_pod.sh NAME ZONE TYPE --config=configs/joint.py --workdir=/mnt/shared/RUN [flags]" >&2
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
case "${SHARED:-}" in
  gs://?*) mount="sudo gcsfuse --implicit-dirs --rename-dir-limit=100000 -o allow_other $(printf %q "${SHARED#gs://}") /mnt/shared" ;;
  ?*:/*) mount="sudo mount -t nfs $(printf %q "$SHARED") /mnt/shared" ;;
  *)
    echo "error: SHARED=${SHARED:-}; expected gs://BUCKET or HOST:/SHARE, which all hosts mount as /mnt/shared" >&2
    exit 2
    ;;
esac
for argument in "$@"; do
  case "$argument" in
    --workdir=*://*)
      echo "error: $argument; expected a folder below /mnt/shared, where SHARED is mounted" >&2
      exit 2
      ;;
  esac
done

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

# The tracked files as they lie here, and new Python files, a config of one's own for instance.
if [ "${DRY_RUN:-0}" != 1 ]; then
  files=()
  while IFS= read -r -d '' file; do
    [ ! -e "$file" ] || files+=("$file")
  done < <(git ls-files -z && git ls-files -z --others --exclude-standard '*.py')
  if [ "${#files[@]}" = 0 ] || [ ! -e launch.py ]; then
    echo "error: $PWD is no checkout of this repository; start this script in the folder of launch.py" >&2
    exit 2
  fi
  printf '%s\0' "${files[@]}" | COPYFILE_DISABLE=1 tar --null -czf "$archive" -T -
fi

if [ "${DRY_RUN:-0}" = 1 ] || ! "${tpu[@]}" describe "$name" --zone="$zone" >/dev/null 2>&1; then
  run "${tpu[@]}" create "$name" --zone="$zone" --accelerator-type="$type" --version="$image" ${SPOT:+--spot}
fi
mounted="
set -e
if ! mountpoint -q /mnt/shared; then
  sudo mkdir -p /mnt/shared
  sudo apt-get -qq update && sudo apt-get -qq install -y nfs-common gcsfuse >/dev/null || sudo apt-get -qq install -y nfs-common >/dev/null
  $mount
fi"
run "${tpu[@]}" ssh "$name" --zone="$zone" --worker=all --command="$mounted"
for folder in ${UPLOAD:-}; do
  case "$SHARED" in
    gs://*) run gcloud storage rsync --recursive "$folder" "$SHARED/$folder" ;;
    *)
      run "${tpu[@]}" ssh "$name" --zone="$zone" --worker=0 --command="mkdir -p $(printf %q "/mnt/shared/$(dirname "$folder")")"
      run "${tpu[@]}" scp --recurse "$folder" "$name":"/mnt/shared/$folder" --zone="$zone" --worker=0
      ;;
  esac
done
run "${tpu[@]}" scp "$archive" "$name":empatheia.tar.gz --zone="$zone" --worker=all
flags=$(printf '%q ' "$@")
# The images have Python 3.10; uv brings the one that the package asks for.
run "${tpu[@]}" ssh "$name" --zone="$zone" --worker=all --command="
set -e
mkdir -p empatheia && tar -xzf empatheia.tar.gz -C empatheia && cd empatheia
command -v uv >/dev/null || curl -LsSf https://astral.sh/uv/install.sh | sh
export PATH=\$HOME/.local/bin:\$PATH
[ -x .venv/bin/python ] || uv venv -q --python 3.11 .venv
uv pip install -q --python .venv/bin/python '.[tpu,demo,espeak]'
nohup .venv/bin/python launch.py $flags >run.log 2>&1 </dev/null &
tail --pid=\$! -n +1 -f run.log
wait \$!"
