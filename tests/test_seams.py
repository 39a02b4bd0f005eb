"""The protocols of a second system: the first has all that they ask for."""

import inspect

from generation.protocols import Generator, Tokenizer
from test_pipeline import streamer


def test_motionstreamer_has_what_the_protocols_ask_for():
    """Their arguments too, in their order."""
    model = streamer()
    assert isinstance(model.tae, Tokenizer) and isinstance(model, Generator)
    assert not isinstance(model.ar, Tokenizer) and not isinstance(model.ar, Generator)
    asked, given = (list(inspect.signature(one.generate_batch).parameters) for one in (Generator, type(model)))
    assert given[:len(asked)] == asked
