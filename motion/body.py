"""A low-poly body on the 22 joints: lofted parts with colours, hands, feet, and smooth skinning weights.

Letters: V vertices, F triangles, R rings of a part, S segments of a ring, J joints (22). Metres, y up, x+ its left.
The body stands in a T-pose on the floor, y = 0, and faces z+. All its parts are closed; what overlaps is hidden inside.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from motion.skeleton import JOINT_NAMES, forward_kinematics, local_to_global

SOLE = 0.935        # from the pelvis down to the soles: 15 mm below the toe joints
LEFT, RIGHT, TRUNK, SKIN = (238, 108, 77), (41, 128, 185), (84, 96, 117), (224, 184, 156)
HAIR, SHOE = (72, 58, 54), (54, 60, 74)

# Half widths and depths, and where along the axis, relative to the pelvis.                y, z, half x, half z
TORSO = [(-0.170, -0.020, 0.030, 0.045), (-0.150, -0.022, 0.072, 0.074), (-0.115, -0.025, 0.122, 0.096),
         (-0.070, -0.026, 0.154, 0.110), (-0.015, -0.024, 0.162, 0.111), (0.050, -0.020, 0.150, 0.103),
         (0.110, -0.017, 0.137, 0.096), (0.165, -0.016, 0.132, 0.094), (0.230, -0.014, 0.141, 0.103),
         (0.300, -0.014, 0.157, 0.113), (0.360, -0.018, 0.168, 0.114), (0.410, -0.026, 0.170, 0.103),
         (0.445, -0.034, 0.158, 0.086), (0.470, -0.040, 0.133, 0.070), (0.493, -0.042, 0.092, 0.058),
         (0.510, -0.042, 0.058, 0.050)]
NECK = [(0.470, -0.046, 0.050, 0.050), (0.505, -0.038, 0.049, 0.051), (0.535, -0.026, 0.047, 0.051),
        (0.570, -0.010, 0.046, 0.052), (0.600, 0.000, 0.040, 0.046)]
HEAD = [(0.521, 0.052, 0.024, 0.028), (0.530, 0.044, 0.042, 0.048), (0.552, 0.031, 0.056, 0.069),
        (0.580, 0.021, 0.064, 0.084), (0.615, 0.012, 0.071, 0.094), (0.655, 0.006, 0.075, 0.098),
        (0.695, 0.001, 0.074, 0.095), (0.730, -0.003, 0.062, 0.080), (0.752, -0.005, 0.040, 0.053),
        (0.760, -0.006, 0.018, 0.024)]
HAIRCUT = [(0.592, -0.058, 0.044, 0.034), (0.625, -0.036, 0.076, 0.062), (0.658, -0.020, 0.083, 0.084),
           (0.690, -0.010, 0.083, 0.097), (0.722, -0.006, 0.075, 0.093), (0.750, -0.007, 0.056, 0.070),
           (0.768, -0.008, 0.030, 0.038), (0.773, -0.008, 0.012, 0.015)]
NOSE = [(0.588, 0.106, 0.012, 0.010), (0.596, 0.113, 0.014, 0.014), (0.620, 0.107, 0.009, 0.012),
        (0.645, 0.100, 0.005, 0.008)]
ARM = [(0.100, 0.026, 0.030), (0.118, 0.040, 0.048), (0.145, 0.049, 0.056), (0.175, 0.053, 0.058),   # x, half y, z
       (0.210, 0.053, 0.057), (0.260, 0.051, 0.053), (0.320, 0.048, 0.050), (0.380, 0.045, 0.046),
       (0.412, 0.042, 0.044), (0.436, 0.041, 0.044), (0.465, 0.042, 0.046), (0.505, 0.041, 0.045),
       (0.560, 0.036, 0.039), (0.620, 0.029, 0.033), (0.665, 0.025, 0.031), (0.690, 0.020, 0.028)]
LEG = [(-0.005, 0.000, 0.036, 0.046), (-0.030, 0.000, 0.062, 0.076), (-0.065, 0.000, 0.078, 0.093),  # y, dz, half x, z
       (-0.110, -0.002, 0.084, 0.100), (-0.165, -0.002, 0.082, 0.097), (-0.240, 0.000, 0.077, 0.088),
       (-0.320, 0.002, 0.068, 0.077), (-0.395, 0.002, 0.059, 0.066), (-0.440, 0.003, 0.054, 0.062),
       (-0.468, 0.004, 0.052, 0.061), (-0.498, 0.002, 0.051, 0.058), (-0.540, -0.006, 0.053, 0.059),
       (-0.590, -0.012, 0.053, 0.059), (-0.650, -0.012, 0.047, 0.053), (-0.720, -0.006, 0.039, 0.044),
       (-0.790, 0.000, 0.033, 0.037), (-0.845, 0.002, 0.032, 0.036), (-0.880, 0.004, 0.030, 0.034)]
FOOT = [(-0.122, 0.016, 0.042), (-0.116, 0.026, 0.062), (-0.098, 0.034, 0.084), (-0.062, 0.039, 0.106),  # z, half x,
        (-0.020, 0.040, 0.101), (0.018, 0.043, 0.077), (0.056, 0.048, 0.057), (0.090, 0.048, 0.047),     # height
        (0.120, 0.041, 0.039), (0.138, 0.029, 0.032), (0.146, 0.016, 0.025)]
PALM = [(-0.018, 0.018, 0.024), (0.010, 0.017, 0.031), (0.040, 0.016, 0.040), (0.078, 0.014, 0.042),   # x beyond the
        (0.094, 0.010, 0.038)]                                                                        # wrist, half y, z
FINGERS = [(0.030, 0.073), (0.010, 0.084), (-0.011, 0.077), (-0.031, 0.060)]                             # z, length


class Body(NamedTuple):
    """The mesh in its rest pose; triangles wind counterclockwise seen from outside."""

    vertices: np.ndarray    # (V, 3) float32, metres
    normals: np.ndarray     # (V, 3) float32, of length 1
    faces: np.ndarray       # (F, 3) uint16, of vertices
    colours: np.ndarray     # (V, 3) uint8, sRGB
    joints: np.ndarray      # (V, 4) uint8, the joints that move a vertex
    weights: np.ndarray     # (V, 4) float32, how much each does; they sum to 1
    rest: np.ndarray        # (J, 3) float32, where the joints are


class Part(NamedTuple):
    """One closed surface: vertices (V, 3), triangles (F, 3) of them, a colour, and weights (V, J)."""

    vertices: np.ndarray
    faces: np.ndarray
    colour: tuple[int, int, int]
    weights: np.ndarray


REST = forward_kinematics(np.broadcast_to(np.eye(3), (22, 3, 3)), np.array([0, SOLE, 0]))


@cache
def rest_body() -> Body:
    """The body that every picture, page and export shows; made once."""
    parts = [*trunk(), *limbs("left", LEFT), *limbs("right", RIGHT)]
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    return skinned(np.concatenate([part.vertices for part in parts]),
                   np.concatenate([part.faces + start for part, start in zip(parts, starts)]),
                   np.concatenate([np.tile(np.array(part.colour), (len(part.vertices), 1)) for part in parts]),
                   np.concatenate([part.weights for part in parts]), REST)


def skinned(vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray, weights: np.ndarray, rest: np.ndarray
            ) -> Body:
    """A Body of its mesh (V, 3), (F, 3), (V, 3), the weights of all joints (V, J) and where these are (J, 3)."""
    corners = vertices[faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])       # large triangles count more
    normals = np.zeros(vertices.shape)
    np.add.at(normals, faces, across[:, None])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    joints = np.argsort(-weights, axis=1, kind="stable")[:, :4]
    strongest = np.take_along_axis(weights, joints, axis=1)
    joints = np.where(strongest > 0, joints, 0)                             # an unused one is joint 0, as glTF asks
    strongest = strongest / strongest.sum(axis=1, keepdims=True)
    return Body(vertices.astype(np.float32), normals.astype(np.float32), faces.astype(np.uint16),
                colours.astype(np.uint8), joints.astype(np.uint8), strongest.astype(np.float32),
                rest.astype(np.float32))


def pose_body(body: Body, rotations: np.ndarray, pelvis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Linear blend skinning, as every viewer does it.

    rotations  (..., 22, 3, 3) local; pelvis (..., 3) its position, metres
    returns    vertices (..., V, 3), and their normals (..., V, 3), nearly of length 1
    """
    turned = local_to_global(rotations)
    moved = forward_kinematics(rotations, pelvis) - (turned @ body.rest[:, :, None])[..., 0]
    dense = np.zeros((len(body.vertices), len(body.rest)))                  # (V, J)
    np.add.at(dense, (np.arange(len(dense))[:, None], body.joints), body.weights)
    blended = (dense @ turned.reshape(*turned.shape[:-2], 9)).reshape(*turned.shape[:-3], -1, 3, 3)
    vertices = (blended @ body.vertices[:, :, None])[..., 0] + dense @ moved
    return vertices, (blended @ body.normals[:, :, None])[..., 0]


