"""CLIP's text tower, on a tiny network with random weights."""

import json

import pytest
import torch

from models.mosa.text import ClipText, token_encoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from transformers import CLIPTextConfig, CLIPTextModel

    path = tmp_path_factory.mktemp("models") / "tiny-clip"
    path.mkdir()
    letters = [chr(code) for code in range(97, 123)]
    vocabulary = ["!", *letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (path / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(vocabulary)}))
    (path / "merges.txt").write_text("#version: 0.2\n")
    last = len(vocabulary) - 1
    torch.manual_seed(0)
    CLIPTextModel(CLIPTextConfig(
        vocab_size=len(vocabulary), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
        projection_dim=8, bos_token_id=last - 1, eos_token_id=last)).save_pretrained(path)
    return str(path)


def test_states_of_all_positions(folder):
    encoder = token_encoder(folder, "cpu")
    assert isinstance(encoder, ClipText) and encoder.dim == 8
    found = encoder(["walk", "walks on"])
    assert found.shape == (2, 77, 8)
    torch.testing.assert_close(found[0, :4], found[1, :4])                # causal: both begin with <start> w a l
    torch.testing.assert_close(encoder(["walk"])[0], found[0])
    torch.testing.assert_close(encoder.encode(["walk"])[0], found[0])
    assert encoder(["walk " * 100]).shape == (1, 77, 8)


def test_another_folder_refuses(tmp_path):
    (tmp_path / "clip").mkdir()
    with pytest.raises(ValueError, match="could not be loaded .*: give --text-encoder a CLIP model's name or folder"):
        token_encoder(str(tmp_path / "clip"), "cpu")
