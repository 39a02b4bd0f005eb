"""Draw a motion: a mannequin of tapered capsules on an endless floor, as pictures or an H.264 video.

Letters: T frames, P points of the body, H and W pixels. Metres, y up; colours are RGB bytes.
The camera keeps its direction and slides along with the smoothed root. So the rays through its pixels, and
where they meet the floor as seen from the camera, are computed once for a whole video.
"""

import os
import unicodedata
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont
from scipy.ndimage import gaussian_filter1d

from motion.skeleton import JOINT_NAMES
from motion.video import Progress, write_video

Title = str | list[tuple[int, str]]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Box = tuple[int, int, int, int]                  # left, top, right, bottom, in pixels; the last two outside
Layer = tuple[Image.Image | None, tuple[int, int]]    # what is laid into a picture, and its upper left pixel there

LEFT, RIGHT, BODY, SKIN = (238, 108, 77), (41, 128, 185), (84, 96, 117), (224, 184, 156)
SKY, FLOOR, LINE = (222, 228, 237), (249, 250, 252), (176, 186, 201)
SHADOW, TRAIL, INK, PALE_INK = (52, 62, 84), (238, 150, 77), (38, 46, 60), (112, 122, 140)

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
                 size: tuple[int, int] = (960, 540), progress: Progress | None = None) -> None:
    """Write a motion as an mp4 that browsers play (H.264, yuv420p); `path` is whole or not there at all.

    joints    (T, 22, 3) metres, y up, floor at y = 0
    title     the prompt, or [(first frame, prompt), ...] for a stream
    size      width and height in pixels, both even
    progress  called with 1 for each frame that is drawn
    raises    ValueError for joints that cannot be drawn, OSError if ffmpeg cannot write the file
    """
    if size[0] % 2 or size[1] % 2:
        raise ValueError(f"size is {size[0]}x{size[1]}; H.264 needs an even width and height.")
    frames = render_frames(joints, title, fps, size)
    write_video(path, frames, size, fps, progress)


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

    def draw(frame: int) -> Image.Image:
        image = scene.draw(points[frame], frame)
        for layer in [layer for first, layer in headings if first <= frame][-1:]:
            if box := layer.getbbox():
                image.paste(INK, box, layer.crop(box))
        ImageDraw.Draw(image).text((size[0] * 0.965, size[1] * 0.95), f"{frame / fps:.1f} s", PALE_INK,
                                   small, anchor="rs")
        return image

    return _side_by_side(draw, frames)


