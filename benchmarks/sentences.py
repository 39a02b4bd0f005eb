"""What is asked of a model: kinds of motion, changes of prompt and edits, their sentences, and what each must pass.

`sentences.json` holds them. A test is a list, its function's name first, then the tests it is made of and its
arguments: ["in_order", ["walks"], ["turns", {"side": "left"}]]. The functions are those of `benchmarks.geometry` and
`benchmarks.travel`, and those here, which combine others. Letters as there: joints (T, 22, 3), 30 frames per second.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import geometry, travel
from motion.measures import in_one_piece
from motion.representation_272 import FPS, motion272_to_positions

FILE = Path(__file__).with_name("sentences.json")
STEP = 10       # frames between the places where `in_order` and `at_once` cut
SHORTEST = 15   # frames of a part of a sequence
Test = Callable[[np.ndarray], bool]


@dataclass(frozen=True)
class Sentences:
    """What is typed for one kind; everyday ones do without the usual verb."""

    plain: tuple[str, ...]
    everyday: tuple[str, ...]

    def __iter__(self):
        return iter(self.plain + self.everyday)


@dataclass(frozen=True)
class Kind:
    """A kind of motion, how to ask for it and how to tell it."""

    category: str
    label: str
    test: Test
    clips: dict | None         # which real clips do it, for `--calibrate`
    validation: Sentences      # to choose a model by
    reported: Sentences


def load_kinds(only: Sequence[str] = ()) -> tuple[Kind, ...]:
    """The kinds of `sentences.json` in its order, all or those of some categories and labels.

    raises   ValueError for a word that is neither
    """
    kinds = [Kind(kind["category"], kind["kind"], read_test(kind["does"]), kind["clips"],
                  *(Sentences(*(tuple(kind[half][wording]) for wording in ("plain", "everyday")))
                    for half in ("validation", "reported")))
             for kind in _read()["kinds"]]
    for word in only:
        if not any(word in (kind.category, kind.label) for kind in kinds):
            categories = dict.fromkeys(kind.category for kind in kinds)
            raise ValueError(f"found the kind {word!r}, expected one of {', '.join(categories)} or a kind of "
                             f"{FILE.name}")
    return tuple(kind for kind in kinds if not only or kind.category in only or kind.label in only)


@dataclass(frozen=True)
class Change:
    """A new prompt in the middle of a stream, and what the body must do then."""

    before: str
    after: str
    test: Test


def load_changes(validation: bool) -> tuple[Change, ...]:
    """The changes of prompt of `sentences.json`: the reported ones, or those to choose by."""
    return tuple(Change(before, after, read_test(does))
                 for before, after, does in _read()["changes"]["validation" if validation else "reported"])


def load_edits() -> tuple[tuple[str, Test], ...]:
    """Sentences for edits of walks, and what the body must do where the walk is changed."""
    return tuple((text, read_test(does)) for text, does in _read()["edits"])


def _read() -> dict:
    return json.loads(FILE.read_text(encoding="utf-8"))


def read_test(named: list) -> Test:
    """A test as `sentences.json` names it -> a function of joints.

    raises   ValueError for a name that no test has
    """
    name, *rest = named
    if name not in TESTS:
        raise ValueError(f"found the test {name!r} in {FILE.name}, expected one of {', '.join(TESTS)}")
    parts = [read_test(given) for given in rest if isinstance(given, list)]
    arguments = {key: value for given in rest if isinstance(given, dict) for key, value in given.items()}
    return lambda joints: bool(TESTS[name](joints, *parts, **arguments))


def judge(motion: np.ndarray, kinds: Sequence[Kind]) -> np.ndarray:
    """motion (T, 272) -> whether it passes each kind's test, (K,) bool; one that has exploded passes none."""
    if not np.isfinite(motion).all():
        return np.zeros(len(kinds), dtype=bool)
    joints = motion272_to_positions(motion.astype(np.float64))
    return np.array([kind.test(joints) for kind in kinds]) & in_one_piece(joints)


def all_of(joints: np.ndarray, *parts: Test) -> bool:
    return all(part(joints) for part in parts)


def any_of(joints: np.ndarray, *parts: Test) -> bool:
    return any(part(joints) for part in parts)


def in_order(joints: np.ndarray, first: Test, *later: Test) -> bool:
    """The motion can be cut into parts of half a second or more that pass the tests, one each, in this order."""
    if not later:
        return first(joints)
    return any(first(joints[:end]) and in_order(joints[end:], *later)
               for end in range(SHORTEST, len(joints) - SHORTEST + 1, STEP))


def at_once(joints: np.ndarray, first: Test, second: Test, seconds: float = 2) -> bool:
    """Some part of so many seconds, all of a motion that is shorter, passes both tests."""
    frames = min(round(seconds * FPS), len(joints))
    parts = (joints[start:start + frames] for start in range(0, len(joints) - frames + 1, STEP))
    return any(first(part) and second(part) for part in parts)


def at_the_end(joints: np.ndarray, part: Test, seconds: float) -> bool:
    """The last seconds pass the test."""
    return part(joints[-round(seconds * FPS):])


# Functions that say yes or no; the others of these files are measures.
TESTS = {name: function for module in (geometry, travel) for name, function in vars(module).items()
         if getattr(function, "__module__", "") == module.__name__ and function.__annotations__.get("return") is bool}
TESTS |= dict(all_of=all_of, any_of=any_of, in_order=in_order, at_once=at_once, at_the_end=at_the_end)
