"""Does every reader give a sound result or one sentence, whatever is in its file?

    python -m benchmarks.fuzz_readers                         # 10,000 files of each kind
    python -m benchmarks.fuzz_readers --reader bvh --first 4711 --count 1 --keep bad

Files begin as good ones and are broken by a random generator, whose seed is the file's number: bytes, words, lines,
numbers that are no numbers, headers that announce much, brackets that never close, other encodings, halves. A reader
may answer with a result that passes its checks, or with a ValueError or FileNotFoundError of one line that names the
file; within seconds of the processor's time.
"""

import io
import json
import random
import re
import struct
import sys
import tarfile
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from dataset.captions import format_caption, read_captions
from dataset.clips import load_motion, read_ids
from dataset.prepare.archive import unpacked
from motion.captures import Reading, read_body
from motion.characters import Character
from motion.formats import write_amass, write_bvh
from motion.formats.glb import Take, write_glb
from motion.representation_272 import pose_to_motion272
from motion.rotation import axis_angle_to_matrix
from motion.skeleton import JOINT_NAMES, forward_kinematics
from motion.skeleton_map import check_map, load_skeleton_map
from options import opt, parse
from utils.checkpoint import load_checkpoint, load_torch, save_checkpoint
from utils.errors import run

SECONDS, MEGABYTES = 10.0, 3000          # that a file may take, beyond what Python and the libraries take
WORDS = ("nan", "-inf", "1e999", "1e308", "-1", "0", "1000000000", "99999999999999999999", "0.0", "{", "}", "[", "]",
         '"', "#", "\0", "\n", "\r", "\u2028", "左足", "ROOT x\n{\n", "JOINT y {", "End Site", "CHANNELS 6", "MOTION",
         "Frames: 9", ":", "begin", "end", "null", "true", "é", "%", "\ufeff", "- - -", "0,5")


class Reader(NamedTuple):
    """A kind of file: good ones, the suffix, what reads one and raises AssertionError for an unsound result."""
    good: Callable[[], list[bytes]]
    suffix: str
    read: Callable[[Path], None]


@dataclass(frozen=True)
class Fuzz:
    """Read broken files of each kind."""

    reader: str = opt("all", "which: all, or one of bvh, amc, npz, npy, captions, maps, splits, archives, "
                      "checkpoints, glb")
    count: int = opt(10_000, "files of each kind")
    first: int = opt(0, "the number of the first file")
    keep: Path | None = opt(None, "folder for the files of which a reader makes what it should not")


def main() -> None:
    config = parse({"fuzz": Fuzz()}, show=False)
    if config.reader not in (*READERS, "all"):
        raise ValueError(f"--reader is {config.reader}; expected all or one of {', '.join(READERS)}.")
    limit_memory()
    bad = 0
    for kind in READERS if config.reader == "all" else [config.reader]:
        begun, found = time.perf_counter(), Counter()
        slowest = 0.0
        for number, outcome, seconds, content in outcomes(kind, range(config.first, config.first + config.count)):
            slowest = max(slowest, seconds)
            good = outcome in ("result", "sentence")
            found[outcome if good else "bad"] += 1
            if not good:
                print(f"{kind} {number}: {outcome}", flush=True)
                if config.keep:
                    config.keep.mkdir(parents=True, exist_ok=True)
                    (config.keep / f"{number}{READERS[kind].suffix}").write_bytes(content)
        bad += found["bad"]
        print(f"{kind}: {found['result']} results, {found['sentence']} sentences, {found['bad']} bad; the slowest "
              f"{slowest:.2f} s, all {time.perf_counter() - begun:.0f} s", flush=True)
    sys.exit(bad > 0)


def limit_memory() -> None:
    """Let a reader that takes too much fail, where the system can."""
    try:
        import resource
    except ImportError:
        return
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEGABYTES * 10 ** 6, resource.getrlimit(resource.RLIMIT_AS)[1]))


