"""CMU Graphics Lab Motion Capture Database: trials, CMU's one-line descriptions, HumanML3D's human captions.

`NN/NN_MM.bvh`, or `NN/NN_MM.amc` with its `NN/NN.asf`. A description becomes sentences through phrases/cmu.json:
its row, else that of a family of descriptions; some trials' motion is not what the description makes one think.
Long trials show only a part of their description in each window, so their sentences stay general.
"""

import json
import re
from collections import defaultdict
from functools import partial
from pathlib import Path

from dataset.captions import swap_left_right
from dataset.prepare.folder import Segment, Trial, read_rows, split_by_strata
from dataset.prepare.grammar import free_sentences, phrase_table, sentences
from utils.text import read_text

NAME = re.compile(r"\d+_\d+")
HUMANML3D_FPS = 20
AMC_FPS = 120.0
PARTNERS = {"19": "18", "21": "20", "23": "22", "34": "33", "61": "60"}    # subjects who act together
LONGER = {"69": 150}    # frames of a window of trials in which things of some seconds take turns


def phrases_of(trial: str, description: str) -> tuple[str, list[str]]:
    """The label and the verb phrases of a trial; a description unknown here gives its own words."""
    text, table = " ".join(description.lower().split()).rstrip("."), phrase_table("cmu")
    row = table["overrides"].get(trial) or table["descriptions"].get(text)
    if row is None and (row := table["descriptions"].get(swap_left_right(text))):
        return swap_left_right(row[0]), [swap_left_right(phrase) for phrase in whole(row[1:])]
    if row is None and (match := re.fullmatch(r"(\w+(?: \w+)?) \(human subject\)", text)):
        animal = ("an " if match[1][0] in "aeiou" else "a ") + match[1]
        return "animal", [phrase.replace("<an animal>", animal) for phrase in table["animal"]]
    family = next((family for pattern, *family in table["families"] if re.search(pattern, text)), None)
    group, *phrases = row or family or [re.match(r"\w*", text)[0] or "other", f"{{do}} this: {text}"]
    return group, whole(phrases)


def whole(phrases: list[str]) -> list[str]:
    """Phrases in which <name> stands for all of a list of that name, of CMU's table or of Bandai Namco's."""
    lists = phrase_table("bandai_namco") | phrase_table("cmu")["lists"]
    names = [re.fullmatch("<(.+)>", phrase) for phrase in phrases]
    return [found for phrase, name in zip(phrases, names) for found in (whole(lists[name[1]]) if name else [phrase])]


def captions(group: str, phrases: list[str], clip_id: str) -> list[str]:
    """About ten sentences for one clip: six from the description's phrases and four about its group."""
    return sentences(clip_id, phrases) + free_sentences(clip_id, group)


def texts_beside(sources: list[Path]) -> tuple[list[Path], list[Path]]:
    """CMU's descriptions and HumanML3D's captions that lie beside the sources under their usual names."""
    homes = sorted({source.parent for source in sources})
    return tuple([path for home in homes for path in sorted(home.glob(names))]
                 for names in ("cmu_descriptions.csv", "humanml3d_for_cmu*.json"))


def read_humanml3d(paths: list[Path]) -> list[dict]:
    """Read HumanML3D's captions of CMU trials: a list of rows in each JSON file."""
    rows = []
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"found no {path}, expected HumanML3D's captions as JSON; it works without "
                                    "--captions, too")
        try:
            rows += json.loads(read_text(path))
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"{path} is no JSON ({error}): fetch it again") from None
    return rows


def read_descriptions(paths: list[Path]) -> dict[str, dict[str, str]]:
    """{trial: its row} of csv files: trial, description, subject and, for files that say it wrongly, fps."""
    found = {}
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"found no {path}, expected CMU's descriptions as a csv with the "
                                    "columns trial, description, subject: give it with --descriptions")
        rows = read_rows(path, ("trial", "description", "subject"))
        for row in rows:
            if not re.fullmatch(r"|\d+(\.\d*)?", (row.get("fps") or "").strip()):
                raise ValueError(f"{path}: found the fps {row['fps']!r} of {row['trial']}, expected a number or "
                                 "nothing")
        found |= {row["trial"]: row for row in rows}
    return found


