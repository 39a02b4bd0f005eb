"""Sentence in, motion out: reproducible, independent of neighbours, as long as asked."""

import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import randomised
from demo_t2m import Chosen, load_model
from models.causal_tae import CausalTAE
from generation.pipeline import SHIPPED, MotionStreamer
from generation.streams import LatentStreams
from models.checkpoints import ar_checkpoint, tae_checkpoint
from models.text_encoder import TextEncoder
from models.transformer import StreamingTransformer
from options.models import TAE
from options.sampling import PRECISIONS, Calibration, Compute, Sampling, SamplingFlags
from test_streamer import TINY, tiny_ar
from utils.checkpoint import save_checkpoint

MEAN, STD = torch.linspace(-1, 1, 272), torch.linspace(0.5, 2, 272)
GUIDED = Sampling(guidance=2.0)
NEVER = Calibration(latent_scale=0.5, stop_threshold=0.0, end_latent=(0.0,) * 4)
ALWAYS = replace(NEVER, stop_threshold=1e9)
TEXTS = ["walk", "jump", "sit down", "wave"]
SEEDS = [0, 3, 3, 1]


class Words:
    """Stands in for a text encoder: a fixed vector for each sentence."""

    name, dim, tokens = "words", TINY.text_dim, False

    def __call__(self, sentences: list[str]) -> Tensor:
        generators = [torch.Generator().manual_seed(zlib.crc32(sentence.encode())) for sentence in sentences]
        return torch.stack([torch.randn(self.dim, generator=generator) for generator in generators])


def tiny_tae() -> CausalTAE:
    return randomised(CausalTAE(TAE(latent_dim=4, width=8)))


def streamer(calibration: Calibration = NEVER, sampling: Sampling = GUIDED, mean: Tensor = MEAN,
             std: Tensor = STD) -> MotionStreamer:
    tae = tiny_tae().set_statistics(mean, std)
    return MotionStreamer(tae, tiny_ar(), Words(), calibration, sampling, Compute("cpu"))


def all_latents(texts: list[str], seeds: list[int]) -> Tensor:
    """What the sentences give (B, 11, 4), if nothing ends them; in the TAE's units."""
    return torch.stack(streamer().sample_latents(texts, seeds, [None] * len(seeds), GUIDED)) * NEVER.latent_scale


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_the_seed_decides():
    model = streamer()
    first = model.generate("walk", seed=7, length=20)
    torch.manual_seed(99)    # the global generator has no say
    assert np.array_equal(model.generate("walk", seed=7, length=20), first)
    for other in (model.generate("walk", seed=8, length=20), model.generate("jump", seed=7, length=20)):
        assert np.abs(other - first).max() > 0.01


def test_a_motion_does_not_depend_on_its_neighbours():
    """Also where they end at different times: "jump" after 4 latents, the others later or never."""
    end = all_latents(TEXTS, SEEDS)[1, 4]
    model = streamer(replace(NEVER, end_latent=tuple(end.tolist()), stop_threshold=1e-3 * float(end.norm())))
    together = model.generate_batch(TEXTS, SEEDS)
    assert len(together[1]) == 16 and max(map(len, together)) > 16
    for text, seed, motion in zip(TEXTS, SEEDS, together):
        assert_same(model.generate(text, seed), motion)
    for motion, again in zip(together, reversed(model.generate_batch(TEXTS[::-1], SEEDS[::-1]))):
        assert_same(again, motion)


def test_a_motion_ends_before_the_first_latent_near_the_end_latent():
    latents = all_latents(["walk"], [0])[0]
    nearest = float((latents[:6] - latents[6]).norm(dim=-1).min())    # of the six before it
    for threshold, frames in ((0.9 * nearest, 24), (0.0, 44)):
        calibration = replace(NEVER, end_latent=tuple(latents[6].tolist()), stop_threshold=threshold)
        assert streamer(calibration).generate("walk").shape == (frames, 272)
    assert len(streamer(ALWAYS).generate("walk")) == 4    # there is always one latent


@pytest.mark.parametrize("length", [1, 4, 5, 30, 44, 70])
@pytest.mark.parametrize("calibration", [NEVER, ALWAYS])
def test_length_is_exact(length, calibration):
    """Whatever the end latent says, beyond the context too; and a shorter motion is the beginning of a longer one."""
    motion = streamer(calibration).generate("walk", length=length)
    assert motion.shape == (length, 272) and motion.dtype == np.float32 and streamer().longest == 44
    assert_same(motion, streamer(calibration).generate("walk", length=80)[:length])


