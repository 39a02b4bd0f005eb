#!/usr/bin/env bash
# Train the model for streams on NUM_GPUS GPUs of this machine:
#   bash scripts/train_motionstreamer.sh NUM_GPUS [more flags of train_streamer.py, e.g. --latent-dir latents]
set -euo pipefail
gpus=${1:?give the number of GPUs: bash scripts/train_motionstreamer.sh NUM_GPUS}
exec bash "$(dirname "$0")/torchrun.sh" "$gpus" train_streamer.py "${@:2}"
