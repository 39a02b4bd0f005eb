"""The authors' files: what loads, and what refuses with one sentence."""

import os
import pickle

import pytest
import torch
from torch import Tensor

from conftest import randomised
from models.causal_tae import CausalTAE
from models.published import load_published_ar, load_published_tae
from models.transformer import StreamingTransformer
from options.models import AR, TAE

SMALL_TAE = TAE(latent_dim=4, width=8)
SMALL_AR = AR(latent_dim=4, text_dim=6, width=24, layers=2, heads=12, head_width=16, head_depth=2)

# The authors' names, in the order of our own parameters.
STACK = [f"model.{block}.conv{number}" for block in range(3) for number in (1, 2)]
DOWN = ["0.conv", *(f"1.{name}" for name in STACK)]
UP = [*(f"0.{name}" for name in STACK), "2.conv"]
ENCODER = ["0.conv", *(f"{stage}.{name}" for stage in (2, 3) for name in DOWN), "4.conv"]
DECODER = ["0.conv", *(f"{stage}.{name}" for stage in (2, 3) for name in UP), "4.conv", "6.conv"]


def with_bias(*layers: str) -> list[str]:
    return [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]


def tae_names() -> list[str]:
    layers = [*(f"encoder.model.{name}" for name in ENCODER), "encoder.proj", "decode_proj",
              *(f"decoder.model.{name}" for name in DECODER)]
    return with_bias(*(f"tae.{layer}" for layer in layers))


def ar_names(layers: int, depth: int) -> list[str]:
    block = ["rms_1.scale", "attn.scale", "attn.c_attn.weight", "attn.c_proj.weight", "rms_2.scale",
             "mlp.c_fc1.weight", "mlp.c_fc2.weight", "mlp.c_proj.weight"]
    residual = with_bias("in_ln", "mlp.0", "mlp.2", "adaLN_modulation.1")
    head = [*with_bias("time_embed.mlp.0", "time_embed.mlp.2", "cond_embed", "input_proj"),
            *(f"res_blocks.{number}.{name}" for number in range(depth) for name in residual),
            *with_bias("final_layer.adaLN_modulation.1", "final_layer.linear")]
    return [*with_bias("transformer.cond_embed", "transformer.wte"),
            *(f"transformer.h.{number}.{name}" for number in range(layers) for name in block),
            "transformer.ln_f.scale", *with_bias("out_proj"), *(f"diff_loss.net.{name}" for name in head)]


def published_tae() -> dict[str, Tensor]:
    return dict(zip(tae_names(), randomised(CausalTAE(SMALL_TAE)).state_dict().values(), strict=True))


def published_ar() -> dict[str, Tensor]:
    state = randomised(StreamingTransformer(SMALL_AR)).state_dict()
    return dict(zip(ar_names(layers=2, depth=2), state.values(), strict=True))


def test_names_are_the_authors(golden_file):
    assert set(tae_names()) == set(golden_file("causal_tae")[1])
    assert set(ar_names(3, 2)) == set(golden_file("ar_transformer")[1])


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("enveloped", [True, False])
def test_tae_loads(tmp_path, prefix, enveloped):
    """With or without envelope and prefix; sizes come from the shapes, every tensor goes to its place."""
    state = {prefix + name: value for name, value in published_tae().items()}
    torch.save({"net": state} if enveloped else state, tmp_path / "net_last.pth")
    tae, ours = load_published_tae(tmp_path / "net_last.pth"), randomised(CausalTAE(SMALL_TAE))
    assert tae.config == SMALL_TAE and not tae.training
    motion = torch.randn(1, 8, 272)
    torch.testing.assert_close(tae.encode_normalised(motion), ours.encode_normalised(motion))
    assert not tae.has_statistics
    torch.testing.assert_close(tae.decode(torch.ones(1, 3, 4)), ours.decode(torch.ones(1, 3, 4)))


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("enveloped", [True, False])
def test_ar_loads(tmp_path, prefix, enveloped):
    state = {prefix + name: value for name, value in published_ar().items()}
    state[prefix + "transformer.h.1.attn.scale"] = torch.tensor(12.552188759557149, dtype=torch.float64)
    torch.save({"trans": state, "nb_iter": 100_000} if enveloped else state, tmp_path / "latest.pth")
    model, ours = load_published_ar(tmp_path / "latest.pth"), randomised(StreamingTransformer(SMALL_AR))
    assert model.config == SMALL_AR and not model.training
    latents, text = torch.randn(2, 5, 4), torch.randn(2, 6)
    torch.testing.assert_close(model(latents, text), ours(latents, text))
    rows = torch.randn(3, 4), torch.tensor([0, 20, 49]), torch.randn(3, 24)
    torch.testing.assert_close(model.head(*rows), ours.head(*rows))


