#!/usr/bin/env bash
# bash scripts/test.sh [pytest arguments]: style, types and all tests, on the CPU; with arguments the tests alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh test
if [ $# = 0 ]; then
    .venv/bin/ruff check --quiet
    .venv/bin/basedpyright --level error --pythonpath .venv/bin/python
fi
exec .venv/bin/python -m pytest -q "$@"
