"""The table of single clips: which motions are compared with which, in what order and under which captions.

Protocol (README.md beside this file): clips of 60 to 299 frames, cut to whole latents. Every repetition samples one
caption for each and takes the clips in a random order, in pools of POOL; the last short pool is left out. All rows of a
repetition share order and captions. `streams` holds the protocol for streams.

N motions of a repetition, M of all, D channels of an embedding, T frames.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dataset.clips import load_clips
from dataset.motion_texts import POOL, SHORTEST, Item, MotionTexts
from Evaluator_272 import metrics
from Evaluator_272.codes import CodeUse
from Evaluator_272.judge import Judge
from Evaluator_272.report import hash_of_data
from generation.protocols import Generator
from models.causal_tae import FRAMES_PER_LATENT, CausalTAE
from models.mosa.tokenizer import CAQVAE
from motion.representation_272 import DIM, motion272_to_positions
from options.data import Data

LONGEST = 299                      # frames
MULTIMODALITY_PAIRS = 10


def read_items(data: Data, split: str, limit: int | None = None, seed: int = 0) -> list[Item]:
    """The clips of the protocol, longest first so that batches are of like length, cut to whole latents.

    limit    at most so many, sampled by `seed`; None: all
    raises   ValueError if they are too few for a pool; as `load_clips`
    """
    items = MotionTexts(load_clips(data, split), np.zeros(DIM), np.ones(DIM), SHORTEST, LONGEST).items
    items = some(sorted(items, key=lambda item: (-len(item.motion), item.id)), limit, seed)
    if len(items) < POOL:
        raise ValueError(f"{len(items)} motions to evaluate on; expected at least {POOL}, among which a text finds its "
                         "own: give another --split")
    return [Item(item.id, item.motion[:len(item.motion) // FRAMES_PER_LATENT * FRAMES_PER_LATENT], item.texts,
                 item.group) for item in items]


def hash_of_items(items: Sequence[Item]) -> str:
    return hash_of_data(([item.id, item.texts], item.motion) for item in items)


def some(values: list, limit: int | None, seed: int) -> list:
    """At most `limit` of them, sampled, in their order."""
    if limit is None:
        return values
    chosen = np.random.default_rng(seed).permutation(len(values))[:limit]
    return [values[index] for index in sorted(chosen)]


def sample_captions(items: Sequence[Item], seed: int, repetition: int) -> tuple[np.ndarray, list[str]]:
    """One repetition's items in their order, in whole pools, and a caption for each."""
    rng = np.random.default_rng([seed, repetition])
    order = rng.permutation(len(items))[:len(items) // POOL * POOL]
    return order, [items[index].texts[rng.integers(len(items[index].texts))] for index in order]


def row(real: np.ndarray, motions: np.ndarray, texts: np.ndarray, everyone: np.ndarray,
        rng: np.random.Generator) -> dict[str, float]:
    """One repetition's metrics of `motions` (N, D), in the order of `real` and of `texts`.

    everyone   (M, D) all real motions: what FID compares with
    "split-half FID" compares one random half of the real motions with these of the other half, so that the real
    motions' own value tells how small it can be for so many.
    """
    precision = metrics.pooled_r_precision(texts, motions, POOL)
    half, other = np.split(rng.permutation(len(motions) // 2 * 2), 2)
    return {"FID": metrics.frechet_distance(everyone, motions),
            "split-half FID": metrics.frechet_distance(real[half], motions[other]),
            **{f"R@{k}": float(share) for k, share in enumerate(precision, start=1)},
            "MM-Dist": metrics.multimodal_distance(texts, motions),
            "Diversity": metrics.diversity(motions, None, rng)}


@dataclass(frozen=True)
class Repetition:
    """One repetition: the clips in its order, a caption for each, and the embeddings of both."""

    seed: int
    number: int
    order: np.ndarray            # (N,) which of the items
    captions: list[str]          # N
    frames: list[int]            # N, of the real motions
    real: np.ndarray             # (N, D)
    texts: np.ndarray            # (N, D)
    everyone: np.ndarray         # (M, D)

    def rng(self, purpose: int) -> np.random.Generator:
        """1: metrics, the same for every row; 2: shuffled texts; 3: noise; 4: multimodality."""
        return np.random.default_rng([self.seed, self.number, purpose])

    def measure(self, motions: np.ndarray, texts: np.ndarray | None = None) -> dict[str, float]:
        """`row` of embeddings (N, D), under these captions or other texts (N, D)."""
        return row(self.real, motions, self.texts if texts is None else texts, self.everyone, self.rng(1))


Row = Callable[[Repetition], dict[str, float]]


def real(one: Repetition) -> dict[str, float]:
    """The real motions under their own captions."""
    return one.measure(one.real)


def shuffled(one: Repetition) -> dict[str, float]:
    """The shuffled-text control: what an evaluator that knows nothing would say."""
    return one.measure(one.real, one.rng(2).permutation(one.texts))


class Clips:
    """The clips that a table is of, with the embeddings of the real motions and of all their captions."""

    def __init__(self, judge: Judge, items: Sequence[Item], seed: int):
        self.items, self.seed = items, seed
        self.hash = hash_of_items(items)
        self.everyone = judge.of_items(items, self.hash)
        self.texts = judge.of_sentences(text for item in items for text in item.texts)

    def repetition(self, number: int) -> Repetition:
        order, captions = sample_captions(self.items, self.seed, number)
        return Repetition(self.seed, number, order, captions, [len(self.items[index].motion) for index in order],
                          self.everyone[order], np.stack([self.texts[text] for text in captions]), self.everyone)

    def measure(self, rows: dict[str, Row], count: int) -> dict[str, list[dict[str, float]]]:
        """Every row's metrics in each of `count` repetitions."""
        found: dict[str, list[dict[str, float]]] = {name: [] for name in rows}
        for one in map(self.repetition, range(count)):
            for name, metrics_of in rows.items():
                found[name].append(metrics_of(one))
        return found


def reconstruct(tae: CausalTAE, motions: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Motions (T_i, 272), whole latents, decoded from the means of their latents."""
    padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(motion) for motion in motions], batch_first=True)
    with torch.no_grad():
        decoded = tae.decode(tae.encode(padded.to(tae.mean.device))).cpu().numpy()   # causal: padding changes nothing
    return [frames[:len(motion)] for frames, motion in zip(decoded, motions)]


class Reconstructed:
    """The row of a tokenizer: every clip decoded from its codes, with the error of the joints.

    reconstruct  motions (T_i, 272) -> as they come back, denormalised
    key          what they depend on beside the clips
    """

    def __init__(self, judge: Judge, clips: Clips, reconstruct: Callable[[Sequence[np.ndarray]], list[np.ndarray]],
                 key: Sequence):
        def embed(part: range) -> np.ndarray:
            motions = [clips.items[index].motion for index in part]
            found = reconstruct(motions)
            errors = [metrics.mpjpe(motion272_to_positions(motion), motion272_to_positions(frames))
                      for motion, frames in zip(motions, found)]
            return np.column_stack([judge.motions(found), errors])

        self.embedded = judge.cached(["tae", clips.hash, *key], len(clips.items), embed,
                                     "reconstructed motions")                          # (M, D + 1)

    def __call__(self, one: Repetition) -> dict[str, float]:
        found = self.embedded[one.order]
        return one.measure(found[:, :-1]) | dict(MPJPE=float(np.average(found[:, -1], weights=one.frames)))


class Coded(Reconstructed):
    """The row of MoSa's tokenizer: `Reconstructed`, with how it uses its codes on all clips."""

    def __init__(self, judge: Judge, clips: Clips, tokenizer: CAQVAE, key: Sequence):
        super().__init__(judge, clips, CodeUse(tokenizer).reconstruct, key)
        use = CodeUse(tokenizer)

        def count(part: range) -> np.ndarray:
            use.reconstruct([clips.items[index].motion for index in part])
            return np.zeros(len(part))

        judge.over_ranks(len(clips.items), count, "codes")
        self.use = use.measures()

    def __call__(self, one: Repetition) -> dict[str, float]:
        return super().__call__(one) | {"code use %": self.use["usage_percent"], "perplexity": self.use["perplexity"]}


class Generated:
    """The row of a generator: a motion for every caption, as long as the real one; with MModality if asked for.

    key     what its motions depend on beside captions, lengths and seeds
    texts   captions that are generated several times for MModality, 0 for none
    times   how often each of them is
    """

    def __init__(self, judge: Judge, model: Generator, key: Sequence, texts: int = 0, times: int = 30):
        self.judge, self.model, self.key, self.several, self.times = judge, model, key, texts, times

    def __call__(self, one: Repetition) -> dict[str, float]:
        found = one.measure(self.embed(one, len(one.order)))
        if count := min(self.several, len(one.order)):
            motions = self.embed(one, count, self.times).reshape(count, self.times, -1)
            found["MModality"] = metrics.multimodality(motions, MULTIMODALITY_PAIRS, one.rng(4))
        return found

    def embed(self, one: Repetition, count: int, times: int = 1) -> np.ndarray:
        """Embeddings (count * times, D) of motions for the first captions; generated in the order of their length."""
        texts = np.repeat(np.array(one.captions[:count], dtype=object), times)
        frames = np.repeat(one.frames[:count], times)
        seeds = np.random.default_rng([one.seed, one.number, 3, times]).integers(2 ** 62, size=len(texts))
        by_length = np.argsort(-frames, kind="stable")
        texts, frames, seeds = (values[by_length].tolist() for values in (texts, frames, seeds))

        def generate(part: range) -> np.ndarray:
            part = slice(part.start, part.stop)
            motions = self.model.generate_batch(texts[part], seeds[part], frames[part])
            refuse_exploded(texts[part], motions)
            return self.judge.motions(motions)

        rows = self.judge.cached(["t2m", *self.key, texts, frames, seeds], len(texts), generate,
                                 f"repetition {one.number + 1}")
        return rows[np.argsort(by_length)]


def refuse_exploded(texts: Sequence[str], motions: Sequence[np.ndarray]) -> None:
    """ValueError unless all motions are finite."""
    if bad := [text for text, motion in zip(texts, motions) if not np.isfinite(motion).all()]:
        raise ValueError(f"the motions of {len(bad)} captions are not finite, the first is {bad[0]!r}: "
                         "give a smaller --guidance or another checkpoint")