def test_what_is_not_given_is_what_is_stored():
    model = streamer()
    stored = model.generate("walk", seed=5, length=20)
    assert np.array_equal(model.generate("walk", seed=5, length=20, guidance=2.0, temperature=1.0), stored)
    for other in (dict(guidance=1.0), dict(temperature=0.5), dict(guidance=0.0)):
        assert np.abs(model.generate("walk", seed=5, length=20, **other) - stored).max() > 0.01


def test_motion_is_denormalised():
    plain = streamer(mean=torch.zeros(272), std=torch.ones(272)).generate("walk", length=8)
    assert_same(streamer().generate("walk", length=8), plain * STD.numpy() + MEAN.numpy())


def test_latents_are_scaled_for_the_tae():
    model = streamer(mean=torch.zeros(272), std=torch.ones(272))
    latents = torch.randn(1, 3, 4)
    torch.testing.assert_close(model.decode(latents), model.tae.decode(latents * 0.5))


@pytest.mark.parametrize("texts", [[""], ["  \n"], ["walk", ""]])
def test_an_empty_prompt_refuses(texts):
    with pytest.raises(ValueError, match="the prompt is empty: say what"):
        streamer().generate_batch(texts, [0] * len(texts))


def test_one_seed_for_each_sentence():
    with pytest.raises(ValueError, match="2 sentences, 1 seeds and 2 lengths: expected one seed and"):
        streamer().generate_batch(["walk", "jump"], [0])


def test_each_motion_may_have_its_own_length():
    """One of a given length is what it is alone; one without ends where it ends alone."""
    model, lengths = streamer(), [9, None, 20]
    found = model.generate_batch(["walk", "jump", "sit"], [1, 2, 3], lengths)
    assert [len(motion) for motion in found] == [9, model.longest, 20]
    for text, seed, length, motion in zip(["walk", "jump", "sit"], [1, 2, 3], lengths, found):
        assert_same(model.generate(text, seed, length), motion)
    with pytest.raises(ValueError, match="1 sentences, 1 seeds and 2 lengths"):
        model.generate_batch(["walk"], [0], [8, 8])


@pytest.mark.parametrize("length", [0, -4])
def test_a_length_out_of_range_refuses(length):
    with pytest.raises(ValueError, match=f"a length of {length} frames: expected 1 or more"):
        streamer().generate("walk", length=length)


def test_saved_and_loaded_equals(tmp_path):
    save_checkpoint(tmp_path / "tae", *tae_checkpoint(tiny_tae().set_statistics(MEAN, STD)))
    save_checkpoint(tmp_path / "ar", *ar_checkpoint(tiny_ar(), NEVER, GUIDED, "words"))
    model = MotionStreamer.from_pretrained(tmp_path, device="cpu", text_encoder=Words())
    assert (model.calibration, model.sampling) == (NEVER, GUIDED)
    assert np.array_equal(model.generate("walk", 3, length=20), streamer().generate("walk", 3, length=20))


def test_models_that_do_not_belong_together_refuse():
    model, encoder = streamer(), Words()
    encoder.dim = 384
    with pytest.raises(ValueError, match="words gives a vector of 384 channels, the AR model reads vector of 6"):
        MotionStreamer(model.tae, model.ar, encoder, NEVER)
    with pytest.raises(ValueError, match="the end latent 16: use models of one training"):
        MotionStreamer(model.tae, model.ar, Words(), Calibration())
    wide = StreamingTransformer(replace(TINY, latent_dim=5))
    with pytest.raises(ValueError, match="TAE has 4 latent channels, the AR model 5"):
        MotionStreamer(model.tae, wide, Words(), NEVER)


@pytest.mark.parametrize("given", [dict(steps=5), dict(solver="ddim"), dict(steps=10, solver="dpm++")])
def test_scripts_change_what_is_stored(given):
    model = streamer()
    as_stored = model.generate("walk", 3, length=20)
    model.sampling = SamplingFlags(**given).over(model.sampling)
    assert replace(model.sampling, steps=50, solver="ancestral") == GUIDED
    assert np.abs(model.generate("walk", 3, length=20) - as_stored).max() > 1e-3


def test_nothing_given_is_what_is_stored():
    assert SamplingFlags().over(GUIDED) == GUIDED
    with pytest.raises(ValueError, match="0 diffusion steps: expected 1 to 50"):
        SamplingFlags(steps=0).over(GUIDED)


