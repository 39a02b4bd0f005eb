"""Pairs of motions that follow one another: what streams are trained on, in BABEL-272-stream's layout.

    {train,val}_stream/seqN.npy (T, 272), not normalised: A, then B     {train,val}_stream_text/seqN.txt

A text file has one line, `A_text*B_text#A_length` or `A_text*B_text#tokens#A_length`; the length counts frames.
`python -m dataset.prepare stream` makes such pairs of mocap_272.
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from dataset.captions import Caption
from dataset.clips import Clip, read_motion, report
from models.causal_tae import FRAMES_PER_LATENT
from utils.distributed import rank

REMEDY = ("Get it: hf download --repo-type dataset lxxiao/272-dim-BABEL-stream --local-dir babel_272_stream, or make "
          "it: python -m dataset.prepare stream --source data/mocap_272 --out data/mocap_272_stream")


@dataclass(frozen=True)
class Pair(Clip):
    """A and B as one motion: `past` counts A's frames, the caption is B's text."""
    past_text: str = ""

    @property
    def texts(self) -> tuple[str, str]:
        """What A and B are told."""
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


def load_pairs(root: Path | str, split: str) -> tuple[list[Pair], dict[str, str]]:
    """Read all pairs of a split; print what was left out and why.

    root     the folder of train_stream/, train_stream_text/, val_stream/ and val_stream_text/
    returns  the pairs, and what kind of motion each one's B is, by the pair's id, as far as groups.json says
    raises   FileNotFoundError if the folder or every pair is missing
    """
    motions, texts = Path(root) / f"{split}_stream", Path(root) / f"{split}_stream_text"
    for folder in (motions, texts):
        if not folder.is_dir():
            raise FileNotFoundError(f"found no {folder}, expected pairs for streams. {REMEDY}")
    lines = {path.stem.replace("_", ""): path for path in texts.glob("*.txt")}       # seq_1 is seq1
    known = Path(root) / "groups.json"
    kinds = json.loads(known.read_text(encoding="utf-8")) if known.is_file() else {}
    pairs, groups, problems = [], {}, defaultdict(list)
    found = sorted(motions.glob("*.npy"), key=lambda path: (len(path.stem), path.stem))
    for path in found:
        pair_id, name = f"{split}_stream-{path.stem}", path.stem.replace("_", "")
        if name not in lines:
            problems["text missing"].append(pair_id)
            continue
        try:
            past_text, text, length = parse_pair(lines[name].read_text(encoding="utf-8"))
        except ValueError as error:
            problems["text unreadable"].append(f"{pair_id} ({error})")
            continue
        motion = read_motion(path, pair_id, problems)
        if motion is not None and not 0 < length // FRAMES_PER_LATENT < len(motion) // FRAMES_PER_LATENT:
            problems["no latent of A or of B"].append(pair_id)
        elif motion is not None:
            pairs.append(Pair(pair_id, motion, [Caption(text)], length, past_text))
            groups[pair_id] = "stream " + kinds.get(f"{split}/{path.stem}", "")
    if rank() == 0:
        print(f"{root} {split}: {len(pairs)} of {len(found)} pairs" + report(problems), flush=True)
    if not pairs:
        raise FileNotFoundError(f"0 of {len(found)} pairs in {motions} are good. {REMEDY}")
    return pairs, groups
