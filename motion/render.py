"""Pictures and videos of motions: one frame, several side by side, a strip for a paper, an H.264 video.

Letters: T frames. A motion is a pose for each frame: local rotations (T, 22, 3, 3) and the pelvis' position (T, 3),
metres, y up, the floor at y = 0. `motion.footing.grounded_pose` gives it.
"""

import os
import subprocess
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from motion.body import Body
from motion.scene import Scene
from motion.titles import title_layer
from utils.checkpoint import write_whole

Title = str | list[tuple[int, str]]
Progress = Callable[[int], object]

INK, PALE_INK = (38, 46, 60), (112, 122, 140)
CELL, MARGIN = (300, 540), 12                    # pixels of a figure in a strip, and what stays above and below all


def write_video(path: Path, frames: Iterable[Image.Image], fps: float = 30, progress: Progress | None = None) -> None:
    """Write pictures as an mp4 that browsers play (H.264, yuv420p); `path` is whole or not there at all.

    frames    of one even width and height, as `render_frames` and `beside` give them
    progress  called with 1 for each frame that is drawn
    raises    ValueError for an odd size, OSError if ffmpeg cannot write the file
    """
    frames = iter(frames)
    first = next(frames)
    if first.width % 2 or first.height % 2:
        raise ValueError(f"size is {first.width}x{first.height}; H.264 needs an even width and height.")
    with write_whole(Path(path)) as temporary:
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", "-f", "rawvideo",
                   "-pix_fmt", "rgb24", "-s", f"{first.width}x{first.height}", "-r", str(fps), "-i", "-",
                   "-c:v", "libx264", "-preset", "veryfast", "-crf", "19", "-pix_fmt", "yuv420p",
                   "-movflags", "+faststart", "-f", "mp4", str(temporary)]
        ffmpeg = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        assert ffmpeg.stdin is not None
        try:
            for frame in chain([first], frames):
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


def render_frame(rotations: np.ndarray, pelvis: np.ndarray, frame: int, title: Title = "", fps: float = 30,
                 size: tuple[int, int] = (960, 540)) -> Image.Image:
    """Draw one frame of a motion, exactly as `render_frames` does among others."""
    return next(render_frames(rotations, pelvis, title, fps, size, [frame]))


def render_frames(rotations: np.ndarray, pelvis: np.ndarray, title: Title = "", fps: float = 30,
                  size: tuple[int, int] = (960, 540), frames: Iterable[int] | None = None, body: Body | None = None
                  ) -> Iterator[Image.Image]:
    """Draw the given frames (default: all) of a motion.

    rotations  (T, 22, 3, 3) local; pelvis (T, 3) metres
    title      the prompt, or [(first frame, prompt), ...] for a stream
    size       width and height in pixels
    body       whose mesh is shown; None: `motion.body.rest_body`
    raises     ValueError for a motion that cannot be drawn; here, not at the first `next`
    """
    check(rotations, pelvis, size)
    if not fps > 0:
        raise ValueError(f"fps is {fps}; expected a number above 0.")
    titles = [(0, title)] if isinstance(title, str) else title
    return _draw(Scene(rotations, pelvis, size, body), titles, fps, range(len(pelvis)) if frames is None else frames)


def strip(rotations: np.ndarray, pelvis: np.ndarray, count: int = 8, size: tuple[int, int] = CELL,
          transparent: bool = False, body: Body | None = None) -> Image.Image:
    """Frames at equal distances, the first and the last among them, in one picture, as papers show a motion.

    count        of the frames; size in pixels of each one's cell, whose height is then cut to what is seen
    transparent  RGBA without a background; else RGB on white
    body         whose mesh is shown; None: `motion.body.rest_body`
    raises       ValueError for a motion that cannot be drawn, or fewer than one frame
    """
    check(rotations, pelvis, size)
    if count < 1:
        raise ValueError(f"The strip has {count} frames, expected 1 or more.")
    scene = Scene(rotations, pelvis, size, body)
    scene.target[:, ::2] = pelvis[:, ::2]                 # no way to follow: every figure in the middle of its cell
    whole = Image.new("RGBA", (count * size[0], size[1]))
    for place, frame in enumerate(np.linspace(0, len(pelvis) - 1, count).round().astype(int)):
        whole.paste(scene.figure(frame), (place * size[0], 0))
    _, top, _, bottom = whole.getbbox() or (0, 0, *whole.size)
    whole = whole.crop((0, max(top - MARGIN, 0), whole.width, min(bottom + MARGIN, whole.height)))
    if transparent:
        return whole
    return Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole).convert("RGB")


def beside(*motions: Iterable[Image.Image]) -> Iterator[Image.Image]:
    """Pictures of several motions next to each other; who has ended keeps his last one until all have.

    raises   ValueError if there are no pictures
    """
    sources, last = [iter(motion) for motion in motions], [None] * len(motions)
    while any(new := [next(source, None) for source in sources]):
        last = [picture or before for picture, before in zip(new, last)]
        yield in_a_row([picture for picture in last if picture is not None])


def in_a_row(pictures: Sequence[Image.Image]) -> Image.Image:
    """One picture of several, left to right, as high as the first."""
    row = Image.new(pictures[0].mode, (sum(picture.width for picture in pictures), pictures[0].height))
    for number, picture in enumerate(pictures):
        row.paste(picture, (sum(before.width for before in pictures[:number]), 0))
    return row


def check(rotations: np.ndarray, pelvis: np.ndarray, size: tuple[int, int]) -> None:
    """ValueError that says what cannot be drawn and why."""
    if rotations.shape != (len(pelvis), 22, 3, 3) or pelvis.shape != (len(pelvis), 3) or not len(pelvis):
        raise ValueError(f"rotations have shape {rotations.shape} and pelvis {pelvis.shape}; expected (T, 22, 3, 3) "
                         "and (T, 3) with at least one frame.")
    bad = ~(np.abs(pelvis) < 1e9).all(axis=1) | ~(np.abs(rotations) < 1e9).all(axis=(1, 2, 3))    # also NaN
    if bad.any():
        raise ValueError(f"the pose of frame {bad.argmax()} is NaN or beyond 1e9 metres; expected metres.")
    if min(size) < 64:
        raise ValueError(f"size is {size[0]}x{size[1]}; expected 64x64 or more.")


def _draw(scene: Scene, titles: list[tuple[int, str]], fps: float, frames: Iterable[int]) -> Iterator[Image.Image]:
    size = scene.size
    headings = [(first, title_layer(text, size)) for first, text in titles]
    small = ImageFont.load_default(size[1] / 30)

    def draw(frame: int) -> Image.Image:
        image = scene.picture(frame)
        for layer in [layer for first, layer in headings if first <= frame][-1:]:
            if box := layer.getbbox():
                image.paste(INK, box, layer.crop(box))
        ImageDraw.Draw(image).text((size[0] * 0.965, size[1] * 0.95), f"{frame / fps:.1f} s", PALE_INK,
                                   small, anchor="rs")
        return image

    return _together(draw, frames)


def _together(draw: Callable[[int], Image.Image], frames: Iterable[int]) -> Iterator[Image.Image]:
    """draw(frame) of each, in order; a thread for each core, as NumPy and Pillow let others work beside them."""
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[Future[Image.Image]] = deque()
        for frame in frames:
            pending.append(pool.submit(draw, frame))
            if len(pending) > threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
