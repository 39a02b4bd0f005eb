"""Files are written whole or not at all; damaged and hostile ones are refused."""

import io
import os
import pickle

import numpy as np
import pytest
import torch

from utils.checkpoint import (load_checkpoint, load_torch, load_training_state, newest_whole, point, prune, read_json,
                              save_checkpoint, step_folder, steps, write_json, write_whole)

TENSORS = dict(weight=torch.arange(6.0).view(2, 3), half=torch.ones(2).half(), count=torch.tensor(3))
STATE = dict(step=3, best=dict(value=float("inf")), optimizer=dict(moments=[torch.ones(400)]))


class Code:
    """A pickle that would make a folder when read."""

    def __init__(self, folder) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_write_whole(tmp_path):
    with write_whole(tmp_path / "new" / "a.npy") as temporary:
        np.save(temporary, np.ones(3))  # adds a suffix if the path has none
        assert not (tmp_path / "new" / "a.npy").exists()
    assert os.listdir(tmp_path / "new") == ["a.npy"]


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(OSError), write_whole(path) as temporary:
        temporary.write_text("half of the n")
        raise OSError("disk full")
    assert os.listdir(tmp_path) == ["a.txt"] and path.read_text() == "old"


def test_round_trip(tmp_path):
    save_checkpoint(tmp_path / "a", TENSORS, dict(width=3), STATE)
    tensors, config = load_checkpoint(tmp_path / "a")
    assert config == dict(width=3) and tensors["half"].dtype == torch.float32 and tensors["count"] == 3
    assert torch.equal(tensors["weight"], TENSORS["weight"])
    assert load_training_state(tmp_path / "a")["best"] == STATE["best"]


def test_a_failed_save_leaves_the_old_checkpoint_and_no_litter(tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "a", TENSORS, dict(width=3), STATE)

    def disk_full(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patched, pytest.raises(OSError):
        patched.setattr(torch, "save", disk_full)
        save_checkpoint(tmp_path / "a", TENSORS, dict(width=4), STATE)
    assert os.listdir(tmp_path) == ["a"] and load_checkpoint(tmp_path / "a")[1] == dict(width=3)
    save_checkpoint(tmp_path / "a", TENSORS, dict(width=4))
    assert os.listdir(tmp_path) == ["a"] and load_checkpoint(tmp_path / "a")[1] == dict(width=4)


@pytest.mark.parametrize("name", ["model.safetensors", "training.pt", "config.json"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.9])
def test_truncated_files_refuse(tmp_path, name, share):
    save_checkpoint(tmp_path / "a", TENSORS, dict(width=3), STATE)
    path = tmp_path / "a" / name
    path.write_bytes(path.read_bytes()[:int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=name) as refusal:
        load_checkpoint(tmp_path / "a")
        load_training_state(tmp_path / "a")
    assert "\n" not in str(refusal.value)


def test_foreign_and_missing_files_refuse(tmp_path):
    (tmp_path / "net_last.pth").write_text("<html>Not found</html>")
    with pytest.raises(ValueError, match="net_last.pth is damaged"):
        load_torch(tmp_path / "net_last.pth")
    with pytest.raises(FileNotFoundError, match="no file .*nowhere.pth"):
        load_torch(tmp_path / "nowhere.pth")
    with pytest.raises(FileNotFoundError, match="no model.safetensors in .* expected a checkpoint folder"):
        load_checkpoint(tmp_path)


def test_code_in_a_pickle_does_not_run(tmp_path):
    """In torch's own format and as a bare pickle, under any of a checkpoint's names."""
    save_checkpoint(tmp_path / "a", TENSORS, {}, STATE)
    in_torch_format = io.BytesIO()
    torch.save(dict(net=Code(tmp_path / "ran")), in_torch_format)
    for attack in (in_torch_format.getvalue(), pickle.dumps(Code(tmp_path / "ran"), protocol=2)):
        for name, load in (("training.pt", load_training_state), ("model.safetensors", load_checkpoint)):
            (tmp_path / "a" / name).write_bytes(attack)
            with pytest.raises(ValueError, match=f"{name} is damaged or"):
                load(tmp_path / "a")
    assert not (tmp_path / "ran").exists()
    pickle.loads(attack)
    assert (tmp_path / "ran").exists()  # so the attack was real


def test_runs(tmp_path):
    """Newest first; the newest two and the best stay; a damaged newest one is passed over by name."""
    assert newest_whole(tmp_path) == (None, {}, [])
    for step in (2, 1000, 30, 4):
        save_checkpoint(step_folder(tmp_path, step), TENSORS, {}, dict(step=step))
    point(tmp_path / "best", step_folder(tmp_path, 2))
    point(tmp_path / "best", step_folder(tmp_path, 4))
    prune(tmp_path)
    assert steps(tmp_path) == [step_folder(tmp_path, step) for step in (1000, 30, 4)]
    assert load_training_state(tmp_path / "best")["step"] == 4

    (step_folder(tmp_path, 1000) / "training.pt").unlink()
    (step_folder(tmp_path, 30) / "model.safetensors").write_bytes(b"")
    folder, state, damaged = newest_whole(tmp_path)
    assert folder == step_folder(tmp_path, 4) and state["step"] == 4
    assert "training.pt" in damaged[0] and "step-00000030" in damaged[1]


def test_json_without_a_required_key_names_it(tmp_path):
    write_json(tmp_path / "config.json", dict(model=1))
    assert read_json(tmp_path / "config.json", ["model"]) == dict(model=1)
    with pytest.raises(ValueError, match="config.json has no 'sampling', 'size'"):
        read_json(tmp_path / "config.json", ["model", "sampling", "size"])
