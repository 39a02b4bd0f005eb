"""Checkpoints on disk: read and written whole or not at all. Knows files, no network.

A checkpoint is a folder:   model.safetensors  config.json  [training.pt: what only resuming needs]
                            checksums.json: the SHA-256 of the others, so that no changed byte is loaded
A run is a folder of them:  config.json  step-00001000/  step-00002000/  last -> step-...  best -> step-...
                            where there are no links, last and best are text files that hold the name
"""

import errno
import hashlib
import json
import os
import re
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from utils.errors import FULL

MOVED = {"mocap_small": "mocap_stream"}    # folders of weights/ that have another name now


@contextmanager
def write_whole(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the name `path`, on failure it is removed.

    So `path` is always absent, the old file or the whole new one, also after a power cut. The temporary name
    keeps the suffix, for writers that look at it (`np.save`, video writers). Parent folders are made. Errors as in
    `naming`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{socket.gethostname()}-{os.getpid()}.tmp{path.suffix}")
    try:
        with naming(path):
            yield temporary
            _sync(temporary)
            os.replace(temporary, path)
            _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Let a write that finds no space, by whichever library, leave as an OSError with errno and filename: `path`."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        # safetensors hides the number in its text; numpy has none, when less was written than it asked for.
        inside = re.search(r"os error (\d+)|requested and \d+ written", str(error))
        number = getattr(error, "errno", None) or (inside and int(inside[1] or errno.ENOSPC))
        if number not in FULL or getattr(error, "filename", None):
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def write_json(path: str | Path, values: Any) -> None:
    """Write `values` whole, as indented JSON."""
    with write_whole(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def save_checkpoint(folder: str | Path, tensors: dict[str, Tensor], config: dict[str, Any],
                    training_state: dict[str, Any] | None = None) -> None:
    """Write a checkpoint folder under a temporary name, then rename it; an older one is replaced.

    tensors          name -> tensor of any floating type; read back as float32
    config           what the model is made again from, as JSON
    training_state   tensors and plain values, for `load_training_state`
    Raises OSError as in `naming`; what was there before is then left as it was.
    """
    folder = Path(os.path.abspath(folder))
    temporary, replaced = (folder.with_name(f".{folder.name}.{kind}") for kind in ("tmp", "old"))
    for leftover in (temporary, replaced):  # of a process that was killed while it saved
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        with naming(folder):
            temporary.mkdir(parents=True)
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
                      temporary / "model.safetensors")
            if training_state is not None:
                _save_torch(training_state, temporary / "training.pt")
            write_json(temporary / "config.json", config)
            shutil.copymode(temporary / "config.json", temporary / "model.safetensors")    # not for its writer alone
            files = sorted(temporary.iterdir())
            write_json(temporary / "checksums.json", {path.name: _sha256(path) for path in files})
            for path in files:
                _sync(path)
            if folder.exists():
                folder.rename(replaced)
            temporary.rename(folder)
            _sync(folder.parent)
    finally:
        if replaced.exists() and not folder.exists():
            replaced.rename(folder)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def load_checkpoint(folder: str | Path, required: Iterable[str] = ()) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint folder: its tensors (on the CPU, floating ones as float32) and its config.

    Raises FileNotFoundError if a file is missing, ValueError if one is damaged, not what its checksum says, or the
    config lacks a `required` key. A folder without checksums is taken as it is.
    """
    folder = pointed(folder)
    weights = _unchanged(folder, "model.safetensors")
    config = read_json(_unchanged(folder, "config.json"), required)
    return read_tensors(weights), config


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read a safetensors file onto the CPU, floating tensors as float32. Errors as in `load_checkpoint`."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path}; expected a safetensors file.")
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file ({error}); use another.") from error
    return {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}


def load_training_state(folder: str | Path) -> dict[str, Any]:
    """Read what `save_checkpoint` was given as `training_state`. Errors as in `load_checkpoint`."""
    return load_torch(_unchanged(pointed(folder), "training.pt"))


def load_torch(path: str | Path) -> Any:
    """Read a file of `torch.save` onto the CPU; code in it is refused, not run.

    Raises FileNotFoundError if there is none, ValueError if it is damaged or holds more than plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}; expected one that torch.save wrote.")
    if link := _link_as_text(path):
        raise ValueError(f"{path} is a text file that names {link}: git or an archive made it of a link; give "
                         f"{path.parent / link} itself.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes fail in every way that unpickling can
        raise ValueError(f"{path} is damaged or holds more than tensors and plain values "
                         f"({type(error).__name__}); use another checkpoint.") from error


def _link_as_text(path: Path) -> str | None:
    """What a symbolic link pointed to, where a system without links has made a text file of it."""
    with path.open("rb") as file:
        content = file.read(400)
    text = content.decode("utf-8", "replace").strip()
    return text if len(text) < 300 and re.fullmatch(r"[\w./\\-]*[/\\][\w./\\-]+", text) else None


def read_json(path: str | Path, required: Iterable[str] = ()) -> dict[str, Any]:
    """Read a JSON object. Raises ValueError if the file is anything else, or lacks a `required` key."""
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # both decoders' errors are ValueErrors
        raise ValueError(f"{path} is not JSON ({error}); restore it or use another checkpoint.") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds a {type(values).__name__}, expected a JSON object.")
    if missing := [name for name in required if name not in values]:
        raise ValueError(f"{path} has no {', '.join(map(repr, missing))}; restore it or make it again.")
    return values


def steps(run: str | Path) -> list[Path]:
    """The checkpoints of a run, newest first."""
    return sorted((path for path in Path(run).glob("step-" + 8 * "[0-9]") if path.is_dir()), reverse=True)


def newest_whole(run: str | Path) -> tuple[Path | None, dict[str, Any], list[str]]:
    """Find a run's newest checkpoint that reads: its folder, its training state, what is wrong with newer.

    A run without checkpoints gives (None, {}, []). Raises ValueError if all of them are damaged.
    """
    damaged = []
    for folder in steps(run):
        try:
            load_checkpoint(folder)
            return folder, load_training_state(folder), damaged
        except (ValueError, FileNotFoundError) as error:
            damaged.append(str(error))
    if damaged:
        raise ValueError(f"No checkpoint in {run} is whole: {' '.join(damaged)} "
                         f"Remove the folder to train again.")
    return None, {}, []


def step_folder(run: str | Path, step: int) -> Path:
    """Where the checkpoint of one step lies."""
    return Path(run) / f"step-{step:08d}"


def point(link: str | Path, target: Path) -> None:
    """Let `link` stand for its sibling `target`, a step's folder, replacing an older one in one move.

    It is a symbolic link; or a text file with the target's name: on Windows, where links need rights and one to a
    folder cannot be replaced, and on disks that have no links. `pointed` reads both.
    """
    link = Path(link)
    temporary = link.with_name(f".{link.name}.tmp")
    temporary.unlink(missing_ok=True)
    with suppress(OSError):
        if os.name != "nt":
            temporary.symlink_to(target.name, target_is_directory=True)
    if not temporary.is_symlink():
        temporary.write_text(target.name, encoding="utf-8")
    os.replace(temporary, link)


def pointed(path: str | Path) -> Path:
    """The folder for which a text file of `point` stands; any other path as it is."""
    path = Path(path)
    if path.is_file() and path.stat().st_size < 100:
        name = path.read_text(encoding="utf-8", errors="replace").strip()
        return path.with_name(name) if re.fullmatch(r"step-\d{8}", name) else path
    return path


def prune(run: str | Path, keep: int = 2) -> None:
    """Remove all checkpoints of a run but the best, `last` and the `keep` - 1 before it, and what killed saves left.

    What is newer than `last` is damaged, else the run would have gone on from there.
    """
    run = Path(run)
    last, best = (pointed(run / name).resolve().name for name in ("last", "best"))
    kept = {best, *[path.name for path in steps(run) if path.name <= last][:keep]}
    for path in [*steps(run), *run.glob(".step-*")]:
        if path.name not in kept:
            shutil.rmtree(path)


def _unchanged(folder: Path, name: str) -> Path:
    """The path of a checkpoint's file, after a look whether it is there and what was written."""
    path, checksums = folder / name, folder / "checksums.json"
    if not path.is_file():
        moved = Path(*(MOVED.get(part, part) for part in folder.parts))
        raise FileNotFoundError(f"There is no {name} in {folder}; expected a checkpoint folder, for example "
                                + ("OUT_DIR/EXP_NAME/last of a training run." if moved == folder else
                                   f"{moved}, where that one's files are now."))
    if checksums.exists() and read_json(checksums, [name])[name] != _sha256(path):
        raise ValueError(f"{path} is damaged: its SHA-256 is not that in checksums.json; use another checkpoint, "
                         f"or remove checksums.json if you changed the file yourself.")
    return path


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _save_torch(values: Any, path: Path) -> None:
    """`torch.save`, but a failed write is an OSError."""
    try:
        with open(path, "wb") as file:  # Python's own, whose error torch.save keeps under one that says nothing
            torch.save(values, file)
    except RuntimeError as error:
        raise (error.__context__ or error) from None


def _sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    windows = os.name == "nt"
    if windows and path.is_dir():                      # it cannot be opened there
        return
    descriptor = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
