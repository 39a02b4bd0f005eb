"""The AR model: causal, cached equals full, the stream against a plain loop, and the authors' numbers."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from conftest import assert_relative, parameters, randomised
from generation.fast import accelerate, cache
from generation.fast.training import accelerate_training
from generation.streams import LatentStreams, Row
from models.head import DiffusionHead
from models.published import load_published_ar
from models.text_encoder import stack_texts
from models.transformer import StreamingTransformer
from options.models import AR
from options.sampling import STEPS, Calibration, Sampling
from test_attention import banded

TINY = AR(latent_dim=4, text_dim=6, width=16, layers=2, heads=2, context=12, head_width=16, head_depth=2,
          text_everywhere=True, prediction="velocity")    # noise of a random network would explode
TOKENS = dict(text="tokens", text_layers=1, text_tokens=5)
TEXTS = (TINY, replace(TINY, **TOKENS, text_positions=3), replace(TINY, **TOKENS, cross_every=2),
         replace(TINY, **TOKENS, cross_every=1, text_everywhere=False))


def tiny_ar(config: AR = TINY, deviation: float = 0.2) -> StreamingTransformer:
    return randomised(StreamingTransformer(config), deviation)


def some_texts(config: AR, count: int) -> list[Tensor]:
    """Sentences as the model reads them: vectors, or states of two tokens and more, some too many."""
    shapes = ((2 + number % 5, 6) if config.text == "tokens" else (6,) for number in range(count))
    return [torch.randn(shape) for shape in shapes]


def stacked(texts: list[Tensor]) -> Tensor:
    return stack_texts(texts, TOKENS["text_tokens"])


def replay(noise: Tensor):
    """A source of noise for one row that hands out noise (L, 51, C), a latent at a time."""
    return iter(noise).__next__


def sampling(guidance: float = 1.0, temperature: float = 1.0, steps: int = STEPS, solver: str = "ancestral",
             past: int = 11, **end) -> tuple[Calibration, Sampling]:
    """Never near its end latent, unless `end` says otherwise."""
    return (Calibration(**dict(stop_threshold=0.0, end_latent=(0.0,) * 4) | end),
            Sampling(guidance, temperature, steps, solver, past))


def sample_latents(streams: LatentStreams, count: int) -> Tensor:
    """The next latents (R, count, C)."""
    return torch.stack([streams.step()[0] for _ in range(count)], dim=1)


@pytest.mark.parametrize("config", TEXTS)
@pytest.mark.parametrize("latent", [0, 4, 8])
def test_conditions_see_only_the_past(latent, config):
    """Changing a latent leaves its own condition and all earlier ones; the text reaches all of them."""
    model, latents, text = tiny_ar(config), torch.randn(2, 9, 4), stacked(some_texts(config, 2))
    changed = latents.clone()
    changed[:, latent] += 1
    before, after = model(latents, text), model(changed, text)
    assert before.shape == (2, 10, 16)
    torch.testing.assert_close(after[:, :latent + 1], before[:, :latent + 1])
    assert (after - before)[:, latent + 1].abs().amax() > 1e-3
    other = model(latents, text.where(text == 0, text + torch.randn_like(text)))
    assert (other - before).abs().amax(dim=(0, 2)).min() > 1e-3


@pytest.mark.parametrize("config", TEXTS[1:])
def test_a_text_does_not_depend_on_its_neighbours(config):
    """Padding beside a longer one changes nothing, nor does a clip's padding."""
    model, latents, texts = tiny_ar(config), torch.randn(2, 7, 4), some_texts(config, 2)
    together = model(latents, stack_texts(texts), torch.tensor([7, 4]))
    torch.testing.assert_close(together[:1], model(latents[:1], texts[0][None]))
    torch.testing.assert_close(together[1:, :5], model(latents[1:, :4], texts[1][None]))


