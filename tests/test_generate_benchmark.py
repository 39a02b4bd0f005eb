"""benchmarks/generate.py and decode.py: what they count, on tiny random models; and the plain loop."""

import json
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn

from benchmarks import decode, generate
from benchmarks.floor import Rates, needs
from benchmarks.generate import SIZES, Generate, ar_of, counted
from benchmarks.plain import plain_latent
from benchmarks.timing import table
from conftest import assert_relative, randomised
from generation.fast import accelerate
from generation.streams import LatentStreams, Row
from models.transformer import StreamingTransformer
from options.sampling import STEPS, Calibration, Sampling


def tiny_ar(deviation: float = 0.2, **changes) -> StreamingTransformer:
    return randomised(StreamingTransformer(replace(SIZES["tiny"][1], **changes)), deviation)


@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("shown", [0, 30])
@pytest.mark.parametrize("prediction", ["noise", "velocity"])
def test_the_plain_loop_samples_what_the_fast_path_does(shown, everywhere, prediction):
    """One latent after another, for the same noise."""
    model = tiny_ar(dict(noise=0.1, velocity=0.2)[prediction], text_everywhere=everywhere, prediction=prediction)
    text, empty, latents = *torch.randn(2, 8), torch.randn(shown, 16)
    noise = torch.randn(3, STEPS + 1, 16)
    for row in noise:
        latents = torch.cat([latents, plain_latent(model, latents, text, empty, 3.0, 0.8, row)[None]])
    streams = LatentStreams(accelerate(deepcopy(model)), Calibration(stop_threshold=0.0), Sampling(3.0, 0.8), empty)
    streams.start(Row(text, latents[:shown], iter(noise).__next__))
    fast = torch.cat([streams.step()[0] for _ in noise])
    assert_relative(fast, latents[shown:], 1e-4)
    for changed in (dict(text=empty), dict(guidance=2.0), dict(temperature=0.7), dict(noise=noise[1])):
        given = dict(latents=latents[:shown], text=text, empty=empty, guidance=3.0, temperature=0.8, noise=noise[0])
        assert (plain_latent(model, **given | changed) - latents[shown]).abs().max() > 1e-2


def test_each_row_is_timed_as_it_says(monkeypatch):
    """That many streams, with that many latents before, sampled in that many steps; several streams at one position."""
    timed, step = set(), LatentStreams.step

    def watched(streams: LatentStreams):
        timed.add((len(streams.rows), *streams.cache.seen.unique().tolist(), streams.sampling.steps,
                   streams.sampling.solver))
        return step(streams)

    monkeypatch.setattr(LatentStreams, "step", watched)
    config = Generate(size="tiny", steps=(50, 3), positions=(1, 1000), streams=(2, 1), latents=2)
    rows = generate.measure(config, "float32")
    how = [(50, "ancestral"), (3, "dpm++")]
    expected = [(streams, position, *solved) for streams, position in ((2, 1000), (1, 1), (1, 1000)) for solved in how]
    found = [tuple(row[name] for name in ("streams", "position", "steps", "solver")) for row in rows]
    assert sorted(found) == sorted(expected)
    first = {(streams, 0, *solved) for streams in (1, 2) for solved in how}
    compared = {(streams, 30, 50, "ancestral") for streams in (1, 2)}
    counted = {(streams, 77 + later, *solved) for streams in (1, 2) for solved in how for later in range(3)}
    assert timed == {*expected, *first, *compared, *counted}
    for row in rows:
        assert set(generate.COLUMNS) < set(row) and row["size"] == "tiny" and row["peak_memory_mb"] > 50
        assert row["frames_per_second"] == pytest.approx(4 / (row["seconds_per_latent"] + row["decode_seconds"]))
        assert row["times_plain"] == pytest.approx(row["plain_seconds"] / row["seconds_per_latent"])
        assert row["decode_seconds"] > 0 and row["first_frame_seconds"] > 0 and row["megabytes"] > 0
        assert row["times_floor"] == pytest.approx(row["seconds_per_latent"] / row["floor_seconds"])
        assert row["largest_difference"] < 1e-4 if row["steps"] == 50 else row["largest_difference"] is None
    less = replace(config, steps=(50,), positions=(1,), streams=(1,))
    row, = generate.measure(replace(less, solver="ddim"), "float32")
    assert row["solver"] == "ddim" and row["largest_difference"] is None
    row, = generate.measure(less, "int8")                                 # the fast path alone has a low precision
    assert 1e-4 < row["largest_difference"] < 1


def test_a_wrong_fast_path_shows(monkeypatch):
    """The difference is taken between what was sampled, not within one path."""
    step = LatentStreams.step
    monkeypatch.setattr(LatentStreams, "step", lambda streams: (step(streams)[0] + 0.5, []))
    config = Generate(size="tiny", steps=(50,), positions=(1,), streams=(1,), latents=1)
    assert generate.measure(config, "float32")[0]["largest_difference"] == pytest.approx(0.5, abs=1e-3)


