"""MoSa's networks: laws that hold for any weights; the numbers are in test_golden_mosa.py."""

from dataclasses import replace

import pytest
import torch

from conftest import randomised
from models.mosa.losses import corrupted, sar_loss, scale_losses, smooth_l1
from models.mosa.quantizer import Codebook, Quantizer, columns_of_all_ranks
from models.mosa.tokenizer import CAQVAE
from models.mosa.transformer import ScaleTransformer
from options.models import CAQ, SAR, Codes

CODES = Codes((1, 3, 7, 10), 6, 9, 8)
CONFIG = CAQ(codes=CODES, width=8)


def tokenizer(config: CAQ = CONFIG) -> CAQVAE:
    model = randomised(CAQVAE(config))
    for book in model.quantizer.books:
        book.take(torch.randn(book.codes.shape))
    model.quantizer.initialised.fill_(True)
    return model.set_statistics(torch.randn(config.channels), torch.rand(config.channels) + 0.5)


def transformer(dropout: float = 0.0) -> ScaleTransformer:
    return randomised(ScaleTransformer(SAR(5, 16, 2, 2, 24, dropout), CODES), 0.1)


def some_ids(rows: int, codes: Codes = CODES) -> list[torch.Tensor]:
    return [torch.randint(count, (rows, size)) for size, count in zip(codes.scales, codes.nb_codes)]


def test_codes_grow_evenly():
    assert Codes().nb_codes == (256, 313, 370, 427, 484, 540, 597, 654, 711, 768)
    assert sum(Codes().scales) == 361 and CAQ().frames == 300
    assert replace(Codes(), shared_codebook=True).nb_codes == (768,) * 10
    for wrong in (dict(scales=(5, 5)), dict(scales=()), dict(nb_code_st=1)):
        with pytest.raises(ValueError, match="expected"):
            Codes(**wrong)


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, channels=263, phi_depth=3, phi_relu=False, depth=1),
                                    replace(CONFIG, codes=replace(CODES, shared_codebook=True), using_znorm=False)])
def test_tokenizer_round_trip_has_the_shape_that_came(config):
    """Codes decode to what the forward pass reconstructs."""
    model = tokenizer(config)
    motion = torch.randn(2, 24, config.channels)
    codes = model.encode(motion)
    decoded = model.decode(codes)
    assert decoded.shape == motion.shape and [ids.shape[1] for ids in codes.ids] == list(CODES.scales)
    padded = model.pad((motion - model.mean) / model.std, torch.tensor([24]))
    torch.testing.assert_close(model(padded)[0][:, :24] * model.std + model.mean, decoded)


def test_codes_depend_on_a_motion_alone():
    """Not on its neighbours, nor on what stands behind its length."""
    model, motion = tokenizer(), torch.randn(2, 40, 272)
    together = model.encode(motion, torch.tensor([40, 24]))
    alone = model.encode(motion[1:, :24])
    assert all(torch.equal(a[1:], b) for a, b in zip(together.ids, alone.ids))


def test_the_roots_deviation_is_divided_once():
    model = CAQVAE(CONFIG)
    assert not model.has_statistics
    std = torch.full((272,), 10.0)
    model.set_statistics(torch.zeros(272), std).set_statistics(torch.zeros(272), std)
    assert (model.std[:8] == 2).all() and (model.std[8:] == 10).all() and (std == 10).all() and model.has_statistics


@pytest.mark.parametrize("shape, said", [((1, 8, 263), "expected"), ((1, 10, 272), "multiple of 4"),
                                         ((1, 44, 272), "takes 40 at most")])
def test_other_shapes_refuse(shape, said):
    with pytest.raises(ValueError, match=said):
        tokenizer().encode(torch.zeros(shape))


def test_a_codebook_finds_what_it_holds():
    for cosine in (True, False):
        book = Codebook(7, 4, cosine)
        book.take(torch.randn(7, 4))
        assert torch.equal(book.nearest(book.codes), torch.arange(7))
        x, ids = torch.randn(30, 4), torch.randint(7, (30,))
        found = book.statistics(x, ids)
        for v in range(7):
            torch.testing.assert_close(found[v, :4], x[ids == v].sum(0))
            assert int(found[v, 4]) == int((ids == v).sum())


def test_averages_move_to_the_columns_and_dead_codes_are_replaced():
    book = Codebook(2, 3, cosine=False)
    book.take(torch.tensor([[0.0, 0, 0], [9, 9, 9]]))
    spare = torch.ones(2, 3)
    for _ in range(20):
        book.average(torch.tensor([[10.0, 20, 30, 10], [0, 0, 0, 0]]), mu=0.5, spare=spare)
    torch.testing.assert_close(book.codes, torch.tensor([[1.0, 2, 3], [1, 1, 1]]))


@pytest.mark.parametrize("ema_of", ["full", "scale"])
@pytest.mark.parametrize("shared", [True, False])
def test_a_batch_in_parts_moves_the_codebooks_as_a_whole_one_does(ema_of, shared):
    config = replace(CONFIG, ema_of=ema_of, codes=replace(CODES, shared_codebook=shared))
    whole, parts = tokenizer(config).quantizer.train(), tokenizer(config).quantizer.train()
    parts.load_state_dict(whole.state_dict())
    z = torch.randn(24, 8, 10)                                            # so many that a part has a column a code
    whole(z)
    whole.update()
    for part in z.chunk(2):
        parts(part)
    before = parts.books[0].codes.clone()
    parts.update()
    assert not torch.equal(before, parts.books[0].codes) and not parts.gathered
    for (name, a), b in zip(whole.state_dict().items(), parts.state_dict().values()):
        torch.testing.assert_close(a, b, msg=name)


