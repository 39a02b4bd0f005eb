"""What a picture of a motion shows: the body, its shadow and path on an endless floor, from a camera that follows.

Letters: T frames, V vertices of the body, H and W pixels. Metres, y up; colours are RGB bytes.
The camera keeps its direction and slides along with the smoothed root. So the rays through its pixels, and
where they meet the floor as seen from the camera, are computed once for a whole video.
"""

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter
from scipy.ndimage import gaussian_filter1d

from motion.body import Body, pose_body, rest_body
from motion.raster import rasterise

Box = tuple[int, int, int, int]                  # left, top, right, bottom, in pixels; the last two outside
Layer = tuple[Image.Image | None, tuple[int, int]]    # what is laid into a picture, and its upper left pixel there

SKY, FLOOR, LINE = (222, 228, 237), (249, 250, 252), (176, 186, 201)
SHADOW, TRAIL = (52, 62, 84), (238, 150, 77)

DISTANCE, AIM = 4.9, 0.96                        # of the camera from its target; the target's height; metres
ELEVATION, SIDE = np.radians(13), np.radians(38) # of the camera: upwards, and to the left of the first facing
FOCAL = 1.75                                     # image heights
LIGHT = np.array([-0.45, 1.3, 0.6])              # towards the light: right, up, to the viewer
FOLLOW = 12                                      # frames: standard deviation of the camera's smoothing
TRAIL_FRAMES = 120
SHARP = 2                                        # the body is drawn this many times larger, then averaged
SHADOW_SPAN, SHADOW_SCALE = 7.0, 32              # metres, texels per metre: about one for each vertex of the body


