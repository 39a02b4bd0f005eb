#!/usr/bin/env bash
# The row of a TAE beside that of the real motions, on NUM_GPUS GPUs of this machine:
#   bash scripts/eval_causal_tae.sh NUM_GPUS [more flags of eval_t2m.py, e.g. --resume-pth output/tae_small/last]
set -euo pipefail
gpus=${1:?give the number of GPUs: bash scripts/eval_causal_tae.sh NUM_GPUS}
exec bash "$(dirname "$0")/torchrun.sh" "$gpus" eval_t2m.py --target tae "${@:2}"
