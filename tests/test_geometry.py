"""The judges of paths, actions, sequences and what is done at once, on motions made up of angles and paths."""

import numpy as np
import pytest

from benchmarks.sentences import load_kinds, read_test
from motion.representation_272 import mirror_pose, motion272_to_positions, pose_to_motion272
from test_says_does import SWAP, pose, straight, swapped, wave

KINDS = load_kinds(("path", "action"))


def along(axis: int, *values: float, frames: int = 90) -> np.ndarray:
    """(frames, 3), of which one axis goes evenly from value to value."""
    return np.interp(np.linspace(0, len(values) - 1, frames), np.arange(len(values)), values)[:, None] * np.eye(3)[axis]


def arc(degrees: float, shrinks_to: float = 1, radius: float = 1, frames: int = 240) -> tuple[np.ndarray, np.ndarray]:
    """Walks round to the left, facing along the path."""
    angle, radius = np.radians(np.linspace(0, degrees, frames)), radius * np.linspace(1, shrinks_to, frames)
    return pose(frames, path=np.stack([radius[0] - radius * np.cos(angle), 0 * angle, radius * np.sin(angle)], axis=-1),
                heading=np.degrees(angle))


def crouch(thighs: np.ndarray, **others: np.ndarray | tuple) -> tuple[np.ndarray, np.ndarray]:
    """Both thighs turned forward by degrees (T,), the pelvis lower, so that the feet stay where they are."""
    thigh = np.radians(thighs)
    shin = np.arcsin(0.38 * np.sin(thigh) / 0.4)
    drop = 0.38 * np.cos(thigh) + 0.4 * np.cos(shin) - 0.78
    flat = np.degrees(np.stack([-thigh, thigh + shin, -shin]))[..., None] * [1, 0, 0]     # hips, knees, ankles
    legs = {f"{side}_{name}": turn for side in SWAP for name, turn in zip(("hip", "knee", "ankle"), flat)}
    return pose(len(thighs), path=drop[:, None] * [0, 1, 0], **legs, **others)


def both(**turns: np.ndarray | tuple) -> dict:
    """The same turn about x for the left and the right joint."""
    return {f"{side}_{name}": turn for name, turn in turns.items() for side in SWAP}


def beat(low: float, high: float, times: float, frames: int = 90) -> np.ndarray:
    """(frames,) that swing between two values, so often."""
    return low + (high - low) * (0.5 - 0.5 * np.cos(np.linspace(0, 2 * np.pi * times, frames)))


AHEAD = dict(left_shoulder=(0, -90, 0), right_shoulder=(0, 90, 0))           # arms straight to the front
STEPS = [np.maximum(70 * np.sin(np.linspace(0, 8 * np.pi, 90) + half), 0)[:, None] * [1, 0, 0] for half in (0, np.pi)]
TURN = np.concatenate([np.zeros(100), np.linspace(0, 180, 40), np.full(100, 180)])
CLAP = beat(90, 110, 8)[:, None] * [0, 1, 0]
JACK = beat(-70, 75, 3)[:, None] * [0, 0, 1]
ACTIONS = {
    "stands": (pose(90), {"stands still"}),
    "walks ahead": (pose(path=straight(z=2.2)), {"a straight line"}),
    "walks round": (arc(320), {"a circle", "a circle to the left", "walks around", "turns around", "there and back",
                               "a quarter turn to the left"}),
    "walks a spiral": (arc(400, shrinks_to=0.3, radius=1.2),
                       {"a circle", "a circle to the left", "a spiral", "walks around", "turns around",
                        "there and back", "a quarter turn to the left", "slows down"}),
    "walks in a bend": (arc(60), {"a curve to the left", "a quarter turn to the left", "diagonally to the left"}),
    "there and back": (pose(240, path=np.concatenate([along(2, 0, 2, frames=100), along(2, 2, 2, frames=40),
                                                      along(2, 2, 0.3, frames=100)]), heading=TURN),
                       {"there and back", "turns around", "walks around", "a curve to the left",
                        "a quarter turn to the left"}),
    "goes off at an angle": (pose(path=straight(x=1.2, z=1.2)), {"diagonally to the left", "sideways to the left"}),
    "steps aside": (pose(path=straight(x=0.8)), {"sideways to the left"}),
    "backs off": (pose(path=straight(z=-0.8)), {"backwards"}),
    "spins": (pose(heading=np.linspace(0, 350, 60)), {"spins", "turns around", "a quarter turn to the left"}),
    "runs off faster": (pose(120, path=along(2, 0, 1.2, 6, frames=120)), {"a straight line", "speeds up"}),
    "slows from a run": (pose(120, path=along(2, 0, 5, 6.5, frames=120)), {"a straight line", "slows down"}),
    "walks and stops": (pose(120, path=along(2, 0, 2, 2, frames=120)), {"a straight line", "slows down", "stops"}),
    "sits down": (pose(90, path=along(1, 0, -0.4, -0.4, -0.4), **both(hip=along(0, 0, -90, -90, -90),
                                                                      knee=along(0, 0, 90, 90, 90))), {"sits down"}),
    "gets up": (pose(90, path=along(1, -0.4, -0.4, -0.4, 0), **both(hip=along(0, -90, -90, -90, 0),
                                                                    knee=along(0, 90, 90, 90, 0))),
                {"sits down", "stands up"}),
    "squats": (crouch(beat(0, 70, 1)), {"squats", "stands up"}),
    "picks up": (crouch(beat(0, 55, 1, frames=180), spine1=along(0, 0, 90, 0, frames=180), **AHEAD),
                 {"picks up", "squats", "stands up"}),
    "hops": (pose(90, path=np.abs(along(1, 0, 0.12, 0, 0.12, 0, 0.12, 0)), left_knee=(100, 0, 0)), {"hops on one leg"}),
    "jumps over": (pose(60, path=along(2, 0, 0.9, frames=60) + np.maximum(along(1, 0, 0.3, -0.3, 0, frames=60), 0)),
                   {"jumps forward", "jumps up and down"}),
    "balances": (pose(left_knee=(100, 0, 0)), {"stands on one leg"}),
    "kicks": (pose(left_hip=along(0, 0, -80, 0, frames=60)), {"kicks with the left leg", "gives a kick"}),
    "marches": (pose(90, left_hip=-STEPS[0], right_hip=-STEPS[1], left_knee=STEPS[0], right_knee=STEPS[1]),
                {"marches"}),
    "throws": (pose(40, left_shoulder=(0, 0, 75), left_collar=along(0, -40, -40, -40, 70, 70, frames=40)),
               {"throws", "throws with the left hand"}),
    "claps": (pose(90, left_shoulder=-CLAP, right_shoulder=CLAP), {"claps"}),
    "lies": (pose(path=(0, -0.8, 0), pelvis=(-90, 0, 0)), {"lies down"}),
    "kneels": (pose(path=(0, -0.4, 0), **both(knee=(90, 0, 0))), {"kneels"}),
    "crawls": (pose(90, path=along(2, 0, 0.8) - [0, 0.4, 0], pelvis=(80, 0, 0),
                    **both(hip=(-80, 0, 0), knee=(90, 0, 0)), **AHEAD), {"crawls"}),
    "does jumping jacks": (pose(90, left_shoulder=JACK, right_shoulder=-JACK, left_hip=-JACK / 4 + [0, 0, 15],
                                right_hip=JACK / 4 - [0, 0, 15]), {"does jumping jacks", "stretches", "dances"}),
}


