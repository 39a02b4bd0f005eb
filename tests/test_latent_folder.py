"""Latent folders: what is written is read; a run that stopped anywhere goes on, and nothing is lost or made twice."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import dataset.latent_folder
from dataset.latent_folder import Entry, LatentFolder, digest, entries, places_of
from utils.arrays import write_rows

LENGTHS = dict(a=3, b=1, c=4, d=2, e=5)
PLACES = places_of(LENGTHS)
END = torch.tensor([0.5, 0.25])
CAPTIONS = ["", "a person walks", "he waves", "a man bows down", "she runs and turns around"]
MADE_OF = dict(latents=digest("latents"), encoder=digest("encoder"), texts=digest(*CAPTIONS))


class Stop(Exception):
    """What ends a run."""


class Encoder:
    """Two numbers of a sentence, or of each of its words and two marks. It stops at its call number `stop`."""
    dim = 2

    def __init__(self, kind: str, stop: int = 99):
        self.kind, self.stop, self.asked = kind, stop, []

    def encode(self, sentences: list[str]) -> list[Tensor]:
        if len(self.asked) == self.stop:
            raise Stop
        self.asked.append(list(sentences))
        words = [["", *sentence.split(), ""] if self.kind == "tokens" else [sentence] for sentence in sentences]
        texts = [torch.tensor([[len(word), sum(map(ord, word)) % 97] for word in row]).float() for row in words]
        return texts if self.kind == "tokens" else [text[0] for text in texts]


def latents_of(name: str) -> Tensor:
    return torch.full((LENGTHS[name], 2), float(ord(name)))


def make(path: Path, kind: str, captions: list[str] = CAPTIONS, encoder: Encoder | None = None,
         stop: int = 99) -> list[str]:
    """A run of get_latent.py in small; after `stop` clips it ends -> the clips that it encoded."""
    folder, encoded = LatentFolder(path), []
    made_of = MADE_OF | dict(texts=digest(*captions))
    folder.resume()
    kept = folder.kept(made_of, PLACES, 2, kind)
    done = PLACES.keys() if kept.latents else folder.clips_in_parts(made_of["latents"])

    def share():
        for name in sorted(PLACES.keys() - done):
            if len(encoded) == stop:
                raise Stop
            encoded.append(name)
            yield name, latents_of(name)

    folder.add_latents(made_of["latents"], share())
    if not kept.latents:
        folder.join_latents(made_of["latents"], PLACES, END)
    if not kept.texts:
        folder.write_texts(kind, captions, encoder or Encoder(kind), made_of["encoder"], kept.known)
    folder.finish(dict(dataname="x", tae="0", text_encoder="words", text=kind, latent_scale=2.0, stop_threshold=0.1,
                       nearest=0.2, end_latent=END.tolist(), made_of=made_of),
                  {name: Entry(split="train", group="", rows=rows, captions=[(1, 0.0, 0.0)])
                   for name, rows in PLACES.items()})
    return encoded


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


@pytest.fixture(autouse=True)
def in_pairs(monkeypatch):
    """Two clips or captions at once, so that few make several parts."""
    monkeypatch.setattr(dataset.latent_folder, "CHUNK", 2)


@pytest.mark.parametrize("kind", ["vector", "tokens"])
def test_what_is_written_is_read(tmp_path, kind):
    encoder = Encoder(kind)
    make(tmp_path, kind, encoder=encoder)
    folder = LatentFolder(tmp_path)
    latents, texts, index = folder.latents(2), folder.texts(kind), folder.index()
    for name, entry in entries(index):
        rows = torch.from_numpy(latents[slice(*entry.rows)].copy())
        assert torch.equal(rows, torch.cat([latents_of(name), END[None]])) and entry.past == 0
    assert list(dict(entries(index))) == list(LENGTHS) and index["text"] == kind
    assert folder.captions() == CAPTIONS and len(texts) == len(CAPTIONS) and texts.dim == 2
    for number, expected in enumerate(Encoder(kind).encode(CAPTIONS)):
        assert torch.equal(texts[number], expected)
    assert encoder.asked == [CAPTIONS[:2], CAPTIONS[2:4], CAPTIONS[4:]]


@pytest.mark.parametrize("kind", ["vector", "tokens"])
@pytest.mark.parametrize("calls", [0, 1, 2])
def test_texts_go_on_where_they_stopped(tmp_path, kind, calls):
    """The same bytes as without a stop, no caption encoded twice, and no trace of the stop."""
    make(tmp_path / "whole", kind)
    stopped, encoder = Encoder(kind, stop=calls), Encoder(kind)
    with pytest.raises(Stop):
        make(tmp_path / "stopped", kind, encoder=stopped)
    assert make(tmp_path / "stopped", kind, encoder=encoder) == []
    assert stopped.asked + encoder.asked == [CAPTIONS[:2], CAPTIONS[2:4], CAPTIONS[4:]]
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


def test_latents_go_on_where_they_stopped(tmp_path):
    """Pairs that were put away are not encoded again."""
    make(tmp_path / "whole", "vector")
    with pytest.raises(Stop):
        make(tmp_path / "stopped", "vector", stop=3)
    assert make(tmp_path / "stopped", "vector") == ["c", "d", "e"]
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


@pytest.mark.parametrize("moves", range(4))
def test_a_stop_while_files_take_their_places(tmp_path, monkeypatch, moves):
    """Of another run's: the next one ends what was begun, and encodes nothing."""
    make(tmp_path / "whole", "tokens", CAPTIONS[::-1])
    make(tmp_path / "stopped", "tokens")
    replace, moved = os.replace, []

    def stopping(source, target):
        if Path(source).parent.name == ".new" != Path(target).parent.name:
            if len(moved) == moves:
                raise Stop
            moved.append(source)
        replace(source, target)

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(os, "replace", stopping)
        make(tmp_path / "stopped", "tokens", CAPTIONS[::-1])
    assert not (tmp_path / "stopped" / "index.json").exists()
    encoder = Encoder("tokens")
    assert make(tmp_path / "stopped", "tokens", CAPTIONS[::-1], encoder) == [] and not encoder.asked
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


