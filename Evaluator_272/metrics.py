"""Measures of motion and of embeddings: pure functions of numpy arrays, no model in sight.

Letters: N, M clips, B texts and their motions, D width of an embedding, G generations, W windows, T frames,
J joints, R repetitions. Joints are metres, y up, floor at y = 0, 30 fps. All sums are float64.
"""

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.spatial.distance import cdist

from motion.representation_272 import FPS
from motion.skeleton import TOES

CONTACT_HEIGHT = 0.05  # metres: a lower toe stands on the floor
SKATING_SPEED = 0.5  # metres per second along the floor: a faster standing toe skates
SKATING_WINDOW = 5  # steps between frames over which the mean speed must be that high too

Random = np.random.Generator | np.random.RandomState


# Embeddings


def frechet_distance(real: np.ndarray, generated: np.ndarray) -> float:
    """FID: ||m1 - m2||^2 + Tr(S1 + S2 - 2 sqrt(S1 S2)) of the means and covariances of two sets.

    real       (N, D) embeddings, N >= 2
    generated  (M, D) embeddings, M >= 2
    raises     ValueError for other shapes, fewer rows, or numbers that are not finite
    With S1 = A'A and S2 = B'B, Tr sqrt(S1 S2) is the sum of the singular values of A B': no root of a matrix
    that may be singular, so fewer rows than columns are as exact as many; see `too_few_for_fid` for their worth.
    Heusel et al. 2017; covariances divide by N - 1, as numpy's and the published evaluators'.
    """
    real, generated = _checked(real, "real", "N", "D"), _checked(generated, "generated", "M", "D")
    _refuse_other_width(real, "real", generated, "generated")
    for name, rows in (("real", real), ("generated", generated)):
        if len(rows) < 2:
            raise ValueError(f"FID of {len(rows)} row of {name}, which has no covariance; give at least 2 clips.")
    offset = real.mean(axis=0) - generated.mean(axis=0)
    a, b = _covariance_factor(real), _covariance_factor(generated)  # (at most D, D) each
    overlap = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return max(0.0, float(offset @ offset + (a ** 2).sum() + (b ** 2).sum() - 2 * overlap))


def too_few_for_fid(count: int, dimensions: int) -> bool:
    """Whether the smaller set has fewer than D + 1 clips, so that its covariance is singular.

    Such an FID is a number, but mostly bias: two halves of the same data are then far apart. Callers print it
    with a warning, and only next to the FID of as many real clips. The bias shrinks only as 1 / N
    (Chong & Forsyth 2020), so sets of different sizes do not compare even above this limit.
    """
    return count < dimensions + 1


def r_precision(text: np.ndarray, motion: np.ndarray, top_k: int = 3) -> np.ndarray:
    """Share of texts whose own motion is among the nearest 1, 2, ..., `top_k` of the batch's motions.

    text, motion  (B, D) embeddings, row by row pairs; batches of 32 in the literature: B sets the chance level
    returns       (top_k,) rising shares; chance is k / B
    raises        ValueError for other shapes, B < top_k, or numbers that are not finite
    Euclidean distance; a tie counts against the text, so that an encoder that maps everything to one point
    scores 0 and not 1. Guo et al. 2022 (HumanML3D).
    """
    text, motion = _checked_pairs(text, motion)
    if not 1 <= top_k <= len(text):
        raise ValueError(f"top_k is {top_k} for {len(text)} pairs, expected 1 to {len(text)}; give more pairs.")
    distances = cdist(text, motion)  # (B texts, B motions)
    as_near = (distances <= distances.diagonal()[:, None]).sum(axis=1)  # the own motion is one of them
    return (as_near[:, None] <= np.arange(1, top_k + 1)).mean(axis=0)


def pooled_r_precision(text: np.ndarray, motion: np.ndarray, pool: int = 32) -> np.ndarray:
    """`r_precision` within one pool of pairs after the other, on average; a last pool that is not full is left out.

    raises   ValueError as `r_precision`, and if there is no full pool
    """
    if len(text) < pool:
        raise ValueError(f"R-precision of {len(text)} pairs in pools of {pool}; give at least {pool} pairs.")
    return np.mean([r_precision(text[first:first + pool], motion[first:first + pool], min(3, pool))
                    for first in range(0, len(text) - pool + 1, pool)], axis=0)


def multimodal_distance(text: np.ndarray, motion: np.ndarray) -> float:
    """MM-Dist: mean Euclidean distance of a text's embedding and its motion's.

    text, motion  (B, D) embeddings, row by row pairs
    raises        ValueError for other shapes or numbers that are not finite
    """
    text, motion = _checked_pairs(text, motion)
    return float(np.linalg.norm(text - motion, axis=1).mean())


