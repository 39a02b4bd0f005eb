#!/usr/bin/env bash
# torchrun.sh NUM_GPUS SCRIPT [FLAGS]: what the launchers share: the project's folder, and .venv's torchrun if it is there.
set -euo pipefail
cd "$(dirname "$0")/.."
torchrun=$([ -x .venv/bin/torchrun ] && echo .venv/bin/torchrun || echo torchrun)
exec "$torchrun" --standalone --nproc-per-node "$@"