def outcomes(kind: str, numbers: range):
    """Yield (number, "result", "sentence" or what is wrong, seconds, content) of broken files."""
    reader, goods = READERS[kind], READERS[kind].good()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in numbers:
            content = broken(random.Random(number), goods)
            path = Path(folder, f"file{number}{reader.suffix}")
            path.write_bytes(content)
            begun = time.process_time()            # whatever else the machine does
            try:
                reader.read(path)
                outcome = "result"
            except (ValueError, FileNotFoundError) as error:
                outcome = judged(error, path)
            except Exception as error:
                outcome = where_of(error)
            seconds = time.process_time() - begun
            if seconds > SECONDS:
                outcome = f"{seconds:.0f} s; {outcome}"
            path.unlink(missing_ok=True)
            yield number, outcome, seconds, content


def judged(error: Exception, path: Path) -> str:
    """Whether an error is a sentence for the file's owner."""
    text = str(error)
    if type(error) in (ValueError, FileNotFoundError) and path.stem in text and "\n" not in text and len(text) < 2000:
        return "sentence"
    return f"no sentence, {where_of(error)}"


def where_of(error: Exception) -> str:
    lines = [f" at {frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-1:]]
    return f"{type(error).__name__}{''.join(lines)}: {str(error)[:200]!r}"


def broken(chance: random.Random, goods: list[bytes]) -> bytes:
    """A good file with one to six faults."""
    content = chance.choice(goods)
    for _ in range(chance.choice((0, 1, 1, 1, 1, 2, 5))):
        content = chance.choice(FAULTS)(chance, content)
    return content[:5_000_000]


def some_bytes(chance: random.Random, content: bytes) -> bytes:
    found = bytearray(content)
    for _ in range(chance.choice((1, 4, 40))):
        if found:
            found[chance.randrange(len(found))] = chance.randrange(256)
    return bytes(found)


def cut(chance: random.Random, content: bytes) -> bytes:
    return content[:chance.randrange(len(content) + 1)]


def without_a_part(chance: random.Random, content: bytes) -> bytes:
    start = chance.randrange(len(content) + 1)
    return content[:start] + content[start + chance.choice((1, 7, 100, 3000)):]


def repeated_part(chance: random.Random, content: bytes) -> bytes:
    start = chance.randrange(len(content) + 1)
    part = content[start:start + chance.choice((1, 10, 200))]
    return content[:start] + part * chance.choice((2, 10, 1000)) + content[start:]


def other_word(chance: random.Random, content: bytes) -> bytes:
    """A word for another, of which it takes the place; or between two."""
    pieces = content.split(b" ")
    place = chance.randrange(len(pieces))
    word = chance.choice(WORDS).encode()
    pieces[place:place + chance.choice((0, 1))] = [word]
    return b" ".join(pieces)


def other_number(chance: random.Random, content: bytes) -> bytes:
    """One of the numbers that a text has, for instance of a header, becomes another."""
    found = list(re.finditer(rb"-?\d+\.?\d*", content[:200_000]))
    if not found:
        return content
    one = chance.choice(found[:chance.choice((5, 50, len(found)))])
    return content[:one.start()] + chance.choice(WORDS[:9]).encode() + content[one.end():]


def lines_changed(chance: random.Random, content: bytes) -> bytes:
    lines = content.split(b"\n")
    place, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    match chance.randrange(4):
        case 0:
            del lines[place]
        case 1:
            lines[place:place] = [lines[other]] * chance.choice((1, 300))
        case 2:
            lines[place], lines[other] = lines[other], lines[place]
        case 3:
            lines = lines[:place]
    return b"\n".join(lines)


def nested(chance: random.Random, content: bytes) -> bytes:
    """Brackets or joints within each other, thousands deep, in the file or in its place."""
    deep = chance.choice((30, 3000, 20_000))
    part = chance.choice((b"[", b'{"a":', b"ROOT a\n{\n", b"JOINT b\n{\nOFFSET 0 0 0\n", b"(", b"begin\n"))
    start = chance.randrange(len(content) + 1)
    return chance.choice((content[:start], b"")) + part * deep + content[start:]


def other_encoding(chance: random.Random, content: bytes) -> bytes:
    text = content.decode("latin-1")
    return text.encode(chance.choice(("utf-16", "utf-16-be", "utf-32", "utf-8-sig", "utf-7")), "replace")


def nothing_of_it(chance: random.Random, content: bytes) -> bytes:
    return chance.choice((b"", b"\0" * 1000, b"\n" * 100_000, chance.randbytes(500), b" " * 100_000, b"1 " * 50_000))


FAULTS = (some_bytes, some_bytes, cut, without_a_part, repeated_part, other_word, other_word, other_number,
          other_number, lines_changed, lines_changed, nested, other_encoding, nothing_of_it)


def walk(frames: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Local rotations (T, 22, 3, 3) and pelvis (T, 3) of a body whose limbs swing."""
    swing = 0.3 * np.sin(np.arange(frames)[:, None, None] / 4 + np.arange(22)[:, None] + np.arange(3))
    swing[:, 0] *= 0.1
    return axis_angle_to_matrix(swing), np.stack([0 * np.arange(frames), 0.93 + 0 * np.arange(frames),
                                                  0.03 * np.arange(frames)], axis=-1)


def written(write: Callable[[Path], None], suffix: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder, f"good{suffix}"))
        return Path(folder, f"good{suffix}").read_bytes()


def good_bvh() -> list[bytes]:
    ours = written(lambda path: write_bvh(path, *walk(), bones="mixamo", unit="cm"), ".bvh")
    text = ours.decode().replace("Left", "左").replace("\n", "\r\n").replace("MOTION", "MOTION ")
    return [ours, text.encode("cp932")]


def good_asf() -> str:
    """A person as an ASF, with CMU's names: bone, the one it hangs on, its end from there."""
    middle = ("lowerback root 0 .11 0", "upperback lowerback 0 .13 0", "thorax upperback 0 .1 0",
              "lowerneck thorax 0 .1 0", "upperneck lowerneck 0 .06 0", "head upperneck 0 .1 0")
    limbs = ("*hipjoint root .07 -.09 0", "*femur *hipjoint 0 -.38 0", "*tibia *femur 0 -.4 -.02",
             "*foot *tibia 0 -.05 .12", "*toes *foot 0 0 .05", "*clavicle thorax .17 .08 0",
             "*humerus *clavicle .26 0 0", "*radius *humerus .25 0 0", "*wrist *radius .05 0 0", "*hand *wrist .05 0 0")
    sided = [row.replace("*", side).split() for side in "lr" for row in limbs]
    bones, hierarchy = [], {}
    for name, above, x, *rest in [*(row.split() for row in middle), *sided]:
        end = np.array([float(x) * (-1 if name[0] == "r" else 1), *map(float, rest)])
        length = np.linalg.norm(end)
        bones.append(f"begin\nname {name}\ndirection {' '.join(f'{value:.5f}' for value in end / length)}\n"
                     f"length {length:.5f}\naxis 0 0 0 XYZ\ndof rx ry rz\nend\n")
        hierarchy.setdefault(above, []).append(name)
    below = "\n".join(" ".join([name, *children]) for name, children in hierarchy.items())
    return (":version 1.10\n:name x\n:units\nangle deg\n:root\norder TX TY TZ RX RY RZ\naxis XYZ\nposition 0 0 0\n"
            f"orientation 0 0 0\n:bonedata\n{''.join(bones)}:hierarchy\nbegin\n{below}\nend\n")


def good_amc() -> list[bytes]:
    """An ASF and an AMC in one, that are cut in two to be read: so both break."""
    names = [line.split()[1] for line in good_asf().split("\n") if line.startswith("name ")]
    rows = "".join(f"{frame}\nroot 0 0.9 {0.02 * frame:.2f} 0 0 0\n" + "".join(
        f"{name} {3 * np.sin(frame / 3):.3f} 0 1\n" for name in names) for frame in range(1, 9))
    return [f"{good_asf()}%%%%:FULLY-SPECIFIED\n:DEGREES\n:SAMPLES-PER-SECOND 60\n{rows}".encode()]


def read_amc_in_two(path: Path) -> None:
    skeleton, _, frames = path.read_bytes().partition(b"%%%%")
    path.with_suffix(".asf").write_bytes(skeleton)
    path.write_bytes(frames)
    try:
        check_body(path, Reading(asf=path.with_suffix(".asf")))
    finally:
        path.with_suffix(".asf").unlink()


def check_body(path: Path, reading: Reading = Reading()) -> None:
    body = read_body(path, reading)
    assert body.rotations.shape == (*body.joints.shape, 3) and body.joints.shape[1:] == (22, 3) and len(body.joints)
    assert np.isfinite(body.joints).all() and np.isfinite(body.rotations).all() and body.joints[..., 1].min() == 0
    assert np.abs(body.rotations @ body.rotations.mT - np.eye(3)).max() < 1e-6 and "\n" not in body.said


def good_npz() -> list[bytes]:
    def hostile(path: Path) -> None:
        np.savez_compressed(path, poses=np.zeros((4_000, 165)), trans=np.zeros((4_000, 3)), fps=30)

    def bomb(path: Path) -> None:
        """A megabyte that says it is 160 gigabytes."""
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            header = io.BytesIO()
            np.lib.format.write_array_header_1_0(header, dict(descr="<f8", fortran_order=False, shape=(10 ** 9, 165)))
            archive.writestr("poses.npy", header.getvalue() + bytes(10 ** 7))
            archive.writestr("trans.npy", written(lambda part: np.save(part, np.zeros((9, 3))), ".npy"))
            archive.writestr("fps.npy", written(lambda part: np.save(part, 30), ".npy"))

    def odd(key: str, change: Callable[[np.ndarray], object]) -> bytes:
        arrays, content = dict(np.load(io.BytesIO(good), allow_pickle=False)), io.BytesIO()
        np.savez(content, **arrays | {key: np.asarray(change(arrays[key]))})
        return content.getvalue()

    good = written(lambda path: write_amass(path, *walk()), ".npz")
    changed = [odd(key, change) for key in ("poses", "trans", "mocap_framerate") for change in CHANGES]
    return [good, *changed, written(hostile, ".npz"), written(bomb, ".npz")]


# Of an array: what other tools, and mistakes, make of it.
CHANGES: tuple[Callable[[np.ndarray], object], ...] = (
    lambda array: array.T, lambda array: array[None], lambda array: array[..., None][:0], lambda array: [array] * 2,
    lambda array: array * 1e300, lambda array: array * np.nan, lambda array: array.astype(str),
    lambda array: array.astype("S"), lambda array: array + 1j, lambda array: array.astype(np.int8),
    lambda array: array.astype(np.float32) * 1e4, lambda array: 7, lambda array: -1, lambda array: "x",
    lambda array: array.astype(bool), lambda array: np.repeat(array, 2, axis=-1) if array.ndim else 0,
    lambda array: array.reshape(-1), lambda array: array * 57.3, lambda array: np.zeros((3, 3, 3, 3)))


def good_npy() -> list[bytes]:
    rotations, pelvis = walk()
    motion = pose_to_motion272(rotations, forward_kinematics(rotations, pelvis)).astype(np.float32)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, dict(descr="<f4", fortran_order=False, shape=(10 ** 9, 272)))
    return [written(lambda path: np.save(path, motion), ".npy"), header.getvalue() + bytes(1000)]


def read_npy(path: Path) -> None:
    motion = load_motion(path)
    assert motion.dtype == np.float32 and motion.shape[1:] == (272,) and len(motion) and np.isfinite(motion).all()


def read_caption_file(path: Path) -> None:
    for caption in read_captions(path):
        assert caption.text.strip() and "\n" not in caption.text and 0 <= caption.start <= caption.end
        format_caption(caption.text)


def read_map(path: Path) -> None:
    check_map(load_skeleton_map(path), str(path))


def read_split(path: Path) -> None:
    names = read_ids(path)
    assert all(name and name == name.strip(" \t") and "\n" not in name for name in names)


def good_archives() -> list[bytes]:
    found = []
    for mode in ("w", "w:xz", "w:gz"):
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode=mode) as archive:
            for name in ("a/b.bvh", "c.txt"):
                info = tarfile.TarInfo(name)
                info.size = 300
                archive.addfile(info, io.BytesIO(b"x" * 300))
        found.append(content.getvalue())
    for size in (300, 30_000_000):
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in ("a/b.bvh", "c.txt"):
                archive.writestr(name, b"x" * size)
        found.append(content.getvalue())
    return found


