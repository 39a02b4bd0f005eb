"""What is in a capture file, and what it is taken for.

python -m motion.inspect clip.bvh                # joints, skeleton, rate, unit, up axis, floor; a picture beside
python -m motion.inspect clip.bvh --write-map    # the skeleton map as JSON, to correct and give to --skeleton
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from motion.captures import Reading, given_map, map_of, read_body
from motion.formats import Capture, read_capture
from motion.retarget import Source
from motion.skeleton import JOINT_NAMES, PARENTS
from options import opt, parse
from utils.checkpoint import write_json, write_whole
from utils.errors import run

SIZE, FRAMES = 260, 4     # pixels of a view, frames that are shown
OURS, THEIRS = (31, 119, 180), (150, 150, 150)


@dataclass(frozen=True)
class Inspect:
    """Say what a capture file holds and what it is taken for."""

    file: Path = opt(Path(), "the capture: .bvh, .amc, .npz, or a character's .glb; the first word needs no --file")
    write_map: bool = opt(False, "write the skeleton map beside it, NAME_map.json")
    picture: bool = opt(True, "draw its joints and ours beside it, NAME_joints.png")
    reading: Reading = Reading()


def main() -> None:
    words = sys.argv[1:]
    config = parse({"default": Inspect()}, words if not words or words[0].startswith("-") else ["--file", *words],
                   show=False)
    capture = read_capture(config.file, config.reading.asf, config.reading.fps, unit=config.reading.unit)
    try:
        skeleton_map, _ = map_of(capture, config.reading, given_map(config.reading))
    except ValueError:
        print("\n".join(tree(capture, {})))
        if config.write_map:
            print(f"wrote {written(config.file, empty_map())}: put a name of the list above for each ?")
        raise
    source = Source(capture, skeleton_map)
    taken = {capture.names[theirs]: JOINT_NAMES[joint] for joint, theirs in enumerate(source.theirs)
             if joint not in source.missing}
    print("\n".join(tree(capture, taken)))
    if source.missing:
        print(f"not there: {', '.join(JOINT_NAMES[joint] for joint in sorted(source.missing))}")
    if config.write_map:
        up = {} if "up" in skeleton_map else {"up": source.capture.up}
        path = written(config.file, up | skeleton_map)
        print(f"wrote {path}; give it to --skeleton, of a character to --skeleton-from-map")
    body = read_body(config.file, config.reading)
    print(f"{body.said}; floor at {floor(source):.4g} of the file's unit along {source.capture.up}")
    if config.picture:
        path = config.file.with_name(f"{config.file.stem}_joints.png")
        with write_whole(path) as temporary:
            picture(source, body.joints).save(temporary)
        print(f"wrote {path}: theirs in grey, ours in blue; from the front, from their left")


def tree(capture: Capture, taken: dict[str, str]) -> list[str]:
    """The joints, indented by their depth, and which of ours each is taken for."""
    depths, lines = {-1: -1}, []
    for joint, (name, parent) in enumerate(zip(capture.names, capture.parents)):
        depths[joint] = depths[parent] + 1
        lines.append("  " * min(depths[joint], 30) + name + (f"   -> {taken[name]}" if name in taken else ""))
    return lines


def empty_map() -> dict:
    return {"unit": 1.0, "rest_frame": "auto", "joints": {name: {"source": "?"} for name in JOINT_NAMES}}


def written(path: Path, skeleton_map: dict) -> Path:
    path = path.with_name(f"{path.stem}_map.json")
    write_json(path, skeleton_map)
    return path


def floor(source: Source) -> float:
    """The height at which the lowest joint is in the lowest twentieth of the frames, in the file's unit."""
    return float(np.percentile(source.places[..., 1].min(-1), 5))


def picture(source: Source, joints: np.ndarray) -> Image.Image:
    """Some frames from the front and from the left: their joints, scaled as ours, behind ours."""
    shown = np.linspace(0, len(joints) - 1, FRAMES).astype(int)
    tall = np.ptp(joints[shown, :, 1], axis=1).max()
    theirs = source.places * (tall / max(np.ptp(source.places[shown, :, 1], axis=1).max(), 1e-9))
    image = Image.new("RGB", (FRAMES * SIZE, 2 * SIZE), "white")
    draw = ImageDraw.Draw(image)
    for column, frame in enumerate(shown):
        for row, axis in enumerate((0, 2)):
            for places, colour, width in ((theirs[frame], THEIRS, 5), (joints[frame], OURS, 2)):
                there = places - places[0] * [1, 0, 1] - [0, places[:, 1].min(), 0]
                across = SIZE / 2 + there[:, axis] * 0.8 * SIZE / tall * (-1 if axis else 1)
                down = 0.92 * SIZE - there[:, 1] * 0.8 * SIZE / tall
                spots = list(zip(column * SIZE + across, row * SIZE + down))
                for joint, parent in enumerate(PARENTS[1:], start=1):
                    draw.line([spots[joint], spots[parent]], fill=colour, width=width)
    return image


if __name__ == "__main__":
    run(main)
