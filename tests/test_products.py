"""Products of training, against F.linear."""

import pytest
import torch
import torch.nn.functional as F

from models import products
from models.products import linear

needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")


@needs_onednn
@pytest.mark.parametrize("shape", [(5,), (2, 7, 5), (1, 1, 5), (0, 5)])
def test_values_and_gradients_are_those_of_the_library(shape, monkeypatch):
    monkeypatch.setattr(products, "PART", 4)
    x, weight, bias = torch.randn(shape), torch.randn(3, 5), torch.randn(3)
    weight = weight.T.contiguous().T                                      # also where it lies otherwise in memory
    towards, found = torch.randn(*shape[:-1], 3), []
    for product in (linear, F.linear):
        given = [tensor.detach().requires_grad_() for tensor in (x, weight, bias)]
        result = product(*given)
        result.backward(towards)
        found.append([result, *(tensor.grad for tensor in given)])
    for ours, library in zip(*found):
        torch.testing.assert_close(ours, library)


@needs_onednn
def test_only_training_in_float32_is_by_onednn(monkeypatch):
    calls, by_onednn = [], products.onednn
    monkeypatch.setattr(products, "onednn", lambda *given: calls.append(0) or by_onednn(*given))
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
