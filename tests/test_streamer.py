"""The AR model: causal, cached equals full, the stream against a plain loop, and the authors' numbers."""

from itertools import islice

import pytest
import torch
from torch import Tensor

from conftest import assert_relative, parameters, randomised
from models.diffusion import STEPS
from models.published import load_published_ar
from models.streamer import StreamingTransformer
from options.models import AR

TINY = AR(latent_dim=4, text_dim=6, width=16, layers=2, heads=2, context=12, head_width=16, head_depth=2)


def tiny_ar() -> StreamingTransformer:
    return randomised(StreamingTransformer(TINY))


def replay(noise: Tensor):
    """A source of noise for `stream` that hands out noise (L, 51, B, C), a latent at a time."""
    rows = iter(noise)

    def draw() -> tuple[Tensor, Tensor]:
        row = next(rows)
        return row[0], row[1:]

    return draw


@pytest.mark.parametrize("latent", [0, 4, 8])
def test_conditions_see_only_the_past(latent):
    """Changing a latent leaves its own condition and all earlier ones; the text reaches all of them."""
    model, latents, text = tiny_ar(), torch.randn(2, 9, 4), torch.randn(2, 6)
    changed = latents.clone()
    changed[:, latent] += 1
    before, after = model(latents, text), model(changed, text)
    assert before.shape == (2, 10, 16)
    torch.testing.assert_close(after[:, :latent + 1], before[:, :latent + 1])
    assert (after - before)[:, latent + 1].abs().amax() > 1e-3
    assert (model(latents, text + 1) - before).abs().amax(dim=(0, 2)).min() > 1e-3


@pytest.mark.parametrize("split", [[12], [11, 1], [1, 4, 7], [1] * 12])
def test_cached_backbone_equals_full(split):
    model, cache = tiny_ar(), tiny_ar().new_cache()
    x = model.prefix(torch.randn(2, 11, 4), torch.randn(2, 6))
    pieces = [model.backbone(piece, cache) for piece in x.split(split, dim=1)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), model.backbone(x))


@pytest.mark.parametrize("guidance", [None, 3.0])
@pytest.mark.parametrize("shown", [0, 4])
def test_stream_equals_a_loop_over_whole_prefixes(guidance, shown):
    """Without a cache, the past run anew for every latent, text and empty text apart."""
    model, text, empty, past = tiny_ar(), torch.randn(2, 6), torch.randn(2, 6), torch.randn(2, shown, 4)
    noise = torch.randn(5, STEPS + 1, 2, 4)
    expected = past
    with torch.no_grad():
        for row in noise:
            condition = model(expected, text)[:, -1]
            without = model(expected, empty)[:, -1] if guidance else None
            latent = model.head.sample(condition, without, guidance or 1.0, 0.9, row[0], row[1:])
            expected = torch.cat([expected, latent[:, None]], dim=1)
    stream = model.stream(text, empty if guidance else None, past, guidance or 1.0, 0.9, replay(noise))
    assert_relative(torch.stack(list(islice(stream, 5)), dim=1), expected[:, shown:], 1e-4)


def test_guidance_1_equals_no_guidance():
    model, text, empty = tiny_ar(), torch.randn(2, 6), torch.randn(2, 6)
    noise = torch.randn(3, STEPS + 1, 2, 4)

    def latents(*empty: Tensor, guidance: float) -> Tensor:
        return torch.stack(list(islice(model.stream(text, *empty, guidance=guidance, draw=replay(noise)), 3)))

    plain = latents(guidance=1.0)
    assert_relative(latents(empty, guidance=1.0), plain, 1e-4)
    assert (latents(empty, guidance=2.0) - plain).abs().max() > 1e-2


@pytest.mark.parametrize("shown", [0, 4, 11])
def test_stream_ends_where_the_context_is_full(shown):
    assert len(list(tiny_ar().stream(torch.randn(1, 6), past=torch.randn(1, shown, 4)))) == 11 - shown


def test_a_past_beyond_the_context_refuses():
    with pytest.raises(ValueError, match="12 latents do not fit the context of 12 .* give at most 11"):
        next(tiny_ar().stream(torch.randn(1, 6), past=torch.randn(1, 12, 4)))


def test_rows_do_not_mix():
    model, latents, text = tiny_ar(), torch.randn(3, 5, 4), torch.randn(3, 6)
    together = model(latents, text)
    for row in range(3):
        torch.testing.assert_close(model(latents[row:row + 1], text[row:row + 1]), together[row:row + 1])


def test_padded_positions_count_for_nothing():
    """With lengths the valid conditions are those of each row alone, and the others are zero."""
    model, latents, text = tiny_ar(), torch.randn(3, 6, 4), torch.randn(3, 6)
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
    noise = torch.cat([numbers["start_noise"][:, None], numbers["step_noise"][:, :, :1]], dim=1)
    text, scale = numbers["text"][None], float(numbers["cfg_scale"])
    stream = model.stream(text, torch.zeros_like(text), guidance=scale, draw=replay(noise))
    assert_relative(torch.cat(list(islice(stream, 5))), numbers["tokens"], 1e-4)
