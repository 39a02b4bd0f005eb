"""Motions to files: one folder, one name, as many formats as are asked for."""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from motion.body import Body, rest_body
from motion.characters import read_character
from motion.footing import grounded_pose
from motion.formats.bones import BONES
from motion.formats.bvh import UNITS, write_bvh
from motion.formats.glb import Take, write_glb
from motion.formats.npz import write_amass
from motion.formats.smpl import read_smpl
from motion.formats.vrma import write_vrma
from motion.render import Title, render_frames, strip, write_video
from motion.representation_263 import motion_to_positions
from motion.representation_272 import DIM, Start, motion272_to_pose
from motion.skeleton import forward_kinematics
from options import opt
from utils.checkpoint import write_whole

ENDINGS = {"npy": ".npy", "joints": "_joints.npy", "npz": ".npz", "bvh": ".bvh", "glb": ".glb", "vrma": ".vrma",
           "mp4": ".mp4", "strip": "_strip.png"}
JOINTS_ALONE = ("npy", "joints")    # the formats that need no rotations
Writers = dict[str, Callable[[Path], None]]


@dataclass(frozen=True)
class Style:
    """How a pose is shown in files."""

    body: Path | None = opt(None, "your SMPL, SMPL-H or SMPL-X file (.npz, .pkl), whose mesh mp4, strip and glb show")
    bones: str = opt("smpl", "names of the bones in bvh and glb", choices=tuple(BONES))
    bvh_scale: str = opt("m", "unit of bvh's lengths", choices=tuple(UNITS))
    transparent: bool = opt(False, "strip without a background")
    takes: str = opt("all", "animations in glb and vrma: one of all, or one a prompt", choices=("all", "prompt"))
    skeleton_from: Path | None = opt(None, "your character, .bvh, or .glb or .vrm with a skin: a file of its kind is "
                                     "written on its own skeleton, with its mesh")
    skeleton_from_map: str = opt("auto", "whose skeleton that is: auto, the name of a map that ships, or a JSON file")

    @property
    def mesh(self) -> Body:
        return read_smpl(self.body) if self.body else rest_body()

    @property
    def own(self) -> str | None:
        """The format of the character, if there is one."""
        return None if self.skeleton_from is None else "bvh" if self.skeleton_from.suffix.lower() == ".bvh" else "glb"

    def check(self) -> None:
        """Make sure that its files can be read, and say what was found; ValueError or FileNotFoundError if not."""
        _ = self.mesh
        if self.skeleton_from:
            print(read_character(self.skeleton_from, self.skeleton_from_map).said)


@dataclass(frozen=True)
class Files(Style):
    """What is written and where."""

    out: Path = opt(Path("demo_output"), "folder of the files")
    format: str = opt("npy,bvh,mp4", "some of npy (272 channels), joints (T, 22, 3), npz (AMASS), bvh, glb, vrma, mp4, "
                      "strip (frames in a row, png)")
    mode: str = opt("pos", "the feet stand where the model's positions say, or as its rotations give them alone",
                    choices=("pos", "rot"))
    lock_feet: bool = opt(True, "with --mode pos, hold feet that rest on the floor where they are")

    @property
    def formats(self) -> list[str]:
        """What is written; the format of the character, too."""
        words = [word.strip() for word in self.format.split(",")]
        return list(dict.fromkeys([*words, self.own] if self.own else words))


def check_files(config: Files) -> None:
    """Make sure that files can be written, before the work and not after it; ValueError if not."""
    if unknown := set(config.formats) - set(ENDINGS):
        raise ValueError(f"--format has {', '.join(map(repr, unknown))}: expected {','.join(ENDINGS)}.")
    config.check()
    try:
        config.out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=config.out).close()
    except OSError as error:
        raise ValueError(f"--out {config.out} is not writable ({error.strerror}); give another one.") from None


