"""How a body stands: which axis is up, and how our joints are turned when it stands like that.

Letters: T frames, J joints (22, ours). Places are those of our joints on another body, in any unit.
"""

from collections.abc import Sequence

import numpy as np

from motion.formats.capture import TO_Y
from motion.rotation import axis_angle_to_matrix, matrix_to_axis_angle, y_rotation
from motion.skeleton import ANKLES, HIPS, KNEES, OFFSETS, PARENTS, TOES

LEFT_HIP, RIGHT_HIP, NECK, HEAD = 1, 2, 12, 15
SHOULDERS, ELBOWS, WRISTS = [16, 17], [18, 19], [20, 21]
# Each joint and the one that its bone points to, from the trunk outwards.
BONES = {1: 4, 2: 5, 4: 7, 5: 8, 13: 16, 14: 17, 16: 18, 17: 19, 18: 20, 19: 21}
ALONG = 0.8           # the cosine from which on a body part points along an axis
STRAIGHT = 0.75       # likewise of two body parts
FLAT, HEELS = 0.3, 0.5    # how much the sine of a flat foot's slope may differ from ours: of any pose, of a drawn one
UPRIGHT = np.cos(np.radians(15))


def directions(places: np.ndarray) -> dict[str, np.ndarray]:
    """Unit vectors (..., 3) of places (..., J, 3): trunk and legs upwards, left across hips and across shoulders."""
    hips, shoulders = places[..., HIPS, :].mean(-2), places[..., SHOULDERS, :].mean(-2)
    return dict(trunk=unit(shoulders - hips), legs=unit(hips - places[..., ANKLES, :].mean(-2)),
                left=unit(places[..., LEFT_HIP, :] - places[..., RIGHT_HIP, :]),
                left_above=unit(places[..., SHOULDERS[0], :] - places[..., SHOULDERS[1], :]))


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def swing(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The rotation (3, 3) that turns the direction of start (3,) the shortest way to that of end (3,)."""
    axis = np.cross(start, end)
    sine = np.linalg.norm(axis)
    angle = np.arctan2(sine, start @ end)
    return axis_angle_to_matrix(axis * (angle / sine) if sine > 0 else np.zeros(3))


def up_axis(places: np.ndarray, rest: np.ndarray | None, default: str, axes: Sequence[str] = tuple(TO_Y)
            ) -> str:
    """The axis, of TO_Y, along which a body stands.

    places   (T, J, 3); rest (J, 3), where the joints are if nothing is turned, or None
    Frames count in which trunk and legs are in line. Where there are few, the body at rest says it if it stands
    along an axis; else it is `default`. Where many frames say another axis than the body at rest, or than the file's
    kind if that does not stand, the body may as well lie: what counts is whether it goes along the ground as it stands,
    and whether the file's height 0 is under its feet as it stands or under it as it lies.
    axes     those that may be up
    """
    shares = {axis: share for axis, share in standing_shares(places).items() if axis in axes}
    best = max(shares, key=lambda axis: (shares[axis], axis == default))
    at_rest = None if rest is None else standing_axis(rest)
    other = at_rest or default
    if best == other:
        return best
    if shares[best] < 0.3 or best != default and shares[default] >= shares[best] / 4:
        return other if shares[default] < 0.1 else default
    stands, lies = places @ TO_Y[best].T, places @ TO_Y[other].T
    if best == default:                                   # a rest pose of other axes than the motion is no rare thing
        return other if shares[other] and not walks(stands) and _on_floor(lies) > _on_floor(stands) else best
    return best if walks(stands) or at_rest != default and _on_floor(stands) > _on_floor(lies) else other


def standing_shares(places: np.ndarray) -> dict[str, float]:
    """For each axis the share of the frames (T, J, 3) in which trunk and legs, in line, point along it."""
    found = directions(places)
    straight = (found["trunk"] * found["legs"]).sum(-1) > STRAIGHT
    return {axis: float(np.mean(straight & (found["trunk"] @ turn[1] > ALONG) & (found["legs"] @ turn[1] > ALONG)))
            for axis, turn in TO_Y.items()}            # turn[1] is the axis that becomes y


def walks(places: np.ndarray) -> bool:
    """Whether a body (T, J, 3) goes along the ground, feet lowest, if y is up."""
    low, tall = places[..., 1].min(-1), np.ptp(places[..., 1], axis=-1).max()
    feet = places[:, ANKLES + TOES, 1].min(-1)
    way = np.ptp(places[:, 0, [0, 2]], axis=0).max()
    return bool(way > 0.25 * tall and low.std() < 0.08 * tall and np.median(feet - low) < 0.05 * tall)


def _on_floor(places: np.ndarray) -> bool:
    """Whether a body's (T, J, 3) lowest joint is near height 0, if y is up."""
    low, tall = places[..., 1].min(-1), np.linalg.norm(np.ptp(places, axis=-2), axis=-1).max()
    return bool(np.abs(np.median(low)) < 0.08 * tall)


def standing_axis(places: np.ndarray) -> str | None:
    """The axis along which a pose (J, 3) stands with straight legs, or None if it is no such pose."""
    if not is_straight(places):
        return None
    found = directions(places)
    return next((axis for axis, turn in TO_Y.items() if min(found["trunk"] @ turn[1], found["legs"] @ turn[1]) > 0.9),
                None)


def is_straight(places: np.ndarray) -> bool:
    """Whether trunk and legs of a pose (J, 3) are in line, knees and elbows straight and both sides as long."""
    found = directions(places)
    bent = [unit(places[middle] - places[upper]) @ unit(places[lower] - places[middle])
            for upper, middle, lower in zip(HIPS + SHOULDERS, KNEES + ELBOWS, ANKLES + WRISTS)]
    limbs = [joint for joint in BONES if joint not in (13, 14)]
    lengths = np.linalg.norm(places[[BONES[joint] for joint in limbs]] - places[limbs], axis=-1).reshape(-1, 2)
    alike = np.abs(lengths[:, 0] - lengths[:, 1]) <= 0.1 * lengths.max()
    return bool(found["trunk"] @ found["legs"] > 0.9 and found["left"] @ found["left_above"] > 0.8
                and abs(found["left"] @ found["legs"]) < 0.2 and min(bent) > 0.8 and alike.all() and lengths.min() > 0)


def straightest(places: np.ndarray) -> int:
    """The frame of places (T, J, 3) in which the body stands as straight as it ever does, arms level if possible."""
    found = directions(places)
    score = 2 * (found["trunk"] * found["legs"]).sum(-1) + (found["left"] * found["left_above"]).sum(-1)
    for upper, middle, lower in zip(HIPS + SHOULDERS, KNEES + ELBOWS, ANKLES + WRISTS):
        score += (unit(places[:, middle] - places[:, upper]) * unit(places[:, lower] - places[:, middle])).sum(-1)
    for shoulder, wrist, side in zip(SHOULDERS, WRISTS, (1, -1)):      # half a point for a T-pose
        score += 0.25 * side * (unit(places[:, wrist] - places[:, shoulder]) * found["left_above"]).sum(-1)
    return int(score.argmax())


def pose_of(places: np.ndarray, has_toes: bool, level: bool, aligned: bool) -> np.ndarray:
    """How our joints are turned, from our rest, in a pose (J, 3) of another body: global rotations (J, 3, 3).

    level    the body stands on flat feet, so that feet only turn about its up direction
    aligned  it faces along an axis, too: a skeleton's own rest pose
    Bones are swung the shortest way from the trunk, so that twists are those of arms that sink to the sides.
    """
    found, ours = directions(places), directions(_rest_places())
    upright = found["trunk"] + found["legs"] if level else found["trunk"]    # who stands with a bent back, still stands
    pelvis = _frame(found["left"], upright) @ _frame(ours["left"], ours["trunk"]).T
    if level:
        pelvis = _snapped(pelvis, (1, 0) if aligned else (1,))
    chest = _frame(found["left_above"], found["trunk"]) @ _frame(ours["left_above"], ours["trunk"]).T
    chest = pelvis if level and np.trace(pelvis.T @ chest) > 1 + 2 * UPRIGHT else chest
    between = matrix_to_axis_angle(pelvis.T @ chest)
    rotations = np.repeat(pelvis[None], len(PARENTS), axis=0)
    for joint, share in ((3, 1 / 3), (6, 2 / 3), (9, 1), (12, 1), (13, 1), (14, 1), (15, 1)):
        rotations[joint] = pelvis @ axis_angle_to_matrix(share * between)
    for joint, child in BONES.items():
        above = rotations[joint if joint in (13, 14) else 9 if joint in SHOULDERS else PARENTS[joint]]
        rotations[joint] = swing(above @ OFFSETS[child], places[child] - places[joint]) @ above
    for wrist, elbow in zip(WRISTS, ELBOWS):
        rotations[wrist] = rotations[elbow]
    feet = [unit(pelvis.T @ (places[toe] - places[ankle]))[1] - unit(OFFSETS[toe])[1]
            for ankle, toe in zip(ANKLES, TOES)]
    level = level and (not has_toes or max(map(abs, feet)) < (HEELS if aligned else FLAT))
    for ankle, toe, knee in zip(ANKLES, TOES, KNEES):
        rotations[ankle] = rotations[toe] = _foot(pelvis, rotations[knee], places[toe] - places[ankle], toe, level,
                                                  has_toes)
    return rotations


def _foot(pelvis: np.ndarray, knee: np.ndarray, bone: np.ndarray, toe: int, level: bool, has_toes: bool) -> np.ndarray:
    """A foot (3, 3): flat if the body stands level, else pointing where theirs does."""
    if not has_toes:
        return pelvis if level else knee
    if not level:
        return swing(knee @ OFFSETS[toe], bone) @ knee
    ahead, ours = pelvis.T @ bone, OFFSETS[toe]
    turn = np.arctan2(ahead[0], ahead[2]) - np.arctan2(ours[0], ours[2])
    return pelvis @ y_rotation(turn)


def _rest_places() -> np.ndarray:
    places = OFFSETS.copy()
    for joint, parent in enumerate(PARENTS[1:], start=1):
        places[joint] += places[parent]
    return places


def _frame(left: np.ndarray, up: np.ndarray) -> np.ndarray:
    """The rotation (3, 3) whose columns are left, what is up at right angles to it, and ahead."""
    x = unit(left)
    y = unit(up - (up @ x) * x)
    if not 0.5 < np.linalg.norm(np.cross(x, y)) < 2:
        raise ValueError("found hips or shoulders in one place, or in line with the trunk, expected a person's body: "
                         "give another map, --skeleton, or another --rest-frame.")
    return np.stack([x, y, np.cross(x, y)], axis=-1)


def _snapped(rotation: np.ndarray, columns: tuple[int, ...]) -> np.ndarray:
    """The rotation with some columns (1: up, 0: left) exactly along axes, where they are within 15 degrees of one."""
    for column in columns:
        largest = np.abs(rotation[:, column]).argmax()
        axis = np.eye(3)[largest] * np.sign(rotation[largest, column])
        if rotation[:, column] @ axis > UPRIGHT:
            rotation = swing(rotation[:, column], axis) @ rotation
    return rotation
