#!/usr/bin/env bash
# bash scripts/live.sh [flags of demo_live.py]: the page where one types and the character obeys; installs what it needs, once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh live
exec .venv/bin/python demo_live.py "$@"
