"""The table of streams of two prompts: played, cut where the prompt changes, and measured.

Protocol (README.md beside this file): a pair is two sentences, A and B, and a motion of both, in which A and B are cut
to whole latents; where they meet is the boundary. A stream gets A's prompt for as many frames as A has, then B's for as
many as B has, and holds, so that it does not end before. Streams and pairs are cut at the boundary and make a row each:

    FID, R@1 to R@3, MM-Dist   of each prompt's own part. FID compares with the single clips of the data set's val
                               split that have 60 to 299 frames; R@k is of pools of POOL parts in a random order, the
                               last short pool left out
    transition FID, Diversity  of the WINDOW frames around the boundary. FID compares with the pairs' windows
    PJ, AUJ                    of the joints in those frames, each window decoded as if it began facing z+. AUJ compares
                               with the pairs' windows
    split-half ...             compares one random half of the pairs with the other half's motions: the pairs' own
                               value, 0 otherwise, tells how small it can be for so many

N pairs, M clips, D channels of an embedding, T frames at 30 per second; joints in metres.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dataset.motion_texts import POOL, Item
from dataset.pairs import Pair, load_pairs
from Evaluator_272 import metrics
from Evaluator_272.judge import Judge
from Evaluator_272.protocol import hash_of_items, refuse_exploded
from Evaluator_272.report import hash_of_data
from generation.pipeline import MotionStreamer
from models.causal_tae import FRAMES_PER_LATENT
from motion.representation_272 import motion272_to_positions
from utils.distributed import rank

WINDOW = 30    # frames around a boundary, half of them on each side


@dataclass(frozen=True)
class Scene:
    """Two prompts, and for how many frames, whole latents, each of them holds."""
    texts: tuple[str, str]
    frames: tuple[int, int]

    @classmethod
    def of(cls, pair: Pair) -> "Scene":
        return cls(pair.texts, (pair.past, len(pair.motion) - pair.past))


def read_pairs(root: str) -> list[Pair]:
    """The val pairs, longest first so that batches are of like length, cut to whole latents on both sides.

    raises   FileNotFoundError as `load_pairs`; ValueError if too few are left for a pool
    """
    every, pairs = load_pairs(root, "val")[0], []
    for pair in every:
        first, second = (frames // FRAMES_PER_LATENT * FRAMES_PER_LATENT
                         for frames in (pair.past, len(pair.motion) - pair.past))
        if min(first, second) >= WINDOW // 2:
            pairs.append(replace(pair, motion=pair.motion[pair.past - first:pair.past + second], past=first))
    if rank() == 0:
        print(f"{len(pairs)} pairs to evaluate on; {len(every) - len(pairs)} left out, A or B being shorter than "
              f"{WINDOW // 2} frames in whole latents")
    if 2 * len(pairs) < POOL:
        raise ValueError(f"{len(pairs)} pairs to evaluate on; expected at least {POOL // 2}, among whose parts a text "
                         "finds its own: give other --streams")
    return sorted(pairs, key=lambda pair: (-len(pair.motion), pair.id))


def play(model: MotionStreamer, scenes: Sequence[Scene], seeds: Sequence[int]) -> list[np.ndarray]:
    """A stream of two prompts for each scene: (T_i, 272), as long as both. None depends on its neighbours."""
    streams = model.streams()
    scene_of = {streams.start(scene.texts[0], seed, hold=True): scene for scene, seed in zip(scenes, seeds)}
    pieces = {stream: [] for stream in scene_of}
    for frames in streams:
        for stream, piece in frames.items():
            pieces[stream].append(piece)
            scene, played = scene_of[stream], len(pieces[stream]) * FRAMES_PER_LATENT
            if played == scene.frames[0]:
                stream.prompt(scene.texts[1])
            elif played == sum(scene.frames):
                stream.stop()
    return [np.concatenate(found) for found in pieces.values()]


def cut(motions: Sequence[np.ndarray], boundaries: Sequence[int],
        embed: Callable[[Sequence[np.ndarray]], np.ndarray]) -> np.ndarray:
    """What motions (T_i, 272) of two prompts are measured by, cut at their boundaries.

    boundaries  frames of the first prompt's part
    embed       motions -> embeddings (N, D)
    returns     (N,) with the fields parts (2, D), window (D,) and joints (WINDOW, 22, 3)
    """
    cuts = list(zip(motions, boundaries))
    windows = [motion[boundary - WINDOW // 2:boundary + WINDOW // 2] for motion, boundary in cuts]
    joints = motion272_to_positions(np.stack(windows))
    window = embed(windows)
    found = np.empty(len(cuts), [("parts", "f4", (2, window.shape[1])), ("window", "f4", window.shape[1:]),
                                 ("joints", "f4", joints.shape[1:])])
    found["parts"][:, 0] = embed([motion[:boundary] for motion, boundary in cuts])
    found["parts"][:, 1] = embed([motion[boundary:] for motion, boundary in cuts])
    found["window"], found["joints"] = window, joints
    return found


def row(real: np.ndarray, found: np.ndarray, texts: np.ndarray, clips: np.ndarray,
        rng: np.random.Generator) -> dict[str, float]:
    """One repetition's metrics of the streams `found`, as `cut` gives them, in the order of the pairs `real`.

    texts  (N, 2, D) embeddings of the prompts
    clips  (M, D) embeddings of real clips of one action
    """
    order = rng.permutation(2 * len(found))
    prompts, parts = (values.reshape(len(order), -1)[order] for values in (texts, found["parts"]))
    half, other = np.split(rng.permutation(len(found))[:len(found) // 2 * 2], 2)
    precision = metrics.pooled_r_precision(prompts, parts, POOL)
    return {"FID": metrics.frechet_distance(clips, parts),
            **{f"R@{k}": float(share) for k, share in enumerate(precision, start=1)},
            "MM-Dist": metrics.multimodal_distance(prompts, parts),
            "transition FID": metrics.frechet_distance(real["window"], found["window"]),
            "split-half transition FID": metrics.frechet_distance(real["window"][half], found["window"][other]),
            "transition Diversity": metrics.diversity(found["window"], None, rng),
            "PJ": metrics.peak_jerk(found["joints"]),
            "AUJ": metrics.area_under_jerk(found["joints"], real["joints"]),
            "split-half AUJ": metrics.area_under_jerk(found["joints"][other], real["joints"][half])}


def measure(model: MotionStreamer, judge: Judge, pairs: Sequence[Pair], items: Sequence[Item], key: Sequence,
            repetitions: int, seed: int) -> tuple[dict[str, list[dict[str, float]]], dict[str, str]]:
    """The metrics of the pairs, "real", and of the model's streams, "stream", in each repetition; hashes of the data.

    items  real clips of one action
    key    what the streams depend on beside the pairs and their seeds
    """
    hashes = dict(data=hash_of_items(items), pairs=hash_of_data(
        ([pair.id, pair.texts, pair.past], pair.motion) for pair in pairs))
    clips = judge.of_items(items, hashes["data"])
    of_text = judge.of_sentences(text for pair in pairs for text in pair.texts)
    texts = np.array([[of_text[text] for text in pair.texts] for pair in pairs])                      # (N, 2, D)

    def embed(motions: Sequence[np.ndarray], part: range) -> np.ndarray:
        return cut(motions, [pairs[index].past for index in part], judge.motions)

    real = judge.cached(["pairs", hashes["pairs"], WINDOW], len(pairs),
                        lambda part: embed([pairs[index].motion for index in part], part), "real pairs")
    found: dict[str, list[dict[str, float]]] = {"real": [], "stream": []}
    for repetition in range(repetitions):
        seeds = np.random.default_rng([seed, repetition, 5]).integers(2 ** 62, size=len(pairs)).tolist()

        def generate(part: range, seeds=seeds) -> np.ndarray:
            chosen = slice(part.start, part.stop)
            motions = play(model, list(map(Scene.of, pairs[chosen])), seeds[chosen])
            refuse_exploded([" * ".join(pair.texts) for pair in pairs[chosen]], motions)
            return embed(motions, part)

        made = judge.cached(["stream", hashes["pairs"], WINDOW, *key, seeds], len(pairs), generate,
                            f"repetition {repetition + 1}")
        for name, motions in (("real", real), ("stream", made)):
            found[name].append(row(real, motions, texts, clips, np.random.default_rng([seed, repetition, 1])))
    return found, hashes
