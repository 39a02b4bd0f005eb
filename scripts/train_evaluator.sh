#!/usr/bin/env bash
# Train the evaluator on NUM_GPUS GPUs of this machine:
#   bash scripts/train_evaluator.sh NUM_GPUS [more flags of Evaluator_272/train.py, e.g. --preset mocap_272]
set -euo pipefail
gpus=${1:?give the number of GPUs: bash scripts/train_evaluator.sh NUM_GPUS}
exec bash "$(dirname "$0")/torchrun.sh" "$gpus" -m Evaluator_272.train "${@:2}"
