#!/usr/bin/env bash
# The row of the real motions, on NUM_GPUS GPUs of this machine:
#   bash scripts/eval_gt.sh NUM_GPUS [more flags of eval_t2m.py, e.g. --dataname t2m_272 --evaluator 'Evaluator_272/epoch=99.ckpt']
set -euo pipefail
cd "$(dirname "$0")/.."
torchrun=$([ -x .venv/bin/torchrun ] && echo .venv/bin/torchrun || echo torchrun)
gpus=${1:?give the number of GPUs: bash scripts/eval_gt.sh NUM_GPUS}
shift
exec "$torchrun" --standalone --nproc-per-node "$gpus" eval_t2m.py --target truth "$@"
