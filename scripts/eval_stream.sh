#!/usr/bin/env bash
# The row of streams of two prompts beside that of the real pairs, on NUM_GPUS GPUs of this machine:
#   bash scripts/eval_stream.sh NUM_GPUS --streams data/mocap_272_stream [more flags of eval_t2m.py, e.g. --resume-trans output/streamer_small/last]
set -euo pipefail
gpus=${1:?give the number of GPUs: bash scripts/eval_stream.sh NUM_GPUS}
exec bash "$(dirname "$0")/torchrun.sh" "$gpus" eval_t2m.py --target stream "${@:2}"