def read_archive(path: Path) -> None:
    with redirect_stdout(io.StringIO()), unpacked(path) as folder:
        size = sum(part.stat().st_size for part in folder.rglob("*") if part.is_file())
        assert size < 10 ** 9 and not any(part.is_symlink() for part in folder.rglob("*"))


def good_checkpoints() -> list[bytes]:
    """The files of a checkpoint, each behind its length."""
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(Path(folder, "a"), dict(weight=torch.arange(6.0).view(2, 3)), dict(model=dict(width=3)),
                        dict(step=3, moments=[torch.ones(9)]))
        files = [Path(folder, "a", name).read_bytes() for name in PARTS]
    return [b"".join(struct.pack("<I", len(file)) + file for file in (*files[:kept], *[b""] * (4 - kept)))
            for kept in (4, 3)]


PARTS = ("model.safetensors", "config.json", "training.pt", "checksums.json")


def read_checkpoint_parts(path: Path) -> None:
    content, folder = path.read_bytes(), path
    path.unlink()
    folder.mkdir()
    try:
        for name in PARTS:
            size = int.from_bytes(content[:4], "little")
            if content[4:4 + size]:
                (folder / name).write_bytes(content[4:4 + size])
            content = content[4 + size:]
        tensors, config = load_checkpoint(folder, ["model"])
        assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()) and "model" in config
        load_torch(folder / "training.pt")
    finally:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


