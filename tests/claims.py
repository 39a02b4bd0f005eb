"""A second reading of sentences, by plain geometry of its own: what one says, and whether a motion does it.

Letters: T frames. Metres, degrees.
"""

import re

import numpy as np

from motion.measures import OTHER, along, facing, heading, joint, to_the_left

COUNTS = {word: number for number, word in enumerate("one two three four five six seven eight nine ten".split(), 1)}
COUNT = "(" + "|".join(COUNTS) + r"|\d+)"


def number_of(word: str) -> int:
    return COUNTS.get(word) or int(word)


def over(joints: np.ndarray, side: str, name: str) -> float:
    """Metres that the hand rises over another joint."""
    return float((joint(joints, f"{side}_wrist") - joint(joints, name))[:, 1].max())


def hand_moves(joints: np.ndarray, side: str) -> bool:
    hand = joint(joints, f"{side}_wrist") - joint(joints, "pelvis")
    return bool(np.ptp(hand, axis=0).max() > 0.15) or over(joints, side, "spine1") > 0


def foot_moves(joints: np.ndarray, side: str) -> bool:
    apart = joint(joints, f"{side}_ankle") - joint(joints, f"{OTHER[side]}_ankle")
    return bool(np.ptp(apart, axis=0).max() > 0.12 or abs(apart[:, 1]).max() > 0.12)


def gone(joints: np.ndarray, sideways: bool = False) -> np.ndarray:
    """How far the body has come ahead, or to the left, at each frame."""
    forward = facing(joints)[:-1]
    return np.cumsum(along(np.diff(joint(joints, "pelvis"), axis=0), to_the_left(forward) if sideways else forward))


def drop_and_rise(values: np.ndarray) -> tuple[float, float]:
    """The most that values (T,) fall, and rise, between two frames in order."""
    falls, rises = np.maximum.accumulate(values) - values, values - np.minimum.accumulate(values)
    return float(falls.max()), float(rises.max())


def turned_to(joints: np.ndarray, side: str) -> float:
    right, left = drop_and_rise(heading(joints))
    return left if side == "left" else right


def most_turned(joints: np.ndarray) -> float:
    return max(turned_to(joints, side) for side in OTHER)


def gap(joints: np.ndarray, name: str) -> np.ndarray:
    """Metres between a joint of the left and of the right."""
    return np.linalg.norm(joint(joints, f"left_{name}") - joint(joints, f"right_{name}"), axis=-1)


def footfalls(joints: np.ndarray) -> int:
    """How often an ankle comes to rest at another place."""
    falls = 0
    for side in OTHER:
        ankle = joint(joints, f"{side}_ankle")[:, [0, 2]]
        rests = np.linalg.norm(np.gradient(ankle, axis=0), axis=-1) * 30 < 0.25
        places = [ankle[frame] for frame in np.flatnonzero(rests)]
        last = places[0] if places else None
        for place in places:
            if np.linalg.norm(place - last) > 0.1:
                falls += 1
            last = place
    return falls


def flies(joints: np.ndarray) -> bool:
    toes = np.minimum(joint(joints, "left_foot")[:, 1], joint(joints, "right_foot")[:, 1])
    return bool(drop_and_rise(toes)[1] > 0.05)


def speed(joints: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.gradient(joint(joints, "pelvis")[:, [0, 2]], axis=0), axis=-1) * 30


def lowest(joints: np.ndarray, name: str = "pelvis") -> float:
    return float((joint(joints, name)[:, 1] - joints[..., 1].min()).min())


