"""Captures that come in and motions that go out, in a process of their own with limits on time and memory.

T frames; motion (T, 272), 30 a second.
"""

import multiprocessing
import os
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dataset.clips import load_motion
from live.shown import FRAMES, Shown, Stretch, show_all
from motion.captures import Reading, read_body
from motion.formats.export import ENDINGS, Style, pose_writers, save_array
from motion.representation_272 import FPS, Start, check_denormalised, pose_to_motion272, start_of

FORMATS = (*(name for name in ENDINGS if name != "joints"), "txt")
KINDS = (".bvh", ".npz", ".npy", ".amc")         # of captures; an .amc comes with its .asf
SENT = 30_000_000                                # bytes of an upload, at most
KEPT = 120 * FPS                                 # frames of a capture that are kept: the last
SHOWN = 60 * FPS                                 # frames of a video, at most
WAIT = {"mp4": 240.0}                            # seconds for a download, 60 for the others
MEMORY = 1500                                    # megabytes beyond those that a worker starts with

Timed = Sequence[tuple[int, str]]                # from which frame on each prompt holds
Wanted = Callable[[], bool]                      # whether the result is waited for


def always() -> bool:
    return True


class Upload(NamedTuple):
    """A motion (T, 272), whole latents, T = 4 L; where it begins; in one line what its file was taken for."""
    motion: np.ndarray
    start: Start
    said: str


def read_upload(files: Mapping[str, bytes], wanted: Wanted = always, reading: Reading = Reading()) -> Upload:
    """The motion of uploaded files {name: content}, its last whole latents; the names serve for their suffix only.

    reading  how a capture is read, where it is not found out rightly
    wanted   asked while it is read: False ends that
    raises   ValueError for anything that is no capture, is too large, or takes too long
    """
    if sum(map(len, files.values())) > SENT:
        raise ValueError(f"the file is too large: expected {SENT // 10 ** 6} MB at most")
    return in_worker(parse, dict(files), reading, seconds=25.0, wanted=wanted)


def show_motion(motion: np.ndarray, start: Start = Start(), before: Shown | None = None,
                wanted: Wanted = always) -> list[Shown]:
    """`show_all`. Errors as in `read_upload`."""
    return in_worker(show_all, motion, start, before, seconds=60.0, wanted=wanted)


def write_download(kind: str, stretch: Stretch, style: Style = Style(), wanted: Wanted = always) -> bytes:
    """The content of a file of one of FORMATS. Errors as in `read_upload`."""
    if kind not in FORMATS:
        raise ValueError(f"there is no format {kind[:20]!r}: expected one of {', '.join(FORMATS)}")
    if not len(stretch.motion):
        raise ValueError("there is no motion yet: type what the character does")
    if kind == "txt":
        return "".join(f"{first / FPS:8.2f} s  {text}\n" for first, text in stretch.title).encode()
    if kind == "mp4" and len(stretch.motion) > SHOWN:
        raise ValueError(f"a video has {SHOWN // FPS} s at most: mark a stretch of the timeline")
    return in_worker(write, kind, stretch, style, seconds=WAIT.get(kind, 60.0), wanted=wanted)


def in_worker(work: Callable[..., Any], *arguments: Any, seconds: float, megabytes: int = MEMORY,
              wanted: Wanted = always) -> Any:
    """What `work(*arguments)` gives, in a process that ends after so many seconds, or when its result is not wanted any
    more, and cannot take more memory.

    raises   ValueError as `work` does, and if it fails in any other way
    """
    quick = "forkserver" in multiprocessing.get_all_start_methods()    # Windows spawns
    context: Any = multiprocessing.get_context("forkserver" if quick else "spawn")
    if quick:
        context.set_forkserver_preload([__name__])
    ours, theirs = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:    # ours: it goes even after a kill
        process = context.Process(target=worker, args=(theirs, folder, megabytes, seconds, work, arguments),
                                  daemon=True)
        process.start()
        theirs.close()
        try:
            end = time.monotonic() + seconds
            while not ours.poll(0.2):
                if not wanted():
                    raise ValueError("the page was closed")
                if time.monotonic() > end:
                    raise ValueError(f"that took more than {seconds:.0f} s: give less")
            found, problem = ours.recv()
        except EOFError:
            raise ValueError("that could not be read: the process that tried ended") from None
        finally:
            process.kill()
            process.join()
            ours.close()
    if problem:
        raise ValueError(problem)
    return found