def trials(sources: list[Path], descriptions: list[Path], described: list[dict], amc_fps: float = AMC_FPS
           ) -> tuple[list[Trial], list[str]]:
    """List the trials below the sources, each with its split, and what cannot be used.

    descriptions   csv files, besides the cmu_descriptions.csv that a source holds itself; see `read_descriptions`
    described      HumanML3D's captions: trial, start_frame_20fps, end_frame_20fps, split, captions, id
    amc_fps        frames per second of AMC files, which do not say theirs, where no description does
    A scene with a caption of HumanML3D's test split is test as a whole, then likewise val, then train.
    """
    own = [path for source in sources for path in sorted(source.rglob("cmu_descriptions.csv"))]
    rows = read_descriptions([*descriptions, *own] or [sources[0].with_name("cmu_descriptions.csv")])
    segments, described_in = defaultdict(list), defaultdict(set)    # trial -> its parts, scene -> splits of those
    for row in described:
        start, end = row["start_frame_20fps"] / HUMANML3D_FPS, row["end_frame_20fps"] / HUMANML3D_FPS
        texts = tuple(" ".join(text.split()) for text in row["captions"])
        segments[row["trial"]].append(Segment(f"cmu_{row['trial']}_humanml3d_{row['id']}", start, end, texts))
        described_in[scene(row["trial"])].add(row["split"])
    files, skipped = {}, []
    for path in (path for source in sources for path in sorted(source.rglob("*"))):
        if path.suffix.lower() not in (".bvh", ".amc"):
            continue
        if not NAME.fullmatch(path.stem) or path.stem not in rows:
            skipped.append(f"{path.name}: found no description of {path.stem!r} in a cmu_descriptions.csv")
        elif path.stem in files:
            skipped.append(f"{path.name}: found the trial also as {files[path.stem].name}, which is used")
        else:
            files[path.stem] = path
    known = {name: phrases_of(name, _said(rows[name])) for name in files}
    strata = {scene(name): known[name][0] for name in files if scene(name) not in described_in}
    splits = split_by_strata(strata, val=0.06, test=0)
    for name, found in described_in.items():
        splits[name] = next(split for split in ("test", "val", "train") if split in found)
    return [Trial(f"cmu_{name}", path, _skeleton_map(path), splits[scene(name)], group,
                  partial(captions, group, phrases), shortest=LONGER.get(name.split("_")[0], 60),
                  segments=tuple(segments[name]), phrases=tuple(phrases), up="y",
                  fps=float(rows[name].get("fps") or 0) or (amc_fps if path.suffix.lower() == ".amc" else None))
            for (name, path), (group, phrases) in zip(files.items(), known.values())], skipped


def scene(trial: str) -> str:
    """What the trials of two persons who act together share: 61_03 is of 60_03's scene."""
    subject, number = trial.split("_")
    return f"{PARTNERS.get(subject, subject)}_{number}"


def _said(row: dict[str, str]) -> str:
    """A trial's description, or its subject's where it is unknown."""
    return row["subject"].strip("()") if row["description"].lower() == "unknown" else row["description"]


def _skeleton_map(path: Path) -> str:
    """Trials circulate on four skeletons: ASF/AMC, two conversions of it to BVH, and one for DAZ figures.

    Their units differ, which makes no difference: a body is scaled by the length of its legs.
    """
    with open(path, encoding="utf-8", errors="replace") as file:
        head = file.read(600)
    if re.search(r"ROOT\s+hip\b", head):
        return "cmu_daz"
    return "cmu_arms_down" if re.search(r"JOINT\s+LeftHip\b", head) else "cmu"
