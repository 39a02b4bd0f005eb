"""Motions that are there as files to a video or a strip of frames; several next to each other.

python render_motion.py --motion before.npy after.npy --title before --title after --out both.mp4
python render_motion.py --motion walk.npy --out walk.png --count 6 --transparent
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dataset.clips import load_motion
from motion.footing import grounded_pose
from motion.formats.export import save_picture, save_video
from motion.render import beside, render_frames, strip
from options import opt, parse
from utils.errors import run


@dataclass(frozen=True)
class Render:
    """Draw motions of one file or several, as they are exported."""

    motion: tuple[Path, ...] = opt((), "what to draw: .npy (T, 272)")
    title: tuple[str, ...] = opt((), "what is written above each; none: the names of the files")
    out: Path = opt(Path("motion.mp4"), "a video (.mp4), or a strip of frames (.png), one row for each motion")
    size: int = opt(540, "height of a picture in pixels; its width is 16/9 of that, or 8/9 where there are several")
    count: int = opt(8, "frames in a strip")
    transparent: bool = opt(False, "strip without a background")
    lock_feet: bool = opt(True, "hold feet that rest on the floor where they are")


def main() -> None:
    config = parse({"render": Render()}, show=False)
    if config.out.suffix not in (".mp4", ".png"):
        raise ValueError(f"--out {config.out}: expected a name that ends in .mp4 or .png.")
    if not config.motion or len(config.title) not in (0, len(config.motion)):
        raise ValueError(f"Found {len(config.motion)} of --motion and {len(config.title)} of --title; expected one "
                         "motion or more, and no title or one for each.")
    poses = [grounded_pose(load_motion(path), config.lock_feet) for path in config.motion]
    if config.out.suffix == ".png":
        save_picture(config.out, rows([strip(*pose, config.count, transparent=config.transparent) for pose in poses]))
    else:
        width = round(config.size * (16 if len(poses) == 1 else 8) / 9 / 2) * 2
        drawn = [render_frames(*pose, title, size=(width, config.size))
                 for pose, title in zip(poses, config.title or [path.stem for path in config.motion])]
        save_video(config.out, beside(*drawn), max(len(pelvis) for _, pelvis in poses))
    print(f"  {config.out}")


def rows(pictures: list[Image.Image]) -> Image.Image:
    """Pictures of one width, one below the other."""
    arrays = [np.asarray(picture) for picture in pictures]
    return Image.fromarray(np.concatenate(arrays))


if __name__ == "__main__":
    run(main)