@pytest.mark.parametrize("config", [replace(TINY, text_everywhere=False), *TEXTS])
@pytest.mark.parametrize("shown", [0, 4, 9])
def test_steps_equal_whole_passes(shown, config):
    """While the context holds all latents, each condition is that of a pass over the text and all of them."""
    model = tiny_ar(config)
    latents, text = torch.randn(2, model.most_latents, 4), stacked(some_texts(config, 2))
    condition, kept = cache.read(model, latents[:, :shown], text)
    conditions = [condition, *(cache.step(model, latents[:, at], kept) for at in range(shown, model.most_latents))]
    torch.testing.assert_close(torch.stack(conditions, dim=1), model(latents, text)[:, shown:])


@pytest.mark.parametrize("config", TEXTS)
def test_steps_go_on_beyond_the_context(config):
    """As one pass whose every layer sees the text and the last latents that the context holds beside it."""
    model, latents, text = tiny_ar(config), torch.randn(2, 40, 4), stacked(some_texts(config, 2))
    count = config.text_positions
    condition, kept = cache.read(model, latents[:, :0], text)
    conditions = [condition, *(cache.step(model, latents[:, at], kept) for at in range(40))]
    prompt = model.prompt(text)
    x = torch.cat([prompt.positions, model.embed(latents, prompt)], dim=1)
    for block, seen in zip(model.blocks, model.text_of_blocks(prompt)):
        x = x + banded(block.attention, block.norm_attention(x), context=12, count=count)
        x = x + block.cross(block.norm_cross(x), *seen) if seen else x
        x = x + block.mlp(block.norm_mlp(x))
    torch.testing.assert_close(torch.stack(conditions, dim=1), model.out(model.norm(x))[:, count - 1:])
    assert kept.k.shape[3] == 12


@pytest.mark.parametrize("config", TEXTS)
@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("shown", [0, 4])
def test_streams_equal_a_loop_over_whole_prefixes(guidance, shown, config):
    """Without a cache, the past run again for every latent, text and empty text apart."""
    model, (*text, empty), past = tiny_ar(config), some_texts(config, 3), torch.randn(2, shown, 4)
    noise = torch.randn(5, STEPS + 1, 2, 4)
    expected = past
    with torch.no_grad():
        for row in noise:
            condition, without = (model(expected, stacked(said))[:, -1] for said in (text, [empty, empty]))
            latent = model.head.sample(condition, without, Sampling(guidance, 0.9), row)
            expected = torch.cat([expected, latent[:, None]], dim=1)
    streams = LatentStreams(model, *sampling(guidance, 0.9), empty)
    for row in range(2):
        streams.start(Row(text[row], past[row], replay(noise[:, :, row])))
    assert_relative(sample_latents(streams, 5), expected[:, shown:], 1e-4)


@pytest.mark.parametrize("config", TEXTS)
def test_a_prompt_reads_the_kept_past_again(config):
    """As if the stream had begun with it, that much of the past shown."""
    model, (*texts, empty), noise = tiny_ar(config), some_texts(config, 3), torch.randn(9, STEPS + 1, 4)
    for kept in (0, 3, 11):
        streams = LatentStreams(model, *sampling(2.0, past=kept), empty)
        row = Row(texts[0], torch.empty(0, 4), replay(noise))
        streams.start(row)
        before = sample_latents(streams, 5)[0]
        streams.prompt(row, [texts[1]])
        after = sample_latents(streams, 4)
        again = LatentStreams(model, *sampling(2.0), empty)
        again.start(Row(texts[1], before[5 - min(kept, 5):], replay(noise[5:])))
        expected = sample_latents(again, 4)
        assert_relative(after, expected, 1e-4)
        unchanged = LatentStreams(model, *sampling(2.0), empty)
        unchanged.start(Row(texts[0], before[5 - min(kept, 5):], replay(noise[5:])))
        assert (sample_latents(unchanged, 4) - expected)[:, 0].abs().max() > 0.001 * expected.abs().max()