def worker(pipe: Any, folder: str, megabytes: int, seconds: float, work: Callable[..., Any], arguments: tuple) -> None:
    """What runs in the other process, with `folder` for all its temporary files: sends (result, "") or (None, what was
    wrong)."""
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    limit(megabytes, int(seconds) + 5)
    try:
        answer = work(*arguments), ""
    except ValueError as error:
        answer = None, str(error)
    except MemoryError:
        answer = None, f"that needs more than {megabytes} MB of memory: give less"
    except Exception as error:                   # damaged files fail in every way
        answer = None, f"that could not be read ({type(error).__name__})"
    with suppress(BrokenPipeError):              # the page has gone
        pipe.send(answer)


def limit(megabytes: int, seconds: int) -> None:
    """Give way to other processes, and take no more memory than so much beyond today's and no more processor time,
    where the system has such limits."""
    try:
        import resource
    except ImportError:                              # Windows has none: the caller's clock ends the process
        return
    os.nice(10)
    limits = {resource.RLIMIT_CPU: seconds}
    size = Path("/proc/self/statm")
    if size.exists():
        limits[resource.RLIMIT_AS] = int(size.read_text().split()[0]) * resource.getpagesize() + megabytes * 10 ** 6
    for what, value in limits.items():
        most = resource.getrlimit(what)[1]
        resource.setrlimit(what, (value if most == resource.RLIM_INFINITY else min(value, most), most))


def parse(files: Mapping[str, bytes], reading: Reading) -> Upload:
    """`read_upload` in the worker."""
    found = {suffix: content for name, content in files.items() if (suffix := Path(name).suffix.lower()) in
             (*KINDS, ".asf")}
    kind = next((suffix for suffix in KINDS if suffix in found), None)
    if kind is None:
        raise ValueError(f"found {', '.join(Path(name).suffix[:9] or 'no suffix' for name in files)}; expected a "
                         f"{', '.join(KINDS[:-1])} file, or an .amc with its .asf")
    if kind == ".amc" and ".asf" not in found:
        raise ValueError("an .amc has no skeleton: give its .asf with it, both at once")
    with tempfile.TemporaryDirectory() as folder:
        for suffix in {kind, ".asf"} & set(found):
            Path(folder, f"capture{suffix}").write_bytes(found[suffix])
        path = Path(folder, f"capture{kind}")
        try:
            return read_array(path) if kind == ".npy" else read_capture(path, reading)
        except ValueError as error:
            raise ValueError(str(error).replace(folder + os.sep, "")) from None


def read_array(path: Path) -> Upload:
    motion = load_motion(path, name=path.name)
    check_denormalised(motion, path.name)
    return Upload(motion[last(len(motion))].astype(np.float32), Start(), "")


def read_capture(path: Path, reading: Reading) -> Upload:
    rotations, joints, said, _ = read_body(path, reading)
    kept = last(len(joints))
    pose = rotations[kept], joints[kept]
    return Upload(pose_to_motion272(*pose).astype(np.float32), start_of(*pose), said.partition(": ")[2])


def last(frames: int) -> slice:
    """The frames that are kept of so many: the last whole latents."""
    kept = min(frames // FRAMES * FRAMES, KEPT)
    if not kept:
        raise ValueError(f"the capture has {frames} frames at {FPS} a second: expected {FRAMES} or more")
    return slice(frames - kept, None)


def write(kind: str, stretch: Stretch, style: Style) -> bytes:
    """`write_download` in the worker: the page's own pose, or of npy the model's own numbers."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "motion" + ENDINGS[kind])
        if kind == "npy":
            save_array(path, stretch.motion)
        else:
            pose_writers(style, *stretch.pose, stretch.title)[kind](path)
        return path.read_bytes()


def file_name(title: Timed, kind: str) -> str:
    """A safe name after the first prompt."""
    words = re.sub(r"[^a-z0-9]+", "-", title[0][1].lower()).strip("-")[:50] if title else ""
    return (words or "motion") + ENDINGS.get(kind, f".{kind}")
