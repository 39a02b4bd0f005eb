#!/usr/bin/env bash
# Train MoSa's transformer on NUM_GPUS GPUs of this machine:
#   bash scripts/train_mosa.sh NUM_GPUS [flags of train_mosa.py, e.g. --resume-pth output/mosa_tokenizer/best]
set -euo pipefail
gpus=${1:?give the number of GPUs: bash scripts/train_mosa.sh NUM_GPUS}
exec bash "$(dirname "$0")/torchrun.sh" "$gpus" train_mosa.py "${@:2}"
