"""Change a part of a motion by a sentence, without training, with MoSa.

python edit_motion.py --source my_clip.bvh --text "a person walks and waves the right hand" --mask 0.3,0.7
python edit_motion.py --source clip.npy --text "a person walks, then sits down" --mask 120,180 --repeat-times 3
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from demo_stream import read_past
from demo_t2m import Chosen, Files, check_files, file_names, load_mosa, progress_bar, write
from generation.mosa import mask_of
from motion.render import render_frames
from motion.representation_263 import fps_of, motion_to_positions
from motion.video import BAR, beside, write_video
from options import opt, parse
from options.sampling import MoSaFlags
from utils.errors import run

SIZE = (640, 480)     # pixels of each motion in the video


@dataclass(frozen=True)
class EditMotion:
    """Regenerate parts of a motion by a sentence, and write it; the video shows the source beside it."""

    source: Path | None = opt(None, "motion to change: .npy (T, 272), or a capture: .bvh, .npz, .amc")
    source_skeleton: str = opt("smpl", "skeleton map of that capture: a name that ships, or a JSON file")
    text: str | None = opt(None, "what happens in the whole motion; None: no text")
    mask: tuple[str, ...] = opt((), "what is regenerated, from,to: shares such as 0.3,0.7, or frames such as 40,80; "
                                "several for several parts", also=("-msec",))
    count: int = opt(1, "edits, with the seeds seed, seed + 1, ...", also=("--repeat-times",))
    seed: int = opt(0, "of the noise; the same seed gives the same motion")
    paste: bool = opt(True, "what is kept are the source's own frames; else the tokenizer's, as published")
    keep_scales: int = opt(0, "so many coarse scales are the source's everywhere")
    any_overlap: bool = opt(False, "coarse codes that the mask only touches are regenerated too")
    mosa: MoSaFlags = MoSaFlags()
    chosen: Chosen = Chosen()
    files: Files = Files(out=Path("editing"))


def main():
    config = parse({"default": EditMotion()}, show=False)
    if config.source is None:
        raise ValueError("There is no motion to change: give --source, a .npy or a capture.")
    if config.count < 1:
        raise ValueError(f"--count is {config.count}; expected 1 or more edits.")
    if config.text is not None and not config.text.strip():
        raise ValueError("--text is empty: say what happens, or leave it out to edit without text.")
    check_files(config.files)
    model = load_mosa(config.chosen, config.mosa)
    unit = model.tokenizer.frames_per_code
    source = read_past(config.source, config.source_skeleton, "--source", model.tokenizer.config.channels)
    model.check_source(source)
    mask = mask_of(config.mask, len(source) // unit, unit)
    seeds = [config.seed + number for number in range(config.count)]
    edits = model.edit(source, mask, config.text, seeds, paste=config.paste, keep_scales=config.keep_scales,
                       any_overlap=config.any_overlap)
    for name, edit in zip(file_names([config.text or "no text"] * config.count), edits):
        print(f"{config.text or 'without text'}: {len(edit) / model.fps:.1f} s, {mask.mean():.0%} of it new")
        for path in save(config, f"{config.source.stem}-{name}", source, edit, np.repeat(mask, unit)):
            print(f"  {path}")


def save(config: EditMotion, name: str, source: np.ndarray, edit: np.ndarray, mask: np.ndarray) -> list[Path]:
    """Write an edit (T, D) as `write` does, but in the video the source (T', D) beside it and the mask (T,) below."""
    formats = [format for format in config.files.formats if format != "mp4"]
    paths = write(Files(config.files.out, ",".join(formats), config.files.mode), name, edit, "") if formats else []
    if "mp4" not in config.files.formats:
        return paths
    count, fps = min(len(source), len(edit)), fps_of(edit.shape[1])
    views = [render_frames(motion_to_positions(motion[:count]), title, fps, SIZE)
             for motion, title in ((source, "source"), (edit, config.text or "without text"))]
    path = config.files.out / f"{name}.mp4"
    with progress_bar("drawing", count) as bar:
        write_video(path, beside(zip(*views), np.pad(mask, (0, max(0, count - len(mask))))[:count]),
                    (2 * SIZE[0], SIZE[1] + BAR), fps, bar.update)
    return [*paths, path]


if __name__ == "__main__":
    run(main)
