"""Networks packed for inference, against the same networks as they were."""

import copy
import weakref

import pytest
import torch
from torch import nn

from conftest import assert_relative, randomised
from generation.fast import accelerate, layers
from generation.fast.layers import OneDNN, PackedConv, packed
from generation.streams import LatentStreams, Row, noise_of
from models.causal_tae import CausalConv1d, CausalTAE
from models.head import DiffusionHead
from models.transformer import StreamingTransformer
from options.models import AR, TAE
from options.sampling import PRECISIONS, Calibration, Sampling

CLOSE = {"float32": 1e-4, "bfloat16": 0.02, "int8": 0.1}     # of the largest value
each_precision = pytest.mark.parametrize("precision", PRECISIONS)


@each_precision
@pytest.mark.parametrize("processor", [{}, dict(avx512_bf16=True), dict(avx512_bf16=True, cpu_name="Intel(R) Xeon(R)")])
@pytest.mark.parametrize("packed_for", [2, 12])
@pytest.mark.parametrize("rows", [(2,), (50, 2), (1, 3, 4), (0,)])
def test_a_packed_layer_is_that_layer(precision, processor, packed_for, rows, monkeypatch):
    if precision == "bfloat16" and processor and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("oneDNN has no bfloat16 on this processor")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: processor)
    layer, x = nn.Linear(64, 96), torch.randn(*rows, 64)
    with torch.no_grad():
        found, expected = packed(layer.weight, layer.bias, precision, packed_for)(x), layer(x)
    assert found.dtype == torch.float32 and found.shape == expected.shape
    if expected.numel():
        assert_relative(found, expected, CLOSE[precision])


@each_precision
def test_fewer_bits_lose_something(precision):
    """Else the precision asked for is not what runs."""
    layer, x = nn.Linear(64, 96, bias=False), torch.randn(5, 64)
    with torch.no_grad():
        error = (packed(layer.weight, None, precision)(x) - layer(x)).abs().max() / layer(x).abs().max()
    assert {"float32": 0, "bfloat16": 1e-5, "int8": 1e-3}[precision] <= error <= CLOSE[precision]


@each_precision
@pytest.mark.parametrize("text", [dict(), dict(text="tokens", text_positions=2, cross_every=2)])
def test_streams_and_decodes_as_before(precision, text):
    torch.manual_seed(0)
    config = AR(latent_dim=4, text_dim=6, width=64, layers=2, heads=2, context=12, head_width=64, head_depth=2, **text)
    ar = randomised(StreamingTransformer(config), 0.1)
    tae = randomised(CausalTAE(TAE(latent_dim=4, width=64)), 0.05)
    text, empty = torch.randn(2, 5, 6)[..., :5 if config.text == "tokens" else 1, :].squeeze(1)

    def latents(model: StreamingTransformer) -> torch.Tensor:
        calibration = Calibration(stop_threshold=0.0, end_latent=(0.0,) * 4)
        streams = LatentStreams(model, calibration, Sampling(guidance=1.5), empty)
        streams.start(Row(text, torch.empty(0, 4), noise_of(0, 4)))
        return torch.stack([streams.step()[0] for _ in range(3)])

    with torch.no_grad():
        sampled, frames = latents(ar), tae.decode(torch.ones(1, 5, 4))
        small, decoder = accelerate(copy.deepcopy(ar), precision), accelerate(tae, precision)
        assert_relative(latents(small), sampled, 5 * CLOSE[precision])
        assert_relative(decoder.decode(torch.ones(1, 5, 4)), frames, 2 * CLOSE[precision])
    assert not any(parameter.requires_grad for parameter in small.parameters())
    left = [layer for model in (small, decoder) for layer in model.modules()
            if isinstance(layer, nn.Linear) or isinstance(layer, CausalConv1d) and not isinstance(layer, PackedConv)]
    assert not left


def test_latents_keep_float32():
    """A layer from or to the latents, and any other as narrow, loses nothing."""
    layer, x = nn.Linear(16, 96).requires_grad_(False), torch.randn(5, 16)
    assert_relative(packed(layer.weight, layer.bias, "int8")(x), layer(x), 1e-6)


def test_unknown_precision_and_device():
    with pytest.raises(ValueError, match="precision 'int4': expected one of float32, bfloat16, int8"):
        accelerate(nn.Linear(2, 2), "int4")
    with pytest.raises(ValueError, match="int8 is for CPUs, and the model is on meta: give --device cpu or"):
        accelerate(nn.Linear(2, 2, device="meta"), "int8")


def test_what_explodes_is_not_finite():
    """As in the other precisions, so that it is found where motions are checked."""
    layer, x = nn.Linear(64, 96).requires_grad_(False), torch.full((2, 64), torch.nan)
    assert packed(layer.weight, layer.bias, "int8")(x).isnan().all()


def test_a_network_is_packed_once():
    tae = accelerate(CausalTAE(TAE(latent_dim=4, width=64)), "float32")
    with pytest.raises(ValueError, match="changed for inference before: load it again"):
        accelerate(tae, "int8")


def test_float32_is_packed_where_there_is_onednn(monkeypatch):
    """But for few rows on an Intel processor, where PyTorch's own layer is the quicker."""
    for name, rows, quicker in (("AMD EPYC", 2, False), ("Intel(R) Xeon(R)", 2, True), ("Intel(R) Xeon(R)", 12, False)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict(cpu_name=name))
        is_packed = isinstance(packed(torch.randn(64, 64), None, "float32", rows), OneDNN)
        assert is_packed == (torch.backends.mkldnn.is_available() and not quicker)


def test_what_is_replaced_is_freed_before_more_is_made(monkeypatch):
    """Else a network of a gigabyte needs two."""
    head = DiffusionHead(latent_dim=4, condition_dim=64, width=64, depth=2)
    weights, alive = [weakref.ref(layer.weight) for layer in head.modulations()], []
    monkeypatch.setattr(layers, "packed", lambda weight, *given: alive.append(
        (len(weight), sum(one() is not None for one in weights))) or packed(weight, *given))
    accelerate(head, "float32")
    assert alive[0] == ((3 * 2 + 2) * 64, 0)
