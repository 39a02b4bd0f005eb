"""Networks to checkpoint folders and back, and what refuses."""

import pytest
import torch

from conftest import randomised
from models.causal_tae import CausalTAE
from models.checkpoints import ar_checkpoint, fingerprint, load_ar, load_tae, tae_checkpoint
from models.streamer import StreamingTransformer
from models.text_encoder import DEFAULT_TEXT_ENCODER
from options.models import Sampling
from test_published import SMALL_AR, SMALL_TAE, published_ar, published_tae
from utils.checkpoint import save_checkpoint

MEAN, STD = torch.linspace(-1, 1, 272), torch.linspace(0.5, 2, 272)
SAMPLING = Sampling(guidance=2.5, latent_scale=0.5, stop_threshold=0.3, end_latent=(0.1, 0.2, 0.3, 0.4))


def tae() -> CausalTAE:
    return randomised(CausalTAE(SMALL_TAE))


def ar() -> StreamingTransformer:
    return randomised(StreamingTransformer(SMALL_AR))


def same(found: torch.nn.Module, expected: torch.nn.Module):
    torch.testing.assert_close(found.state_dict(), expected.state_dict(), rtol=0, atol=0)


def test_round_trip(tmp_path):
    save_checkpoint(tmp_path / "tae", *tae_checkpoint(tae(), MEAN, STD))
    found, mean, std = load_tae(tmp_path / "tae")
    assert found.config == SMALL_TAE and not found.training
    assert torch.equal(mean, MEAN) and torch.equal(std, STD)
    same(found, tae())
    save_checkpoint(tmp_path / "ar", *ar_checkpoint(ar(), SAMPLING, "words"))
    found, sampling, encoder = load_ar(tmp_path / "ar")
    assert (found.config, sampling, encoder, found.training) == (SMALL_AR, SAMPLING, "words", False)
    same(found, ar())


def test_the_authors_files(tmp_path):
    """They have no statistics; sampling and text encoder are the published ones."""
    torch.save({"net": published_tae()}, tmp_path / "net_last.pth")
    found, mean, std = load_tae(tmp_path / "net_last.pth")
    same(found, tae())
    assert mean is None and std is None
    torch.save({"trans": published_ar()}, tmp_path / "latest.pth")
    found, sampling, encoder = load_ar(tmp_path / "latest.pth")
    same(found, ar())
    assert (sampling, encoder) == (Sampling(), DEFAULT_TEXT_ENCODER)


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
    save_checkpoint(tmp_path / "tae", *tae_checkpoint(tae(), MEAN, STD))
    save_checkpoint(tmp_path / "ar", *ar_checkpoint(ar(), SAMPLING, "words"))
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
    tensors, config = ar_checkpoint(ar(), SAMPLING, "words")
    config["model"][key] = value
    save_checkpoint(tmp_path / "ar", tensors, config)
    with pytest.raises(ValueError, match=said) as refusal:
        load_ar(tmp_path / "ar")
    assert "\n" not in str(refusal.value)
