"""Attention and its parts against plain references; cached equals full."""

import math

import pytest
import torch
import torch.nn.functional as F

from conftest import randomised
from generation.fast import cache
from models.attention import Attention, Block, CrossAttention, RMSNorm, SwiGLU, rope_table, rotate


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
    torch.testing.assert_close(rotate(x, rope_table(torch.arange(7, 12), 8)), expected)


def test_rope_knows_distances_only():
    q, k = torch.randn(2, 1, 1, 1, 8)

    def score(at_q: int, at_k: int) -> torch.Tensor:
        return (rotate(q, rope_table(torch.tensor([at_q]), 8)) * rotate(k, rope_table(torch.tensor([at_k]), 8))).sum()

    torch.testing.assert_close(score(5, 2), score(40, 37))
    torch.testing.assert_close(score(5, 2), score(1_000_005, 1_000_002))    # after a day and a half
    assert (score(5, 2) - score(5, 4)).abs() > 1e-3


def test_attention_equals_a_plain_reference():
    attention, x = tiny_attention(), torch.randn(7, 16)
    expected = []
    for head in range(2):
        mine = slice(8 * head, 8 * head + 8)
        q, k, v = ((x @ weight.T)[:, mine] for weight in attention.qkv.weight.chunk(3))
        q, k = (rotate(y / y.norm(dim=-1, keepdim=True), rope_table(torch.arange(7), 8)) for y in (q, k))
        rows = []
        for i in range(7):
            share = (math.log2(12 ** 2 - 12) * k[:i + 1] @ q[i]).softmax(dim=0)
            rows.append(share @ v[:i + 1])
        expected.append(torch.stack(rows))
    expected = torch.cat(expected, dim=-1) @ attention.out.weight.T
    torch.testing.assert_close(attention(x[None], rope_table(torch.arange(7), 8))[0], expected)


@pytest.mark.parametrize("count, read", [(1, 1), (1, 4), (1, 12), (3, 3), (3, 5)])
def test_steps_equal_a_whole_pass(count, read):
    """However much is read at once, behind so many positions of text; beyond the context, as one pass with a band."""
    attention, x, last = tiny_attention(), torch.randn(2, 40, 16), 12 - count
    rope = rope_table(torch.arange(read), 8)
    pieces, (_, keys, values) = [attention(x[:, :read], rope)], attention.split_heads(attention.qkv(x[:, :read]))
    k, v = (F.pad(part, (0, 0, 0, 12 - read)) for part in (rotate(keys, rope), values))
    for position in range(read, 40):
        of_text = [max(position - 11, 0) + place for place in range(count)]
        rope = rope_table(torch.tensor([[position, position, *of_text]]), 8)[:, :, None]
        slots = torch.tensor([count + (position - count) % last, *range(count)])[:, None].expand(2, 2, 1 + count, 8)
        mask = torch.zeros(2, 1, 1, 12).masked_fill(torch.arange(12) > position, -math.inf)
        pieces.append(cache.attend(attention, x[:, position:position + 1], rope, k, v, keys[:, :, :count], slots, mask))
    torch.testing.assert_close(torch.cat(pieces, dim=1), banded(attention, x, context=12, count=count))


def banded(attention: Attention, x: torch.Tensor, context: int, count: int = 1) -> torch.Tensor:
    """One pass over x (B, L, D): each position sees the text, the first `count`, as if at most the context away, and
    the last context - count latents, itself included; the text sees itself as always."""
    at = torch.arange(x.shape[1])
    q, k, v = attention.split_heads(attention.qkv(x))
    scores = rotate(q, rope_table(at, 8)) @ rotate(k, rope_table(at, 8)).mT
    far = rotate(q, rope_table(at.clamp(max=context - 1), 8))
    scores[..., :count] = far @ rotate(k, rope_table(at, 8))[:, :, :count].mT
    scores *= attention.scale
    distance = at[:, None] - at
    unseen = (distance < 0) | (distance >= context - count) & (at >= count)
    x = scores.masked_fill(unseen, -math.inf).softmax(dim=-1) @ v
    return attention.out(x.transpose(1, 2).flatten(-2))


def test_cross_attention_sees_the_tokens_and_no_padding():
    """By hand for each row, head and position; what stands behind the mask changes nothing."""
    attention = randomised(CrossAttention(16, 2))
    x, states, mask = torch.randn(2, 5, 16), torch.randn(2, 6, 16), torch.arange(6) < torch.tensor([[6], [4]])
    found = attention(x, *attention.keys_values(states), mask)
    for row, tokens in enumerate((6, 4)):
        q = attention.query(x[row]).unflatten(-1, (2, 8))
        k, v = attention.key_value(states[row, :tokens]).unflatten(-1, (2, 2, 8)).unbind(1)
        shares = torch.einsum("lhd,nhd->hln", q, k).div(8 ** 0.5).softmax(dim=-1)
        expected = torch.einsum("hln,nhd->lhd", shares, v).flatten(1) @ attention.out.weight.T
        torch.testing.assert_close(found[row], expected)


def test_block_adds_to_its_input():
    block, x = randomised(Block(16, 2, 12)), torch.randn(2, 5, 16)
    rope = rope_table(torch.arange(5), 8)
    inner = x + block.attention(block.norm_attention(x), rope)
    torch.testing.assert_close(block(x, rope), inner + block.mlp(block.norm_mlp(inner)))


def test_scale_is_stored_and_never_learns():
    attention = Attention(16, 2, context=78)
    assert float(attention.state_dict()["scale"]) == pytest.approx(12.552189, abs=1e-6)
    assert "scale" not in dict(attention.named_parameters())
