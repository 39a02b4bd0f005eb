"""Pictures as a video (H.264), and two motions side by side, the edited part marked."""

import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image, ImageDraw

from utils.checkpoint import write_whole

Progress = Callable[[int], object]
BAR = 24                                                   # pixels below the pictures
KEPT, EDITED, NOW = (200, 206, 214), (238, 108, 77), (38, 46, 60)


def write_video(path: Path, frames: Iterable[Image.Image], size: tuple[int, int], fps: float,
                progress: Progress | None = None) -> None:
    """Write pictures of an even size as an mp4 that browsers play; `path` is whole or not there at all.

    raises   OSError if ffmpeg cannot write the file
    """
    with write_whole(path) as temporary:
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", "-f", "rawvideo",
                   "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}", "-r", str(fps), "-i", "-",
                   "-c:v", "libx264", "-preset", "veryfast", "-crf", "19", "-pix_fmt", "yuv420p",
                   "-movflags", "+faststart", "-f", "mp4", str(temporary)]
        ffmpeg = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        assert ffmpeg.stdin is not None
        try:
            for frame in frames:
                ffmpeg.stdin.write(frame.tobytes())
                if progress:
                    progress(1)
        except BrokenPipeError:
            pass                          # ffmpeg has stopped early: its exit status and last words say why
        finally:
            log = ffmpeg.communicate()[1].decode(errors="replace").strip()
        if ffmpeg.returncode != 0:
            reason = log.splitlines()[-1] if log else f"exit status {ffmpeg.returncode}"
            raise OSError(f"ffmpeg could not write {path}: {reason}")


def beside(pictures: Iterable[tuple[Image.Image, ...]], share: np.ndarray) -> Iterator[Image.Image]:
    """Pictures of the same frames in a row, and a bar below: where the mask (T,) is, and what is shown now."""
    for frame, row in enumerate(pictures):
        width, height = row[0].size
        whole = Image.new("RGB", (width * len(row), height + BAR), KEPT)
        for place, picture in enumerate(row):
            whole.paste(picture, (width * place, 0))
        draw, scale = ImageDraw.Draw(whole), width * len(row) / len(share)
        for marked in np.flatnonzero(share):
            draw.rectangle((marked * scale, height, (marked + 1) * scale, height + BAR), EDITED)
        draw.rectangle((frame * scale - 2, height, frame * scale + 2, height + BAR), NOW)
        yield whole
