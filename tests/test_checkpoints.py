"""Networks to checkpoint folders and back, and what refuses."""

from dataclasses import replace

import pytest
import torch

from conftest import randomised
from Evaluator_272.report import hash_of
from models.causal_tae import CausalTAE
from models.checkpoints import ar_checkpoint, fingerprint, load_ar, load_tae, tae_checkpoint
from models.text_encoder import DEFAULT_TEXT_ENCODER
from models.transformer import StreamingTransformer
from options import to_json
from options.sampling import Calibration, Fitted, Sampling
from test_published import SMALL_AR, SMALL_TAE, published_ar, published_tae
from utils.checkpoint import save_checkpoint, step_folder

MEAN, STD = torch.linspace(-1, 1, 272), torch.linspace(0.5, 2, 272)
CALIBRATION = Calibration(latent_scale=0.5, stop_threshold=0.3, end_latent=(0.1, 0.2, 0.3, 0.4))
SAMPLING = Sampling(guidance=2.5, past=16)


def tae() -> CausalTAE:
    return randomised(CausalTAE(SMALL_TAE))


def ar() -> StreamingTransformer:
    return randomised(StreamingTransformer(SMALL_AR))


def same(found: torch.nn.Module, expected: torch.nn.Module):
    torch.testing.assert_close(found.state_dict(), expected.state_dict(), rtol=0, atol=0)


def test_round_trip(tmp_path):
    save_checkpoint(tmp_path / "tae", *tae_checkpoint(tae().set_statistics(MEAN, STD)))
    found = load_tae(tmp_path / "tae")
    assert found.config == SMALL_TAE and not found.training and found.has_statistics
    assert torch.equal(found.mean, MEAN) and torch.equal(found.std, STD)
    same(found, tae())
    save_checkpoint(tmp_path / "ar", *ar_checkpoint(ar(), CALIBRATION, SAMPLING, "words"))
    found = load_ar(tmp_path / "ar")
    assert found[1:] == (CALIBRATION, SAMPLING, "words")
    assert found.model.config == SMALL_AR and not found.model.training
    same(found.model, ar())


def test_last_as_a_text_file_is_no_file_of_the_authors(tmp_path):
    """As runs have it where there are no links."""
    save_checkpoint(step_folder(tmp_path / "tae", 1), *tae_checkpoint(tae().set_statistics(MEAN, STD)))
    save_checkpoint(step_folder(tmp_path / "ar", 1), *ar_checkpoint(ar(), CALIBRATION, SAMPLING, "words"))
    for name in ("tae", "ar"):
        (tmp_path / name / "last").write_text("step-00000001")
    same(load_tae(tmp_path / "tae" / "last"), tae())
    same(load_ar(tmp_path / "ar" / "last").model, ar())
    assert hash_of(tmp_path / "ar" / "last") == hash_of(tmp_path / "ar" / "step-00000001")


FITTED = Fitted((49.0,), (0.5,), (1.0,), (0.9,))


@pytest.mark.parametrize("stored", [
    dict(guidance=2.5, temperature=1.0, steps=50, solver="ancestral", tolerance=5e-6, latent_scale=0.5, past=16,
         stop_threshold=0.3, end_latent=[0.1, 0.2, 0.3, 0.4], fitted=[to_json(FITTED)]),
    dict(guidance=2.5, latent_scale=0.5, stop_threshold=0.3, past=16, end_latent=[0.1, 0.2, 0.3, 0.4])])
def test_a_checkpoint_that_kept_all_under_sampling(tmp_path, stored):
    """As this project wrote them before: with a tolerance, which the precision decides now; and before that."""
    tensors, config = ar_checkpoint(ar(), CALIBRATION, SAMPLING, "words")
    del config["calibration"]
    save_checkpoint(tmp_path / "ar", tensors, config | dict(sampling=stored))
    found = load_ar(tmp_path / "ar")
    fitted = (FITTED,) if "fitted" in stored else ()
    assert found[1:] == (replace(CALIBRATION, fitted=fitted), SAMPLING, "words")
    same(found.model, ar())


def test_the_authors_files(tmp_path):
    """They have no statistics; sampling and text encoder are the published ones."""
    torch.save({"net": published_tae()}, tmp_path / "net_last.pth")
    found = load_tae(tmp_path / "net_last.pth")
    same(found, tae())
    assert not found.has_statistics
    torch.save({"trans": published_ar()}, tmp_path / "latest.pth")
    found = load_ar(tmp_path / "latest.pth")
    same(found.model, ar())
    assert found[1:] == (Calibration(), Sampling(), DEFAULT_TEXT_ENCODER)


def test_the_fingerprint_is_of_what_makes_latents():
    other = tae()
    other.decoder[-1].bias.data[271] += 1
    assert fingerprint(other) == fingerprint(tae())
    other.encoder[0].bias.data[0] += 1e-6
    assert fingerprint(other) != fingerprint(tae())


def test_nothing_there(tmp_path):
    for load in (load_tae, load_ar):
        with pytest.raises(FileNotFoundError, match="no model.safetensors in .*nowhere; expected a"):
            load(tmp_path / "nowhere")


def test_one_for_the_other_refuses(tmp_path):
    save_checkpoint(tmp_path / "tae", *tae_checkpoint(tae().set_statistics(MEAN, STD)))
    save_checkpoint(tmp_path / "ar", *ar_checkpoint(ar(), CALIBRATION, SAMPLING, "words"))
    with pytest.raises(ValueError, match="ar is not a TAE checkpoint: it has no mean and std. Make one"):
        load_tae(tmp_path / "ar")
    with pytest.raises(ValueError, match="tae is not an AR checkpoint: its config has no 'sampling'"):
        load_ar(tmp_path / "tae")


@pytest.mark.parametrize("key, value, said", [
    ("width", 48, "ar does not fit StreamingTransformer .*size mismatch"),
    ("layers", 3, "ar does not fit StreamingTransformer .*Missing key"),
    ("depth", 3, "AR has no option 'depth'"),
])
def test_a_config_of_another_network_refuses(tmp_path, key, value, said):
    tensors, config = ar_checkpoint(ar(), CALIBRATION, SAMPLING, "words")
    config["model"][key] = value
    save_checkpoint(tmp_path / "ar", tensors, config)
    with pytest.raises(ValueError, match=said) as refusal:
        load_ar(tmp_path / "ar")
    assert "\n" not in str(refusal.value)
