#!/usr/bin/env bash
# The row of MoSa beside that of the real motions, on NUM_GPUS GPUs of this machine:
#   bash scripts/eval_mosa.sh NUM_GPUS [more flags of eval_t2m.py, e.g. --resume-trans output/mosa_small/best]
set -euo pipefail
gpus=${1:?give the number of GPUs: bash scripts/eval_mosa.sh NUM_GPUS}
exec bash "$(dirname "$0")/torchrun.sh" "$gpus" eval_t2m.py --target t2m --model mosa --multimodality-texts 100 "${@:2}"