def good_glb() -> list[bytes]:
    rotations, pelvis = walk(1)
    return [written(lambda path: write_glb(path, [Take("x", rotations, pelvis)], "mixamo"), ".glb")]


def read_glb_character(path: Path) -> None:
    character = Character(path)
    turns, _, places = character.on_theirs(*walk(2))
    assert np.isfinite(turns).all() and np.isfinite(places).all()


def good_maps() -> list[bytes]:
    entries = {name: {"source": name, "rest": [0, 0, 90.0]} for name in JOINT_NAMES} | {
        "spine2": {"between": ["spine1", "spine3"]}}
    return [json.dumps(dict(unit=0.01, skip_frames=3, up="z", fps=60, joints=entries), indent=1).encode()]


READERS = {
    "bvh": Reader(good_bvh, ".bvh", check_body),
    "amc": Reader(good_amc, ".amc", read_amc_in_two),
    "npz": Reader(good_npz, ".npz", check_body),
    "npy": Reader(good_npy, ".npy", read_npy),
    "captions": Reader(lambda: ["".join(f"{format_caption(text, start, start + 1.5)}\n" for start, text in enumerate((
        "a person walks", "someone waves the left hand", "he bows; then he jumps"))).encode()], ".txt",
        read_caption_file),
    "maps": Reader(good_maps, ".json", read_map),
    "splits": Reader(lambda: [b"a_1\nM b_2\n\nc 3\n"], ".txt", read_split),
    "archives": Reader(good_archives, ".zip", read_archive),
    "checkpoints": Reader(good_checkpoints, "", read_checkpoint_parts),
    "glb": Reader(good_glb, ".glb", read_glb_character)}

if __name__ == "__main__":
    run(main)
