#!/usr/bin/env bash
# bash scripts/test.sh [pytest arguments]: all tests, on the CPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh
exec .venv/bin/python -m pytest -q "$@"
