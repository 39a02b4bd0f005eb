"""What CUDA records, without a GPU: a graph of CUDA is played by a list of operations, done again on the same tensors."""

import copy
from contextlib import nullcontext
from unittest.mock import MagicMock

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from conftest import assert_relative
from models import recorded, streamer
from models.recorded import Recording, records
from models.streamer import LatentStreams, Row, noise_of
from test_streamer import sampling, tiny_ar

READS_A_VALUE = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default,
                 torch.ops.aten.is_nonzero.default, torch.ops.aten.equal.default}


class Tape(TorchDispatchMode):
    """In the place of torch.cuda.CUDAGraph: as there, only operations are kept, with the tensors that they had."""

    def __init__(self):
        super().__init__()
        self.done, self.played = [], 0

    def __torch_dispatch__(self, operation, types, arguments=(), named=None):
        assert operation not in READS_A_VALUE, f"{operation} needs the host"
        result = operation(*arguments, **(named or {}))
        self.done.append((operation, arguments, named or {}, result))
        return result

    def replay(self):
        self.played += 1
        for operation, arguments, named, result in self.done:
            for old, new in zip(tree_leaves(result), tree_leaves(operation(*arguments, **named))):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():           # else a view, or in place
                    old.copy_(new)


@pytest.fixture
def tapes(monkeypatch):
    """CUDA as if it were there; all its graphs."""
    made = []
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: made.append(Tape()) or made[-1])
    monkeypatch.setattr(torch.cuda, "graph", lambda tape, stream, capture_error_mode: tape)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    for name in ("current_device", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, MagicMock())
    monkeypatch.setattr(recorded, "aside", MagicMock())
    return made


def test_a_recording_does_its_work_again(tapes):
    x = torch.zeros(3)
    twice = Recording(lambda: (2 * x).exp())
    for number in range(3):
        x.fill_(number)
        assert torch.equal(twice(), torch.full((3,), 2.0 * number).exp())
    assert tapes[0].played == 3


def test_a_recording_that_looks_at_a_value(tapes):
    with pytest.raises(AssertionError, match="needs the host"):
        Recording(lambda: float(torch.ones(1)) + 1)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("tolerance, steps, solver", [(1e-6, 50, "ancestral"), (1e-6, 7, "dpm++"), (1e-6, 1, "ddim"),
                                                      (0.0, 50, "ancestral")])
def test_streams_are_those_of_a_cpu(tapes, monkeypatch, guidance, tolerance, steps, solver):
    """Alone, with a second one beside, alone again; with new prompts; beyond the context. Two such batches share what is
    recorded, and each has its own."""
    model, texts = tiny_ar(), torch.randn(4, 6)
    how = sampling(guidance, 0.9, tolerance=tolerance, steps=steps, solver=solver)

    def draw() -> list[Tensor]:
        batches = [LatentStreams(model, how, texts[3]) for _ in range(2)]
        rows = [Row(texts[number % 2], torch.zeros(0, 4), noise_of(number, 4), hold=True) for number in range(4)]
        found = []

        def steps(count: int) -> None:
            for _ in range(count):
                found.extend(batch.step()[0] for batch in batches)

        for batch, row in zip(batches, rows):
            batch.start(row)
        steps(3)
        batches[0].prompt(rows[0], texts[2])
        steps(10)
        batches[0].start(rows[2])
        steps(2)
        batches[0].drop([rows[0]])
        steps(2)
        return found

    expected = draw()
    monkeypatch.setattr(streamer, "records", lambda device, rows: True)
    for _ in range(2):
        for found, latents in zip(draw(), expected):
            assert_relative(found, latents, 2e-4)
    assert set(model.recordings) == {(how, 1), (how, 2), *((1, 2) if guidance == 1 else (2, 4))}
    assert len(tapes) == 4 + (tolerance > 0 and steps > 1)                # one more of a lone latent's passes
    assert not copy.deepcopy(model).recordings


def test_a_lone_latent_takes_few_passes(tapes, monkeypatch):
    """Over the whole path; what is found does not move any more, by the tolerance."""
    monkeypatch.setattr(streamer, "records", lambda device, rows: True)
    model, text = tiny_ar(), torch.randn(6)

    def passes(tolerance: float) -> int:
        tapes.clear()
        streams = LatentStreams(model, sampling(3.0, tolerance=tolerance), torch.zeros(6))
        streams.start(Row(text, torch.zeros(0, 4), noise_of(0, 4)))
        streams.step()
        return tapes[1].played

    assert 2 < passes(0.02) < passes(1e-5) < 50


class OneDevice(TorchDispatchMode):
    """What an operation is given lies on one device, but for copies; and a GPU has no float64, as on MPS."""

    def __torch_dispatch__(self, operation, types, arguments=(), named=None):
        devices = {leaf.device.type for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor) and leaf.dim()}
        assert len(devices) <= 1 or "copy" in operation.name(), f"{operation} is given tensors on {devices}"
        result = operation(*arguments, **(named or {}))
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor) and leaf.is_meta]
        assert not any(tensor.dtype == torch.float64 for tensor in made), f"{operation} in float64"
        return result


@pytest.mark.parametrize("recording", [False, True])
@pytest.mark.parametrize("tolerance", [0.0, 1e-5])
def test_all_work_is_on_one_device(recording, tolerance, tapes, monkeypatch):
    """On the device meta, which has shapes and no values: who asks for one fails."""
    made = []

    def only_made(recordings, key, make, *given):
        made.append(make(*given))
        result = made[-1].once.result
        return result if isinstance(result, Tensor) else result[-1][-1]   # the last of the points

    monkeypatch.setattr(streamer, "recorded", only_made)
    monkeypatch.setattr(streamer, "records", lambda device, rows: recording)
    monkeypatch.setattr(LatentStreams, "near_end", lambda streams, latents: torch.zeros(len(latents), dtype=torch.bool))
    model, texts = tiny_ar().to("meta"), torch.zeros(3, 6, device="meta")
    with OneDevice():
        streams = LatentStreams(model, sampling(3.0, tolerance=tolerance if recording else 0.0), texts[2])
        rows = [Row(text, torch.zeros(0, 4, device="meta"), noise_of(0, 4)) for text in texts[:2]]
        for row in rows:
            streams.start(row)
            latents, _ = streams.step()
        streams.prompt(rows[0], texts[1])
        streams.drop(rows[1:])
        latents, _ = streams.step()
    assert latents.is_meta and latents.shape == (1, 4) and len(made) == 6 * recording
    with OneDevice(), pytest.raises(AssertionError, match="tensors on {"):
        torch.cat([torch.zeros(2), torch.zeros(2, device="meta")])


def test_a_few_streams_on_cuda_are_recorded():
    on = {name: torch.device(name) for name in ("cpu", "mps", "cuda")}
    assert records(on["cuda"], 2) and not records(on["cuda"], 192) and not records(on["cpu"], 2)
    assert not records(on["mps"], 2)


def test_the_recordings_used_last_are_kept(monkeypatch):
    monkeypatch.setattr(recorded, "KEPT", 2)
    made, kept = [], {}

    def call(key: str) -> None:
        recorded.recorded(kept, key, lambda *given: made.append(key) or (lambda *given: given[0]), torch.zeros(1))

    for key in "abaca":
        call(key)
    assert list(kept) == ["c", "a"] and made == ["a", "b", "c"]
    call("b")
    assert made == ["a", "b", "c", "b"]
