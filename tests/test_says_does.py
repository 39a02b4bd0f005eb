"""The geometry that judges motions, on made-up motions, and the bookkeeping of the check."""

import numpy as np
import pytest

from benchmarks.says_does import check, closest_captions, pass_of_others
from benchmarks.sentences import Sentences, judge, load_changes, load_kinds, read_test
from dataset.captions import words
from dataset.prepare.folder import reported_sentences
from motion import measures
from motion.representation_272 import mirror_pose, pose_to_motion272
from motion.rotation import axis_angle_to_matrix, y_rotation
from motion.skeleton import JOINT_NAMES, forward_kinematics

KINDS = load_kinds()
PLAIN = load_kinds(("plain",))
SWAP = {"left": "right", "right": "left"}


def pose(frames: int = 60, path: np.ndarray | float = 0, heading: np.ndarray | float = 0,
         **turns: np.ndarray | tuple) -> tuple[np.ndarray, np.ndarray]:
    """A body with hanging arms: rotations (T, 22, 3, 3) and joints (T, 22, 3).

    path       (T, 3) where the pelvis goes, from a standing height
    heading    (T,) degrees to the left
    turns      joint name = (T, 3) or (3,) axis-angle in degrees, in the parent's frame
    """
    turns = dict(left_shoulder=(0, 0, -75), right_shoulder=(0, 0, 75)) | turns
    rotations = np.tile(np.eye(3), (frames, 22, 1, 1))
    for name, turn in turns.items():
        rotations[:, JOINT_NAMES.index(name)] = axis_angle_to_matrix(np.radians(turn))
    rotations[:, 0] = y_rotation(np.radians(np.broadcast_to(heading, frames))) @ rotations[:, 0]
    return rotations, forward_kinematics(rotations, np.zeros((frames, 3)) + [0, 0.93, 0] + path)


def passed(rotations: np.ndarray, joints: np.ndarray) -> set[str]:
    return {kind.label for kind, does in zip(PLAIN, judge(pose_to_motion272(rotations, joints), PLAIN)) if does}


def straight(x: float = 0, y: float = 0, z: float = 0, frames: int = 60) -> np.ndarray:
    return np.linspace([0, 0, 0], [x, y, z], frames)


def wave(frames: int = 60) -> np.ndarray:
    """The raised left arm swings by 25 degrees to both sides, twice a second."""
    swing = 25 * np.sin(np.arange(frames) / 30 * 2 * np.pi * 2)
    return np.stack([0 * swing, 0 * swing, 60 + swing], axis=-1)


BEND = 50 * np.sin(np.linspace(0, np.pi, 60))[:, None] * [1, 0, 0]
HOP = np.maximum(0.3 * np.sin(np.linspace(0, 4 * np.pi, 60)), 0)[:, None] * [0, 1, 0]
MOTIONS = {
    "stands": (pose(), set()),
    "strolls 80 cm": (pose(path=straight(z=0.8)), set()),
    "walks": (pose(path=straight(z=2.2)), {"walks forward"}),
    "runs": (pose(path=straight(z=4)), {"walks forward", "runs"}),
    "sprints": (pose(path=straight(z=6)), {"walks forward", "runs", "sprints"}),
    "walks backwards": (pose(path=straight(z=-1)), {"walks backwards"}),
    "walks to the left": (pose(path=straight(x=1)), {"walks to the left"}),
    "turns left": (pose(heading=np.linspace(0, 60, 60)), {"turns left"}),
    "turns left too little": (pose(heading=np.linspace(0, 40, 60)), set()),
    "raises the left hand": (pose(left_shoulder=(0, 0, 75)), {"raises the left hand"}),
    "raises both hands": (pose(left_shoulder=(0, 0, 75), right_shoulder=(0, 0, -75)), {"raises both hands"}),
    "waves the left hand": (pose(left_shoulder=wave()),
                            {"raises the left hand", "waves the left hand", "waves goodbye"}),
    "bows": (pose(spine1=BEND), {"bows"}),
    "stays bent": (pose(spine1=(50, 0, 0)), set()),
    "jumps": (pose(path=HOP), {"jumps"}),
    "kicks": (pose(left_hip=(-110, 0, 0)), {"kicks"}),
    "goes up and stays": (pose(path=np.minimum(straight(y=1), [0, 0.5, 0])), {"climbs a ladder"}),
}


def swapped(labels: set[str]) -> set[str]:
    """Those of the mirrored motion."""
    return {" ".join(SWAP.get(word, word) for word in label.split()) for label in labels}


