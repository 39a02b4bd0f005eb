"""Files are written whole or not at all; damaged and hostile ones are refused."""

import ast
import errno
import io
import os
import pickle
import shutil
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import utils.checkpoint
from dataset.clips import load_statistics, read_motion
from dataset.latent_folder import LatentFolder
from options.data import Data
from utils.checkpoint import (load_checkpoint, load_torch, load_training_state, newest_whole, point, pointed, prune,
                              read_json, read_tensors, save_checkpoint, step_folder, steps, write_json, write_whole)

ROOT = Path(__file__).resolve().parents[1]
FILES = ("model.safetensors", "training.pt", "config.json", "checksums.json")

TENSORS = dict(weight=torch.arange(6.0).view(2, 3), half=torch.ones(2).half(), count=torch.tensor(3))
STATE = dict(step=3, best=dict(value=float("inf")), optimizer=dict(moments=[torch.ones(400)]))


# What unpickles or runs code that it reads, and no file of the project needs.
RUNS_CODE = {"pickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml", "pandas"}


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


@pytest.mark.parametrize("write", [
    lambda path: np.save(path, np.ones(9999)), lambda path: path.write_text(9999 * "a"),
    lambda path: save_file(dict(a=torch.ones(9999)), path),
])
def test_no_space_names_the_file_whoever_writes(tmp_path, write):
    """Each library says it in its own way. The test: no file may be larger than 3000 bytes."""
    path = tmp_path / "a.npy"
    path.write_text("old")
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
        with pytest.raises(OSError) as failure, write_whole(path) as temporary:
            write(temporary)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert failure.value.filename == str(path) and failure.value.errno in (errno.EFBIG, errno.ENOSPC)
    assert os.listdir(tmp_path) == ["a.npy"] and path.read_text() == "old"


def load_all(folder: Path) -> None:
    load_checkpoint(folder)
    load_training_state(folder)


def truncated(content: bytes, rng: np.random.Generator) -> bytes:
    return content[:rng.integers(len(content))]


def flipped(content: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(content)
    changed[rng.integers(len(content))] ^= 1 << rng.integers(8)
    return bytes(changed)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [truncated, flipped])
def test_damaged_files_refuse(tmp_path, name, damage):
    """Cut off, or a bit flipped, at 20 random places: one sentence, and a run goes on from the checkpoint before."""
    for step in (1, 2):
        save_checkpoint(step_folder(tmp_path, step), TENSORS, dict(width=3), dict(STATE, step=step))
    path = step_folder(tmp_path, 2) / name
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(20):
        path.write_bytes(damage(whole, rng))
        with pytest.raises(ValueError, match="step-00000002") as refusal:
            load_all(path.parent)
        assert "\n" not in str(refusal.value)
        folder, state, (said,) = newest_whole(tmp_path)
        assert folder == step_folder(tmp_path, 1) and state["step"] == 1 and said == str(refusal.value)
    path.write_bytes(whole)
    load_all(path.parent)


@pytest.mark.parametrize("name", ["model.safetensors", "training.pt"])
def test_truncated_files_without_checksums_refuse(tmp_path, name):
    """As they were written once, and ship; whole, such a folder loads."""
    save_checkpoint(tmp_path / "a", TENSORS, dict(width=3), STATE)
    (tmp_path / "a" / "checksums.json").unlink()
    load_all(tmp_path / "a")
    path = tmp_path / "a" / name
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(20):
        path.write_bytes(truncated(whole, rng))
        with pytest.raises(ValueError, match=f"{name} is damaged or"):
            load_all(tmp_path / "a")


def test_a_checkpoints_file_is_hashed_once(tmp_path, monkeypatch):
    """A file of a gigabyte takes a second."""
    save_checkpoint(step_folder(tmp_path, 1), TENSORS, dict(width=3), STATE)
    hashed, sha256 = Counter(), utils.checkpoint._sha256
    monkeypatch.setattr(utils.checkpoint, "_sha256", lambda path: hashed.update([path.name]) or sha256(path))
    newest_whole(tmp_path)
    assert hashed == dict.fromkeys(FILES[:3], 1)


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
    (tmp_path / "a" / "checksums.json").unlink()    # which an attacker would have written, too
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


@pytest.mark.parametrize("name, load", [
    ("motion.npy", lambda path: read_motion(path, "clip", defaultdict(list))),
    ("latents.npy", lambda path: LatentFolder(path.parent).latents(4)),
    ("mean_std/Mean.npy", lambda path: load_statistics(Data("mocap_272", path.parents[1]))),
    ("embeddings.safetensors", read_tensors), ("config.json", read_json),
])
def test_code_in_a_data_file_does_not_run(tmp_path, name, load):
    """As numpy's array of objects and as a bare pickle."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    in_numpy_format = io.BytesIO()
    np.save(in_numpy_format, np.array([Code(tmp_path / "ran")]), allow_pickle=True)
    for attack in (in_numpy_format.getvalue(), pickle.dumps(Code(tmp_path / "ran"))):
        path.write_bytes(attack)
        with suppress(ValueError):    # of clips that cannot be read a list is kept instead
            load(path)
    assert not (tmp_path / "ran").exists()
    np.load(io.BytesIO(in_numpy_format.getvalue()), allow_pickle=True)
    assert (tmp_path / "ran").exists()


def could_run_code(source: str) -> list[str]:
    """The lines of a Python file that could run what they read."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            above = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            names = [above + alias.name for alias in node.names]
        bad = any(name.split(".")[0] in RUNS_CODE or name in ("torch.load", "numpy.load") for name in names)
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            bad |= called in ("np.load", "numpy.load") and keywords.get("allow_pickle") != "False"
            bad |= called in ("eval", "exec", "torch.load", "torch.jit.load", "torch.hub.load")
        if bad:
            found.append(ast.unparse(node))
    return found


