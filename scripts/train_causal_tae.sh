#!/usr/bin/env bash
# Train the causal TAE on NUM_GPUS GPUs of this machine:
#   bash scripts/train_causal_tae.sh NUM_GPUS [DATANAME] [more flags of train_causal_tae.py]
set -euo pipefail
cd "$(dirname "$0")/.."
torchrun=$([ -x .venv/bin/torchrun ] && echo .venv/bin/torchrun || echo torchrun)
gpus=${1:?give the number of GPUs: bash scripts/train_causal_tae.sh NUM_GPUS [DATANAME]}
dataname=${2:-t2m_272}
shift $(( $# < 2 ? $# : 2 ))
exec "$torchrun" --standalone --nproc-per-node "$gpus" train_causal_tae.py \
    --dataname "$dataname" --exp-name "causal_tae_$dataname" "$@"