def check_formats(config: Files, channels: int) -> None:
    """ValueError unless motions of so many channels can be written in all formats: those of 263 have only joints."""
    if channels != DIM and not set(config.formats) <= set(JOINTS_ALONE):
        raise ValueError(f"--format {config.format} needs rotations, but of motions of {channels} channels only joints "
                         f"are known: give --format {','.join(JOINTS_ALONE)}.")


def export(config: Files, name: str, motion: np.ndarray, title: Title, start: Start = Start()) -> list[Path]:
    """Write a motion (T, 272) as name.npy, name.bvh, ..., each whole or not at all; returns the paths.

    All but npy and joints, which are the model's own numbers, show one pose: `grounded_pose`, or with `--mode rot` its
    rotations as they are.

    start    where it begins in the world, in all formats but npy, whose channels do not say
    raises   ValueError for a motion (T, 263), but for its npy and joints
    """
    check_formats(config, motion.shape[1])
    writers: Writers = {"npy": lambda path: save_array(path, motion)}
    if motion.shape[1] == DIM:
        pose = shown_pose(config, motion)
        joints = motion_to_positions(motion) if config.mode == "pos" else forward_kinematics(*pose)
        writers |= pose_writers(config, start.turned(pose[0]), start.moved(pose[1]), title)
    else:
        joints = motion_to_positions(motion)
    writers["joints"] = lambda path: save_array(path, start.moved(joints))
    paths = [config.out / f"{name}{ENDINGS[format]}" for format in config.formats]
    for format, path in zip(config.formats, paths):
        writers[format](path)
    return paths


def shown_pose(config: Files, motion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (T, 22, 3, 3) and pelvis (T, 3) of a motion (T, 272), as all formats show it."""
    return grounded_pose(motion, config.lock_feet) if config.mode == "pos" else motion272_to_pose(motion)


def pose_writers(style: Style, rotations: np.ndarray, pelvis: np.ndarray, title: Title) -> Writers:
    """Format -> what writes a pose in it, rotations (T, 22, 3, 3) and pelvis (T, 3) as they are shown, to a path."""
    body, takes = style.mesh, cut(rotations, pelvis, title, style.takes)
    writers: Writers = {
        "npz": lambda path: write_amass(path, rotations, pelvis),
        "bvh": lambda path: write_bvh(path, rotations, pelvis, bones=style.bones, unit=style.bvh_scale),
        "glb": lambda path: write_glb(path, takes, style.bones, body=body),
        "vrma": lambda path: write_vrma(path, takes),
        "mp4": lambda path: save_video(path, render_frames(rotations, pelvis, title, body=body), len(pelvis)),
        "strip": lambda path: save_picture(path, strip(rotations, pelvis, transparent=style.transparent, body=body)),
    }
    if style.skeleton_from:
        character = read_character(style.skeleton_from, style.skeleton_from_map)
        writers[character.kind] = lambda path: character.write(path, takes)
    return writers


def cut(rotations: np.ndarray, pelvis: np.ndarray, title: Title, takes: str) -> list[Take]:
    """A motion as one take, or as one for each prompt of its title, which then says when each begins."""
    prompts = [(0, title)] if isinstance(title, str) else title
    if takes == "all":
        prompts = [(0, ", then ".join(text for _, text in prompts))]
    ends = [*(first for first, _ in prompts[1:]), len(pelvis)]
    return [Take(text, rotations[first:end], pelvis[first:end]) for (first, text), end in zip(prompts, ends)]


def save_video(path: Path, frames: Iterable[Image.Image], count: int) -> None:
    with progress_bar("drawing", count) as bar:
        write_video(path, frames, progress=bar.update)


def save_picture(path: Path, picture: Image.Image) -> None:
    with write_whole(path) as temporary:
        picture.save(temporary)


def save_array(path: Path, values: np.ndarray) -> None:
    with write_whole(path) as temporary:
        np.save(temporary, values)


def progress_bar(what: str, frames: int) -> tqdm:
    """A bar that leaves nothing behind, and is not there without a terminal."""
    return tqdm(desc=what, total=frames, unit=" frames", leave=False, disable=None, dynamic_ncols=True)
