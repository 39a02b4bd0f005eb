#!/usr/bin/env bash
# Make .venv with the dependencies of pyproject.toml; does nothing if they are there. PYTHON=python3.12 picks another.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}

fail() {
    echo "error: $*" >&2
    exit 2
}

# .venv keeps a copy of the pyproject.toml that it was installed from.
if cmp -s pyproject.toml .venv/pyproject.toml && .venv/bin/python -c "" 2>/dev/null; then
    exit 0
fi

command -v "$python" >/dev/null ||
    fail "there is no $python; on Debian or Ubuntu: sudo apt-get install python3 python3-venv"
"$python" -c "import sys; sys.exit(sys.version_info < (3, 11))" ||
    fail "$("$python" --version) is too old, 3.11 or newer is needed; run again with PYTHON=/path/to/newer/python3"
if ! "$python" -c "import ensurepip" 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "Installing python3-venv, which $python lacks ..." >&2
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv; } >&2
    else
        fail "$python cannot make virtual environments; on Debian or Ubuntu: sudo apt-get install python3-venv"
    fi
fi

echo "Installing the dependencies into .venv (once; some minutes) ..." >&2
"$python" -m venv .venv
install() {
    .venv/bin/python -m pip install --disable-pip-version-check "$@" ".[test]" >&2
}
# Without an NVIDIA driver PyTorch's own index has a build a tenth the size of PyPI's, if it can be reached.
cpu_builds=https://download.pytorch.org/whl/cpu
if [ "$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null &&
    timeout 3 .venv/bin/python -c "import urllib.request as r; r.urlopen('$cpu_builds/torch/')" 2>/dev/null; then
    install --extra-index-url "$cpu_builds" || install
else
    install
fi
cp pyproject.toml .venv/pyproject.toml
