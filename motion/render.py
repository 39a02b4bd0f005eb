"""Draw a motion: a mannequin of tapered capsules on an endless floor, as pictures or an H.264 video.

Letters: T frames, P points of the body, H and W pixels. Metres, y up; colours are RGB bytes.
The camera keeps its direction and slides along with the smoothed root. So the rays through its pixels, and
where they meet the floor as seen from the camera, are computed once for a whole video.
"""

import subprocess
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont
from scipy.ndimage import gaussian_filter1d

from motion.skeleton import JOINT_NAMES
from utils.checkpoint import write_whole

Title = str | list[tuple[int, str]]

LEFT, RIGHT, BODY, SKIN = (238, 108, 77), (41, 128, 185), (84, 96, 117), (224, 184, 156)
SKY, FLOOR, LINE = (222, 228, 237), (249, 250, 252), (176, 186, 201)
SHADOW, TRAIL = (52, 62, 84), (238, 150, 77)
INK, PALE_INK = (38, 46, 60), (112, 122, 140)

DISTANCE, AIM = 4.9, 0.96                        # of the camera from its target; the target's height; metres
ELEVATION, SIDE = np.radians(13), np.radians(38) # of the camera: upwards, and to the left of the first facing
FOCAL = 1.75                                     # image heights
LIGHT = np.array([-0.45, 1.3, 0.6])              # towards the light: right, up, to the viewer
FOLLOW = 12                                      # frames: standard deviation of the camera's smoothing
TRAIL_FRAMES = 120
SHARP = 2                                        # the body is drawn this many times larger, then averaged
SHADOW_SPAN, SHADOW_SCALE = 7.0, 64              # metres, texels per metre

# From, to, their radii in metres, colour. A line of the left side stands for the right side as well.
CAPSULES = [
    ("left_hip", "right_hip", 0.094, 0.094, BODY), ("pelvis", "spine1", 0.110, 0.104, BODY),
    ("spine1", "spine2", 0.104, 0.108, BODY), ("spine2", "spine3", 0.108, 0.112, BODY),
    ("spine3", "neck", 0.112, 0.056, BODY), ("spine2", "left_collar", 0.098, 0.074, BODY),
    ("left_collar", "left_shoulder", 0.074, 0.058, BODY),
    ("neck", "skull", 0.048, 0.052, SKIN), ("skull", "crown", 0.088, 0.094, SKIN),
    ("left_hip", "left_knee", 0.090, 0.058, LEFT), ("left_knee", "left_ankle", 0.057, 0.038, LEFT),
    ("left_ankle", "left_foot", 0.043, 0.036, LEFT), ("left_foot", "left_toe", 0.036, 0.028, LEFT),
    ("left_shoulder", "left_elbow", 0.056, 0.043, LEFT), ("left_elbow", "left_wrist", 0.042, 0.031, LEFT),
    ("left_wrist", "left_hand", 0.035, 0.033, SKIN),
]
# Points beyond the joints: name, the joint it starts from, two joints that give its direction, metres.
TIPS = [("skull", "head", "spine3", "head", 0.055), ("crown", "head", "spine3", "head", 0.105),
        ("left_hand", "left_wrist", "left_elbow", "left_wrist", 0.09),
        ("right_hand", "right_wrist", "right_elbow", "right_wrist", 0.09),
        ("left_toe", "left_foot", "left_ankle", "left_foot", 0.05),
        ("right_toe", "right_foot", "right_ankle", "right_foot", 0.05)]
POINTS = {name: index for index, name in enumerate([*JOINT_NAMES, *(tip[0] for tip in TIPS)])}


def render_video(path: Path, joints: np.ndarray, title: Title = "", fps: float = 30,
                 size: tuple[int, int] = (960, 540)) -> None:
    """Write a motion as an mp4 that browsers play (H.264, yuv420p); `path` is whole or not there at all.

    joints  (T, 22, 3) metres, y up, floor at y = 0
    title   the prompt, or [(first frame, prompt), ...] for a stream
    size    width and height in pixels, both even
    raises  ValueError for joints that cannot be drawn, OSError if ffmpeg cannot write the file
    """
    if size[0] % 2 or size[1] % 2:
        raise ValueError(f"size is {size[0]}x{size[1]}; H.264 needs an even width and height.")
    frames = render_frames(joints, title, fps, size)
    with write_whole(Path(path)) as temporary:
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", "-f", "rawvideo",
                   "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}", "-r", str(fps), "-i", "-",
                   "-c:v", "libx264", "-preset", "veryfast", "-crf", "19", "-pix_fmt", "yuv420p",
                   "-movflags", "+faststart", "-f", "mp4", str(temporary)]
        ffmpeg = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            for frame in frames:
                ffmpeg.stdin.write(frame.tobytes())
        except BrokenPipeError:
            pass                          # ffmpeg has stopped early: its exit status and last words say why
        finally:
            log = ffmpeg.communicate()[1].decode(errors="replace").strip()
        if ffmpeg.returncode != 0:
            reason = log.splitlines()[-1] if log else f"exit status {ffmpeg.returncode}"
            raise OSError(f"ffmpeg could not write {path}: {reason}")


