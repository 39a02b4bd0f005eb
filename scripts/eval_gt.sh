#!/usr/bin/env bash
# The row of the real motions, on NUM_GPUS GPUs of this machine:
#   bash scripts/eval_gt.sh NUM_GPUS [more flags of eval_t2m.py, e.g. --dataname t2m_272 --evaluator 'Evaluator_272/epoch=99.ckpt']
set -euo pipefail
gpus=${1:?give the number of GPUs: bash scripts/eval_gt.sh NUM_GPUS}
exec bash "$(dirname "$0")/torchrun.sh" "$gpus" eval_t2m.py --target truth "${@:2}"