def test_nothing_else_reads_pickles():
    """`load_torch` has the only `torch.load`, every `np.load` refuses objects, and nothing unpickles by other means but
    an unpickler that makes arrays alone (`tests/test_smpl.py`)."""
    found = {path.relative_to(ROOT).as_posix(): lines for path in ROOT.rglob("*.py")
             if not {"tests", ".venv"} & set(path.relative_to(ROOT).parts)
             and (lines := could_run_code(path.read_text(encoding="utf-8")))}
    assert found == {"utils/checkpoint.py": ["torch.load(path, map_location='cpu', weights_only=True)"],
                     "motion/formats/smpl.py": ["import pickle"]}


@pytest.mark.parametrize("line", [
    "np.load(path)", "np.load(path, allow_pickle=True)", "torch.load(path, weights_only=True)", "import pickle",
    "from torch import load", "from joblib import load", "eval(text)",
])
def test_what_could_run_code_is_found(line):
    assert could_run_code(f"def f():\n    {line}") == [line]


@pytest.fixture(params=["links", "no links", "Windows"])
def links(request, monkeypatch):
    """A system with symbolic links, and two without."""
    if request.param != "links":
        monkeypatch.setattr(os, "symlink", refuse)
    if request.param == "Windows":
        monkeypatch.setattr("utils.checkpoint.os", SystemOf(os, "nt"))
    return request.param == "links"


class SystemOf:
    """The os module under another name."""

    def __init__(self, module, name: str):
        self.module, self.name = module, name

    def __getattr__(self, what: str):
        return getattr(self.module, what)


def refuse(*given, **others):
    raise OSError("A required privilege is not held by the client")


def test_last_and_best_stand_for_folders_without_links_too(tmp_path, links):
    for step in (1, 2):
        save_checkpoint(step_folder(tmp_path, step), TENSORS, dict(width=step), dict(step=step))
        point(tmp_path / "last", step_folder(tmp_path, step))
        assert (tmp_path / "last").is_symlink() == links and sorted(os.listdir(tmp_path))[0] == "last"
        assert pointed(tmp_path / "last").resolve() == step_folder(tmp_path, step)
        assert load_checkpoint(tmp_path / "last")[1] == dict(width=step)
    assert pointed(tmp_path / "other") == tmp_path / "other"
    (tmp_path / "note").write_text("step-2")
    assert pointed(tmp_path / "note") == tmp_path / "note"


def test_a_text_file_takes_the_place_of_a_link(tmp_path, monkeypatch):
    for step in (1, 2):
        save_checkpoint(step_folder(tmp_path, step), TENSORS, {}, dict(step=step))
        point(tmp_path / "last", step_folder(tmp_path, step))
        monkeypatch.setattr(os, "symlink", refuse)
    assert not (tmp_path / "last").is_symlink() and load_training_state(tmp_path / "last")["step"] == 2


def test_runs(tmp_path, links):
    """Newest first; the newest two and the best stay; a damaged newest one is passed over by name."""
    assert newest_whole(tmp_path) == (None, {}, [])
    for step in (2, 1000, 30, 4):
        save_checkpoint(step_folder(tmp_path, step), TENSORS, {}, dict(step=step))
    point(tmp_path / "best", step_folder(tmp_path, 2))
    point(tmp_path / "best", step_folder(tmp_path, 4))
    point(tmp_path / "last", step_folder(tmp_path, 1000))
    prune(tmp_path)
    assert steps(tmp_path) == [step_folder(tmp_path, step) for step in (1000, 30, 4)]
    assert load_training_state(tmp_path / "best")["step"] == 4

    (step_folder(tmp_path, 1000) / "training.pt").unlink()
    (step_folder(tmp_path, 30) / "model.safetensors").write_bytes(b"")
    folder, state, damaged = newest_whole(tmp_path)
    assert folder == step_folder(tmp_path, 4) and state["step"] == 4
    assert "training.pt" in damaged[0] and "step-00000030" in damaged[1]


def test_pruning_keeps_last_and_removes_what_is_newer_or_left_by_a_killed_save(tmp_path, links):
    """A newer one is damaged, or the run would not have gone on from an older one; a person's folders stay."""
    for step in (10, 40, 50, 90):
        save_checkpoint(step_folder(tmp_path, step), TENSORS, {}, dict(step=step))
    point(tmp_path / "last", step_folder(tmp_path, 50))
    for name in (".step-00000060.tmp", ".step-00000060.old", "step-00000010-mine"):
        shutil.copytree(step_folder(tmp_path, 10), tmp_path / name)
    prune(tmp_path, keep=1)
    assert sorted(os.listdir(tmp_path)) == ["last", "step-00000010-mine", "step-00000050"]


def test_json_without_a_required_key_names_it(tmp_path):
    write_json(tmp_path / "config.json", dict(model=1))
    assert read_json(tmp_path / "config.json", ["model"]) == dict(model=1)
    with pytest.raises(ValueError, match="config.json has no 'sampling', 'size'"):
        read_json(tmp_path / "config.json", ["model", "sampling", "size"])