def render_frame(joints: np.ndarray, frame: int, title: Title = "", fps: float = 30,
                 size: tuple[int, int] = (960, 540)) -> Image.Image:
    """Draw one frame of a motion (T, 22, 3), exactly as `render_video` shows it."""
    return next(render_frames(joints, title, fps, size, [frame]))


def render_frames(joints: np.ndarray, title: Title = "", fps: float = 30, size: tuple[int, int] = (960, 540),
                  frames: Iterable[int] | None = None) -> Iterator[Image.Image]:
    """Draw the given frames (default: all) of a motion (T, 22, 3); arguments as in `render_video`.

    Bad joints raise ValueError here, not at the first `next`.
    """
    joints = np.asarray(joints, dtype=np.float64)
    if joints.ndim != 3 or joints.shape[1:] != (22, 3) or len(joints) == 0:
        raise ValueError(f"joints have shape {joints.shape}; expected (T, 22, 3) with at least one frame.")
    bad = ~(np.abs(joints) < 1e9).all(axis=(1, 2))    # also NaN
    if bad.any():
        raise ValueError(f"joints of frame {bad.argmax()} are NaN or beyond 1e9 metres; expected metres.")
    if min(size) < 64 or not fps > 0:
        raise ValueError(f"size is {size[0]}x{size[1]} and fps {fps}; expected 64x64 or more, and above 0.")
    titles = [(0, title)] if isinstance(title, str) else title
    return _draw(joints, titles, fps, size, range(len(joints)) if frames is None else frames)


def _draw(joints: np.ndarray, titles: list[tuple[int, str]], fps: float, size: tuple[int, int],
          frames: Iterable[int]) -> Iterator[Image.Image]:
    scene, points = Scene(joints, size), with_tips(joints)
    headings = [(first, title_layer(text, size)) for first, text in titles]
    small = ImageFont.load_default(size[1] / 30)
    for frame in frames:
        image = scene.draw(points[frame], frame)
        for layer in [layer for first, layer in headings if first <= frame][-1:]:
            image.paste(INK, mask=layer)
        ImageDraw.Draw(image).text((size[0] * 0.965, size[1] * 0.95), f"{frame / fps:.1f} s", PALE_INK,
                                   small, anchor="rs")
        yield image


