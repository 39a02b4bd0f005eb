"""CMU Graphics Lab Motion Capture Database: trials, CMU's one-line descriptions, HumanML3D's human captions.

`NN/NN_MM.bvh`, or `NN/NN_MM.amc` with its `NN/NN.asf`. A description becomes sentences through phrases/cmu.json:
its row, else that of a family of descriptions; some trials' motion is not what the description makes one think.
Long trials show only a part of their description in each window, so their sentences stay general.
"""

import csv
import json
import re
from functools import partial
from pathlib import Path

from dataset.captions import swap_left_right
from dataset.prepare.folder import Segment, Trial, split_by_strata
from dataset.prepare.grammar import free_sentences, phrase_table, sentences

NAME = re.compile(r"\d+_\d+")
HUMANML3D_FPS = 20


def animal(name: str) -> list[str]:
    """Phrases of a person who plays an animal."""
    a = ("an " if name[0] in "aeiou" else "a ") + name
    return [f"{{pretend}} to be {a}", f"{{act}} like {a}", f"{{imitate}} {a}", f"{{move}} like {a}",
            f"{{mimic}} {a}",
            f"{{play}} {a}", f"{{behave}} like {a}"]


def phrases_of(trial: str, description: str) -> tuple[str, list[str]]:
    """The label and the verb phrases of a trial; a description unknown here gives its own words."""
    text, table = " ".join(description.lower().split()), phrase_table("cmu")
    row = table["overrides"].get(trial) or table["descriptions"].get(text)
    if row is None and (row := table["descriptions"].get(swap_left_right(text))):
        return swap_left_right(row[0]), [swap_left_right(phrase) for phrase in whole(row[1:])]
    if row is None and (match := re.fullmatch(r"(\w+(?: \w+)?) \(human subject\)", text)):
        return "animal", animal(match[1])
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


def read_humanml3d(path: Path | None, default: Path) -> list[dict]:
    """Read HumanML3D's captions of CMU trials; none if `path` is not given and `default` is not there."""
    if path is None and not default.is_file():
        return []
    path = path or default
    if not path.is_file():
        raise FileNotFoundError(f"found no {path}, expected HumanML3D's captions as JSON; it works without "
                                "--captions, too")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no JSON ({error}): fetch it again") from None


def trials(source: Path, descriptions: Path, described: list[dict]) -> tuple[list[Trial], list[str]]:
    """List the trials below `source`, each with its split, and what cannot be used.

    descriptions   csv with the columns trial, description, subject
    described      HumanML3D's captions: trial, start_frame_20fps, end_frame_20fps, split, captions, id
    A trial with a caption of HumanML3D's test split is test as a whole, then likewise val, then train.
    """
    if not descriptions.is_file():
        raise FileNotFoundError(f"found no {descriptions}, expected CMU's descriptions as a csv with the "
                                "columns trial, description, subject: give it with --descriptions")
    with open(descriptions, encoding="utf-8", newline="") as file:
        description_of = {row["trial"]: row["description"] for row in csv.DictReader(file)}
    segments, told = {}, {}    # trial -> its described parts, the splits of those
    for row in described:
        start, end = row["start_frame_20fps"] / HUMANML3D_FPS, row["end_frame_20fps"] / HUMANML3D_FPS
        texts = tuple(" ".join(text.split()) for text in row["captions"])
        segments.setdefault(row["trial"], []).append(
            Segment(f"cmu_{row['trial']}_humanml3d_{row['id']}", start, end, texts))
        told.setdefault(row["trial"], set()).add(row["split"])
    files, skipped = {}, []
    for path in sorted(path for path in source.rglob("*") if path.suffix.lower() in (".bvh", ".amc")):
        if not NAME.fullmatch(path.stem) or path.stem not in description_of:
            skipped.append(f"{path.name}: found no description of {path.stem!r} in {descriptions.name}")
        elif path.stem in files:
            skipped.append(f"{path.name}: found the trial also as {files[path.stem].name}, which is used")
        else:
            files[path.stem] = path
    known = {name: phrases_of(name, description_of[name]) for name in files}
    splits = split_by_strata({name: known[name][0] for name in files if name not in told}, val=0.06, test=0)
    for name, found in told.items():
        splits[name] = next(split for split in ("test", "val", "train") if split in found)
    return [Trial(f"cmu_{name}", path, _skeleton_map(path), splits[name], group, partial(captions, group, phrases),
                  segments=tuple(segments.get(name, ())), phrases=tuple(phrases))
            for (name, path), (group, phrases) in zip(files.items(), known.values())], skipped


def _skeleton_map(path: Path) -> str:
    """Trials circulate on three skeletons: ASF/AMC, its usual conversion to BVH, and one for DAZ figures."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return "cmu_daz" if re.search(r"ROOT\s+hip\b", file.read(200)) else "cmu"
