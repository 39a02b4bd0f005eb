"""How often each clip is sampled, and under which of its captions, so that rare motions and usual sentences are learnt.

A share of the samples goes by words as people use them, the rest by kinds of motion. Words are counted in the captions
of HumanML3D's train split (phrases/spoken.json, those that occur twice or more).
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from dataset.captions import words
from dataset.prepare.free import every_free_sentence
from dataset.prepare.grammar import phrase_table
from dataset.windows import rarity

FREE = 0.3       # share of the free sentences among a clip's captions, where it has others: many are far-fetched
SPOKEN = 0.6     # a word is drawn by how often people say it, to this power
FEW = 12         # clips: a word of fewer may be a slip
MOST = 0.15      # of the clips: a word of more tells nothing


def balanced(texts: Sequence[str], captions: Sequence[Sequence[int]], kinds: Sequence[str], factors: Sequence[float],
             balance: float, by_words: float) -> list[np.ndarray]:
    """The share of all samples that each caption of each clip has.

    By kind, clips are drawn by 1/(clips of their kind)^balance and their captions alike. By word, a word is drawn by
    its use to the power SPOKEN, then one of the clips of which it is said, then one of their captions that say it.

    captions  of each clip, as numbers of `texts`
    kinds     of each clip
    factors   of each clip, by which it is sampled more often, or less
    by_words  share of the samples that goes by words, if any word tells something; the rest goes by kinds
    """
    free = every_free_sentence()
    said = {number: set() if texts[number] in free else set(words(texts[number]).split())
            for numbers in captions for number in numbers}
    clips = Counter(word for numbers in captions for word in set().union(*map(said.__getitem__, numbers)))
    spoken = phrase_table("spoken")
    worth = {word: spoken[word] ** SPOKEN / count for word, count in clips.items()
             if word in spoken and FEW <= count <= MOST * len(captions)}
    kind_shares, word_shares = [], []
    for numbers, of_kind, factor in zip(captions, rarity(kinds) ** balance, factors):
        times = Counter(word for number in numbers for word in said[number])
        plain = np.array([texts[number] not in free for number in numbers])
        told = np.array([sum(worth[word] / times[word] for word in said[number] & worth.keys()) for number in numbers])
        kind_shares.append(factor * of_kind * with_free(plain, ~plain))
        word_shares.append(factor * told.sum() * with_free(told, ~plain))
    of_kinds, of_words = (sum(map(np.sum, shares)) for shares in (kind_shares, word_shares))
    by_words = by_words if of_words else 0.0
    return [(1 - by_words) / of_kinds * by_kind + by_words / (of_words or 1) * by_word
            for by_kind, by_word in zip(kind_shares, word_shares)]


def with_free(shares: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Shares of a clip's captions: FREE for its free sentences, all alike, and the rest in proportion to `shares`; they
    sum to 1, or to 0 where there are neither."""
    of_free = FREE if shares.any() and free.any() else float(free.any())
    return (1 - of_free) * shares / (shares.sum() or 1) + of_free * free / (free.sum() or 1)
