"""What makes training fast, against the library and the plain networks."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import train_t2m
from conftest import assert_relative, randomised
from generation.fast import training
from generation.fast.training import Convolution, accelerate_training, compile_training, linear
from models.causal_tae import CausalConv1d, CausalTAE
from models.mosa.transformer import ScaleTransformer
from models.transformer import StreamingTransformer
from models.two_forward import two_forward_loss
from options.models import SAR, TAE, Codes


@pytest.fixture
def onednn(monkeypatch):
    """oneDNN's layers on a processor for which they are too slow, too."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this PyTorch has no oneDNN")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")


@pytest.mark.usefixtures("onednn")
@pytest.mark.parametrize("shape", [(5,), (2, 7, 5), (1, 1, 5), (0, 5)])
def test_values_and_gradients_are_those_of_the_library(shape, monkeypatch):
    monkeypatch.setattr(training, "PART", 4)
    x, weight, bias = torch.randn(shape), torch.randn(3, 5), torch.randn(3)
    weight = weight.T.contiguous().T                                      # also where it lies otherwise in memory
    towards, found = torch.randn(*shape[:-1], 3), []
    for layer in (linear, F.linear):
        given = [tensor.detach().requires_grad_() for tensor in (x, weight, bias)]
        result = layer(*given)
        result.backward(towards)
        found.append([result, *(tensor.grad for tensor in given)])
    for ours, library in zip(*found):
        torch.testing.assert_close(ours, library)


@pytest.mark.usefixtures("onednn")
def test_only_training_in_float32_is_by_onednn(monkeypatch):
    calls, matmul = [], training.matmul
    monkeypatch.setattr(training, "matmul", lambda *given: calls.append(0) or matmul(*given))
    x, weight, bias = torch.randn(2, 5), torch.randn(3, 5, requires_grad=True), torch.randn(3)
    linear(x, weight, bias).sum().backward()
    assert len(calls) == 2                                                # x needs no gradient
    calls.clear()
    linear(x.double(), weight.double(), bias.double())
    with torch.no_grad():
        linear(x, weight, bias)
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(x, weight, bias).dtype == torch.bfloat16
    assert not calls


@pytest.mark.usefixtures("onednn")
@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_what_needs_no_gradient_gets_none(frozen):
    x, weight, bias = given = [torch.randn(2, 7, 5), torch.randn(4, 15), torch.randn(4)]
    needed = [tensor.requires_grad_() for place, tensor in enumerate(given) if place != frozen]
    frames = [slice(0, 5), slice(1, 6), slice(2, 7)]
    for result in (linear(x, weight[:, :5], bias), Convolution.apply(x, weight, bias, frames)):
        gradients = torch.autograd.grad(result.square().sum(), needed, create_graph=True)
        assert all(gradient.abs().sum() > 0 for gradient in gradients) and given[frozen].grad is None
        with pytest.raises(RuntimeError, match="once_differentiable"):
            sum(gradient.sum() for gradient in gradients).backward()


def test_no_clips_and_no_frames():
    weight, bias = torch.randn(4, 15, requires_grad=True), torch.randn(4, requires_grad=True)
    frames = [slice(0, 5), slice(1, 6), slice(2, 7)]
    nothing = [slice(first, first) for first in range(3)]
    for x, at, shape in ((torch.randn(0, 7, 5), frames, (0, 5, 4)), (torch.randn(2, 2, 5), nothing, (2, 0, 4))):
        found = Convolution.apply(x, weight, bias, at)
        found.sum().backward()
        assert found.shape == shape and not weight.grad.any() and not bias.grad.any()


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.02)])
@pytest.mark.parametrize("stride, dilation", [(1, 1), (1, 3), (2, 1)])
@pytest.mark.parametrize("at_once", [1, 1000])
def test_a_convolution_is_that_of_the_library(stride, dilation, dtype, tolerance, at_once, monkeypatch):
    """Values and gradients; in few bits the gradients of weight and bias keep theirs."""
    monkeypatch.setattr(training, "PART", at_once)
    weights = torch.float64 if dtype == torch.float64 else torch.float32
    x, weight, bias = torch.randn(3, 12, 5).to(dtype), torch.randn(4, 5, 3).to(weights), torch.randn(4).to(weights)
    frames = [slice(tap * dilation, tap * dilation + 12 - 2 * dilation, stride) for tap in range(3)]
    given = [tensor.requires_grad_() for tensor in (x, weight, bias)]
    found = Convolution.apply(x, weight.mT.flatten(1), bias, frames)
    towards = torch.randn(found.shape).to(dtype)
    gradients = torch.autograd.grad(found, given, towards)
    assert [gradient.dtype for gradient in gradients] == [dtype, weights, weights]
    exact = [tensor.detach().double().requires_grad_() for tensor in given]
    expected = F.conv1d(exact[0].mT, exact[1], exact[2], stride, dilation=dilation).mT
    assert_relative(found.double(), expected, tolerance)
    for ours, library in zip(gradients, torch.autograd.grad(expected, exact, towards.double())):
        assert_relative(ours.double(), library, tolerance)


