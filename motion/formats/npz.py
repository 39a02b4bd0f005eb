"""AMASS-style npz: SMPL pose parameters, z up.

Letters: T frames. `poses` (T, 66 or more) are axis-angles, the first 22 joints those of SMPL-22; `trans`
(T, 3) metres is the pelvis' position less its place in the SMPL model; the rate is `mocap_framerate` or
`mocap_frame_rate`.
Body shape is not used: every clip is on our default body.
"""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from motion.formats.capture import Capture, chain, check_frames
from motion.rotation import axis_angle_to_matrix, matrix_to_axis_angle
from motion.skeleton import JOINT_NAMES, OFFSETS, PARENTS
from utils.checkpoint import write_whole

HANDS = 90    # of 156 numbers of a pose, as SMPL-H's tools expect them: at rest
Y_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # turns z up to y up: (x, y, z) -> (x, z, -y)


def read_amass(path: str | Path) -> Capture:
    """Read an AMASS-style npz.

    returns  22 joints named as in `motion.skeleton`, metres, y up
    raises   ValueError that names the file, what was found and what was expected
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            rates = [key for key in ("mocap_framerate", "mocap_frame_rate") if key in file]
            if not rates or "poses" not in file or "trans" not in file:
                raise ValueError(f"found the arrays {', '.join(file)}")
            poses, trans, fps = file["poses"], file["trans"], float(file[rates[0]])
    except (ValueError, TypeError, BadZipFile, EOFError) as error:
        raise ValueError(f"{path}: {error}; expected an npz with the arrays poses, trans and mocap_framerate "
                         "or mocap_frame_rate.") from None
    if poses.ndim != 2 or poses.shape[1] < 66 or trans.shape != (len(poses), 3) or not fps > 0:
        raise ValueError(f"{path}: found poses {poses.shape}, trans {trans.shape} and {fps} fps, expected "
                         "(T, 66 or more), (T, 3) and a positive rate.")
    check_frames(path, np.concatenate([poses, trans], axis=1))
    rotations = axis_angle_to_matrix(poses[:, :66].reshape(-1, 22, 3))
    offsets = np.repeat(OFFSETS[None], len(poses), axis=0)
    offsets[:, 0] = (trans + OFFSETS[0]) @ Y_UP.T
    rotations[:, 0] = Y_UP @ rotations[:, 0]
    return chain(JOINT_NAMES, PARENTS, rotations, offsets, fps)


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