def trunk() -> Iterator[Part]:
    """Torso, neck, head."""
    y_rings = [(TORSO, 2.5, 20, TRUNK), (NECK, 2, 12, SKIN), (HEAD, 2.2, 16, SKIN), (HAIRCUT, 2.2, 16, HAIR),
               (NOSE, 2, 6, SKIN)]
    for rings, power, segments, colour in y_rings:
        y, z, *halves = np.array(rings).T
        vertices, faces = loft(np.stack([0 * y, y + SOLE, z], 1), np.stack(halves, 1), (0, 2), power, segments)
        if rings is TORSO:
            height = vertices[:, 1] - SOLE
            weights = along(vertices, 1, 1, ("pelvis", "spine1", "spine2", "spine3"), 0.045)
            for side, sign in (("left", 1), ("right", -1)):
                aside = sign * vertices[:, 0]
                hand_over(weights, f"{side}_collar", step(aside, 0.10, 0.05) * step(height, 0.39, 0.06))
                hand_over(weights, f"{side}_hip", 0.4 * step(aside, 0.07, 0.06) * step(-height, 0.11, 0.05))
        elif rings is NECK:
            weights = along(vertices, 1, 1, ("spine3", "neck", "head"), 0.025)
        else:
            weights = along(vertices, 1, 1, ("head",), 0)
        yield Part(vertices, faces, colour, weights)


