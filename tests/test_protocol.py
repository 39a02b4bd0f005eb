"""The protocol of the tables: what is sampled, how streams are played and cut, and what a row and a table say."""

import numpy as np
import pytest

from dataset.captions import Caption
from dataset.motion_texts import Item
from dataset.pairs import Pair
from Evaluator_272.protocol import row, sample_captions
from Evaluator_272.report import table
from Evaluator_272.streams import Scene, cut, play, read_pairs
from test_pipeline import assert_same, streamer
from test_pairs import write_pairs


def test_a_stream_gets_its_second_prompt_at_the_boundary():
    """Each pair's own; played with others it is what it is alone, as a caller's own stream."""
    model = streamer()
    pairs = [Pair(str(first), np.zeros((first + second, 272)), [Caption("jump")], first, "walk")
             for first, second in ((20, 32), (16, 40), (32, 16))]
    together = play(model, list(map(Scene.of, pairs)), [3, 4, 5])
    for pair, seed, motion in zip(pairs, [3, 4, 5], together):
        stream = model.stream("walk", seed, hold=True)
        frames = [next(stream) for _ in range(pair.past // 4)]
        stream.prompt("jump")
        frames += [next(stream) for _ in range(len(pair.motion) // 4 - len(frames))]
        assert_same(motion, np.concatenate(frames))
        assert_same(motion, play(model, [Scene.of(pair)], [seed])[0])


def test_motions_are_cut_at_their_boundaries():
    """Seen by numbering the frames, and by a height that jumps where the second prompt begins."""
    motions, boundaries = [np.zeros((frames, 272), np.float32) for frames in (60, 52)], [20, 36]
    for motion, boundary in zip(motions, boundaries):
        motion[:, 100] = np.arange(len(motion))
        motion[boundary:, 9] = 1                                              # the pelvis' height
    found = cut(motions, boundaries, lambda pieces: np.stack([piece[[0, -1], 100] for piece in pieces]))
    np.testing.assert_array_equal(found["parts"], [[[0, 19], [20, 59]], [[0, 35], [36, 51]]])
    np.testing.assert_array_equal(found["window"], [[5, 34], [21, 50]])
    assert found["joints"].shape == (2, 30, 22, 3)
    np.testing.assert_array_equal(found["joints"][:, :, 0, 1], [[0] * 15 + [1] * 15] * 2)


def test_pairs_are_cut_to_whole_latents_and_short_ones_left_out(tmp_path, capsys):
    motion = np.arange(60, dtype=np.float32)[:, None].repeat(272, axis=1)
    lengths = [15, 16, 21, 44, 45] + [30] * 14                     # 15 is 12 in latents, and 45 leaves 12 of 15
    write_pairs(tmp_path, {f"s{number}": (f"s{number}", f"walk*sit#{length}", motion)
                           for number, length in enumerate(lengths)}, "val")
    pairs = {pair.id: pair for pair in read_pairs(str(tmp_path))}
    assert "17 pairs to evaluate on; 2 left out, A or B being shorter than 15 frames" in capsys.readouterr().out
    pair = pairs["val_stream-s2"]
    assert pair.texts == ("walk", "sit") and pair.past == 20 and pair.motion[[0, 20, -1], 0].tolist() == [1, 21, 56]
    assert [len(pair.motion) for pair in pairs.values()] == [60] * 2 + [56] * 15
    assert not {"val_stream-s0", "val_stream-s4"} & set(pairs)


def test_repetitions_are_whole_pools_and_change_with_the_repetition():
    items = [Item(str(number), np.zeros((60, 272)), (f"a{number}", f"b{number}"), "") for number in range(70)]
    (first, captions), (again, _), (second, _) = (sample_captions(items, 0, repetition) for repetition in (0, 0, 1))
    assert len(first) == 64 == len(set(first)) and (first == again).all() and (first != second).any()
    assert all(text in items[index].texts for index, text in zip(first, captions))


def test_a_row_is_measured_against_its_own_captions():
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(64, 8))
    near = row(texts, texts + 0.01, texts, texts, np.random.default_rng(1))
    assert near["R@1"] == 1 and near["MM-Dist"] == pytest.approx(0.01 * 8 ** 0.5)
    far = row(texts, texts[::-1] + 0.01, texts, texts, np.random.default_rng(1))
    assert far["R@3"] < 0.3 and far["FID"] == pytest.approx(near["FID"], rel=1e-6)


def test_the_table_warns_of_samples_too_small():
    real, tae = {"FID": (0.5, 0.25), "R@1": (0.75, 0.0)}, {"FID": (1.0, 0.5), "MPJPE": (9.0, 0.0)}
    report = dict(rows=dict(real=real, tae=tae), samples={"FID": 100, "split-half FID": 300}, dimensions=256)
    lines = table(report).splitlines()
    assert "0.500 ± 0.250" in lines[1] and lines[1].rstrip().endswith("-") and "9.000" in lines[2]
    assert lines[3].startswith("FID: 100 motions are too few") and len(lines) == 4
