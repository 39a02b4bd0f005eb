"""AMASS-style npz: SMPL pose parameters.

Letters: T frames, J joints. `poses` are axis-angles (T, 3J), (T, J, 3) or matrices (T, 9J), (T, J, 3, 3), the first 22
joints those of SMPL-22; or they come as `root_orient` and `pose_body`. `trans` (T, 3) metres is the pelvis' position
less its place in the SMPL model; a `smpl_scaling` divides it, as in AIST++. Every key has several spellings.
Body shape is not used: every clip is on our default body.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from motion.formats.capture import TO_Y, Capture, chain, check_frames, check_rate, turned
from motion.rotation import axis_angle_to_matrix, matrix_to_axis_angle
from motion.skeleton import JOINT_NAMES, OFFSETS, PARENTS
from utils.arrays import UNREADABLE
from utils.checkpoint import write_whole

HANDS = 90    # of 156 numbers of a pose, as SMPL-H's tools expect them: at rest
Y_UP = TO_Y["z"]
AXES = ("y", "z", "-y")    # that point up in files: of AMASS z; -y is a camera's
POSES = ("poses", "pose", "full_pose", "fullpose", "smpl_poses", "smplh_poses", "smplx_poses", "pose_aa", "poses_aa")
ROOT = ("root_orient", "global_orient", "pose_root", "root_pose", "root_rot")
BODY = ("pose_body", "body_pose", "poses_body")
TRANS = ("trans", "transl", "translation", "translations", "root_trans", "root_transl", "root_translation",
         "smpl_trans", "global_trans", "global_transl")
SCALE = ("smpl_scaling", "scale")
JOINTS = (22, 23, 24, 25, 26, 30, 52, 53, 55)    # of SMPL, -H and -X, with hands of 45, 12 or 6 numbers each or without
WITHOUT_ROOT = (63, 69, 189, 207)    # numbers of a pose of 21 or 23 joints
RATE = ("mocap_framerate", "mocap_frame_rate", "mocap_fps", "mocap_rate", "fps", "frame_rate", "framerate", "frequency",
        "frames_per_second", "sample_rate", "sampling_rate", "hz")


def read_amass(path: str | Path, fps: float | None = None, up: str | None = None,
               unit: float | None = None) -> Capture:
    """Read an AMASS-style npz.

    fps      frames per second, where the file does not say its rate rightly
    up       the axis that points up; None: z, as in AMASS
    unit     metres in the unit of trans; None: one, or what the file's scale says
    returns  22 joints named as in `motion.skeleton`, metres, y up
    raises   ValueError that names the file, what was found and what was expected
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("found one array")
            rotations, trans, fps = _read(file, fps, unit)
    except UNREADABLE as error:
        raise ValueError(f"{path}: {str(error)[:300] or type(error).__name__}; expected an npz with the arrays poses "
                         "(T, 66, 72, 156 or 165) or root_orient and pose_body, trans (T, 3), and mocap_framerate or "
                         "mocap_frame_rate.") from None
    if trans.shape != (len(rotations), 3) or not fps > 0:
        raise ValueError(f"{path}: found rotations of {len(rotations)} frames, trans {trans.shape} and {fps} fps, "
                         "expected trans (T, 3) and a positive rate.")
    check_frames(path, np.concatenate([rotations.reshape(len(rotations), -1), trans], axis=1))
    offsets = np.repeat(OFFSETS[None], len(rotations), axis=0)
    offsets[:, 0] = (trans + OFFSETS[0]) @ Y_UP.T
    rotations[:, 0] = Y_UP @ rotations[:, 0]
    capture = chain(JOINT_NAMES, PARENTS, rotations, offsets, check_rate(path, fps))
    return turned(replace(capture, up="z", axes=AXES), up or "z")


def _read(file: np.lib.npyio.NpzFile, fps: float | None, unit: float | None
          ) -> tuple[np.ndarray, np.ndarray, float]:
    """Rotations (T, 22, 3, 3) in the parent's frame, trans in metres, frames per second."""
    keys = {key.lower(): key for key in file}

    def named(names: tuple[str, ...]) -> np.ndarray | None:
        return next((file[keys[name]] for name in names if name in keys), None)

    poses, root, body, trans, rate, scale = map(named, (POSES, ROOT, BODY, TRANS, RATE, SCALE))
    frames = 0 if trans is None else trans.size // 3
    if poses is not None and root is not None and frames and poses.size / frames in WITHOUT_ROOT:
        poses, body = None, poses
    given = {22: poses} if poses is not None else {1: root, 21: body}
    parts = {joints: array for joints, array in given.items() if array is not None}
    if trans is None or len(parts) < len(given):
        raise ValueError(f"found the arrays {', '.join(file)}")
    if any(array.dtype.kind not in "fiu" for array in (trans, *parts.values())):
        raise ValueError("found arrays of other things than numbers")
    if fps is None and rate is None:
        raise ValueError(f"found no rate among the arrays {', '.join(file)}; give --fps")
    if unit is not None and not 0 < unit < np.inf:
        raise ValueError(f"found a unit of {unit} m")
    if unit is None and scale is not None and scale.size == 1 and (value := _number(scale)) > 0:
        unit = 1 / value
    if not frames:
        raise ValueError("found 0 frames")
    rotations = np.concatenate([_matrices(array, joints, frames) for joints, array in parts.items()], axis=1)
    fps = _number(rate) if fps is None and rate is not None else float(fps or 0)
    return rotations, _path(trans, frames) * (unit or 1.0), fps