def diversity(embeddings: np.ndarray, pairs: int | None, rng: Random) -> float:
    """Mean Euclidean distance of random pairs of clips.

    embeddings  (N, D)
    pairs       how many; None for 300 if there are as many clips, else 100, else N
    rng         samples `pairs` first clips without replacement, then the second ones
    raises      ValueError for other shapes, pairs > N, or numbers that are not finite
    A clip may meet itself, once in N pairs: kept as published (Guo et al. 2022), so that numbers compare.
    """
    embeddings = _checked(embeddings, "embeddings", "N", "D")
    if pairs is None:
        pairs = next((usual for usual in (300, 100) if usual <= len(embeddings)), len(embeddings))
    return _mean_distance_of_pairs(embeddings, pairs, rng)


def multimodality(embeddings: np.ndarray, pairs: int, rng: Random) -> float:
    """MModality: mean Euclidean distance of random pairs of motions made from the same text.

    embeddings  (B, G, D) of G generations for each of B texts; 100 and 30 in the literature
    pairs       of each text (10 in the literature), sampled as in `diversity`, afresh for each text
    raises      ValueError for other shapes, pairs > G, or numbers that are not finite
    """
    embeddings = _checked(embeddings, "embeddings", "B", "G", "D")
    return float(np.mean([_mean_distance_of_pairs(generations, pairs, rng) for generations in embeddings]))


# Motions


def mpjpe(real: np.ndarray, reconstructed: np.ndarray) -> float:
    """Mean per-joint position error in millimetres, each frame's pelvis moved to the origin first.

    real, reconstructed  (..., 22, 3) joint positions in metres, joint 0 the pelvis
    """
    real, reconstructed = (joints - joints[..., :1, :] for joints in (real, reconstructed))
    return 1000 * float(np.linalg.norm(real - reconstructed, axis=-1).mean())


def jerk(joints: np.ndarray) -> np.ndarray:
    """How abruptly each moment's most abrupt joint moves: |x'''| + |y'''| + |z'''|, maximum over joints.

    joints   (T, J, 3) metres, T >= 4
    returns  (T - 3,) metres per frame^3 (not per second^3); entry t is the third difference of frames t to t + 3
    raises   ValueError for other shapes or numbers that are not finite
    Barquero et al. 2024 (FlowMDM), who also propose PJ and AUJ; norm and unit as MotionStreamer's.
    """
    return _mean_jerk(_checked(joints, "joints", "T", "J", 3)[None])


def mean_jerk(windows: np.ndarray) -> np.ndarray:
    """`jerk` averaged over windows frame by frame: windows (W, T, J, 3) metres -> (T - 3,)."""
    return _mean_jerk(_checked(windows, "windows", "W", "T", "J", 3))


def peak_jerk(windows: np.ndarray) -> float:
    """PJ: the mean jerk of the worst frame of the windows (W, T, J, 3), metres per frame^3."""
    return float(mean_jerk(windows).max())


def area_under_jerk(windows: np.ndarray, real_windows: np.ndarray) -> float:
    """AUJ: sum over frames of |mean jerk - mean jerk of real motions|, metres per frame^3; 0 is best.

    windows       (W, T, J, 3) around the transitions, metres
    real_windows  (any W, T, J, 3) of the same length
    raises        ValueError for other shapes, another length, or numbers that are not finite
    The real jerk is a mean of its own for each frame, not one over all frames: real against real gives 0.
    """
    generated, real = mean_jerk(windows), mean_jerk(real_windows)
    if len(generated) != len(real):
        raise ValueError(f"The windows have {len(generated) + 3} frames and the real ones {len(real) + 3}, "
                         f"expected the same number; cut both alike.")
    return float(np.abs(generated - real).sum())


def foot_skating(joints: np.ndarray) -> float:
    """Share of the steps from frame to frame in which at least one toe skates: 0 is best, 1 worst.

    joints  (T, 22, 3) metres, T >= 2
    raises  ValueError for other shapes or numbers that are not finite
    A toe (SMPL's left_foot and right_foot) skates from t to t + 1 if it is below 5 cm in both frames and moves
    along the floor at more than 0.5 m/s, in that step and on average over the 5 steps around it (beyond the
    ends: 0). Karunratanakul et al. 2023 (GMD), `calculate_skating_ratio`: its constants, but for its 20 fps.
    """
    joints = _checked(joints, "joints", "T", 22, 3)
    _refuse_fewer_frames(joints, 2)
    toes = joints[:, TOES]  # (T, 2, 3)
    speed = np.linalg.norm(np.diff(toes[..., [0, 2]], axis=0), axis=-1) * FPS  # (T - 1, 2) m/s
    steady = uniform_filter1d(speed, SKATING_WINDOW, axis=0, mode="constant")
    low = toes[..., 1] < CONTACT_HEIGHT
    skates = low[1:] & low[:-1] & (speed > SKATING_SPEED) & (steady > SKATING_SPEED)
    return float(skates.any(axis=1).mean())


