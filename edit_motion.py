"""Change a part of a motion by a sentence, without training, with MoSa.

python edit_motion.py --source my_clip.bvh --text "a person walks and waves the right hand" --mask 0.3,0.7
python edit_motion.py --source clip.npy --text "a person walks, then sits down" --mask 120,180 --repeat-times 3
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from demo_stream import Past, read_past
from demo_t2m import Chosen, file_names, load_mosa
from generation.mosa import mask_of
from motion.captures import Reading
from motion.formats.export import Files, check_files, check_formats, export, save_video, shown_pose
from motion.render import beside, render_frames
from options import opt, parse
from options.sampling import MoSaFlags
from utils.errors import run

MOST = 1000                                                # edits at once
SIZE, BAR = (640, 480), 24                                 # pixels of each motion in the video, and of the bar below
KEPT, EDITED, NOW = (200, 206, 214), (238, 108, 77), (38, 46, 60)


@dataclass(frozen=True)
class EditMotion:
    """Regenerate parts of a motion by a sentence, and write it; the video shows the source beside it."""

    source: Path | None = opt(None, "motion to change: .npy (T, 272), or a capture such as .bvh")
    reading: Reading = Reading()
    text: str | None = opt(None, "what happens in the whole motion; None: no text")
    mask: tuple[str, ...] = opt((), "what is regenerated, from,to: shares such as 0.3,0.7, or frames such as 40,80; "
                                "several for several parts", flag="mask -msec")
    count: int = opt(1, "edits, with the seeds seed, seed + 1, ...", flag="count repeat-times")
    seed: int = opt(0, "of the noise; the same seed gives the same motion")
    paste: bool = opt(True, "what is kept are the source's own frames; else the tokenizer's, as published")
    keep_scales: int = opt(0, "so many coarse scales are the source's everywhere")
    any_overlap: bool = opt(True, "coarse codes that the mask only touches are regenerated too; else, as published, "
                            "those that it fills")
    mosa: MoSaFlags = MoSaFlags()
    chosen: Chosen = Chosen()
    files: Files = Files(out=Path("editing"))


def main():
    config = parse({"default": EditMotion()}, show=False)
    if config.source is None:
        raise ValueError("There is no motion to change: give --source, a .npy or a capture.")
    if not 1 <= config.count <= MOST:
        raise ValueError(f"--count is {config.count}; expected 1 to {MOST} edits.")
    if config.text is not None and not config.text.strip():
        raise ValueError("--text is empty: say what happens, or leave it out to edit without text.")
    check_files(config.files)
    model = load_mosa(config.chosen, config.mosa)
    channels, unit = model.tokenizer.config.channels, model.tokenizer.frames_per_code
    check_formats(config.files, channels)
    source = read_past(config.source, config.reading, "--source", channels)
    model.check_source(source.motion)
    mask = mask_of(config.mask, len(source.motion) // unit, unit)
    seeds = [config.seed + number for number in range(config.count)]
    edits = model.edit(source.motion, mask, config.text, seeds, paste=config.paste, keep_scales=config.keep_scales,
                       any_overlap=config.any_overlap)
    for name, edit in zip(file_names([config.text or "no text"] * config.count), edits):
        print(f"{config.text or 'without text'}: {len(edit) / model.fps:.1f} s, {mask.mean():.0%} of it new")
        for path in save(config, f"{config.source.stem}-{name}", source, edit, np.repeat(mask, unit)):
            print(f"  {path}")


def save(config: EditMotion, name: str, source: Past, edit: np.ndarray, mask: np.ndarray) -> list[Path]:
    """Write an edit (T, D) as `export` does, but in the video the source beside it and the mask (T',) below."""
    others, title = [format for format in config.files.formats if format != "mp4"], config.text or "without text"
    paths = export(replace(config.files, format=",".join(others)), name, edit, title, source.start) if others else []
    if "mp4" not in config.files.formats:
        return paths
    count, path = min(len(source.motion), len(edit)), config.files.out / f"{name}.mp4"
    views = [render_frames(*shown_pose(config.files, motion[:count]), title, size=SIZE, body=config.files.mesh)
             for motion, title in ((source.motion, "source"), (edit, title))]
    save_video(path, with_bar(beside(*views), np.pad(mask, (0, max(0, count - len(mask))))[:count]), count)
    return [*paths, path]


def with_bar(pictures: Iterable[Image.Image], mask: np.ndarray) -> Iterator[Image.Image]:
    """Pictures of all frames, and a bar below: where the mask (T,) is, and which frame it is."""
    for frame, picture in enumerate(pictures):
        (width, height), scale = picture.size, picture.width / len(mask)
        whole = Image.new("RGB", (width, height + BAR), KEPT)
        whole.paste(picture)
        draw = ImageDraw.Draw(whole)
        for marked in np.flatnonzero(mask):
            draw.rectangle((marked * scale, height, (marked + 1) * scale, height + BAR), EDITED)
        draw.rectangle((frame * scale - 2, height, frame * scale + 2, height + BAR), NOW)
        yield whole


if __name__ == "__main__":
    run(main)