def test_how_to_sample_is_given_to_each_call():
    """One `Sampling`, or changes by name, for motions and streams alike."""
    model, few = streamer(), replace(GUIDED, steps=5, solver="ddim", temperature=0.7)
    found = model.generate("walk", 3, 20, few)
    assert np.abs(model.generate("walk", 3, 20) - found).max() > 1e-3
    changes = dict(steps=5, solver="ddim", temperature=0.7, guidance=None)
    assert np.array_equal(model.generate("walk", 3, length=20, **changes), found)
    for stream in (model.stream("walk", 3, hold=True, **changes), model.streams(few).start("walk", 3, hold=True)):
        assert_same(np.concatenate([next(stream) for _ in range(5)]), found)
    with pytest.raises(ValueError, match="sampling has no stepps: expected some of guidance, temperature, steps"):
        model.generate("walk", stepps=5)
    with pytest.raises(ValueError, match="51 diffusion steps: expected 1 to 50"):
        model.stream("walk", steps=51)
    with pytest.raises(ValueError, match="no solver of 3 steps was fitted to this model, only of none"):
        model.stream("walk", steps=3, solver="fitted")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("tolerance", [None, 0.0])
def test_scripts_and_python_take_as_many_passes(precision, tolerance):
    """Of the head, for a latent of the shipped model: the precision decides, and few bits need few."""
    python = MotionStreamer.from_pretrained(SHIPPED, "cpu", Nothing(), precision, tolerance)
    empty, walks = TextEncoder("all-MiniLM-L6-v2", "cpu", on_disk=False, tokens=True)(["", "a person walks forward"])
    script = load_model(replace(Chosen(), compute=Compute("cpu", precision, tolerance)))
    assert python.sampling == script.sampling

    def passes(model: MotionStreamer, **changes: float | str) -> int:
        sampling, counted = model.sampling.but(**changes), []
        streams = LatentStreams(model.ar, model.calibration, sampling, empty)
        streams.start(model.new_row([walks], seed=1, hold=True))
        streams.step()
        hook = model.ar.head.output.register_forward_hook(lambda *given: counted.append(0))
        streams.step()
        hook.remove()
        return len(counted)

    every, few = dict(steps=50, solver="ancestral"), dict(steps=10, solver="dpm++")
    found = [passes(python, **changes) for changes in (every, few)]
    assert found == [passes(script, **changes) for changes in (every, few)]
    if tolerance == 0:
        assert found == [50, 10]
    else:
        assert found[0] < 30 if precision == "float32" else found[0] <= 12


def test_where_and_how_it_runs_is_checked():
    with pytest.raises(ValueError, match="a tolerance of -1.0: expected 0 or more"):
        MotionStreamer.from_pretrained(SHIPPED, "cpu", Nothing(), tolerance=-1.0)
    with pytest.raises(ValueError, match="CUDA graphs need a CUDA GPU, the device is cpu: leave --cuda-graphs out"):
        MotionStreamer.from_pretrained(SHIPPED, "cpu", Nothing(), cuda_graphs=True)


def test_it_is_importable_from_where_it_was():
    from models.pipeline import MotionStreamer as former
    assert former is MotionStreamer


class Nothing:
    """In the place of the shipped model's text encoder."""
    name, dim, tokens = "nothing", 384, True


def test_whole_numbers_of_any_kind_are_taken(tmp_path):
    """NumPy's and 8.0 as seed and length; others are refused in one sentence."""
    model = streamer()
    expected = model.generate("walk", seed=3, length=8)
    for seed, length in ((np.int64(3), np.int32(8)), (3.0, 8.0), (np.uint8(3), np.float32(8))):
        np.testing.assert_array_equal(model.generate("walk", seed=seed, length=length), expected)
    np.testing.assert_array_equal(model.generate_batch(["walk"], np.array([3]), np.int64(8))[0], expected)
    for length in (8.5, float("nan"), float("inf"), "8", True, 0, -3):
        with pytest.raises(ValueError, match="a length of"):
            model.generate("walk", length=length)
    for seed in (0.5, 10 ** 400, None, float("nan")):
        with pytest.raises(ValueError, match="a seed of"):
            model.generate("walk", seed=seed, length=8)


@pytest.mark.parametrize("change", [dict(guidance=float("nan")), dict(guidance=float("inf")), dict(temperature=-1),
                                    dict(temperature=float("nan")), dict(steps=8.5), dict(steps=8.0), dict(past=1.5)])
def test_sampling_that_cannot_be_is_refused(change):
    with pytest.raises(ValueError, match="expected"):
        Sampling(**change)
