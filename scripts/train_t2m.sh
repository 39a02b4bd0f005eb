#!/usr/bin/env bash
# Train the text-to-motion model on NUM_GPUS GPUs of this machine:
#   bash scripts/train_t2m.sh NUM_GPUS [more flags of train_t2m.py, e.g. --latent-dir t2m_latents]
set -euo pipefail
cd "$(dirname "$0")/.."
torchrun=$([ -x .venv/bin/torchrun ] && echo .venv/bin/torchrun || echo torchrun)
gpus=${1:?give the number of GPUs: bash scripts/train_t2m.sh NUM_GPUS}
shift
exec "$torchrun" --standalone --nproc-per-node "$gpus" train_t2m.py "$@"