def test_random_models_do_something():
    """The head's first weights are zero, as it is built; here the text must count, and latents stay of a size."""
    model, _, sampling, _ = ar_of("tiny", None)
    assert torch.equal(model.head.output.weight, ar_of("tiny", None).model.head.output.weight)
    noise, latents, texts = torch.randn(STEPS + 1, 16), torch.randn(30, 16), torch.randn(3, 8)
    first, second = (plain_latent(model, latents, text, texts[2], sampling.guidance, 1.0, noise) for text in texts[:2])
    assert (first - second).abs().max() > 1e-5 and 0.1 < first.norm() < 100


def test_a_plain_latent_counts_as_the_published_at_most():
    assert [counted(Generate(size="full"), seconds) for seconds in (4.0, 6.0)] == [4.0, 4.5]
    assert counted(Generate(size="small"), 6.0) == counted(Generate(size="full", device="cuda"), 6.0) == 6.0


@pytest.mark.parametrize("precision, each", [("float32", 4), ("int8", 1)])
def test_the_floor_is_what_layers_read_and_do(precision, each):
    """Twice four rows through a layer: its weights twice, and what is the slower of reading and multiplying."""
    layers = accelerate(nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64)), precision)

    def work():
        for _ in range(2):
            layers(torch.randn(4, 64))

    read, done = 2 * 2 * 64 * 128 * each / 1e6, 2 * 2 * 2 * 4 * 64 * 128 / 1e9
    for rates, seconds in ((Rates(1.0, 1e9), read / 1e3), (Rates(1e9, 1.0), done)):
        found = needs(layers, rates, work)
        assert (found.megabytes, found.gigaoperations, found.seconds) == pytest.approx((read, done, seconds))
    rates = Rates.of(layers, precision, torch.device("cpu"))
    assert rates.bytes > 0 and rates.operations > 0


def test_table():
    rows = [dict(name="one", seconds=0.12345, left=None), dict(name="fifteen", seconds=12, left=1)]
    columns = {"name": ("name", ""), "seconds": ("s", ".2f"), "left": ("left", "")}
    assert table(rows, columns).splitlines() == ["   name      s  left", "    one   0.12     -", "fifteen  12.00     1"]


def test_the_generate_script(tmp_path, monkeypatch, capsys):
    """A process for the precision; its rows printed and written."""
    called(monkeypatch, generate, "--size tiny --precision float32 --steps 3 --positions 5 --streams 1 --latents 1 "
                                  "--threads 1 --json", tmp_path / "rows.json")
    row, = json.loads((tmp_path / "rows.json").read_text())
    assert (row["precision"], row["threads"], row["position"], row["solver"]) == ("float32", 1, 5, "dpm++")
    heading, values = capsys.readouterr().out.splitlines()[-2:]
    assert "times plain" in heading and values.split()[:5] == ["float32", "3", "dpm++", "1", "5"]


@pytest.mark.parametrize("wrong", ["--latents 0", "--streams 8 0", "--positions -1"])
def test_generate_refuses(wrong, monkeypatch):
    with pytest.raises(ValueError, match="expected 1 or more latents and streams, positions of 0 or more"):
        called(monkeypatch, generate, "--size tiny", *wrong.split())


def test_the_decode_script(tmp_path, monkeypatch, capsys):
    called(monkeypatch, decode, "--size tiny --precision float32 --latents 3 --json", tmp_path / "rows.json")
    row, = json.loads((tmp_path / "rows.json").read_text())
    at_positions = [row[f"seconds_at_{position}"] for position in (1, 10, 100, 1000)]
    assert row["ratio"] == pytest.approx(max(at_positions) / min(at_positions))
    assert row["lone_seconds"] > 0 and row["whole_seconds"] > 0
    printed = capsys.readouterr().out
    assert "s at 1000" in printed and ("expected 1.3 at most" in printed) == (row["ratio"] > 1.3)


@pytest.mark.parametrize("position", [1, 10])
def test_decoding_is_timed_in_the_middle_of_a_stream(position):
    """What it goes on from is what the latents before have left."""
    tae, latents = randomised(generate.tae_of("tiny", None)), torch.randn(1, 12, 16)
    with torch.no_grad():
        cache = decode.cache_at(tae, latents, position)
        found = tae.decode(latents[:, position - 1:position], cache)
        assert_relative(found, tae.decode(latents)[:, 4 * position - 4:4 * position])


def called(monkeypatch, script, flags: str, *more) -> None:
    """Run a script's main with a command line."""
    monkeypatch.setattr("sys.argv", [script.__name__, *flags.split(), *map(str, more)])
    script.main()