def _side_by_side(draw: Callable[[int], Image.Image], frames: Iterable[int]) -> Iterator[Image.Image]:
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
        floor = [(self.eye[axis] + reach * rays[axis]).astype(np.float32) for axis in (0, 2)]
        away = np.where(below, np.hypot(*floor), np.inf)
        fade = np.exp(-(away / 6.5) ** 2).astype(np.float32)
        self.fade = Image.fromarray((255 * fade).astype(np.uint8))
        backdrop = np.array(SKY) + np.subtract(FLOOR, SKY) * np.exp(-(away / 9) ** 2)[..., None]
        self.backdrop = Image.fromarray(np.round(backdrop).astype(np.uint8))

        self.grid_top = int((fade > 1 / 255).any(axis=1).argmax())     # the row where the floor's lines begin
        self.grid_lines = []
        for plane in floor:
            blur = (np.hypot(*np.gradient(plane)) + np.float32(1e-6))[self.grid_top:]
            for period, width, weight in ((1.0, 0.022, 0.75), (0.5, 0.012, 0.3)):
                strength = weight * fade[self.grid_top:] * np.minimum(1, width / blur)
                self.grid_lines.append((plane[self.grid_top:] / np.float32(period), width / blur / 2 + np.float32(0.5),
                                        np.float32(period) / blur, 255 * strength))

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
        image.paste(LINE, (0, self.grid_top), self.grid(frame))
        for colour, (mask, corner) in ((TRAIL, self.trail(frame)), (SHADOW, self.shadow(points, frame)),
                                       (None, self.body(points, frame))):
            if mask is not None:
                image.paste(colour or mask, corner, mask)
        return image

    def grid(self, frame: int) -> Image.Image:
        """Lines every half metre, whole metres stronger; averaged over a pixel, so nothing flickers."""
        shifts = [self.target[frame, axis] % period / period for axis in (0, 2) for period in (1.0, 0.5)]
        shape = self.grid_lines[0][0].shape
        strength, rows = np.zeros(shape, np.uint8), 32
        for top in range(0, shape[0], rows):                           # a few rows stay in the processor's cache
            part = np.s_[top:top + rows]
            strongest = np.zeros_like(self.grid_lines[0][0][part])
            for (plane, reach, sharpness, weight), shift in zip(self.grid_lines, shifts):
                place = plane[part] + np.float32(shift)
                place -= np.rint(place)                                # periods from the nearest line
                cover = np.clip(reach[part] - np.abs(place) * sharpness[part], 0, 1)
                np.maximum(strongest, cover * weight[part], out=strongest)
            strength[part] = strongest
        return Image.fromarray(strength)

    def trail(self, frame: int) -> Layer:
        """Where the root has been in the last seconds, on the floor."""
        path = self.root[max(0, frame - TRAIL_FRAMES):frame + 1] * [1, 0, 1]
        pixels, seen = self.project(path, frame)
        near = seen[:, 2] > 0.5
        widths = np.maximum(2, np.round(2 * self.focal * 0.03 / np.maximum(seen[:, 2], 0.5))).astype(int)
        box = self.box(pixels[near], float(widths.max()))
        if box is None:
            return None, (0, 0)
        layer = Image.new("L", (2 * (box[2] - box[0]), 2 * (box[3] - box[1])))
        draw, places = ImageDraw.Draw(layer), 2 * (pixels - box[:2])
        for index in range(1, len(path)):
            if near[index - 1] and near[index]:
                strength = int(230 * (1 - (len(path) - index) / (TRAIL_FRAMES + 1)))
                draw.line([tuple(places[index - 1]), tuple(places[index])], strength, int(widths[index]))
        return layer.reduce(2), box[:2]

    def shadow(self, points: np.ndarray, frame: int) -> Layer:
        """Every capsule thrown on the floor: drawn from above, softened, then laid into the picture."""
        thrown = points - self.light * (points[:, 1:2] / self.light[1]) - self.target[frame]
        plan = (thrown[:, ::2] + SHADOW_SPAN / 2) * SHADOW_SCALE
        low, high = (np.clip([plan.min(axis=0) - 32, plan.max(axis=0) + 32], 0, SHADOW_SPAN * SHADOW_SCALE)
                     .astype(int))
        if (low >= high).any():
            return None, (0, 0)
        plan -= low
        layer = Image.new("L", tuple(high - low))
        draw = ImageDraw.Draw(layer)
        for start, end, *radii, _ in sorted(BONES, key=lambda bone: -points[bone[0], 1] - points[bone[1], 1]):
            depth = int(165 - 45 * min(points[start, 1] + points[end, 1], 4) / 2)    # high parts: paler
            draw.line([tuple(plan[start]), tuple(plan[end])], depth, round(sum(radii) * SHADOW_SCALE))
            for centre, radius in zip(plan[[start, end]], radii):
                reach = radius * SHADOW_SCALE
                draw.ellipse([*(centre - reach), *(centre + reach)], depth)
        return self.lay_on_floor(layer.filter(ImageFilter.GaussianBlur(2.5)), low, frame)

    def lay_on_floor(self, plan: Image.Image, low: np.ndarray, frame: int) -> Layer:
        """A plan of the floor as the camera sees it; its first texel is `low` (2,) of those around the target."""
        corners = np.zeros((4, 3))
        corners[:, ::2] = [low + np.array(plan.size) * side for side in ((0, 0), (0, 1), (1, 1), (1, 0))]
        corners = corners / SHADOW_SCALE - [SHADOW_SPAN / 2, 0, SHADOW_SPAN / 2] + self.target[frame] * [1, 0, 1]
        pixels, seen = self.project(corners, frame)
        box = self.box(pixels, 1) if seen[:, 2].min() > 0.5 else (0, 0, *self.size)
        if box is None:
            return None, (0, 0)
        # Pixel (x, y) looks along ray = across x + down y + corner, to the floor at eye - height ray / ray_y.
        width, height = self.size
        across, down = self.camera[0] / self.focal, -self.camera[1] / self.focal
        corner = self.camera[2] + across * (box[0] - width / 2) + down * (box[1] - height / 2)
        ray = np.stack([across, down, corner])                           # (3 coefficients, xyz)
        middle = self.eye[[0, 2]] + SHADOW_SPAN / 2 - low / SHADOW_SCALE
        plane = SHADOW_SCALE * (middle * ray[:, 1:2] - (self.eye[1] + AIM) * ray[:, ::2])
        homography = np.concatenate([plane[:, 0], plane[:, 1], ray[:2, 1]]) / ray[2, 1]
        laid = plan.transform((box[2] - box[0], box[3] - box[1]), Image.Transform.PERSPECTIVE, homography,
                              Image.Resampling.BILINEAR)
        return ImageChops.multiply(laid, self.fade.crop(box)), box[:2]

    def box(self, pixels: np.ndarray, margin: float | np.ndarray) -> Box | None:
        """What of the picture holds these pixels (N, 2) and `margin` around each; None if nothing does."""
        if not len(pixels):
            return None
        low, high = (pixels - margin).min(axis=0), (pixels + margin).max(axis=0) + 1
        left, top, right, bottom = (int(edge) for edge in np.clip([*low, *high], 0, [*self.size, *self.size]))
        return (left, top, right, bottom) if left < right and top < bottom else None

    def body(self, points: np.ndarray, frame: int) -> Layer:
        """Ray-cast the capsules -> an RGBA picture of the nearest one in each pixel."""
        pixels, seen = self.project(points, frame)
        boxes: dict[int, Box] = {}
        for number, (start, end, *radii, _) in enumerate(BONES):
            ends = seen[[start, end], 2]
            if ends.min() > 0.5:                             # else it is beside or behind the camera
                reach = self.focal * np.array(radii) / (ends - radii) + 1
                if box := self.box(pixels[[start, end]], reach[:, None]):
                    boxes[number] = box
        if not boxes:
            return None, (0, 0)
        left, top = (min(box[axis] for box in boxes.values()) for axis in (0, 1))
        right, bottom = (max(box[axis] for box in boxes.values()) for axis in (2, 3))

        shape = ((bottom - top) * SHARP, (right - left) * SHARP)
        nearest, place = np.full(shape, np.inf, np.float32), np.zeros(shape, np.float32)
        owner = np.zeros(shape, np.int8)                     # the bone in front
        for number, (x0, y0, x1, y1) in boxes.items():
            start, end, *radii, _ = BONES[number]
            rays = self.body_rays[:, y0 * SHARP:y1 * SHARP, x0 * SHARP:x1 * SHARP]
            depth, s = hit_capsule(rays, seen[start], seen[end], *radii)
            window = np.s_[(y0 - top) * SHARP:(y1 - top) * SHARP, (x0 - left) * SHARP:(x1 - left) * SHARP]
            closer = depth < nearest[window]
            for buffer, values in ((nearest, depth), (place, s), (owner, number)):
                np.copyto(buffer[window], values, where=closer)

        inside = np.flatnonzero(np.isfinite(nearest))
        bones = np.array([[*seen[start], *(seen[end] - seen[start]), near, far - near]
                          for start, end, near, far, _ in BONES], np.float32)
        rows, columns = np.divmod(inside, shape[1])
        rays = self.body_rays[:, rows + top * SHARP, columns + left * SHARP]
        owners = owner.ravel().take(inside)
        normals = capsule_normals(rays * nearest.ravel().take(inside), bones.T.take(owners, axis=1),
                                  place.ravel().take(inside))
        picture = np.zeros(shape, np.uint32)
        picture.ravel()[inside] = self.shade(PAINT.take(owners, axis=1), normals)
        return Image.fromarray(picture.view(np.uint8).reshape(*shape, 4)).reduce(SHARP), (left, top)

    def shade(self, paint: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """Light, sky, rim, highlight on colours (3, N) with normals (3, N) in camera axes -> RGBA, an integer each."""
        light = self.camera @ self.light
        halfway = (light - [0, 0, 1]) / np.linalg.norm(light - [0, 0, 1])
        lit = np.clip(0.75 * dot(light, normals) + 0.25, 0, 1)
        rim = (1 - np.clip(-normals[2], 0, 1)) ** 3
        brightness = (0.56 + 0.52 * lit + 0.1 * dot(self.camera[:, 1], normals)) * (1 - 0.25 * rim)
        highlight = 38 * np.clip(dot(halfway, normals), 0, 1) ** 30
        colour = np.full((normals.shape[1], 4), 255, np.uint8)
        for channel in range(3):
            colour[:, channel] = np.clip(paint[channel] * brightness + highlight, 0, 255)
        return colour.view(np.uint32)[:, 0]


def hit_capsule(rays: np.ndarray, start: np.ndarray, end: np.ndarray, start_radius: float, end_radius: float
                ) -> tuple[np.ndarray, np.ndarray]:
    """Where unit rays (3, H, W) from the origin meet a tapered capsule -> depth, place s along its bone (H, W).

    The capsule is the union of the spheres c(s) = start + s·bone, r(s) = start_radius + s·taper, 0 <= s <= 1.
    A ray d enters sphere s at t(s) = d·c - sqrt(h) with h(s) = (d·c)² - |c|² + r² = A s² + 2B s + C, first at
    dt/ds = 0: s = (-B + β sqrt((B² - AC) / (β² - A))) / A with β = d·bone, clipped to the ends. Misses: inf.
    """
    bone, taper = end - start, end_radius - start_radius
    along, beta = dot(start, rays), dot(bone, rays)
    spread = max(float(bone @ bone - taper * taper), 1e-6)                # β² - A
    a = np.minimum(beta * beta - np.float32(spread), np.float32(-1e-6))
    b = along * beta - np.float32(start @ bone - start_radius * taper)
    c = along * along - np.float32(start @ start - start_radius ** 2)
    s = np.clip((beta * np.sqrt(np.maximum(b * b - a * c, 0) / np.float32(spread)) - b) / a, 0, 1)
    h = (a * s + 2 * b) * s + c
    return np.where(h > 0, along + beta * s - np.sqrt(np.maximum(h, 0)), np.inf), s


def dot(vector: np.ndarray, field: np.ndarray) -> np.ndarray:
    """vector (3,) · each of field (3, ...) -> (...), in the field's dtype. BLAS would wake its threads for it."""
    x, y, z = (float(value) for value in vector)
    return x * field[0] + y * field[1] + z * field[2]


def capsule_normals(points: np.ndarray, bones: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Unit normals (3, N) of tapered capsules in points (3, N) where `hit_capsule` found them at s (N,).

    bones   (8, N) of each point: start, end - start, start radius, end radius - start radius
    """
    return (points - bones[:3] - bones[3:6] * s) / (bones[6] + bones[7] * s)


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
    text, font = text_font(text, height := size[1] // 16)
    while len(lines := wrap(text, font, 0.9 * size[0])) > 2 and height > size[1] // 30 + 1:
        height -= 1
        text, font = text_font(text, height)
    if len(lines) > 2:
        lines = [lines[0], lines[1][:-3] + "..."]
    layer = Image.new("L", size)
    for row, line in enumerate(lines):
        place = (size[0] / 2, 0.06 * size[1] + 1.25 * row * height)
        ImageDraw.Draw(layer).text(place, line, 255, font, anchor="mt")
    return layer


def text_font(text: str, height: int) -> tuple[str, Font]:
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


def wrap(text: str, font: Font, room: float) -> list[str]:
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
PAINT = np.array([colour for *_, colour in BONES], np.float32).T    # (3, bones)
