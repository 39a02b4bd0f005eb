"""Attention and its parts against plain references; cached equals full."""

import math

import pytest
import torch
import torch.nn.functional as F

from conftest import randomised
from models.attention import Attention, Block, RMSNorm, SwiGLU, rope_table, rotate


def tiny_attention() -> Attention:
    return randomised(Attention(width=16, heads=2, context=12), 0.5)


def test_rms_norm():
    norm, x = randomised(RMSNorm(6)), torch.randn(3, 6)
    expected = x / (x.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt() * norm.scale
    torch.testing.assert_close(norm(x), expected)


def test_swiglu():
    mlp, x = randomised(SwiGLU(16)), torch.randn(3, 16)
    torch.testing.assert_close(mlp(x), mlp.out(F.silu(mlp.gate(x)) * mlp.value(x)))
    assert SwiGLU(768).gate.out_features == 2048 and mlp.gate.out_features == 256


def test_rope_turns_complex_pairs():
    """Pair i at position p is multiplied by exp(1j p 10000^(-2i/dim))."""
    x = torch.randn(2, 3, 5, 8)
    turn = torch.tensor([[10000 ** (-2 * i / 8) * position for i in range(4)] for position in range(7, 12)])
    turned = torch.view_as_complex(x.unflatten(-1, (4, 2))) * torch.polar(torch.ones(5, 4), turn)
    expected = torch.view_as_real(turned).flatten(-2)
    torch.testing.assert_close(rotate(x, rope_table(7, 5, 8, "cpu")), expected)


def test_rope_knows_distances_only():
    q, k = torch.randn(2, 1, 1, 1, 8)

    def score(at_q: int, at_k: int) -> torch.Tensor:
        return (rotate(q, rope_table(at_q, 1, 8, "cpu")) * rotate(k, rope_table(at_k, 1, 8, "cpu"))).sum()

    torch.testing.assert_close(score(5, 2), score(40, 37))
    assert (score(5, 2) - score(5, 4)).abs() > 1e-3


def test_attention_equals_a_plain_reference():
    attention, x = tiny_attention(), torch.randn(7, 16)
    expected = []
    for head in range(2):
        mine = slice(8 * head, 8 * head + 8)
        q, k, v = ((x @ weight.T)[:, mine] for weight in attention.qkv.weight.chunk(3))
        q, k = (rotate(y / y.norm(dim=-1, keepdim=True), rope_table(0, 7, 8, "cpu")) for y in (q, k))
        rows = []
        for i in range(7):
            share = (math.log2(12 ** 2 - 12) * k[:i + 1] @ q[i]).softmax(dim=0)
            rows.append(share @ v[:i + 1])
        expected.append(torch.stack(rows))
    expected = torch.cat(expected, dim=-1) @ attention.out.weight.T
    torch.testing.assert_close(attention(x[None], rope_table(0, 7, 8, "cpu"))[0], expected)


@pytest.mark.parametrize("split", [[9], [8, 1], [4, 5], [1, 3, 2, 3], [1] * 9])
def test_cached_attention_equals_full(split):
    """However the past is cut into steps, the cache changes nothing."""
    attention, x, cache = tiny_attention(), torch.randn(2, 9, 16), {}
    pieces, first = [], 0
    for piece in x.split(split, dim=1):
        pieces.append(attention(piece, rope_table(first, piece.shape[1], 8, "cpu"), cache))
        first += piece.shape[1]
    torch.testing.assert_close(torch.cat(pieces, dim=1), attention(x, rope_table(0, 9, 8, "cpu")))


def test_block_adds_to_its_input():
    block, x = randomised(Block(16, 2, 12)), torch.randn(2, 5, 16)
    rope = rope_table(0, 5, 8, "cpu")
    inner = x + block.attention(block.norm_attention(x), rope)
    torch.testing.assert_close(block(x, rope), inner + block.mlp(block.norm_mlp(inner)))


def test_scale_is_stored_and_never_learns():
    attention = Attention(16, 2, context=78)
    assert float(attention.state_dict()["scale"]) == pytest.approx(12.552189, abs=1e-6)
    assert "scale" not in dict(attention.named_parameters())
