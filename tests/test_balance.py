"""How often clips and captions are sampled."""

import numpy as np
import pytest

from dataset.balance import FEW, FREE, MOST, SPOKEN, balanced, with_free
from dataset.prepare.free import every_free_sentence
from dataset.prepare.grammar import phrase_table


def shares(captions: list[list[str]], kinds: list[str], balance: float = 0.5, by_words: float = 0.25,
           factors=()) -> list[np.ndarray]:
    texts = sorted({text for of_clip in captions for text in of_clip})
    found = balanced(texts, [[texts.index(text) for text in of_clip] for of_clip in captions], kinds,
                     [*factors] or [1.0] * len(kinds), balance, by_words)
    assert [*map(len, found)] == [*map(len, captions)] and sum(map(np.sum, found)) == pytest.approx(1)
    return found


@pytest.mark.parametrize("balance", [0.3, 0.5, 1.0])
def test_without_words_that_people_use_the_kinds_alone_decide(balance):
    found = shares([["qux"], ["qux", "quux"], ["qux"], ["qux"]], ["walk", "walk", "walk", "bow"], balance)
    assert found[1][0] == found[1][1] == found[0][0] / 2
    assert found[0][0] / found[3][0] == pytest.approx(3 ** -balance)


@pytest.mark.parametrize("by_words", [0.0, 0.25, 1.0])
def test_a_word_is_drawn_by_its_use_whatever_the_number_of_its_clips(monkeypatch, by_words):
    """Of the share that goes by words each has its part, its clips and captions equal parts of that."""
    monkeypatch.setattr("dataset.balance.FEW", 2)
    count, of = 100, dict(kicks=2, jumps=10)
    captions = [[word] * (1 + place % 2) + ["qux"] for word, number in of.items() for place in range(number)]
    captions += [["qux"]] * (count - len(captions))
    found = shares(captions, ["walk"] * count, by_words=by_words)
    by_word = [one - (1 - by_words) / count / len(one) for one in found]
    spoken = phrase_table("spoken")
    use = {word: spoken[word] ** SPOKEN for word in of}
    places = iter(range(count))
    for word, number in of.items():
        clips = [by_word[next(places)] for _ in range(number)]
        np.testing.assert_allclose([one.sum() for one in clips], by_words * use[word] / sum(use.values()) / number,
                                   atol=1e-12)
        assert all(one[-1] == pytest.approx(0, abs=1e-12) and np.ptp(one[:-1]) < 1e-12 for one in clips)


def test_words_of_nearly_all_clips_and_of_hardly_any_tell_nothing():
    captions = [["a person walks"]] * 99 + [["a person kicks"]]
    assert 99 / 100 > MOST and 1 < FEW
    np.testing.assert_allclose(np.concatenate(shares(captions, ["walk"] * 100)), 0.01)


def test_free_sentences_have_their_share():
    free, plain = sorted(every_free_sentence())[:2], ["a person walks", "someone runs", "they hop"]
    found, only = shares([plain + free, free], ["walk", "run"])
    assert found[3:].sum() / found.sum() == pytest.approx(FREE) and only[0] == only[1]
    np.testing.assert_allclose(with_free(np.zeros(2), np.array([False, True])), [0, 1])
    np.testing.assert_allclose(with_free(np.array([1.0, 3.0]), np.zeros(2, dtype=bool)), [0.25, 0.75])


def test_factors_hold_for_kinds_and_words(monkeypatch):
    monkeypatch.setattr("dataset.balance.FEW", 1)
    captions, factors = [["kicks"]] * 4 + [["qux"]] * 96, np.ones(100)
    factors[:2] = 3
    found = [one.sum() for one in shares(captions, ["walk"] * 100, factors=factors)]
    np.testing.assert_allclose(np.array(found[:4]) / found[2], [3, 3, 1, 1])