@pytest.mark.parametrize("config", TEXTS)
def test_streams_do_not_depend_on_their_neighbours(config):
    """One that starts later, one that is prompted and one that is dropped change nothing for the others."""
    model, (*texts, empty), noise = tiny_ar(config), some_texts(config, 5), torch.randn(3, 20, STEPS + 1, 4)

    def alone(number: int, count: int) -> Tensor:
        streams = LatentStreams(model, *sampling(2.0), empty)
        streams.start(Row(texts[number], torch.empty(0, 4), replay(noise[number])))
        return sample_latents(streams, count)[0]

    streams = LatentStreams(model, *sampling(2.0), empty)
    first, second, third = (Row(texts[number], torch.empty(0, 4), replay(noise[number])) for number in range(3))
    streams.start(first)
    streams.start(second)
    found = [sample_latents(streams, 3)]
    streams.start(third)
    found.append(sample_latents(streams, 2))
    streams.prompt(second, [texts[3]])
    found.append(sample_latents(streams, 2))
    streams.drop([first])
    found.append(sample_latents(streams, 8))
    assert_relative(torch.cat([part[0] for part in found[:3]]), alone(0, 7), 1e-4)
    assert_relative(torch.cat([found[1][2], found[2][2], found[3][1]]), alone(2, 12), 1e-4)
    assert_relative(torch.cat([part[1] for part in found[:2]]), alone(1, 5), 1e-4)


def test_a_motion_is_over_with_a_latent_near_the_end_latent():
    """But not with its first; where the row holds, another latent comes instead, sampled with less of the past."""
    model, text, empty, noise = tiny_ar(), torch.randn(6), torch.randn(6), torch.randn(40, STEPS + 1, 4)
    plain = LatentStreams(model, *sampling(), empty)
    plain.start(Row(text, torch.empty(0, 4), replay(noise)))
    latents = sample_latents(plain, 7)[0]
    nearest = float((latents[:6] - latents[6]).norm(dim=-1).min())
    ends = sampling(end_latent=tuple(latents[6].tolist()), stop_threshold=0.9 * nearest)

    streams = LatentStreams(model, *ends, empty)
    row = Row(text, torch.empty(0, 4), replay(noise))
    streams.start(row)
    assert_relative(sample_latents(streams, 6)[0], latents[:6])
    assert streams.step()[1] == [row] and len(row.latents) == 6

    held = LatentStreams(model, *ends, empty)
    held.start(Row(text, torch.empty(0, 4), replay(noise), hold=True))
    found = sample_latents(held, 7)[0]
    assert_relative(found[:6], latents[:6])
    again = LatentStreams(model, *sampling(), empty)
    again.start(Row(text, latents[:6], replay(noise[7:])))              # fewer than RESTART_CONTEXTS[0], so all six
    assert_relative(found[6], sample_latents(again, 1)[0, 0], 1e-4)

    always = LatentStreams(model, *sampling(stop_threshold=1e9), empty)
    always.start(Row(text, torch.empty(0, 4), replay(noise), hold=True))
    sampled = []
    sample = model.head.sample
    model.head.sample = lambda *arguments, **named: sampled.append(0) or sample(*arguments, **named)
    assert_relative(sample_latents(always, 3)[0], latents[:1].expand(3, -1))     # it stays as it is
    assert len(sampled) == 1 + 2 * 3                                           # two more samples a latent, not more


@pytest.mark.parametrize("precision, tolerance", [("float32", 1e-4), ("bfloat16", 0.1), ("int8", 0.3)])
@pytest.mark.parametrize("steps, solver", [(STEPS, "ancestral"), (18, "ancestral"), (9, "ddim"), (10, "dpm++")])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("count", [1, 3])
def test_accelerated_equals_plain(precision, tolerance, steps, solver, guidance, count):
    """Latents of streams, alone and in a batch; with few bits as near as these are."""
    config = replace(TINY, width=64, head_width=64)
    plain, fast = tiny_ar(config, 0.05), accelerate(tiny_ar(config, 0.05), precision)
    texts, noise, found = torch.randn(count + 1, 6), torch.randn(count, 4, STEPS + 1, 4), []
    for model in (plain, fast):
        streams = LatentStreams(model, *sampling(guidance, 0.9, steps, solver), texts[-1])
        for number in range(count):
            streams.start(Row(texts[number], torch.empty(0, 4), replay(noise[number])))
        found.append(sample_latents(streams, 4))
    assert type(plain.head) is DiffusionHead and type(fast.head) is not DiffusionHead
    assert_relative(found[1], found[0], tolerance)
    assert not torch.equal(found[1], found[0])