def limbs(side: str, colour: tuple[int, int, int]) -> Iterator[Part]:
    """Arm, hand, leg and foot of one side: made on the left, of the side's own joints, and mirrored."""
    sign = 1 if side == "left" else -1
    mirror = np.array([sign, 1, 1])
    at = {name: REST[JOINT_NAMES.index(f"{side}_{name}")] * mirror
          for name in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle", "foot")}

    def part(surface: tuple[np.ndarray, np.ndarray], colour: tuple[int, int, int], axis: int, sign: int,
             chain: Sequence[str], soft: float) -> Part:
        vertices, faces = surface[0] * mirror, surface[1] if side == "left" else surface[1][:, ::-1]
        names = [name if name == "pelvis" else f"{side}_{name}" for name in chain]
        return Part(vertices, faces, colour, along(vertices, axis, sign, names, soft))

    x, *halves = np.array(ARM).T
    centres = between([at["shoulder"], at["elbow"], at["wrist"]], 0, x)
    yield part(loft(centres, np.stack(halves, 1), (1, 2), 2, 12), colour, 0, sign,
               ("collar", "shoulder", "elbow", "wrist"), 0.045)
    for surface in hand(at["wrist"]):
        yield part(surface, SKIN, 0, sign, ("wrist",), 0)
    y, back, *halves = np.array(LEG).T
    centres = between([at["hip"], at["knee"], at["ankle"]], 1, y + SOLE) + back[:, None] * [0, 0, 1]
    yield part(loft(centres, np.stack(halves, 1), (0, 2), 2, 14), colour, 1, -1,
               ("pelvis", "hip", "knee", "ankle"), 0.06)
    z, half, height = np.array(FOOT).T
    centres = between([at["ankle"], at["foot"]], 2, z) * [1, 0, 1] + height[:, None] / 2 * [0, 1, 0]
    yield part(loft(centres, np.stack([half, height / 2], 1), (0, 1), 2.8, 12), SHOE, 2, 1, ("ankle", "foot"), 0.03)


def hand(wrist: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """A relaxed left hand, palm down: palm, four fingers, thumb."""
    x, *halves = np.array(PALM).T
    yield loft(wrist + np.stack([x, -0.05 * x, 0 * x], 1), np.stack(halves, 1), (1, 2), 2.6, 10)
    share = np.array([0, 0.35, 0.7, 0.94, 1])
    thin = np.array([1, 1, 0.9, 0.7, 0.35])
    for z, length in FINGERS:
        path = np.stack([0.082 + length * share, -0.005 - 0.30 * length * share ** 2, z + 0.1 * z * share], 1)
        yield loft(wrist + path, np.outer(thin, [0.0095, 0.0098]), (1, 2), 2, 6)
    thumb = np.array([0.02, -0.008, 0.018]) + np.outer(share, [0.062, -0.018, 0.052])
    yield loft(wrist + thumb, np.outer(thin, [0.0115, 0.0150]), (1, 2), 2, 6)


def loft(centres: np.ndarray, halves: np.ndarray, axes: tuple[int, int], power: float, segments: int
         ) -> tuple[np.ndarray, np.ndarray]:
    """A closed surface through superellipses: |x / a|^power + |y / b|^power = 1.

    centres  (R, 3) of the rings; halves (R, 2): a and b, along the two `axes`
    returns  vertices (R S + 2, 3), triangles (F, 3) that wind outward
    """
    angle = np.arange(segments) * 2 * np.pi / segments
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    shape = np.sign(circle) * np.abs(circle).clip(1e-9) ** (2 / power)                  # (S, 2)
    rings = np.repeat(centres[:, None], segments, axis=1)                               # (R, S, 3)
    rings[..., list(axes)] += halves[:, None] * shape
    count, here = len(centres), np.arange(segments)
    there, ends = np.roll(here, -1), count * segments
    quads = np.concatenate([np.stack([here, there, there + segments, here + segments], 1) + ring * segments
                            for ring in range(count - 1)])
    last = ends - segments
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]],
                            np.stack([there, here, np.full(segments, ends)], 1),
                            np.stack([here + last, there + last, np.full(segments, ends + 1)], 1)])
    vertices = np.concatenate([rings.reshape(-1, 3), centres[[0, -1]]])
    corners = vertices[faces]
    volume = np.einsum("fi,fi->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
    return vertices, faces if volume > 0 else faces[:, ::-1]


def between(points: Sequence[np.ndarray], axis: int, values: np.ndarray) -> np.ndarray:
    """Points (R, 3) of a line through `points`, straight on beyond its ends, at `values` (R,) of one coordinate."""
    line = np.array(sorted(points, key=lambda point: point[axis]))
    line = np.concatenate([2 * line[:1] - line[1:2], line, 2 * line[-1:] - line[-2:-1]])
    return np.stack([np.interp(values, line[:, axis], coordinate) for coordinate in line.T], 1)


def along(vertices: np.ndarray, axis: int, sign: int, chain: Sequence[str], soft: float) -> np.ndarray:
    """Weights (V, J) of a chain of joints along an axis: each takes over within `soft` metres of its place."""
    indices = [JOINT_NAMES.index(name) for name in chain]
    weights = np.zeros((len(vertices), len(JOINT_NAMES)))
    weights[:, indices[0]] = 1
    for before, joint in zip(indices, indices[1:]):
        share = step(sign * vertices[:, axis], sign * REST[joint, axis], soft)
        weights[:, joint] = share * weights[:, before]
        weights[:, before] *= 1 - share
    return weights


def hand_over(weights: np.ndarray, name: str, share: np.ndarray) -> None:
    """Let a joint take a share (V,) of every other's weight, in place."""
    weights *= 1 - share[:, None]
    weights[:, JOINT_NAMES.index(name)] += share


def step(values: np.ndarray, border: float, soft: float) -> np.ndarray:
    """From 0 to 1 around `border`, smoothly, within `soft` to both sides."""
    share = np.clip((values - border) / (2 * soft) + 0.5, 0, 1)
    return share * share * (3 - 2 * share)
