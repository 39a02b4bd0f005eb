"""CUDA graphs without a GPU: one is played by a list of operations, done again on the same tensors."""

from contextlib import nullcontext
from unittest.mock import MagicMock

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from conftest import assert_relative
from generation.fast import graphs
from generation.fast.graphs import Graph, Graphs
from generation.fast.timesteps import parallel
from generation.streams import LatentStreams, Row, noise_of
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
    monkeypatch.setattr(graphs, "side_stream", MagicMock())
    return made


def test_a_graph_does_its_work_again(tapes):
    x = torch.zeros(3)
    twice = Graph(lambda: (2 * x).exp())
    for number in range(3):
        x.fill_(number)
        assert torch.equal(twice(), torch.full((3,), 2.0 * number).exp())
    assert tapes[0].played == 3


def test_a_graph_with_a_host_synchronisation(tapes):
    with pytest.raises(AssertionError, match="needs the host"):
        Graph(lambda: float(torch.ones(1)) + 1)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("tolerance, steps, solver", [(1e-6, 50, "ancestral"), (1e-6, 7, "dpm++"), (1e-6, 1, "ddim"),
                                                      (0.0, 50, "ancestral")])
def test_streams_are_those_of_a_cpu(tapes, guidance, tolerance, steps, solver):
    """Alone, with a second one beside, alone again; with new prompts; beyond the context. Two such batches share the
    graphs."""
    model, texts, captured = tiny_ar(), torch.randn(4, 6), Graphs()
    parallel(model.head, tolerance)
    how = sampling(guidance, 0.9, steps, solver)

    def sample(captured: Graphs | None) -> list[Tensor]:
        batches = [LatentStreams(model, *how, texts[3], captured) for _ in range(2)]
        rows = [Row(texts[number % 2], torch.zeros(0, 4), noise_of(number, 4), hold=True) for number in range(4)]
        found = []

        def steps(count: int) -> None:
            for _ in range(count):
                found.extend(batch.step()[0] for batch in batches)

        for batch, row in zip(batches, rows):
            batch.start(row)
        steps(3)
        batches[0].prompt(rows[0], [texts[2]])
        steps(10)
        batches[0].start(rows[2])
        steps(2)
        batches[0].drop([rows[0]])
        steps(2)
        return found

    expected = sample(None)
    for _ in range(2):
        for found, latents in zip(sample(captured), expected):
            assert_relative(found, latents, 2e-4)
    assert set(captured.captured) == {(how[1], 1), (how[1], 2), *((1, 2) if guidance == 1 else (2, 4))}
    assert len(tapes) == 4 + (tolerance > 0 and steps > 1)                # one more of a lone latent's passes


def test_a_lone_latent_takes_few_passes(tapes):
    """Over the whole path; what is found does not move any more, by the tolerance."""
    model, text = tiny_ar(), torch.randn(6)

    def passes(tolerance: float) -> int:
        tapes.clear()
        parallel(model.head, tolerance)
        streams = LatentStreams(model, *sampling(3.0), torch.zeros(6), Graphs())
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


@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("tolerance", [0.0, 1e-5])
def test_all_work_is_on_one_device(captured, tolerance, tapes, monkeypatch):
    """On the device meta, which has shapes and no values: who asks for one fails."""
    made = []

    def only_made(graphs, key, make, *given):
        made.append(make(*given))
        result = made[-1].once.result
        return result if isinstance(result, Tensor) else result[-1][-1]   # the last of the points

    monkeypatch.setattr(Graphs, "run", only_made)
    monkeypatch.setattr(LatentStreams, "near_end", lambda streams, latents: torch.zeros(len(latents), dtype=torch.bool))
    model, texts = tiny_ar().to("meta"), torch.zeros(3, 6, device="meta")
    parallel(model.head, tolerance if captured else 0.0)
    with OneDevice():
        streams = LatentStreams(model, *sampling(3.0), texts[2], Graphs() if captured else None)
        rows = [Row(text, torch.zeros(0, 4, device="meta"), noise_of(0, 4)) for text in texts[:2]]
        for row in rows:
            streams.start(row)
            latents, _ = streams.step()
        streams.prompt(rows[0], [texts[1]])
        streams.drop(rows[1:])
        latents, _ = streams.step()
        streams.catch_up()
    assert latents.is_meta and latents.shape == (1, 4) and len(made) == 6 * captured
    with OneDevice(), pytest.raises(AssertionError, match="tensors on {"):
        torch.cat([torch.zeros(2), torch.zeros(2, device="meta")])


def test_graphs_are_for_a_few_streams():
    assert Graphs.fit(2) and not Graphs.fit(192)


def test_the_graphs_used_last_are_kept(monkeypatch):
    monkeypatch.setattr(graphs, "KEPT", 2)
    made, kept = [], Graphs()

    def call(key: str) -> None:
        kept.run(key, lambda *given: made.append(key) or (lambda *given: given[0]), torch.zeros(1))

    for key in "abaca":
        call(key)
    assert list(kept.captured) == ["c", "a"] and made == ["a", "b", "c"]
    call("b")
    assert made == ["a", "b", "c", "b"]
