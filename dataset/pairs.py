"""Pairs of motions that follow one another: what streams are trained on, in BABEL-272-stream's layout.

    {train,val}_stream/seqN.npy (T, 272), not normalised: A, then B     {train,val}_stream_text/seqN.txt

A text file has one line, `A_text*B_text#A_length` or `A_text*B_text#tokens#A_length`; the length counts frames.
`python -m dataset.prepare stream` makes such pairs of mocap_272.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dataset.captions import Caption
from dataset.clips import Clip, read_motion, report
from dataset.shards import load_shard, many_made
from models.causal_tae import FRAMES_PER_LATENT
from utils.distributed import rank
from utils.text import read_text

REMEDY = ("Get it: hf download --repo-type dataset lxxiao/272-dim-BABEL-stream --local-dir babel_272_stream, or make "
          "it: python -m dataset.prepare stream --source data/mocap_272 --out data/mocap_272_stream")


@dataclass(frozen=True, slots=True)
class Pair(Clip):
    """A and B as one motion: `past` counts A's frames, the caption is B's text."""
    past_text: str = ""

    @property
    def texts(self) -> tuple[str, str]:
        """The prompts of A and B."""
        return self.past_text, self.captions[0].text


def parse_pair(line: str) -> tuple[str, str, int]:
    """A pair's line -> A's text, B's text, frames of A.

    raises   ValueError if a part is missing or the length is no number of frames
    """
    texts, *fields = line.strip().split("#")
    first, star, second = (part.strip() for part in texts.partition("*"))
    if not (star and first and second and fields):
        raise ValueError(f"found {line.strip()!r}, expected A_text*B_text#A_length")
    try:
        frames = float(fields[-1])
        length = int(frames)
    except (ValueError, OverflowError):
        raise ValueError(f"found the length {fields[-1]!r}, expected A's number of frames") from None
    if length != frames or length < 1:
        raise ValueError(f"found the length {fields[-1]!r}, expected A's number of frames")
    return first, second, length


@many_made()
def load_pairs(root: Path | str, split: str) -> tuple[list[Pair], dict[str, str]]:
    """All pairs of a split, mapped from a shard; print what was left out and why.

    root     the folder of train_stream/, train_stream_text/, val_stream/ and val_stream_text/
    returns  the pairs, and what kind of motion each one's B is, by the pair's id, as far as groups.json says
    raises   FileNotFoundError if the folder or every pair is missing; OSError if there is no room for the shard
    """
    motions, texts = Path(root) / f"{split}_stream", Path(root) / f"{split}_stream_text"
    for folder in (motions, texts):
        if not folder.is_dir():
            raise FileNotFoundError(f"found no {folder}, expected pairs for streams. {REMEDY}")
    lines = {path.stem.replace("_", ""): path.name for path in texts.glob("*.txt")}  # seq_1 is seq1
    known = Path(root) / "groups.json"
    kinds = json.loads(known.read_text(encoding="utf-8")) if known.is_file() else {}
    found, files = sorted(motions.glob("*.npy"), key=lambda path: (len(path.stem), path.stem)), {}
    for path in found:
        text = lines.get(path.stem.replace("_", ""))
        files[f"{split}_stream-{path.stem}"] = [f"{motions.name}/{path.name}"] + [f"{texts.name}/{text}"] * bool(text)
    entries, problems = load_shard(Path(root), motions.name, files, partial(entry_of, Path(root), files))
    pairs = [Pair(entry["id"], entry["motion"], [Caption(entry["text"])], entry["past"], entry["past_text"])
             for entry in entries]
    groups = {pair.id: "stream " + kinds.get(pair.id.replace("_stream-", "/", 1), "") for pair in pairs}
    if alone := sorted(lines.keys() - {path.stem.replace("_", "") for path in found}):
        problems["motion missing"] = [f"{split}_stream-{name}" for name in alone]
    if rank() == 0:
        print(f"{root} {split}: {len(pairs)} of {len(found) + len(alone)} pairs" + report(problems), flush=True)
    if not pairs:
        raise FileNotFoundError(f"0 of {len(found)} pairs in {motions} are good. {REMEDY}")
    return pairs, groups


def entry_of(root: Path, files: Mapping[str, Sequence[str]], pair_id: str,
             problems: dict[str, list[str]]) -> dict[str, Any] | None:
    """A pair as `load_shard` keeps it, or None; what is wrong goes into `problems`."""
    motion_file, *text_files = files[pair_id]
    if not text_files:
        problems["text missing"].append(pair_id)
        return None
    try:
        past_text, text, past = parse_pair(read_text(root / text_files[0]))
    except ValueError as error:
        problems["text unreadable"].append(f"{pair_id} ({error})")
        return None
    motion = read_motion(root / motion_file, pair_id, problems)
    if motion is not None and not 0 < past // FRAMES_PER_LATENT < len(motion) // FRAMES_PER_LATENT:
        problems["no latent of A or of B"].append(pair_id)
        return None
    return None if motion is None else dict(id=pair_id, motion=motion, text=text, past=past, past_text=past_text)