@pytest.mark.parametrize("name", MOTIONS)
def test_each_motion_passes_its_tests_and_no_others_and_mirrored_those_of_the_other_side(name):
    motion, expected = MOTIONS[name]
    assert passed(*motion) == expected and passed(*mirror_pose(*motion)) == swapped(expected)


def test_left_is_where_the_left_hand_is():
    """After a quarter turn to the left the toes point along x, where the left hand was before."""
    joints = pose(heading=np.linspace(0, 90, 60))[1]
    left_hand = joints[0, JOINT_NAMES.index("left_wrist")] - joints[0, JOINT_NAMES.index("right_wrist")]
    toes = joints[-1, JOINT_NAMES.index("left_foot")] - joints[-1, JOINT_NAMES.index("left_ankle")]
    assert left_hand[0] > 0.2 and toes[0] > 0.1
    assert measures.turned(joints) == pytest.approx(90)


def test_what_explodes_passes_nothing():
    rotations, joints = pose(path=straight(z=4))
    blown_up = pose_to_motion272(rotations, joints.mean(axis=1, keepdims=True) + 3 * (joints - joints[:, :1]))
    assert not judge(blown_up, KINDS).any()
    assert not judge(np.full((8, 272), np.nan), KINDS).any()


def test_the_shortest_motion_is_judged():
    """The model may end after one latent, which is four frames."""
    assert passed(*pose(frames=4)) == set()


def test_sentences_are_many_and_all_different():
    halves = [[text for kind in KINDS for text in half(kind)]
              for half in (lambda kind: kind.reported, lambda kind: kind.validation)]
    every = [words(text) for texts in halves for text in texts]
    assert len(set(every)) == len(every) and len({kind.label for kind in KINDS}) == len(KINDS)
    changes = load_changes(validation=False)
    asked_in_streams = {words(text) for change in changes for text in (change.before, change.after)}
    assert reported_sentences() >= set(map(words, halves[0])) | asked_in_streams
    assert not reported_sentences() & set(map(words, halves[1]))
    asked = [kind for kind in KINDS if kind.category != "plain"]
    assert sum(len(tuple(kind.reported)) for kind in asked) >= 100
    assert sum(len(tuple(kind.validation)) for kind in asked) >= 60
    assert all(kind.reported.plain and kind.validation.plain for kind in KINDS)


def test_shuffled_is_the_mean_over_the_other_kinds():
    rates = np.array([[1, 0.5, 0], [0.2, 1, 0], [0.4, 0.1, 1]])
    np.testing.assert_allclose(pass_of_others(rates), [0.3, 0.3, 0])


def test_check_counts_each_sentence_for_its_own_kind():
    """Of a model that understands two plain sentences, and these only with even seeds."""
    class Model:
        def generate_batch(self, texts, seeds):
            assert len(texts) == len(seeds)
            understood = {"a person walks forward": "walks", "a person bows": "bows"}
            return [pose_to_motion272(*MOTIONS["stands" if seed % 2 else understood.get(text, "stands")][0])
                    for text, seed in zip(texts, seeds)]

    report = check(Model(), PLAIN, [kind.reported for kind in PLAIN], seeds=3, batch=60)
    counts = {kind["kind"]: (*kind["plain"].values(), *kind["everyday"].values()) for kind in report["kinds"]}
    assert counts.pop("walks forward") == counts.pop("bows") == (2, 0)
    assert set(counts.values()) == {(0, 0)}
    assert report["all"]["passed"] == report["categories"]["plain"]["passed"] == pytest.approx(4 / (6 * len(PLAIN)))
    assert report["all"]["everyday"] == report["all"]["shuffled"] == 0 and report["all"]["trials"] == 6 * len(PLAIN)
    assert report["kinds"][0]["seconds"] == 2


def test_no_training_caption_repeats_a_reported_sentence(tmp_path):
    for folder in ("motion_data", "texts", "split"):
        (tmp_path / folder).mkdir()
    (tmp_path / "split/train.txt").write_text("clip\n")
    (tmp_path / "texts/clip.txt").write_text("A person picks up something, from the floor!#a/DET#0.0#0.0\n")
    with pytest.raises(ValueError, match="training caption 'A person picks up something, from the floor!' repeats"):
        closest_captions([Sentences(("a person walks",), ())], tmp_path, text_encoder=None)


@pytest.mark.parametrize("named", [["flies"], ["joint"], ["_steps"], ["np"], ["read_test"]])
def test_a_name_that_is_no_test_is_refused(named):
    with pytest.raises(ValueError, match=f"found the test '{named[0]}'"):
        read_test(named)
