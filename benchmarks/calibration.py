"""How real clips pass the tests of `benchmarks/sentences.json`: their own kind's, and other kinds'.

`clips` of a kind says which clips do it:
    {"groups": names in groups.json, space between, "id": a pattern in the clip's name, "frames": it has at least}
                                     one of them or more
    {"join": kinds}                  parts of clips of these kinds, one after another
    {"legs": kind, "upper": kind}    path, hips and legs of a clip of the one, all above of the other
    null                             the data has none

Letters: K kinds, T frames.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.sentences import Kind, judge, load_kinds
from dataset.clips import dataset_root, load_groups
from dataset.prepare.joining import join
from motion.representation_272 import motion272_to_pose, motion272_to_positions, pose_to_motion272
from motion.skeleton import JOINT_NAMES, forward_kinematics
from options.data import Data

MOST_CLIPS = 60      # of a kind that are tested
MADE = 30            # motions that are made of clips
PART = 150           # frames of a clip in them, at most
HANDS = [JOINT_NAMES.index("left_wrist"), JOINT_NAMES.index("right_wrist")]
LEGS = [number for number, name in enumerate(JOINT_NAMES)
        if name.partition("_")[2] in ("hip", "knee", "ankle", "foot") or name == "pelvis"]


def calibrate(kinds: Sequence[Kind], data_root: str | None) -> dict:
    """Print and return how many of the data set's clips of each kind pass the test of each kind; of a single kind there
    are no others.

    raises   ValueError if the data set has none of the clips that a kind names, or no kind names any
    """
    clips = Clips(data_root)
    rows = [kind for kind in kinds if kind.clips]
    if not rows:
        raise ValueError(f"{clips.root} has no clips of {', '.join(kind.label for kind in kinds)}, expected some of a "
                         "kind: give --kinds others, or none of them")
    passes = [np.array([judge(motion, kinds) for motion in clips.of(kind)]) for kind in rows]
    rates = np.array([found.mean(axis=0) for found in passes])                         # (rows, K)
    columns = [kinds.index(kind) for kind in rows]
    own = rates[range(len(rows)), columns]
    others = [float(np.delete(rates[:, column], row).mean()) if len(rows) > 1 else None
              for row, column in enumerate(columns)]
    print(f"per cent of a kind's real clips that pass its own test, and of the other kinds' clips; "
          f"which others do most\n{'':44}clips  own others")
    for row, (kind, column) in enumerate(zip(rows, columns)):
        most = sorted(((rates[other, column], rows[other].label) for other in range(len(rows)) if other != row),
                      reverse=True)[:4]
        print(f"{kind.category:9}{kind.label:36}{len(passes[row]):4}{own[row]:5.0%}{_share(others[row]):>7}  "
              + ", ".join(f"{label} {rate:.0%}" for rate, label in most if rate > 0.15))
    average = float(np.mean(others)) if len(rows) > 1 else None
    print(f"on average {own.mean():.0%} of the own and {_share(average)} of the others' clips; without real clips: "
          + (", ".join(kind.label for kind in kinds if not kind.clips) or "none"))
    return dict(rows=[kind.label for kind in rows], columns=[kind.label for kind in kinds], rates=rates.tolist(),
                clips=[len(found) for found in passes], own=own.tolist(), others=others)


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


class Clips:
    """The motions that kinds say are theirs."""

    def __init__(self, data_root: str | None):
        data = Data("mocap_272", data_root)
        self.root, self.groups = dataset_root(data), load_groups(data)
        self.kinds = {kind.label: kind for kind in load_kinds()}

    def of(self, kind: Kind) -> list[np.ndarray]:
        """Motions (T, 272) of a kind."""
        if "join" in kind.clips:
            return self.made(kind.clips["join"], joined)
        if "legs" in kind.clips:
            return self.made((kind.clips["legs"], kind.clips["upper"]), laid_over)
        names, least = self.names(kind), kind.clips.get("frames", 0)
        motions = [self.load(name) for name in names[::-(-len(names) // MOST_CLIPS)]]
        found = [motion for motion in motions if len(motion) >= least]
        if not found:
            raise ValueError(f"{self.root}: no clip of {kind.label!r} has {least} frames, expected some: "
                             "prepare it again")
        return found

    def names(self, kind: Kind) -> list[str]:
        groups = kind.clips.get("groups", "").split()
        names = sorted(name for name, group in self.groups.items()
                       if (not groups or group in groups) and re.search(kind.clips.get("id", ""), name))
        if not names:
            raise ValueError(f"{self.root}/groups.json has no clips of {kind.label!r}, {kind.clips}; expected some: "
                             "prepare it again")
        return names

    def load(self, name: str) -> np.ndarray:
        return np.load(self.root / "motion_data" / f"{name}.npy", allow_pickle=False)

    def made(self, labels: Sequence[str], make: Callable) -> list[np.ndarray]:
        """Motions made of one part of a clip of each kind, parts that pass their own tests."""
        rng = np.random.default_rng(0)
        parts = []
        for label in labels:
            kind, found = self.kinds[label], []
            for name in rng.permutation(self.names(kind)):
                part = self.load(name)[:PART]
                if len(found) < MADE and judge(part, [kind])[0]:
                    found.append(part)
            if not found:
                raise ValueError(f"{self.root}: no clip of {label!r} passes its test in the first {PART} frames, "
                                 "expected some: calibrate this kind first")
            parts.append([found[number % len(found)] for number in range(MADE)])
        return [pose_to_motion272(*make(*chosen)) for chosen in zip(*parts)]


def joined(first: np.ndarray, *later: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Motions (T_i, 272) one after another -> rotations (T, 22, 3, 3) and joints (T, 22, 3)."""
    for second in later[:-1]:
        first = pose_to_motion272(*join(first, second)[0])
    return join(first, later[-1])[0]


def laid_over(legs: np.ndarray, upper: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One motion's path, hips and legs, another's upper body; if that ends first, as it was when a hand was highest."""
    rotations, pelvis = motion272_to_pose(legs.astype(np.float64))
    above = motion272_to_pose(upper.astype(np.float64))[0]
    hands = motion272_to_positions(upper.astype(np.float64))[:, HANDS, 1].max(axis=1)
    last = hands.argmax() if len(above) < len(legs) else len(above)
    above = above[np.minimum(np.arange(len(legs)), last)]
    above[:, LEGS] = rotations[:, LEGS]
    return above, forward_kinematics(above, pelvis)
