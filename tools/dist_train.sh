#!/usr/bin/env bash
# Train on several GPUs (or CPU processes) of one machine, or of many.
#   tools/dist_train.sh CONFIG GPUS [options of train.py]
# On many machines run it on each, with NNODES, NODE_RANK, MASTER_ADDR and PORT in the environment.
# MAX_RESTARTS=3 starts all processes again, up to three times, when one has failed: give --resume as well.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: [NNODES=1 NODE_RANK=0 MASTER_ADDR=127.0.0.1 PORT=29500 MAX_RESTARTS=0] $0 CONFIG GPUS [options of train.py]" >&2
    exit 2
fi
CONFIG=$1
GPUS=$2
shift 2
exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --nproc_per_node="$GPUS" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" --max_restarts="${MAX_RESTARTS:-0}" \
    "$(dirname "$0")/train.py" "$CONFIG" --launcher pytorch "$@"
