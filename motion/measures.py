"""What a body does, measured by plain geometry: where it goes, which way it faces, what its hands and trunk do.

Letters: T frames, 30 per second and at least 2; joints (T, 22, 3) in metres, y up. Angles in degrees, turns positive
to the left.
"""

import numpy as np
from scipy.ndimage import gaussian_filter1d

from motion.representation_272 import FPS
from motion.skeleton import JOINT_NAMES, OFFSETS, PARENTS

OTHER = {"left": "right", "right": "left"}


def joint(joints: np.ndarray, name: str) -> np.ndarray:
    """(T, 3), where one joint is."""
    return joints[:, JOINT_NAMES.index(name)]


def facing(joints: np.ndarray) -> np.ndarray:
    """Level unit vectors (T, 2), x and z, to where the hips face."""
    across = joint(joints, "left_hip") - joint(joints, "right_hip")
    forward = np.stack([-across[:, 2], across[:, 0]], axis=-1)
    return forward / np.linalg.norm(forward, axis=-1, keepdims=True)


def to_the_left(forward: np.ndarray) -> np.ndarray:
    """Level vectors (T, 2) turned by 90 degrees to the left, counterclockwise seen from above."""
    return np.stack([forward[:, 1], -forward[:, 0]], axis=-1)


def along(points: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """How far points (T, 3) lie in level directions (T, 2) -> (T,)."""
    return (points[:, [0, 2]] * directions).sum(-1)


def turned(joints: np.ndarray) -> float:
    """By how much the body faces another way at the end, in degrees, positive to the left."""
    x, z = facing(joints).T
    heading = np.unwrap(np.arctan2(x, z))
    return np.degrees(heading[-1] - heading[0])


def travelled(joints: np.ndarray) -> tuple[float, float]:
    """Metres that the root moved ahead and to the left, each step measured from where the body faces then."""
    steps, forward = np.diff(joint(joints, "pelvis"), axis=0), facing(joints)[:-1]
    return along(steps, forward).sum(), along(steps, to_the_left(forward)).sum()


def speed(joints: np.ndarray) -> float:
    """Metres per second over the floor in the fastest half of the motion: without its start and stop."""
    steps = np.linalg.norm(np.diff(joint(joints, "pelvis")[:, [0, 2]], axis=0), axis=-1)
    path = np.concatenate([[0], steps.cumsum()])
    half = max(len(joints) // 2, 1)
    return (path[half:] - path[:-half]).max() * FPS / half


def leaning(joints: np.ndarray) -> np.ndarray:
    """Degrees (T,) by which the trunk leans forward."""
    trunk = joint(joints, "neck") - joint(joints, "pelvis")
    return np.degrees(np.arctan2(along(trunk, facing(joints)), trunk[:, 1]))


def above(joints: np.ndarray, name: str, other: str) -> np.ndarray:
    """Whether (T,) one joint is higher than another."""
    return joint(joints, name)[:, 1] > joint(joints, other)[:, 1]


def stays_down(joints: np.ndarray, side: str) -> bool:
    """The hand is never above its shoulder."""
    return not above(joints, f"{side}_wrist", f"{side}_shoulder").any()


def swings(joints: np.ndarray, side: str, wide: float = 0.04) -> int:
    """How often the hand, above its elbow, changes its direction sideways after moving over `wide` metres."""
    sideways = along(joint(joints, f"{side}_wrist") - joint(joints, "spine3"), to_the_left(facing(joints)))
    return reversals(sideways[above(joints, f"{side}_wrist", f"{side}_elbow")], wide)


def reversals(values: np.ndarray, wide: float) -> int:
    """How often values (N,) change their direction after moving over `wide`."""
    changes, direction, furthest = 0, 0, None
    for value in values:
        if furthest is None or (value - furthest) * direction > 0:
            furthest = value
        elif abs(value - furthest) > wide:
            changes += direction != 0
            direction, furthest = np.sign(value - furthest), value
    return changes


def on_the_spot(joints: np.ndarray) -> bool:
    """The root ends within half a metre of where it was, ahead and sideways."""
    return np.abs(travelled(joints)).max() < 0.5


def lowest(joints: np.ndarray) -> np.ndarray:
    """Height (T,) of the lowest joint over the clip's floor."""
    return joints[..., 1].min(axis=1) - joints[..., 1].min()


def stretches(happens: np.ndarray, shortest: int = 1) -> list[tuple[int, int]]:
    """First frames and ends of the times for which happens (T,) is true for `shortest` frames or more."""
    edges = np.flatnonzero(np.diff(happens, prepend=False, append=False)).tolist()    # starts and ends in turn
    return [(first, end) for first, end in zip(edges[::2], edges[1::2]) if end - first >= shortest]


def longest(happens: np.ndarray) -> float:
    """Seconds of the longest time for which happens (T,) is true without a break."""
    return max((end - first for first, end in stretches(happens)), default=0) / FPS


def in_one_piece(joints: np.ndarray) -> bool:
    """Bones have their length to 5 cm, in 95% of all bones and frames: nothing has exploded."""
    bones = np.linalg.norm(joints[:, 1:] - joints[:, PARENTS[1:]], axis=-1)
    return np.quantile(abs(bones - np.linalg.norm(OFFSETS[1:], axis=-1)), 0.95) < 0.05


def heading(joints: np.ndarray) -> np.ndarray:
    """Degrees (T,) by which the hips face left of where they faced first, whole turns counted."""
    x, z = facing(joints).T
    angles = np.degrees(np.unwrap(np.arctan2(x, z)))
    return angles - angles[0]


def spells(values: np.ndarray, begins: float, goes_on: float, shortest: int = 1) -> list[tuple[int, int]]:
    """Times, (first frame, frame behind the last), for which values (T,) stay over `goes_on` and reach `begins`.

    shortest   frames of a spell that counts
    """
    over = np.zeros(len(values) + 2, dtype=bool)
    over[1:-1] = values > goes_on
    edges = np.flatnonzero(over[1:] != over[:-1])
    return [(first, end) for first, end in edges.reshape(-1, 2).tolist()
            if end - first >= shortest and values[first:end].max() > begins]


def foot_paces(joints: np.ndarray) -> np.ndarray:
    """(2, T), metres per second over the floor of the left and the right foot."""
    feet = [(joint(joints, f"{side}_foot") + joint(joints, f"{side}_ankle")) / 2 for side in OTHER]
    return np.linalg.norm(rate(smooth(np.stack(feet, axis=1)[..., [0, 2]], 1.5)), axis=-1).T


def knee_angle(joints: np.ndarray, side: str) -> np.ndarray:
    """Degrees (T,) between thigh and shin; 180 is a straight leg."""
    thigh = joint(joints, f"{side}_hip") - joint(joints, f"{side}_knee")
    shin = joint(joints, f"{side}_ankle") - joint(joints, f"{side}_knee")
    cosine = (thigh * shin).sum(-1) / np.linalg.norm(thigh, axis=-1) / np.linalg.norm(shin, axis=-1)
    return np.degrees(np.arccos(cosine.clip(-1, 1)))


def smooth(values: np.ndarray, deviation: float) -> np.ndarray:
    """values (T, ...) under a Gaussian of `deviation` frames; the ends go on as they came."""
    many = min(int(4 * deviation), len(values) - 1)
    padded = np.concatenate([2 * values[:1] - values[many:0:-1], values, 2 * values[-1:] - values[-2:-many - 2:-1]])
    return gaussian_filter1d(padded, deviation, axis=0)[many:len(values) + many]


def rate(values: np.ndarray) -> np.ndarray:
    """values (T, ...) -> their change per second (T, ...)."""
    return np.gradient(values, axis=0) * FPS
