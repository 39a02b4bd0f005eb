#!/usr/bin/env bash
# bash scripts/test.sh [pytest arguments]: style, types and all tests, on the CPU; with arguments the tests alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh test
[ $# = 0 ] || exec .venv/bin/python -m pytest -q "$@"

.venv/bin/ruff check --quiet
said=$(mktemp)
trap 'rm -f "$said"' EXIT
.venv/bin/basedpyright --level error --pythonpath .venv/bin/python >"$said" 2>&1 &    # beside the tests, on another core
types=$! status=0
.venv/bin/python -m pytest -q || status=$?
if ! wait $types; then
    cat "$said"
    status=1
fi
exit $status
