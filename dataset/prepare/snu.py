"""Seoul National University, Movement Research Lab: takes of five repositories, named by what happens in them.

`index.csv` lists them: file, fps, skeleton (the ASF of an AMC), words of the name.
"""

import csv
import re
from collections import Counter
from functools import partial
from pathlib import Path

from dataset.prepare.folder import Trial, split_by_strata
from motion.formats import read_capture

COPIES = {"ys2010/Data_woody_Motion_Physics2_physics2_WalkSameSame01.bvh": "ys2010/Physics2_wd2_WalkSameSame01.bvh"}
SKELETONS = {"Spine2": "snu_basketball", "L_Thigh": "snu_bboy", "lThigh": "snu_boxer"}


def trials(source: Path) -> tuple[list[Trial], list[str]]:
    """List the takes of `source`'s index, each with its split, and what cannot be used."""
    index = sorted(source.rglob("index.csv"))
    folder = index[0].parent
    with open(index[0], encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    rows = [row for row in rows if row["file"] not in COPIES]
    scenes = {row["file"]: scene(row["file"]) for row in rows}
    kinds = {scenes[row["file"]]: row["file"].split("/")[0] + " " + row["words"] for row in rows}
    several = Counter(kinds.values())
    splits = split_by_strata({name: kind.split()[0] if several[kind] > 1 else kind for name, kind in kinds.items()},
                             val=0.06, test=0.08)
    found = []
    for row in rows:
        path = folder / row["file"]
        skeleton = folder / row["skeleton"] if row["skeleton"] else None
        words = row["words"] or "move"
        found.append(Trial(f"snu_{row['file'].split('/')[0]}_{path.stem}", path, _skeleton_map(path, skeleton),
                           splits[scenes[row["file"]]], words, partial(_captions, words), skeleton=skeleton,
                           fps=float(row["fps"])))
    return found, []


def scene(file: str) -> str:
    """The name that the takes of one scene share: of all its players, or of both persons (hys and mmk)."""
    path = Path(file)
    if players := re.search(r"_s_(\d+_\d+)_\d+$", path.stem):
        return f"{path.parent} {players[1]}"
    return f"{path.parent} {re.sub('^multi_(hys|mmk)', 'multi', path.stem)}"


def _captions(words, clip_id):
    return ["a person moves"]


def _skeleton_map(path: Path, skeleton: Path | None) -> str:
    text = (skeleton or path).read_text(encoding="latin-1")[:20000]
    if path.name.startswith("martial"):
        return "snu_martial"
    for joint, name in SKELETONS.items():
        if re.search(rf"\b{joint}\b", text):
            return name
    return "snu_woody"