def _path(trans: np.ndarray, frames: int) -> np.ndarray:
    """trans as (T, 3), without axes of one; (3, T) is turned. Other shapes stay as they are."""
    path = np.squeeze(trans)
    if path.shape == (3,):
        path = path[None]
    return path.T if path.shape == (3, frames) and frames != 3 else path


def _number(rate: np.ndarray) -> float:
    if rate.size != 1:
        raise ValueError(f"found a rate of shape {rate.shape}")
    value = rate.reshape(-1)[0]
    return float(value.decode() if isinstance(value, bytes) else value)


def _matrices(array: np.ndarray, joints: int, frames: int) -> np.ndarray:
    """The first joints' rotations (T, joints, 3, 3) of axis-angles or matrices in any of their usual shapes."""
    found = np.asarray(array, dtype=np.float64)
    while found.ndim > 1 and len(found) == 1 != frames:
        found = found[0]                                   # a batch of one
    if frames == 1:
        found = np.squeeze(found)[None]                    # a single frame
    if found.ndim == 3 and found.shape[1] == 1 and found.shape[2] > 3:
        found = found[:, 0]
    if found.ndim == 3 and found.shape[2] == 9:
        found = found.reshape(len(found), -1)
    if found.ndim == 2 and found.shape[1] % 9 == 0 and _orthogonal(found.reshape(len(found), -1, 3, 3)):
        found = found.reshape(len(found), -1, 3, 3)
    elif found.shape[-2:] == (3, 3) and _orthogonal(found):
        found = found.reshape(len(found), -1, 3, 3)
    elif _is_axis_angles(found, joints):
        found = found.reshape(len(found), -1, 3)
    else:
        raise ValueError(f"found poses {array.shape}")
    if found.shape[1] < joints:
        raise ValueError(f"found poses {array.shape}")
    found = found[:, :joints]
    if found.ndim == 4:
        return found.copy()
    if np.isfinite(found).all() and len(found) and np.linalg.norm(found, axis=-1).max() > 4 * np.pi:
        raise ValueError(f"found angles up to {np.abs(found).max():.0f}, which are no radians")
    matrices, good = np.full((*found.shape, 3), np.nan), np.isfinite(found).all(axis=(1, 2))
    matrices[good] = axis_angle_to_matrix(found[good])
    return matrices


def _is_axis_angles(found: np.ndarray, joints: int) -> bool:
    """Whether the shape is (T, J, 3), or (T, 3J) with as many joints as SMPL's kinds have: quaternions have others."""
    if found.ndim == 3:
        return found.shape[-1] == 3
    allowed = (1,) if joints == 1 else [count - 22 + joints for count in JOINTS]
    return found.ndim == 2 and found.shape[1] in [3 * count for count in allowed]


def _orthogonal(matrices: np.ndarray) -> bool:
    return bool(np.allclose(matrices @ matrices.swapaxes(-1, -2), np.eye(3), atol=1e-3))


def write_amass(path: str | Path, rotations: np.ndarray, pelvis: np.ndarray, fps: float = 30) -> None:
    """Write SMPL-22 motion (y up) as an AMASS-style npz (z up), with zero betas.

    rotations  (T, 22, 3, 3) local
    pelvis     (T, 3) its position, metres
    raises     ValueError for other shapes
    """
    frames = len(pelvis)
    if rotations.shape != (frames, 22, 3, 3) or pelvis.shape != (frames, 3):
        raise ValueError(f"Found rotations {rotations.shape} and pelvis {pelvis.shape} for an npz, expected "
                         "(T, 22, 3, 3) and (T, 3).")
    rotations = np.array(rotations, dtype=np.float64)
    rotations[:, 0] = Y_UP.T @ rotations[:, 0]
    poses = np.pad(matrix_to_axis_angle(rotations).reshape(frames, 66), ((0, 0), (0, HANDS)))
    with write_whole(path) as temporary:
        np.savez(temporary, poses=poses, trans=pelvis @ Y_UP - OFFSETS[0], betas=np.zeros(16),
                 gender="neutral", mocap_framerate=float(fps))