@pytest.mark.parametrize("grad", [True, False])
def test_an_accelerated_tae_is_the_plain_one(grad):
    """Values and gradients; parameters have the same names, and are the same objects."""
    plain, fast = (CausalTAE(TAE(latent_dim=4, width=8)) for _ in range(2))
    motion = torch.randn(2, 16, 272)
    fast.load_state_dict(plain.state_dict())
    before = dict(fast.named_parameters())
    accelerate_training(fast)
    after = dict(fast.named_parameters())
    assert before.keys() == after.keys() and all(before[name] is after[name] for name in before)
    assert not any(type(layer) is CausalConv1d for layer in fast.modules())
    with torch.set_grad_enabled(grad):
        found = [tae.decode(tae.encode(motion)) for tae in (plain, fast)]
    assert_relative(found[1], found[0])
    if grad:
        ours, library = (torch.autograd.grad(decoded.square().sum(), list(tae.parameters())[:-1], allow_unused=True)
                         for decoded, tae in zip(found, (plain, fast)))
        for one, other in zip(ours, library):
            assert_relative(one, other, 1e-4)


@pytest.fixture
def shapes(monkeypatch):
    """What would be compiled, function by function; the compiler itself is left out, since it takes minutes."""
    shapes = set()

    def record(function, **_):
        def call(module, *given):
            shapes.add((function, *(one.shape for one in given if isinstance(one, torch.Tensor))))
            return function(module, *given)
        return call
    monkeypatch.setattr(torch, "compile", record)
    training.compiled.cache_clear()
    yield shapes
    training.compiled.cache_clear()


def assert_alike(models, loss_of):
    """Loss and each gradient of both. Keys' biases have none but for rounding: all may differ by so much."""
    found = []
    for model in models:
        torch.manual_seed(0)
        loss = loss_of(model)
        found.append((loss, *torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)))
    ours, other = found
    assert [one is None for one in ours] == [one is None for one in other]
    most = max(float(one.detach().abs().max()) for one in ours if one is not None)
    for one, same in zip(ours, other):
        if one is not None:
            torch.testing.assert_close(same, one, rtol=0, atol=1e-4 * float(one.detach().abs().max()) + 1e-8 * most)


@pytest.mark.parametrize("text", ["vector", "tokens"])
def test_compiled_steps_are_the_plain_ones_at_few_shapes(text, shapes):
    config = replace(train_t2m.TINY, text=text, text_positions=1, cross_every=2 * (text == "tokens"),
                     text_everywhere=True)
    model = randomised(accelerate_training(StreamingTransformer(config)))
    plain, compiled = model, copy.deepcopy(model)
    compile_training(compiled)
    for clips, count, tokens in ((3, 9, 5), (3, 14, 30), (3, 15, 32)):
        latents, lengths = torch.randn(clips, count, config.latent_dim), torch.tensor([count, 1, count - 3])
        texts = torch.randn(clips, tokens, config.text_dim)
        texts[0, tokens - 2:] = 0
        assert_alike((plain, compiled), lambda one: two_forward_loss(
            one, latents, lengths, texts if text == "tokens" else texts[:, 0], 1, 2))
    assert len(shapes) == 3


def test_compiled_steps_of_mosa_are_the_plain_ones_at_few_shapes(shapes):
    plain = randomised(ScaleTransformer(SAR(16, 8, 2, 2, 16, dropout=0.0), Codes((2, 4), 8, 12, 6))).train()
    compiled = copy.deepcopy(plain)
    compile_training(compiled)
    for tokens in (5, 30, 32):
        inputs, lengths, texts = torch.randn(3, 4, 6), torch.tensor([4, 1, 3]), torch.randn(3, tokens, 16)
        texts[0, tokens - 2:] = 0
        texts[1] = 0
        assert_alike((plain, compiled), lambda one: sum(
            logits.square().mean() for logits in one(inputs, texts, lengths)))
    assert len(shapes) == 1