class Scene:
    """A camera that follows a motion, and all that stays the same from frame to frame."""

    def __init__(self, rotations: np.ndarray, pelvis: np.ndarray, size: tuple[int, int], body: Body | None = None):
        """rotations (T, 22, 3, 3) local, pelvis (T, 3) metres; size in pixels; body: whose, None: ours."""
        self.size, self.focal = size, FOCAL * size[1]
        self.rotations, self.root, self.looks = rotations, pelvis, body or rest_body()
        self.target = gaussian_filter1d(self.root, FOLLOW, axis=0, mode="nearest")
        self.target[:, 1] = AIM

        across = rotations[0, 0, :, 0]
        turn = np.arctan2(-across[2], across[0]) + SIDE
        right, viewer = np.array([np.cos(turn), 0, -np.sin(turn)]), np.array([np.sin(turn), 0, np.cos(turn)])
        back = viewer * np.cos(ELEVATION) + [0, np.sin(ELEVATION), 0]
        self.eye = back * DISTANCE                                     # from the target
        self.camera = np.stack([right, np.cross(back, right), -back])  # rows: right, up, ahead
        light = LIGHT @ np.stack([right, [0, 1, 0], viewer])
        self.light = light / np.linalg.norm(light)

        rays = np.tensordot(self.camera.T, self.rays(), 1)             # (3, H, W) world axes
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

    def rays(self) -> np.ndarray:
        """Directions (3, H, W) of all pixel centres in camera axes, one metre ahead."""
        width, height = self.size
        x = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / self.focal
        y = (height / 2 - 0.5 - np.arange(height, dtype=np.float32)) / self.focal
        return np.stack([*np.meshgrid(x, y), np.ones((height, width), np.float32)])

    def project(self, points: np.ndarray, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """World points (..., 3) -> pixels (..., 2) and camera coordinates (..., 3)."""
        seen = (points - self.target[frame] - self.eye) @ self.camera.T
        ahead = np.maximum(seen[..., 2:], 1e-3)
        pixels = np.array(self.size) / 2 + self.focal * seen[..., :2] / ahead * [1, -1]
        return pixels, seen

    def picture(self, frame: int) -> Image.Image:
        """One frame: the body with its shadow and path on the floor."""
        vertices, normals = pose_body(self.looks, self.rotations[frame], self.root[frame])
        image = self.backdrop.copy()
        image.paste(LINE, (0, self.grid_top), self.grid(frame))
        for colour, (mask, corner) in ((TRAIL, self.trail(frame)), (SHADOW, self.shadow(vertices, frame)),
                                       (None, self.body(vertices, normals, frame))):
            if mask is not None:
                image.paste(colour or mask, corner, mask)
        return image

    def figure(self, frame: int) -> Image.Image:
        """One frame without the floor, RGBA: the body and its shadow, transparent around them."""
        vertices, normals = pose_body(self.looks, self.rotations[frame], self.root[frame])
        image = Image.new("RGBA", self.size, (*SHADOW, 0))
        mask, corner = self.shadow(vertices, frame)
        if mask is not None:
            image.putalpha(paste(Image.new("L", self.size), mask, corner))
        body, corner = self.body(vertices, normals, frame)
        if body is not None:
            image = Image.alpha_composite(image, paste(Image.new("RGBA", self.size), body, corner))
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

    def shadow(self, vertices: np.ndarray, frame: int) -> Layer:
        """Every vertex thrown on the floor: a dot seen from above, widened, softened, laid into the picture."""
        thrown = vertices - self.light * (vertices[:, 1:2] / self.light[1]) - self.target[frame]
        plan = (thrown[:, ::2] + SHADOW_SPAN / 2) * SHADOW_SCALE
        low, high = (np.clip([plan.min(axis=0) - 8, plan.max(axis=0) + 9], 0, SHADOW_SPAN * SHADOW_SCALE).astype(int))
        if (low >= high).any():
            return None, (0, 0)
        width, height = high - low
        x, y = (plan - low).astype(int).T
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        depths = (165 - 45 * vertices[:, 1].clip(0, 2)).astype(np.uint8)                   # high parts: paler
        dots = np.zeros((height, width), np.uint8)
        np.maximum.at(dots, (y[inside], x[inside]), depths[inside])
        soft = Image.fromarray(dots).filter(ImageFilter.MaxFilter(3)).filter(ImageFilter.GaussianBlur(1.5))
        return self.lay_on_floor(soft, low, frame)

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

    def body(self, vertices: np.ndarray, normals: np.ndarray, frame: int) -> Layer:
        """The posed body (V, 3) -> an RGBA picture of it."""
        pixels, seen = self.project(vertices, frame)
        box = self.box(pixels, 1)
        if box is None or seen[:, 2].min() < 0.5:            # else it is beside, around or behind the camera
            return None, (0, 0)
        width, height = (box[2] - box[0]) * SHARP, (box[3] - box[1]) * SHARP
        faces, places = self.looks.faces, ((pixels - box[:2]) * SHARP).astype(np.float32)
        inside, triangles, light = rasterise(places, (1 / seen[:, 2]).astype(np.float32), faces, (width, height),
                                             self.lit(normals))
        paint = self.looks.colours[faces[triangles, 0]]
        picture = np.zeros((height * width, 4), np.uint8)
        colour = np.full((len(inside), 4), 255, np.uint8)
        for channel in range(3):
            colour[:, channel] = np.minimum(paint[:, channel] * light[:, 0] + light[:, 1], 255)
        picture.view(np.uint32)[inside] = colour.view(np.uint32)
        return Image.fromarray(picture.reshape(height, width, 4)).reduce(SHARP), box[:2]

    def lit(self, normals: np.ndarray) -> np.ndarray:
        """Normals (V, 3) -> (V, 2) float32: what light, sky and rim leave of a colour, and the highlight on it."""
        normals = normals @ self.camera.T
        light = self.camera @ self.light
        halfway = (light - [0, 0, 1]) / np.linalg.norm(light - [0, 0, 1])
        diffuse = np.clip(0.75 * normals @ light + 0.25, 0, 1)
        rim = (1 - np.clip(-normals[:, 2], 0, 1)) ** 3
        brightness = (0.56 + 0.52 * diffuse + 0.1 * normals @ self.camera[:, 1]) * (1 - 0.25 * rim)
        return np.stack([brightness, 38 * np.clip(normals @ halfway, 0, 1) ** 30], axis=1).astype(np.float32)


def paste(image: Image.Image, layer: Image.Image, corner: tuple[int, int]) -> Image.Image:
    image.paste(layer, corner)
    return image
