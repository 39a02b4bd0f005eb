"""Movement Research Lab, Seoul National University: takes of five repositories, named by what happens in them.

`index.csv` has the columns file, fps, skeleton (the ASF of an AMC; empty for a BVH), words. `labels.csv`, beside it,
has described frames of basketball games: file, start_frame, end_frame, type. phrases/snu.json says what each take
shows: "takes" are rules of which the first that matches a name holds, for the other side with its sides swapped;
their "phrases" are true of any `shortest` frames of the take, "whole" only of the take in one piece.
Units, and whether the root's position replaces its OFFSET, make no difference: legs are scaled to one length, clips
stand on their own floor.
"""

import re
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path

from dataset.captions import swap_left_right
from dataset.prepare.folder import Segment, Trial, read_rows, split_by_strata
from dataset.prepare.grammar import STYLES, free_sentences, phrase_table, sentences
from motion.representation_272 import FPS

KNOWN = phrase_table("snu")
UNNAMED = dict(group="", phrases=[])
SKELETON_MAPS = {"Spine2": "snu_basketball", "L_Thigh": "snu_bboy", "lThigh": "snu_boxer", "LeftShoulder1": "snu_woody"}
PAUSE = 20    # frames between two dribbles that belong together
AROUND = 30   # frames before and after a labelled action that belong to it


def trials(source: Path) -> tuple[list[Trial], list[str]]:
    """List the takes of the index below `source`, each with its split, and what is left out.

    raises   FileNotFoundError without an index.csv, ValueError for one without its columns
    """
    index = next(iter(sorted(source.rglob("index.csv"))), None)
    if index is None:
        raise FileNotFoundError(f"found no index.csv below {source}, expected one that lists the takes: file, fps, "
                                "skeleton, words")
    rows, skipped = [], []
    for row in read_rows(index, ("file", "fps", "skeleton", "words")):
        if reason := KNOWN["left_out"].get(row["file"]):
            skipped.append(f"{Path(row['file']).name}: {reason}")
        elif not (index.parent / row["file"]).is_file():
            skipped.append(f"{Path(row['file']).name}: found no such file, though index.csv lists it")
        else:
            rows.append(row)
    splits = _splits(rows)
    actions = labelled_actions(index.with_name("labels.csv"))
    return [_trial(index.parent, row, splits[scene(row["file"])], actions[row["file"]]) for row in rows], skipped


def scene(file: str) -> str:
    """What the takes of all persons of one scene share: the players of a game, or hys and mmk, who act together."""
    path = Path(file)
    players = re.search(r"_s_(\d+_\d+)_\d+$", path.stem)
    return f"{path.parent} {players[1] if players else re.sub('^multi_(hys|mmk)', 'multi', path.stem)}"


def rule_of(file: str) -> dict:
    """What is known of a take: group, phrases, whole, style, shortest, free; see the module's docstring."""
    words = " ".join(Path(file).with_suffix("").parts).replace("_", " ")
    swapped = swap_left_right(words)
    for rule in KNOWN["takes"]:
        if re.match(rule["takes"], words):
            return rule
        if swapped != words and re.match(rule["takes"], swapped):
            phrases = {key: [swap_left_right(text) for text in rule.get(key, ())] for key in ("phrases", "whole")}
            return rule | phrases | {"group": swap_left_right(rule["group"])}
    return UNNAMED


def captions(rule: dict, take: str, clip_id: str) -> list[str]:
    """Sentences about a clip of a take: ten or so if its label is common, else six; none if its name says nothing."""
    phrases = [*rule.get("phrases", ()), *(rule.get("whole", ()) if clip_id in (take, f"M{take}") else ())]
    if not phrases:
        return []
    style = STYLES.get(rule.get("style"))
    found = sentences(clip_id, phrases, style, gait=style is not None)
    return found + (free_sentences(clip_id, rule["group"]) if rule.get("free") and len(phrases) > 1 else [])


def labelled_actions(path: Path) -> dict[str, list[tuple[str, int, int]]]:
    """{file: [(action, first frame, last frame)]} of labels.csv; dribbles that follow one another are one."""
    found = defaultdict(list)
    if not path.is_file():
        return found
    rows = read_rows(path, ("file", "start_frame", "end_frame", "type"))
    for row in sorted(rows, key=lambda row: int(row["start_frame"])):
        start, end, actions = int(row["start_frame"]), int(row["end_frame"]), found[row["file"]]
        action = row["type"].split("_")[0]
        before = next((known for known in reversed(actions) if known[0] == action), None)
        if action == "dribble" and before and start - before[2] <= PAUSE:
            actions[actions.index(before)] = (action, before[1], end)
        elif action in KNOWN["actions"]:
            actions.append((action, start, end))
    return found


def _trial(folder: Path, row: dict[str, str], split: str, actions: list[tuple[str, int, int]]) -> Trial:
    path, rule = folder / row["file"], rule_of(row["file"])
    skeleton = folder / row["skeleton"] if row["skeleton"] else None
    take = f"snu_{'_'.join(Path(row['file']).with_suffix('').parts)}"
    segments = []
    for action, start, end in actions:
        around = 0 if action == "dribble" else AROUND
        name = f"{take}_{action}_{start:05d}"
        segments.append(Segment(name, max(start - around, 0) / FPS, (end + around) / FPS,
                                tuple(sentences(name, KNOWN["actions"][action]))))
    return Trial(take, path, _skeleton_map(path, skeleton), split, rule["group"], partial(captions, rule, take),
                 shortest=rule.get("shortest", 120), segments=tuple(segments), phrases=tuple(rule.get("phrases", ())),
                 style=rule.get("style", ""), whole=tuple(rule.get("whole", ())), skeleton=skeleton,
                 fps=float(row["fps"]), t_poses=True, up="y")


def _splits(rows: list[dict[str, str]]) -> dict[str, str]:
    """Scene -> split. A scene whose words no other has stays in train, so that all kinds can be learned."""
    words = {scene(row["file"]): f"{Path(row['file']).parent} {row['words']}" for row in rows}
    scenes = Counter(words.values())
    return split_by_strata({name: said.split()[0] if scenes[said] > 1 else said for name, said in words.items()},
                           val=0.06, test=0.08)


def _skeleton_map(path: Path, skeleton: Path | None) -> str:
    """The map of a take, by a joint that only its skeletons have; two have the joints of basketball's."""
    if path.name.startswith("martial"):
        return "snu_martial"
    hierarchy = (skeleton or path).read_text(encoding="latin-1").partition("MOTION")[0]
    return next((name for joint, name in SKELETON_MAPS.items() if re.search(rf"\b{joint}\b", hierarchy)), "snu_woody")
