"""benchmarks/edits.py: what it counts, on made-up walks and stand-ins for the model."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.edits import Walk, changed, measure
from benchmarks.sentences import load_edits
from motion.representation_272 import motion272_to_positions, pose_to_motion272
from test_says_does import pose, straight


def walk(metres: float) -> Walk:
    motion = pose_to_motion272(*pose(200, path=straight(z=metres, frames=200))).astype(np.float32)
    return Walk(f"{metres}", motion, motion272_to_positions(motion.astype(np.float64)))


WALKS = [walk(metres) for metres in (4, 5, 6)]


def model(edit):
    return SimpleNamespace(tokenizer=SimpleNamespace(frames_per_code=4), longest=300,
                           edit=lambda source, mask, text, seeds, any_overlap: [edit(source, mask, text)])


def test_an_edit_that_changes_nothing_passes_nothing_and_is_smooth():
    found = measure(model(lambda source, mask, text: source), WALKS, 0)
    assert len(found["edits"]) == 3 * len(load_edits()) == 60
    assert found["passed"] == found["no_text"] == 0 and found["border_most"] <= 1


def test_an_edit_that_does_what_is_said_passes_and_one_that_leaps_is_not_smooth():
    """Standing still is what one of the sentences says; the walk stops dead in the middle, and behind it leaps."""
    def edit(source, mask, text):
        found, part = source.copy(), changed(WALKS[0], model(None))
        if text and "stands still" in text:
            found[part.start + 30:part.stop, :2] = 0
        found[part.stop, :2] = 10 * source[part.stop, :2] + 1
        return found
    found = measure(model(edit), WALKS, 0)
    assert {one["text"] for one in found["edits"] if one["passed"]} == {"a person walks, then stands still"}
    assert found["no_text"] == 0 and found["border_most"] > 1.5 and found["smooth"] == 0 and json.dumps(found)


def test_too_few_walks_are_refused():
    with pytest.raises(ValueError, match="2 walks .* expected 3"):
        measure(model(lambda source, mask, text: source), WALKS[:2], 0)
