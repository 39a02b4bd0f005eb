#!/usr/bin/env bash
# Train the causal TAE on NUM_GPUS GPUs of this machine:
#   bash scripts/train_causal_tae.sh NUM_GPUS [DATANAME] [more flags of train_causal_tae.py]
set -euo pipefail
gpus=${1:?give the number of GPUs: bash scripts/train_causal_tae.sh NUM_GPUS [DATANAME]}
dataname=${2:-t2m_272}
exec bash "$(dirname "$0")/torchrun.sh" "$gpus" train_causal_tae.py \
    --dataname "$dataname" --exp-name "causal_tae_$dataname" "${@:3}"