def test_the_first_batch_initialises_the_codebooks():
    quantizer, z = Quantizer(CONFIG).train(), torch.randn(2, 8, 10)
    quantizer(z)
    assert quantizer.initialised and torch.equal(quantizer.books[1].codes, z.mT.flatten(0, 1)[:7])
    assert len(columns_of_all_ranks(torch.randn(4, 8), 9, random=False).unique(dim=0)) == 9    # noise on what repeats
    assert not Quantizer(CONFIG).eval()(z).ids[0].any()                   # without training nothing is set


def test_evaluation_leaves_codebooks_alone():
    model = tokenizer()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model(torch.randn(2, 40, 272))
    model.quantizer.update()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_cached_equals_teacher_forced():
    model, quantizer = transformer(), tokenizer().quantizer
    ids, text, lengths = some_ids(3), torch.randn(3, 4, 5), torch.tensor([10, 6, 1])
    text[1, 2:] = 0                                                       # padding
    inputs = quantizer.inputs(ids)[0]
    full = model(inputs, text, lengths)
    words, length = model.read(text, lengths)
    cache, parts = {}, inputs.split(CODES.scales[1:], dim=1)
    for q, expected in enumerate(full):
        found = model.logits(q, parts[q - 1] if q else None, words, length, cache)
        torch.testing.assert_close(found, expected)


def test_a_scale_sees_no_finer_one():
    model, inputs = transformer(), torch.randn(1, 20, 8)
    text, lengths = torch.randn(1, 4, 5), torch.tensor([10])
    other = inputs.clone()
    other[:, 10:] += 1                                                    # the finest scale's
    before, after = model(inputs, text, lengths), model(other, text, lengths)
    assert all(torch.equal(a, b) for a, b in zip(before[:3], after[:3])) and not torch.equal(before[3], after[3])


def test_padding_of_a_text_is_not_seen():
    model, inputs, lengths = transformer(), torch.randn(1, 20, 8), torch.tensor([10])
    text = torch.randn(1, 4, 5)
    padded = torch.cat([text, torch.zeros(1, 3, 5)], dim=1)
    for a, b in zip(model(inputs, text, lengths), model(inputs, padded, lengths)):
        torch.testing.assert_close(a, b)
    for a, b in zip(model(inputs, 0 * text, lengths), model(inputs, 0 * padded, lengths)):
        torch.testing.assert_close(a, b)                                  # no text is no text, however long


def test_dropout_is_drawn_in_training_alone():
    model, given = transformer(0.5), (torch.randn(2, 20, 8), torch.randn(2, 4, 5), torch.tensor([10, 3]))
    assert torch.equal(model(*given)[0], model(*given)[0])
    model.train()
    assert not torch.equal(model(*given)[0], model(*given)[0])


def test_training_attends_as_generation_does():
    """Logits and gradients, with padding behind a text and under the scales' mask."""
    model, text = transformer(0.0), torch.randn(2, 4, 5)
    text[0, 2:] = 0
    found = []
    for training in (False, True):
        logits = model.train(training)(torch.randn(2, 20, 8, generator=torch.Generator().manual_seed(0)), text,
                                       torch.tensor([10, 3]))
        loss = sum(one.square().sum() for one in logits)
        found.append((*logits, *torch.autograd.grad(loss, list(model.parameters()))))
    for generated, trained in zip(*found):
        torch.testing.assert_close(trained, generated, rtol=1e-4, atol=1e-5 * float(found[0][-1].abs().max()))


def test_losses_by_hand():
    a, b = torch.zeros(1, 2, 3), torch.tensor([[[0.5, 0, 0], [2, 2, 2]]])
    assert float(smooth_l1(a, b)) == pytest.approx((0.125 + 3 * 1.5) / 6)
    assert float(smooth_l1(a, b, torch.tensor([[True, False]]))) == pytest.approx(0.125 / 3)
    logits = [torch.zeros(1, 2, 4), torch.zeros(1, 3, 5)]
    ids = [torch.zeros(1, 2, dtype=int), torch.ones(1, 3, dtype=int)]
    losses, accuracies = scale_losses(logits, ids)
    assert [float(one) for one in losses] == pytest.approx([1.386294, 1.609438])
    assert [float(one) for one in accuracies] == [1, 0]
    assert float(sar_loss(losses, 2.0)) == pytest.approx(1.386294 + 2 * 1.609438)


def test_corrupted_codes_keep_their_share():
    ids = [torch.full((200, 50), 3)]
    assert torch.equal(corrupted(ids, [8], 1.0)[0], ids[0])
    assert float((corrupted(ids, [8], 0.5)[0] == 3).float().mean()) == pytest.approx(0.5 + 0.5 / 8, abs=0.02)
    shares = [float((corrupted(ids, [1000], -1)[0] == 3).float().mean()) for _ in range(20)]
    assert min(shares) < 0.3 and max(shares) > 0.7
