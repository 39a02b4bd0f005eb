#!/usr/bin/env bash
# bash scripts/setup.sh [EXTRAS]: make .venv with the dependencies of pyproject.toml, in the versions of requirements.lock.
# EXTRAS of pyproject.toml, "train,figures" by default; "test" has all of them. Does nothing if they are there.
# PYTHON=python3.12 picks another Python.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
extras=${1:-train,figures}

fail() {
    echo "error: $*" >&2
    exit 2
}

# .venv/installed-EXTRAS says from which files it was installed.
wanted=$(cat pyproject.toml requirements.lock)
for done in "$extras" test; do
    if [ "$(cat ".venv/installed-$done" 2>/dev/null)" = "$wanted" ] && .venv/bin/python -c "" 2>/dev/null; then
        exit 0
    fi
done

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
"$python" -m venv .venv
log=.venv/install.log

# One line that tells how far pip is, until it is ended.
show() {
    local seconds=0 all there
    while true; do
        all=$(sed -n "s/^Installing collected packages: //p" "$log" | tr , "\n" | wc -l)
        there=$(find .venv/lib -maxdepth 4 -name "*.dist-info" | wc -l)
        text="looking for packages, $(grep -cE "^(Collecting|Processing)" "$log" || true) found"
        [ "$all" -gt 0 ] && text="$((there < all ? there : all)) of $all packages"
        printf '\rInstalling into .venv, once: %s, %d s \033[K' "$text" "$seconds" >&2
        sleep 1
        seconds=$((seconds + 1))
    done
}

install() {
    .venv/bin/python -m pip install --disable-pip-version-check --progress-bar off --constraint requirements.lock "$@" \
        ".[$extras]" >"$log" 2>&1
}

install_all() {
    # Without an NVIDIA driver PyTorch's own index has a build a tenth the size of PyPI's, if it can be reached.
    local cpu_builds=https://download.pytorch.org/whl/cpu
    if [ "$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null &&
        timeout 3 .venv/bin/python -c "import urllib.request as r; r.urlopen('$cpu_builds/torch/')" 2>/dev/null; then
        install --extra-index-url "$cpu_builds" || install
    else
        install
    fi
}

: >"$log"
if [ -t 2 ]; then
    show &
    trap "kill $! 2>/dev/null; echo >&2" EXIT
else
    echo "Installing into .venv, once; some minutes ..." >&2
fi
if ! install_all; then
    tail -n 15 "$log" >&2
    fail "pip could not install the dependencies; all that it said is in $log"
fi
printf '%s\n' "$wanted" >".venv/installed-$extras"