def test_guidance_1_equals_no_guidance():
    """And halves the work: the empty text has no rows."""
    model, text, empty, noise = tiny_ar(), torch.randn(6), torch.randn(6), torch.randn(3, STEPS + 1, 4)

    def latents(guidance: float) -> Tensor:
        streams = LatentStreams(model, *sampling(guidance), empty)
        streams.start(Row(text, torch.empty(0, 4), replay(noise)))
        assert len(streams.condition) == 1 + (guidance != 1)
        return sample_latents(streams, 3)

    assert_relative(latents(1 + 1e-7), latents(1.0), 1e-4)
    assert (latents(2.0) - latents(1.0)).abs().max() > 1e-2


def test_more_latents_than_the_context_refuse():
    with pytest.raises(ValueError, match="12 latents do not fit the context of 12 .* give at most 11"):
        tiny_ar()(torch.randn(1, 12, 4), torch.randn(1, 6))


def test_rows_do_not_mix():
    model, latents, text = tiny_ar(), torch.randn(3, 5, 4), torch.randn(3, 6)
    together = model(latents, text)
    for row in range(3):
        torch.testing.assert_close(model(latents[row:row + 1], text[row:row + 1]), together[row:row + 1])


@pytest.mark.parametrize("config", TEXTS)
@pytest.mark.parametrize("fast", [False, True])
def test_padded_positions_count_for_nothing(config, fast):
    """With lengths the valid conditions are those of each row alone, and the others are zero."""
    model, latents, text = tiny_ar(config), torch.randn(3, 6, 4), stacked(some_texts(config, 3))
    if fast:
        accelerate_training(model)
    lengths = torch.tensor([6, 0, 3])
    latents[2, 3:] = torch.nan
    found = model(latents, text, lengths)
    for row, length in enumerate(lengths):
        alone = model(latents[row:row + 1, :length], text[row:row + 1])
        torch.testing.assert_close(found[row, :length + 1], alone[0])
        assert not found[row, length + 1:].any()


def test_published_size():
    with torch.device("meta"):
        model = StreamingTransformer(AR())
    assert parameters(model.head) / 1e6 == pytest.approx(156, abs=0.5)
    assert (parameters(model) - parameters(model.head)) / 1e6 == pytest.approx(86, abs=0.5)


def test_golden_conditions(golden_file):
    numbers, weights = golden_file("ar_transformer")
    model = load_published_ar({"trans": weights}, heads=4)
    assert_relative(model(numbers["latents"], numbers["text"]), numbers["conditions"])
    found = model(numbers["latents"][:1, :0], numbers["text"][:1])
    assert_relative(found, numbers["first_condition"])


def test_golden_stream(golden_file):
    """Five latents, one after another; the empty text's embedding is zero there."""
    model = load_published_ar({"trans": golden_file("ar_transformer")[1]}, heads=4)
    numbers = golden_file("sampling")[0]
    noise = torch.cat([numbers["start_noise"][:, None], numbers["step_noise"][:, :, :1]], dim=1)[:, :, 0]
    text, settings = numbers["text"], Sampling(guidance=float(numbers["cfg_scale"]))
    streams = LatentStreams(model, Calibration(stop_threshold=0.0), settings, torch.zeros_like(text))
    streams.start(Row(text, torch.empty(0, 16), replay(noise)))
    assert_relative(sample_latents(streams, 5)[0], numbers["tokens"], 1e-4)