def passed(rotations: np.ndarray, joints: np.ndarray) -> set[str]:
    joints = motion272_to_positions(pose_to_motion272(rotations, joints))
    return {kind.label for kind in KINDS if kind.test(joints)}


@pytest.mark.parametrize("name", ACTIONS)
def test_each_motion_passes_its_tests_and_no_others_and_mirrored_those_of_the_other_side(name):
    motion, expected = ACTIONS[name]
    assert passed(*motion) == expected and passed(*mirror_pose(*motion)) == swapped(expected)


def test_every_kind_but_a_few_is_made_up_here():
    """Running and turning are, each alone, and bowing, in test_says_does; drinking and boxing only real clips show."""
    made = set().union(*(expected for _, expected in ACTIONS.values()))
    made |= swapped(made)
    left = {kind.label for kind in KINDS} - made
    assert left == {"runs and turns left", "runs and turns right", "takes a bow", "drinks", "boxes"}


def after(*motions: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Joints of motions, each where the one before ended."""
    joints = [motions[0][1]]
    for _, later in motions[1:]:
        joints.append(later + (joints[-1][-1, 0] - later[0, 0]) * [1, 0, 1])
    return np.concatenate(joints)


def test_parts_are_found_in_their_order():
    walks, waves = pose(60, path=straight(z=1.5)), pose(60, left_shoulder=wave())
    first, then = ["walks", {"metres": 1}], ["waves", {"side": "left"}]
    assert read_test(["in_order", first, then])(after(walks, waves))
    assert not read_test(["in_order", first, then])(after(waves, walks))
    assert not read_test(["in_order", first, then])(walks[1])
    three = ["in_order", first, then, first]
    assert read_test(three)(after(walks, waves, walks)) and not read_test(three)(after(walks, waves))


def test_what_is_done_at_once_overlaps():
    """Waving before walking is not waving while walking."""
    test = read_test(["at_once", ["walks", {"metres": 0.6}], ["swings_hand", {"side": "left"}]])
    assert test(pose(90, path=straight(z=2, frames=90), left_shoulder=wave(90))[1])
    assert not test(after(pose(90, left_shoulder=wave(90)), pose(90, path=straight(z=2, frames=90))))


def test_styles_are_told_apart():
    """A short step is old, a wide stance strong, close elbows graceful; a lean of 30 degrees is old, too."""
    kinds = {kind.label: kind.test for kind in load_kinds(("style",))}
    walk = dict(path=straight(z=3))
    long, short = (np.sin(np.linspace(0, 4 * np.pi, 60))[:, None] * [angle, 0, 0] for angle in (35, 12))
    strides, shuffles = (pose(left_hip=swing + [0, 0, -4], right_hip=-swing + [0, 0, 4], **walk)[1]
                         for swing in (long, short))
    assert kinds["an old person walks"](shuffles) and not kinds["an old person walks"](strides)
    assert kinds["an old person walks"](pose(left_hip=long, right_hip=-long, spine1=(30, 0, 0), **walk)[1])
    wide = pose(left_hip=(0, 0, 8), right_hip=(0, 0, -8), **walk)[1]
    assert kinds["a strong person walks"](wide) and not kinds["a strong person walks"](shuffles)
    assert kinds["a graceful person walks"](pose(left_shoulder=(0, 0, -85), right_shoulder=(0, 0, 85), **walk)[1])
    assert not kinds["a graceful person walks"](pose(left_shoulder=(0, 0, -45), right_shoulder=(0, 0, 45), **walk)[1])