def test_an_earlier_run_is_whole_until_the_next_one_is(tmp_path):
    make(tmp_path, "tokens")
    before = contents(tmp_path)
    with pytest.raises(Stop):
        make(tmp_path, "tokens", [*CAPTIONS, "1", "2", "3"], Encoder("tokens", stop=1))
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


@pytest.mark.parametrize("kind", ["vector", "tokens"])
def test_known_captions_are_not_encoded_again(tmp_path, kind):
    """Whatever their order; also after a stop between."""
    make(tmp_path / "changed", kind)
    captions, stopped, encoder = ["", "new", *CAPTIONS[:2:-1], "newer", "newest"], Encoder(kind, stop=1), Encoder(kind)
    with pytest.raises(Stop):
        make(tmp_path / "changed", kind, captions, stopped)
    make(tmp_path / "changed", kind, captions, encoder)
    assert stopped.asked + encoder.asked == [["new", "newer"], ["newest"]]
    make(tmp_path / "again", kind, captions)
    assert contents(tmp_path / "changed") == contents(tmp_path / "again")


def test_parts_of_another_encoder_or_tae_are_not_used(tmp_path, monkeypatch):
    with pytest.raises(Stop):
        make(tmp_path, "vector", encoder=Encoder("vector", stop=2))
    monkeypatch.setitem(MADE_OF, "encoder", digest("another encoder"))
    monkeypatch.setitem(MADE_OF, "latents", digest("another tae"))
    encoder = Encoder("vector")
    assert make(tmp_path, "vector", encoder=encoder) == list(LENGTHS) and sum(encoder.asked, []) == CAPTIONS


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("parts", [[], [0], [3], [1, 0, 5], [1] * 40])
def test_rows_are_what_numpy_saves(tmp_path, dtype, parts):
    whole = np.random.default_rng(0).normal(size=(sum(parts), 7)).astype(dtype)
    with write_rows(tmp_path / "rows.npy", 7, dtype) as put:
        for rows in np.split(whole, np.cumsum(parts)[:-1]) if parts else []:
            put(rows)
    np.save(tmp_path / "saved.npy", whole)
    assert (tmp_path / "rows.npy").read_bytes() == (tmp_path / "saved.npy").read_bytes()


def test_rows_come_whole_or_not_at_all(tmp_path):
    with pytest.raises(Stop), write_rows(tmp_path / "rows.npy", 7, np.float32) as put:
        put(np.zeros((3, 7)))
        raise Stop
    assert not list(tmp_path.iterdir())
