"""What the loss of the text alone asks for, against plain loops."""

import torch

from train_t2m import QUARTERS, TextMoments


def test_moments_are_those_of_each_quarter_behind_the_past():
    torch.manual_seed(0)
    moments, latents = TextMoments(width=8, channels=3), torch.randn(3, 14, 3)
    lengths, past, pooled = torch.tensor([14, 9, 6]), torch.tensor([0, 1, 4]), torch.randn(3, 8)
    said = moments.linear(pooled).view(3, QUARTERS, 2, 3)
    errors = []
    for clip, (length, first) in enumerate(zip(lengths.tolist(), past.tolist())):
        own = latents[clip, first:length]
        for quarter in range(QUARTERS):
            part = [own[place] for place in range(len(own)) if QUARTERS * place // len(own) == quarter]
            if part:                                                      # two latents leave two quarters without
                part = torch.stack(part)
                true = torch.stack([part.mean(dim=0), part.std(dim=0, correction=0)])
                errors.append(said[clip, quarter] - true)
    expected = (torch.stack(errors) ** 2).mean()
    torch.testing.assert_close(moments(pooled, latents, lengths, past), expected, rtol=1e-4, atol=1e-5)


def test_what_counts_is_neither_padding_nor_past():
    torch.manual_seed(0)
    moments, latents = TextMoments(width=8, channels=3), torch.randn(2, 6, 3)
    lengths, past, pooled = torch.tensor([5, 6]), torch.tensor([0, 2]), torch.randn(2, 8)
    other = latents.clone()
    other[0, 5:], other[1, :2] = 7.0, -7.0
    torch.testing.assert_close(moments(pooled, other, lengths, past), moments(pooled, latents, lengths, past))