def floor_penetration(joints: np.ndarray) -> float:
    """Mean over frames of how many millimetres the lowest joint is below the floor, 0 where it is not.

    joints  (T, J, 3) metres
    raises  ValueError for other shapes or numbers that are not finite
    Yuan et al. 2023 (PhysDiff), with joints in place of the mesh's vertices.
    """
    lowest = _checked(joints, "joints", "T", "J", 3)[..., 1].min(axis=1)  # (T,)
    return 1000 * float(np.maximum(-lowest, 0).mean())


# Repetitions


def mean_and_interval(values: np.ndarray) -> tuple[float, float]:
    """Mean of R repetitions and the half width of its 95% confidence interval, 1.96 std / sqrt(R).

    values  (R,)
    raises  ValueError for other shapes or numbers that are not finite
    The deviation divides by R, as in the published evaluators; one repetition has half width 0, not NaN.
    """
    values = _checked(values, "values", "R")
    return float(values.mean()), float(1.96 * values.std() / np.sqrt(len(values)))


# Helpers


def _checked(values: np.ndarray, name: str, *shape: str | int) -> np.ndarray:
    """`values` as float64, refused unless finite and of this shape; a letter stands for any size but 0."""
    values = np.asarray(values, dtype=np.float64)
    fits = values.ndim == len(shape) and values.size and all(
        isinstance(size, str) or size == found for size, found in zip(shape, values.shape))
    if not fits:
        expected = ", ".join(map(str, shape)) + "," * (len(shape) == 1)
        raise ValueError(f"{name} has shape {values.shape}, expected ({expected}) and none of them 0; "
                         f"give at least one, in this order of axes.")
    finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not finite.all():
        raise ValueError(f"{(~finite).sum()} of {len(values)} rows of {name} hold NaN or infinity, first row "
                         f"{finite.argmin()}; expected finite numbers: look at what made these rows.")
    return values


def _checked_pairs(text: np.ndarray, motion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    text, motion = _checked(text, "text", "B", "D"), _checked(motion, "motion", "B", "D")
    _refuse_other_width(text, "text", motion, "motion")
    if len(text) != len(motion):
        raise ValueError(f"{len(text)} texts and {len(motion)} motions, expected pairs; give one motion per text.")
    return text, motion


def _refuse_other_width(first: np.ndarray, first_name: str, second: np.ndarray, second_name: str) -> None:
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"{first_name} has {first.shape[1]} columns and {second_name} {second.shape[1]}, "
                         f"expected the same number; embed both with one evaluator.")


def _refuse_fewer_frames(joints: np.ndarray, frames: int) -> None:
    """joints (..., T, J, 3)"""
    if joints.shape[-3] < frames:
        raise ValueError(f"The motion's length is {joints.shape[-3]}, expected at least {frames} frames; "
                         f"give a longer one.")


def _covariance_factor(rows: np.ndarray) -> np.ndarray:
    """R (at most D, D) such that R'R is the covariance of the rows (N, D)."""
    return np.linalg.qr(rows - rows.mean(axis=0), mode="r") / np.sqrt(len(rows) - 1)


def _mean_distance_of_pairs(rows: np.ndarray, pairs: int, rng: Random) -> float:
    """rows (N, D)"""
    if not 1 <= pairs <= len(rows):
        raise ValueError(f"{pairs} pairs to sample without replacement from {len(rows)} motions, expected 1 to "
                         f"{len(rows)}; give fewer pairs or more motions.")
    first, second = (rng.choice(len(rows), pairs, replace=False) for _ in range(2))
    return float(np.linalg.norm(rows[first] - rows[second], axis=1).mean())


def _mean_jerk(windows: np.ndarray) -> np.ndarray:
    """windows (W, T, J, 3) -> (T - 3,)"""
    _refuse_fewer_frames(windows, 4)
    return np.abs(np.diff(windows, 3, axis=1)).sum(axis=-1).max(axis=-1).mean(axis=0)
