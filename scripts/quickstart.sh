#!/usr/bin/env bash
# bash scripts/quickstart.sh "a sentence": from nothing to demo_output/ with the motion as .npy, .bvh and .mp4.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh
.venv/bin/python demo_t2m.py --text "${1-an old person walks forward and turns left}" --format npy,bvh,mp4
cat <<'END'

Next:
  bash scripts/quickstart.sh "a person waves both hands"          another sentence
  .venv/bin/python demo_stream.py --interactive                   type while the character moves
  bash scripts/live.sh                                            the same on a page in your browser
END