SIDES = "(left|right)"
LIMB = rf"{SIDES} (?:hand|arm|fist|forearm|elbow|jab|punches)"
CLAIMS = [    # (what a sentence says, whether a motion does it)
    (rf"{LIMB}\b", lambda joints, side: hand_moves(joints, side)),
    (r"\b(?:both|two) (?:hands|arms)\b|\bhands\b(?! and knees)|\barms\b",
     lambda joints: all(hand_moves(joints, side) for side in OTHER)),
    (rf"{SIDES} (?:leg|foot|knee)\b", lambda joints, side: foot_moves(joints, side)),
    (rf"(?:wav|greet)\w* (?:\w+ )*?{SIDES} (?:hand|arm)", lambda joints, side: over(joints, side, f"{side}_elbow") > 0),
    (rf"{SIDES} (?:hand|arm) (?:above|over|overhead|in the air|high)",
     lambda joints, side: over(joints, side, "head") > 0.05),
    (r"\bjump|\bleap|\bhop(?!scotch)", flies),
    (r"\bsit|\bseat(?!.{0,9}back)", lambda joints: lowest(joints) < 0.72),
    (r"\bsquat", lambda joints: lowest(joints) < 0.66),
    (r"\bkneel|\bon (?:the |his |her |their |your )?knees\b", lambda joints: lowest(joints) < 0.75),
    (r"\blies?\b|\blying", lambda joints: lowest(joints, "head") < 0.5),
    (r"(?:pick|grab|collect|fetch|scoop)\w* .*(?:floor|ground)",
     lambda joints: min(lowest(joints, f"{side}_wrist") for side in OTHER) < 0.35),
    (r"\bclap|applau", lambda joints: gap(joints, "wrist").min() < 0.2),
    (r"\b(?:jog|run|sprint|dash|rac)(?:s|es|ing|ning)?\b(?! (?:in place|on the spot|without))",
     lambda joints: speed(joints).max() > 1.3),
    (r"\bwalk|\bstroll|\bamble", lambda joints: footfalls(joints) >= 2 or foot_moves(joints, "left")),
    (r"\bbackwards?\b|\bin reverse\b|\bretreat|\bsteps? back\b|\bback(?:s|ing) (?:up|away|off)\b",
     lambda joints: drop_and_rise(gone(joints))[0] > 0.2),
    (r"\b(?:walk|run|jog|jump|leap|hop|go|goe|stroll|move|step)(?:s|ning|ping|ging|ing)? forwards?\b",
     lambda joints: drop_and_rise(gone(joints))[1] > 0.2),
    (rf"(?:step|sideways|strafe|shuffl)\w* (?:to |towards )?(?:the |his |her |their |your )?{SIDES}",
     lambda joints, side: drop_and_rise(gone(joints, sideways=True))[side == "left"] > 0.2),
    (rf"\bturn(?:s|ing)? (?:\w+ ){{0,3}}?(?:to |towards )?(?:the |his |her |their )?{SIDES}\b(?! (?:hand|arm|leg))",
     lambda joints, side: turned_to(joints, side) > 25),
    (r"(?<!counter)(?<!counter[ -])(?<!anti)(?<!anti[ -])\bclockwise", lambda joints: turned_to(joints, "right") > 25),
    (r"counter[ -]?clockwise|anti[ -]?clockwise", lambda joints: turned_to(joints, "left") > 25),
    (r"\bcircle|\bspiral|\bloop|360", lambda joints: most_turned(joints) > 120),
    (r"half circle|semi-?circle|180|turns? around|(?<!without )turning around|u-turn",
     lambda joints: most_turned(joints) > 135),
    (rf"{COUNT} steps", lambda joints, count: footfalls(joints) >= number_of(count)),
    (r"stands? still|standing still|comes? to a (?:stop|halt)|motionless", lambda joints: speed(joints).min() < 0.15),
    (r"on one (?:leg|foot)|one-legged",
     lambda joints: abs(joint(joints, "left_ankle") - joint(joints, "right_ankle"))[:, 1].max() > 0.1),
    (r"\bkick", lambda joints: max(drop_and_rise(joint(joints, f"{side}_ankle")[:, 1])[1] for side in OTHER) > 0.2),
]


def false_claims(text: str, joints: np.ndarray) -> list[str]:
    """What a sentence says that the motion does not do."""
    return [f"{match[0]!r} in {text!r}" for pattern, does in CLAIMS for match in re.finditer(pattern, text.lower())
            if not does(joints, *match.groups())]