def test_heads_that_do_not_divide_the_width_refuse():
    with pytest.raises(ValueError, match="width of 24 cannot be cut into 5 heads of even size: give heads="):
        load_published_ar({"trans": published_ar()}, heads=5)


@pytest.mark.parametrize("load, state, missing", [
    (load_published_tae, published_ar, "from_latent.weight"),
    (load_published_ar, published_tae, "latent_embed.weight"),
    (load_published_tae, lambda: {"net": published_ar()}, "from_latent.weight"),
])
def test_another_networks_file_refuses(tmp_path, load, state, missing):
    torch.save(state(), tmp_path / "other.pth")
    said = f"other.pth is a checkpoint of another network: it has no {missing}"
    with pytest.raises(ValueError, match=said):
        load(tmp_path / "other.pth")


@pytest.mark.parametrize("content", [{"net": {}}, {"net": {"lr": 0.1}}, {"epoch": 3}, [torch.ones(2)], {}])
def test_a_file_without_parameters_refuses(tmp_path, content):
    torch.save(content, tmp_path / "net_last.pth")
    with pytest.raises(ValueError, match="net_last.pth holds no parameters under 'net'"):
        load_published_tae(tmp_path / "net_last.pth")


def cut_short(state: dict[str, Tensor]) -> None:
    state["tae.encoder.proj.weight"] = state["tae.encoder.proj.weight"][:-1]


@pytest.mark.parametrize("spoil, named", [
    (lambda state: state.pop("tae.encoder.model.0.conv.weight"), "encoder.0.weight"),
    (lambda state: state.update(extra=torch.ones(1)), "extra"),
    (cut_short, "size mismatch"),
])
def test_parameters_that_do_not_fit_refuse(spoil, named):
    state = published_tae()
    spoil(state)
    with pytest.raises(ValueError, match=f"the given dictionary does not fit CausalTAE .*{named}") as refusal:
        load_published_tae({"net": state})
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_file_refuses(tmp_path, share):
    path = tmp_path / "net_last.pth"
    torch.save({"net": published_tae()}, path)
    path.write_bytes(path.read_bytes()[:int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match="net_last.pth is damaged"):
        load_published_tae(path)


def test_a_missing_file_refuses(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.pth"):
        load_published_ar(tmp_path / "nowhere.pth")


class Code:
    """A pickle that would make a folder when read."""

    def __init__(self, folder) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("load, envelope", [(load_published_tae, "net"), (load_published_ar, "trans")])
def test_code_in_a_file_does_not_run(tmp_path, load, envelope):
    torch.save({envelope: {"tae.decode_proj.weight": Code(tmp_path / "ran")}}, tmp_path / "torch.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps({envelope: Code(tmp_path / "ran")}, protocol=2))
    for name in ("torch.pth", "bare.pth"):
        with pytest.raises(ValueError, match=f"{name} is damaged or holds more than tensors"):
            load(tmp_path / name)
    assert not (tmp_path / "ran").exists()
