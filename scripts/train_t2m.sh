#!/usr/bin/env bash
# Train the text-to-motion model on NUM_GPUS GPUs of this machine:
#   bash scripts/train_t2m.sh NUM_GPUS [more flags of train_t2m.py, e.g. --latent-dir t2m_latents]
set -euo pipefail
gpus=${1:?give the number of GPUs: bash scripts/train_t2m.sh NUM_GPUS}
exec bash "$(dirname "$0")/torchrun.sh" "$gpus" train_t2m.py "${@:2}"