class Scene:
    """A camera that follows a motion, and all that stays the same from frame to frame."""

    def __init__(self, joints: np.ndarray, size: tuple[int, int]):
        """joints (T, 22, 3) metres; size in pixels."""
        self.size, self.focal, self.root = size, FOCAL * size[1], joints[:, 0]
        self.target = gaussian_filter1d(self.root, FOLLOW, axis=0, mode="nearest")
        self.target[:, 1] = AIM

        across = joints[0, POINTS["left_hip"]] - joints[0, POINTS["right_hip"]]
        turn = np.arctan2(-across[2], across[0]) + SIDE
        right, viewer = np.array([np.cos(turn), 0, -np.sin(turn)]), np.array([np.sin(turn), 0, np.cos(turn)])
        back = viewer * np.cos(ELEVATION) + [0, np.sin(ELEVATION), 0]
        self.eye = back * DISTANCE                                     # from the target
        self.camera = np.stack([right, np.cross(back, right), -back])  # rows: right, up, ahead
        light = LIGHT @ np.stack([right, [0, 1, 0], viewer])
        self.light = light / np.linalg.norm(light)

        rays = self.rays(SHARP)
        self.body_rays = rays / np.linalg.norm(rays, axis=0)           # (3, H, W) camera axes, length 1
        rays = np.tensordot(self.camera.T, self.rays(1), 1)            # (3, H, W) world axes
        below = rays[1] < -1e-4                                        # the horizon
        reach = (self.eye[1] + AIM) / np.where(below, -rays[1], np.inf)
        # x and z of every pixel's floor, metres from the target, and how much of each a pixel covers
        self.floor = [(self.eye[axis] + reach * rays[axis]).astype(np.float32) for axis in (0, 2)]
        self.blur = [np.hypot(*np.gradient(plane)) + np.float32(1e-6) for plane in self.floor]
        away = np.where(below, np.hypot(*self.floor), np.inf)
        self.fade = np.exp(-(away / 6.5) ** 2).astype(np.float32)
        backdrop = np.array(SKY) + np.subtract(FLOOR, SKY) * np.exp(-(away / 9) ** 2)[..., None]
        self.backdrop = Image.fromarray(np.round(backdrop).astype(np.uint8))

    def rays(self, scale: int) -> np.ndarray:
        """Directions (3, H, W) of all pixel centres in camera axes, one metre ahead."""
        width, height = self.size[0] * scale, self.size[1] * scale
        x = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / (self.focal * scale)
        y = (height / 2 - 0.5 - np.arange(height, dtype=np.float32)) / (self.focal * scale)
        return np.stack([*np.meshgrid(x, y), np.ones((height, width), np.float32)])

    def project(self, points: np.ndarray, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """World points (..., 3) -> pixels (..., 2) and camera coordinates (..., 3)."""
        seen = (points - self.target[frame] - self.eye) @ self.camera.T
        ahead = np.maximum(seen[..., 2:], 1e-3)
        pixels = np.array(self.size) / 2 + self.focal * seen[..., :2] / ahead * [1, -1]
        return pixels, seen

    def draw(self, points: np.ndarray, frame: int) -> Image.Image:
        """The picture of one frame; points (P, 3) as `with_tips` gives them."""
        image = self.backdrop.copy()
        image.paste(LINE, mask=self.grid(frame))
        image.paste(TRAIL, mask=self.trail(frame))
        image.paste(SHADOW, mask=self.shadow(points, frame))
        body, corner = self.body(points, frame)
        if body is not None:
            image.paste(body, corner, body)
        return image

    def grid(self, frame: int) -> Image.Image:
        """Lines every half metre, whole metres stronger; averaged over a pixel, so nothing flickers."""
        strength = 0
        for period, width, weight in ((1.0, 0.022, 0.75), (0.5, 0.012, 0.3)):
            for plane, blur, shift in zip(self.floor, self.blur, self.target[frame, ::2]):
                place = plane + np.float32(shift % period)
                distance = np.abs(place - np.round(place / period) * period)
                cover = np.clip((width / 2 - distance) / blur + 0.5, 0, 1) * np.minimum(1, width / blur)
                strength = np.maximum(strength, weight * cover)
        return Image.fromarray((255 * strength * self.fade).astype(np.uint8))

    def trail(self, frame: int) -> Image.Image:
        """Where the root has been in the last seconds, on the floor."""
        path = self.root[max(0, frame - TRAIL_FRAMES):frame + 1] * [1, 0, 1]
        pixels, seen = self.project(path, frame)
        layer = Image.new("L", (self.size[0] * 2, self.size[1] * 2))
        draw = ImageDraw.Draw(layer)
        for index in range(1, len(path)):
            if min(seen[index - 1, 2], seen[index, 2]) > 0.5:
                width = max(2, round(2 * self.focal * 0.03 / seen[index, 2]))
                strength = int(230 * (1 - (len(path) - index) / (TRAIL_FRAMES + 1)))
                draw.line([tuple(2 * pixels[index - 1]), tuple(2 * pixels[index])], strength, width)
        return layer.reduce(2)

    def shadow(self, points: np.ndarray, frame: int) -> Image.Image:
        """Every capsule thrown on the floor: drawn from above, softened, then laid into the picture."""
        texels = int(SHADOW_SPAN * SHADOW_SCALE)
        layer = Image.new("L", (texels, texels))
        draw = ImageDraw.Draw(layer)
        thrown = points - self.light * (points[:, 1:2] / self.light[1]) - self.target[frame]
        plan = (thrown[:, ::2] + SHADOW_SPAN / 2) * SHADOW_SCALE
        for start, end, *radii, _ in sorted(BONES, key=lambda bone: -points[bone[0], 1] - points[bone[1], 1]):
            depth = int(165 - 45 * min(points[start, 1] + points[end, 1], 4) / 2)    # high parts: paler
            draw.line([tuple(plan[start]), tuple(plan[end])], depth, round(sum(radii) * SHADOW_SCALE))
            for centre, radius in zip(plan[[start, end]], radii):
                reach = radius * SHADOW_SCALE
                draw.ellipse([*(centre - reach), *(centre + reach)], depth)
        layer = layer.filter(ImageFilter.GaussianBlur(2.5))
        # Pixel (x, y) looks along ray = across x + down y + corner, to the floor at eye - height ray / ray_y.
        width, height = self.size
        across, down = self.camera[0] / self.focal, -self.camera[1] / self.focal
        corner = self.camera[2] - across * width / 2 - down * height / 2
        ray = np.stack([across, down, corner])                           # (3 coefficients, xyz)
        middle = self.eye[[0, 2]] + SHADOW_SPAN / 2
        plane = SHADOW_SCALE * (middle * ray[:, 1:2] - (self.eye[1] + AIM) * ray[:, ::2])
        homography = np.concatenate([plane[:, 0], plane[:, 1], ray[:2, 1]]) / ray[2, 1]
        layer = layer.transform(self.size, Image.Transform.PERSPECTIVE, homography, Image.Resampling.BILINEAR)
        return ImageChops.multiply(layer, Image.fromarray((255 * self.fade).astype(np.uint8)))

    def body(self, points: np.ndarray, frame: int) -> tuple[Image.Image | None, tuple[int, int]]:
        """Ray-cast the capsules -> an RGBA picture and its upper left pixel; None if nothing is in view."""
        pixels, seen = self.project(points, frame)
        boxes = []
        for bone in BONES:
            ends, radii = list(bone[:2]), np.array(bone[2:4])
            if seen[ends, 2].min() > 0.5:                    # else it is beside or behind the camera
                reach = (self.focal * radii / (seen[ends, 2] - radii) + 2)[:, None]
                low, high = (pixels[ends] - reach).min(axis=0), (pixels[ends] + reach).max(axis=0)
                box = np.clip([*low, *high], 0, [*self.size, *self.size]).astype(int)
                if (box[:2] < box[2:]).all():
                    boxes.append((bone, box))
        if not boxes:
            return None, (0, 0)
        left, top = (int(min(box[axis] for _, box in boxes)) for axis in (0, 1))
        right, bottom = (int(max(box[axis] for _, box in boxes)) for axis in (2, 3))

        shape = ((bottom - top) * SHARP, (right - left) * SHARP)
        nearest, normals = np.full(shape, np.inf, np.float32), np.zeros((3, *shape), np.float32)
        paint = np.zeros((*shape, 3), np.float32)
        for (start, end, *radii, colour), (x0, y0, x1, y1) in boxes:
            rays = self.body_rays[:, y0 * SHARP:y1 * SHARP, x0 * SHARP:x1 * SHARP]
            depth, normal = hit_capsule(rays, seen[start], seen[end], *radii)
            window = np.s_[(y0 - top) * SHARP:(y1 - top) * SHARP, (x0 - left) * SHARP:(x1 - left) * SHARP]
            closer = depth < nearest[window]
            nearest[window][closer] = depth[closer]
            paint[window][closer] = colour
            for axis in range(3):
                normals[axis][window][closer] = normal[axis][closer]

        inside = np.isfinite(nearest)
        picture = np.zeros((*shape, 4), np.uint8)
        picture[inside, :3] = self.shade(paint[inside], normals[:, inside])
        picture[inside, 3] = 255
        return Image.fromarray(picture).reduce(SHARP), (left, top)

    def shade(self, paint: np.ndarray, normal: np.ndarray) -> np.ndarray:
        """Light, sky, dark rim and a highlight on colours (N, 3) with unit normals (3, N) in camera axes."""
        light = self.camera @ self.light
        halfway = light - [0, 0, 1]
        lit = np.clip(0.75 * (light @ normal) + 0.25, 0, 1)
        sky = 0.5 + 0.5 * (self.camera[:, 1] @ normal)
        rim = (1 - np.clip(-normal[2], 0, 1)) ** 3
        highlight = np.clip(halfway @ normal / np.linalg.norm(halfway), 0, 1) ** 30
        brightness = (0.46 + 0.52 * lit + 0.2 * sky) * (1 - 0.25 * rim)
        return np.clip(paint * brightness[:, None] + 38 * highlight[:, None], 0, 255)


def hit_capsule(rays: np.ndarray, start: np.ndarray, end: np.ndarray, start_radius: float, end_radius: float
                ) -> tuple[np.ndarray, np.ndarray]:
    """Where unit rays (3, H, W) from the origin meet a tapered capsule -> depth (H, W), normal (3, H, W).

    The capsule is the union of the spheres c(s) = start + s·bone, r(s) = start_radius + s·taper, 0 <= s <= 1.
    A ray d enters sphere s at t(s) = d·c - sqrt(h) with h(s) = (d·c)² - |c|² + r² = A s² + 2B s + C, first at
    dt/ds = 0: s = (-B + β sqrt((B² - AC) / (β² - A))) / A with β = d·bone, clipped to the ends. Misses: inf.
    """
    bone, taper = end - start, end_radius - start_radius
    along = np.tensordot(start.astype(np.float32), rays, 1)
    beta = np.tensordot(bone.astype(np.float32), rays, 1)
    spread = max(float(bone @ bone - taper * taper), 1e-6)                # β² - A
    a = np.minimum(beta * beta - np.float32(spread), np.float32(-1e-6))
    b = along * beta - np.float32(start @ bone - start_radius * taper)
    c = along * along - np.float32(start @ start - start_radius ** 2)
    s = np.clip((beta * np.sqrt(np.maximum(b * b - a * c, 0) / np.float32(spread)) - b) / a, 0, 1)
    h = (a * s + 2 * b) * s + c
    depth = np.where(h > 0, along + beta * s - np.sqrt(np.maximum(h, 0)), np.inf)
    centre = start.astype(np.float32)[:, None, None] + bone.astype(np.float32)[:, None, None] * s
    with np.errstate(invalid="ignore"):
        return depth, (rays * depth - centre) / (start_radius + np.float32(taper) * s)


def with_tips(joints: np.ndarray) -> np.ndarray:
    """Joints (T, 22, 3) -> points (T, P, 3) of the body: joints, then head, hands and toes."""
    points = [joints]
    for _, origin, start, end, length in TIPS:
        direction = joints[:, POINTS[end]] - joints[:, POINTS[start]]
        direction /= np.maximum(np.linalg.norm(direction, axis=-1, keepdims=True), 1e-6)
        points.append((joints[:, POINTS[origin]] + length * direction)[:, None])
    return np.concatenate(points, axis=1)


def title_layer(text: str, size: tuple[int, int]) -> Image.Image:
    """A mask of the whole picture with the text on top, wrapped and shrunk until it fits into two lines."""
    text = " ".join(text[:500].encode("utf-8", "replace").decode().split())
    for height in range(size[1] // 16, size[1] // 30, -1):
        text, font = text_font(text, height)
        lines = wrap(text, font, 0.9 * size[0])
        if len(lines) <= 2:
            break
    else:
        lines = [lines[0], lines[1][:-3] + "..."]
    layer = Image.new("L", size)
    for row, line in enumerate(lines):
        place = (size[0] / 2, 0.06 * size[1] + 1.25 * row * height)
        ImageDraw.Draw(layer).text(place, line, 255, font, anchor="mt")
    return layer


def text_font(text: str, height: int) -> tuple[str, ImageFont.FreeTypeFont]:
    """A font for the text; where there is only Pillow's own, which knows ASCII, the text bends to it."""
    if not text.isascii():
        for name in ("DejaVuSans.ttf", "Arial Unicode.ttf", "arial.ttf"):    # Linux, macOS, Windows
            try:
                return text, ImageFont.truetype(name, height)
            except OSError:
                continue
        letters = unicodedata.normalize("NFKD", text)
        text = "".join(c if c.isascii() else "?" for c in letters if not unicodedata.combining(c))
    return text, ImageFont.load_default(height)


def wrap(text: str, font: ImageFont.FreeTypeFont, room: float) -> list[str]:
    """Cut the text into lines no wider than `room` pixels, at spaces where there are any."""
    lines = []
    while text:
        fits = bisect_right(range(1, len(text) + 1), room, key=lambda count: font.getlength(text[:count]))
        space = text.rfind(" ", 0, fits + 1) if fits < len(text) else -1
        cut = space if space > 0 else max(fits, 1)
        lines.append(text[:cut].strip())
        text = text[cut:].strip()
    return lines


def both_sides() -> list[tuple]:
    """CAPSULES with point numbers instead of names, and the right side's beside the left's."""
    bones = []
    for start, end, *radii, colour in CAPSULES:
        bones.append((POINTS[start], POINTS[end], *radii, colour))
        if end.startswith("left"):
            start, end = start.replace("left", "right"), end.replace("left", "right")
            bones.append((POINTS[start], POINTS[end], *radii, RIGHT if colour == LEFT else colour))
    return bones


BONES = both_sides()
