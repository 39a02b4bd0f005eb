#!/usr/bin/env bash
# Train MoSa's tokenizer on NUM_GPUS GPUs of this machine:
#   bash scripts/train_mosa_tokenizer.sh NUM_GPUS [flags of train_mosa_tokenizer.py, e.g. --preset humanml3d]
set -euo pipefail
gpus=${1:?give the number of GPUs: bash scripts/train_mosa_tokenizer.sh NUM_GPUS}
exec bash "$(dirname "$0")/torchrun.sh" "$gpus" train_mosa_tokenizer.py "${@:2}"
