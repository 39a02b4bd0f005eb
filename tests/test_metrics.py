"""The measures: the authors' numbers, answers known by hand, laws, and what is refused."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from motion.skeleton import JOINT_NAMES
from Evaluator_272.metrics import (area_under_jerk, diversity, floor_penetration, foot_skating, frechet_distance, jerk,
                           mean_and_interval, mean_jerk, mpjpe, multimodal_distance, multimodality, peak_jerk,
                           r_precision, too_few_for_fid)

LEFT_FOOT, LEFT_ANKLE = JOINT_NAMES.index("left_foot"), JOINT_NAMES.index("left_ankle")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def golden(golden_file) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in golden_file("metrics")[0].items()}


def with_moments(mean: np.ndarray, factor: np.ndarray, rng: np.random.Generator, rows: int = 50) -> np.ndarray:
    """Rows whose sample mean is exactly `mean` and whose sample covariance is factor @ factor.T."""
    sampled = rng.normal(size=(rows, len(mean)))
    white, _ = np.linalg.qr(sampled - sampled.mean(axis=0))
    return mean + np.sqrt(rows - 1) * white @ factor.T


# The authors' numbers


def test_golden_frechet_distance(golden):
    found = frechet_distance(golden["real"], golden["generated"])
    assert found == pytest.approx(float(golden["fid"]), rel=1e-5)


def test_golden_text_and_motion(golden):
    text, motion = golden["real"][:32], golden["generated"][:32]
    np.testing.assert_allclose(r_precision(text, motion) * 32, golden["r_precision_counts_first32"])
    assert multimodal_distance(text, motion) * 32 == pytest.approx(float(golden["matching_sum_first32"]), rel=1e-5)


@pytest.mark.parametrize("pairs", [300, None])
def test_golden_diversity(golden, pairs):
    rng = np.random.RandomState(int(golden["diversity_numpy_seed"]))
    found = diversity(golden["generated"], pairs, rng=rng)
    assert found == pytest.approx(float(golden["diversity"]), rel=1e-5)


# The distance of two sets


def test_frechet_distance_of_gaussians_on_the_axes(rng):
    """Where the axes agree, it is the squared distance of the means plus that of the deviations."""
    first = with_moments(np.array([1.0, 2, 3]), np.diag([1.0, 2, 0.5]), rng)
    second = with_moments(np.array([1.0, 0, 4]), np.diag([3.0, 2, 0.1]), rng, rows=80)
    assert frechet_distance(first, second) == pytest.approx((4 + 1) + (4 + 0 + 0.16), rel=1e-10)


def test_frechet_distance_of_gaussians_whose_axes_differ(rng):
    a, b = rng.normal(size=(2, 6, 6))
    expected = 6 + np.trace(a @ a.T + b @ b.T - 2 * sqrtm(a @ a.T @ b @ b.T).real)
    first, second = with_moments(np.zeros(6), a, rng), with_moments(np.ones(6), b, rng)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("rows, width", [(400, 64), (2, 64), (30, 256), (5, 1)])
def test_frechet_distance_of_a_set_with_itself_is_nothing(rng, rows, width):
    x = 5 + 3 * rng.normal(size=(rows, width)).astype(np.float32)
    assert 0 <= frechet_distance(x, x) < 1e-6
    assert 0 <= frechet_distance(x, rng.permutation(x)) < 1e-6


def test_frechet_distance_is_symmetric_and_turns_with_the_axes(rng):
    first, second = rng.normal(size=(90, 12)), 2 + rng.normal(size=(70, 12)) @ rng.normal(size=(12, 12))
    turn, _ = np.linalg.qr(rng.normal(size=(12, 12)))
    expected = frechet_distance(first, second)
    assert frechet_distance(second, first) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(first @ turn + 9, second @ turn + 9) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(3 * first, 3 * second) == pytest.approx(9 * expected, rel=1e-10)


def test_frechet_distance_to_a_set_that_never_varies(rng):
    x, point = with_moments(np.zeros(5), np.diag([1.0, 2, 3, 0, 0]), rng), np.full((9, 5), 2.0)
    assert frechet_distance(x, point) == pytest.approx(5 * 4 + 1 + 4 + 9, rel=1e-10)
    assert frechet_distance(point, point) == 0


@pytest.mark.parametrize("rows", [8, 200])
def test_frechet_distance_grows_by_the_square_of_a_shift(rng, rows):
    x = rng.normal(size=(rows, 20))
    shifted = [frechet_distance(x, x + shift * np.eye(20)[0]) for shift in (0, 0.1, 1, 10)]
    np.testing.assert_allclose(shifted, [0, 0.01, 1, 100], atol=1e-9)


def test_frechet_distance_with_fewer_rows_than_columns(rng):
    """Embedded in a wider space, where both covariances are singular, the sets are as far apart as before."""
    first, second = rng.normal(size=(40, 20)), 1 + 2 * rng.normal(size=(30, 20))
    wider = np.linalg.qr(rng.normal(size=(100, 20)))[0].T  # (20, 100), orthonormal rows
    found = frechet_distance(first @ wider, second @ wider)
    assert found == pytest.approx(frechet_distance(first, second), rel=1e-10)


def test_too_few_for_fid_is_when_the_covariance_is_singular(rng):
    for count in (4, 5, 6):
        covariance = np.cov(rng.normal(size=(count, 5)), rowvar=False)
        assert too_few_for_fid(count, 5) == (np.linalg.matrix_rank(covariance) < 5)


# Texts and motions


def test_r_precision_by_hand():
    text, motion = np.array([[0.0], [10], [20], [30]]), np.array([[1.0], [19], [17], [4]])
    # own motion is nearest for 0; second for 20 (17 after 19); third for 10 (19 after 4, 17); last for 30
    np.testing.assert_allclose(r_precision(text, motion, top_k=4), [1 / 4, 2 / 4, 3 / 4, 1])
    np.testing.assert_allclose(r_precision(text, motion), [1 / 4, 2 / 4, 3 / 4])
    assert multimodal_distance(text, motion) == pytest.approx((1 + 9 + 3 + 26) / 4)


def test_r_precision_ranks_the_motions_of_a_text_not_the_texts_of_a_motion():
    text, motion = np.array([[0.0], [0.5]]), np.array([[1.0], [-2]])
    np.testing.assert_array_equal(r_precision(text, motion, top_k=1), [1 / 2])
    np.testing.assert_array_equal(r_precision(motion, text, top_k=1), [0])


def test_r_precision_counts_ties_against():
    same = np.ones((4, 8))
    np.testing.assert_array_equal(r_precision(same, same, top_k=4), [0, 0, 0, 1])


def test_r_precision_of_pairs_and_of_strangers(rng):
    text = rng.normal(size=(32, 16))
    np.testing.assert_array_equal(r_precision(text, text), [1, 1, 1])
    by_chance = [r_precision(*rng.normal(size=(2, 32, 16))) for _ in range(300)]
    np.testing.assert_allclose(np.mean(by_chance, axis=0), np.array([1, 2, 3]) / 32, atol=0.01)


def test_diversity_of_known_places(rng):
    assert diversity(np.ones((50, 4)), None, rng=rng) == 0
    corners = np.repeat([[0.0, 0], [3, 4]], 5000, axis=0)  # half the pairs are 5 apart
    assert diversity(corners, 10000, rng=rng) == pytest.approx(2.5, abs=0.1)


@pytest.mark.parametrize("clips, pairs", [(400, 300), (300, 300), (299, 100), (100, 100), (99, 99), (1, 1)])
def test_diversity_samples_as_many_pairs_as_the_clips_allow(clips, pairs, rng):
    x = rng.normal(size=(clips, 3))
    usual, given = (diversity(x, number, rng=np.random.default_rng(7)) for number in (None, pairs))
    assert usual == given
    others = [number for number in (99, 100, 300) if number != pairs and number <= clips]
    assert usual not in [diversity(x, number, rng=np.random.default_rng(7)) for number in others]


def test_multimodality_stays_within_each_text(rng):
    texts = 100 * np.arange(20.0)[:, None, None] + np.zeros((20, 30, 4))
    assert multimodality(texts, 10, rng=rng) == 0  # however far apart the texts are
    one = rng.normal(size=(1, 30, 4))
    found = multimodality(one, 12, rng=np.random.default_rng(3))
    assert found == diversity(one[0], 12, rng=np.random.default_rng(3))


def test_multimodality_samples_again_for_each_text(rng):
    same = np.repeat(rng.normal(size=(1, 30, 4)), 2000, axis=0)
    distances = np.linalg.norm(same[0, :, None] - same[0], axis=-1)
    assert multimodality(same, 10, rng=rng) == pytest.approx(distances.mean(), rel=0.01)


# Joints


def test_mpjpe_forgets_where_the_pelvis_is():
    joints = np.arange(2 * 22 * 3.0).reshape(2, 22, 3)
    moved = joints + [1, 2, 3]
    assert mpjpe(joints, moved) == 0
    moved[:, 5] += [0.03, 0, 0.04]
    assert mpjpe(joints, moved) == pytest.approx(50 / 22)


def cubic(frames: int, *coefficients: tuple[float, float, float]) -> np.ndarray:
    """(T, J, 3): each joint goes coefficient * t^3 along x, y and z."""
    return np.arange(frames)[:, None, None] ** 3 * np.array(coefficients)


def test_jerk_of_a_cubic_path_is_exact():
    """(t + 3)^3 - 3 (t + 2)^3 + 3 (t + 1)^3 - t^3 = 6, along each axis; the larger joint counts."""
    joints = cubic(9, (1, -2, 0.5), (0, 3, 0))
    np.testing.assert_array_equal(jerk(joints), np.full(6, 6 * 3.5))
    np.testing.assert_array_equal(jerk(joints[:, 1:]), np.full(6, 6 * 3))


def test_jerk_of_a_parabola_is_nothing_and_a_jump_is_seen_at_once():
    times = np.arange(12.0)[:, None, None]
    joints = times ** 2 * [[1, 2, 3], [0, -1, 0]] + 5 * times
    np.testing.assert_array_equal(jerk(joints), np.zeros(9))
    joints[6:, 1, 0] += 2  # third differences of a step: 1, -2, 1
    np.testing.assert_array_equal(jerk(joints), [0, 0, 0, 2, 4, 2, 0, 0, 0])


def test_jerk_of_windows():
    still, jump = np.zeros((8, 2, 3)), np.zeros((8, 2, 3))
    jump[4:, 0, 1] = 1
    np.testing.assert_array_equal(mean_jerk(np.stack([still, jump])), [0, 0.5, 1, 0.5, 0])
    np.testing.assert_array_equal(mean_jerk(jump[None]), jerk(jump))
    assert peak_jerk(np.stack([still, jump])) == 1
    assert area_under_jerk(jump[None], np.stack([still] * 3)) == 4
    assert area_under_jerk(np.stack([still] * 3), jump[None]) == 4  # too smooth counts too


def test_area_under_jerk_of_real_windows_is_nothing(rng):
    windows = rng.normal(size=(5, 30, 22, 3))
    assert area_under_jerk(windows, windows) == 0
    assert area_under_jerk(windows, np.concatenate([windows, windows])) == pytest.approx(0, abs=1e-9)
    assert area_under_jerk(2 * windows, windows) == pytest.approx(mean_jerk(windows).sum())


def sliding(speed: np.ndarray | float, height: float = 0.0, joints: tuple[int, ...] = tuple(range(22)),
            frames: int = 61) -> np.ndarray:
    """(T, 22, 3): some joints glide at this height and speed (m/s, one for each step), the others hang high."""
    path = np.concatenate([[0], np.cumsum(np.broadcast_to(speed, frames - 1)) / 30])
    motion = np.ones((frames, 22, 3))
    for joint in joints:
        motion[:, joint] = np.stack([0.6 * path, 0 * path + height, 0.8 * path], axis=-1)
    return motion


def test_foot_skating_is_fast_and_low():
    assert foot_skating(sliding(1.0)) == 1
    assert foot_skating(sliding(0.45)) == 0
    assert foot_skating(sliding(1.0, height=0.06)) == 0
    assert foot_skating(sliding(1.0, height=0.04)) == 1
    assert foot_skating(sliding(0.0)) == 0


def test_foot_skating_looks_at_either_toe_alone():
    for foot in (LEFT_FOOT, LEFT_FOOT + 1):
        assert foot_skating(sliding(1.0, joints=(foot,))) == 1
    assert foot_skating(sliding(1.0, joints=(LEFT_ANKLE, LEFT_ANKLE + 1, 0))) == 0


def test_foot_skating_counts_the_steps():
    steps = np.arange(60)
    assert foot_skating(sliding(1.0 * ((steps >= 20) & (steps < 35)))) == pytest.approx(15 / 60)
    assert foot_skating(sliding(1.0 * (steps == 20))) == 0  # one slip among still steps
    assert foot_skating(sliding(1.0 * (steps != 20))) == pytest.approx(59 / 60)  # one still step among slips
    assert foot_skating(sliding(0.6)) == pytest.approx(56 / 60)  # means that reach beyond the ends are too low
    lifted = sliding(1.0)
    lifted[30, :, 1] = 0.2  # the steps to and from this frame are none of a standing foot
    assert foot_skating(lifted) == pytest.approx(58 / 60)


def test_foot_skating_forgives_a_foot_put_down():
    falling = np.ones((61, 22, 3))
    falling[:, LEFT_FOOT, 1] = np.linspace(0.04, -4, 61)  # at 2 m/s, but straight down
    assert foot_skating(falling) == 0


def test_floor_penetration_is_the_depth_of_the_lowest_joint():
    joints = np.ones((4, 22, 3))
    assert floor_penetration(joints) == 0
    joints[0, 7, 1], joints[0, 8, 1], joints[1, 3, 1], joints[2, 3, 1] = -0.02, -0.04, -0.01, 0
    assert floor_penetration(joints) == pytest.approx((40 + 10) / 4)
    joints[..., [0, 2]] = -9  # only y counts
    assert floor_penetration(joints) == pytest.approx((40 + 10) / 4)


def test_mean_and_interval():
    assert mean_and_interval([3.5]) == (3.5, 0)
    assert mean_and_interval(np.array([1.0, 3, 1, 3])) == pytest.approx((2, 1.96 * 1 / 2))


def test_float32_far_from_the_origin_is_summed_in_float64(rng):
    x = (rng.normal(size=(200, 8)) + 1000).astype(np.float32)
    assert frechet_distance(x, x + np.float32(0.5)) == pytest.approx(8 * 0.25, rel=1e-3)
    assert multimodal_distance(x, x + np.float32(0.5)) == pytest.approx(np.sqrt(8 * 0.25), rel=1e-3)


# Bad input


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape)


def holed(*shape: int) -> np.ndarray:
    """Zeros, but for one NaN in row 1."""
    values = np.zeros(shape)
    values.reshape(len(values), -1)[1, 0] = np.nan
    return values


REFUSED = {
    "FID of one vector": (lambda rng: frechet_distance(zeros(9), zeros(9, 2)), r"real has shape \(9,\)"),
    "FID of nothing": (lambda rng: frechet_distance(zeros(9, 2), zeros(0, 2)), r"generated has shape \(0, 2\)"),
    "FID of one row": (lambda rng: frechet_distance(zeros(9, 2), zeros(1, 2)), "1 row of generated"),
    "FID of two widths": (lambda rng: frechet_distance(zeros(9, 2), zeros(9, 3)), "real has 2 .* generated 3"),
    "FID of NaN": (lambda rng: frechet_distance(zeros(9, 2), holed(8, 2)), "1 of 8 rows of generated .* row 1"),
    "FID of infinity": (lambda rng: frechet_distance(zeros(9, 2) + np.inf, zeros(9, 2)), "9 of 9 rows of real"),
    "more motions than texts": (lambda rng: r_precision(zeros(4, 2), zeros(5, 2)), "4 texts and 5 motions"),
    "R-precision of NaN": (lambda rng: r_precision(zeros(4, 2), holed(4, 2)), "1 of 4 rows of motion"),
    "R-precision beyond the batch": (lambda rng: r_precision(zeros(2, 2), zeros(2, 2)), "top_k is 3 for 2 pairs"),
    "R-precision at 0": (lambda rng: r_precision(zeros(2, 2), zeros(2, 2), 0), "top_k is 0"),
    "two widths": (lambda rng: multimodal_distance(zeros(4, 2), zeros(4, 1)), "text has 2 .* motion 1"),
    "too many pairs": (lambda rng: diversity(zeros(9, 2), 10, rng=rng), "10 pairs .* from 9 motions"),
    "no pairs": (lambda rng: diversity(zeros(9, 2), 0, rng=rng), "0 pairs"),
    "diversity of NaN": (lambda rng: diversity(holed(9, 2), None, rng=rng), "1 of 9 rows of embeddings"),
    "modality of one set": (lambda rng: multimodality(zeros(30, 2), 10, rng=rng), r"expected \(B, G, D\)"),
    "too few generations": (lambda rng: multimodality(zeros(3, 9, 2), 10, rng=rng), "10 pairs .* from 9 motions"),
    "jerk of three frames": (lambda rng: jerk(zeros(3, 22, 3)), "length is 3, expected at least 4 frames"),
    "jerk of flat joints": (lambda rng: jerk(zeros(9, 66)), r"joints has shape \(9, 66\), expected \(T, J, 3\)"),
    "jerk in four dimensions": (lambda rng: jerk(zeros(9, 22, 4)), r"expected \(T, J, 3\)"),
    "mean jerk of one window": (lambda rng: mean_jerk(zeros(9, 22, 3)), r"expected \(W, T, J, 3\)"),
    "peak jerk of no windows": (lambda rng: peak_jerk(zeros(0, 9, 22, 3)), r"windows has shape \(0, 9, 22, 3\)"),
    "windows of two lengths": (lambda rng: area_under_jerk(zeros(2, 30, 22, 3), zeros(2, 29, 22, 3)), "30 .* 29"),
    "skating of one frame": (lambda rng: foot_skating(zeros(1, 22, 3)), "length is 1, expected at least 2 frames"),
    "skating of another body": (lambda rng: foot_skating(zeros(9, 24, 3)), r"expected \(T, 22, 3\)"),
    "penetration of NaN": (lambda rng: floor_penetration(holed(9, 22, 3)), "1 of 9 rows of joints"),
    "no repetitions": (lambda rng: mean_and_interval([]), r"expected \(R,\)"),
    "a repetition of NaN": (lambda rng: mean_and_interval(holed(3)), "1 of 3 rows of values"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, rng):
    call, says = REFUSED[name]
    with pytest.raises(ValueError, match=says):
        call(rng)
