"""The 22 SMPL joints, a rest body to hang them on, and forward kinematics.

Letters: J joints (22). Metres, y up, the body's left is x+ and it faces z+ at rest.
A joint's local rotation turns its children in its parent's frame; column vectors.
"""

import numpy as np

from motion.rotation import Array, as_like, namespace

JOINT_NAMES = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle",
    "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
)
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
HIPS, KNEES, ANKLES, TOES = [1, 2], [4, 5], [7, 8], [10, 11]    # left, right
MIRROR = (0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20)  # left <-> right

# From the parent, metres: SMPL neutral, zero betas. The pelvis row is its place in the SMPL model,
# so SMPL's and AMASS' `trans` = pelvis position - OFFSETS[0].
OFFSETS = np.array([
    [-0.001795, -0.223333, 0.028219],   # pelvis
    [0.069520, -0.091406, -0.006815],   # left_hip
    [-0.067670, -0.090522, -0.004320],  # right_hip
    [-0.002533, 0.108963, -0.026696],   # spine1
    [0.034277, -0.375199, -0.004496],   # left_knee
    [-0.038290, -0.382569, -0.008850],  # right_knee
    [0.005487, 0.135180, 0.001092],     # spine2
    [-0.013596, -0.397960, -0.043693],  # left_ankle
    [0.015774, -0.398415, -0.042312],   # right_ankle
    [0.001457, 0.052922, 0.025425],     # spine3
    [0.026358, -0.055791, 0.119288],    # left_foot
    [-0.025372, -0.048144, 0.123348],   # right_foot
    [-0.002778, 0.213870, -0.042857],   # neck
    [0.078845, 0.121749, -0.034090],    # left_collar
    [-0.081759, 0.118833, -0.038615],   # right_collar
    [0.005152, 0.064970, 0.051349],     # head
    [0.090977, 0.030469, -0.008868],    # left_shoulder
    [-0.096012, 0.032551, -0.009143],   # right_shoulder
    [0.259612, -0.012772, -0.027456],   # left_elbow
    [-0.253742, -0.013329, -0.021401],  # right_elbow
    [0.249234, 0.008986, -0.001171],    # left_wrist
    [-0.255298, 0.007772, -0.005559],   # right_wrist
])


def local_to_global(rotations: Array) -> Array:
    """Chain each joint's rotation onto its parent's.

    rotations  (..., 22, 3, 3) in the parent's frame
    returns    (..., 22, 3, 3) in the world's frame
    """
    chain = [rotations[..., 0, :, :]]
    for joint, parent in enumerate(PARENTS[1:], start=1):
        chain.append(chain[parent] @ rotations[..., joint, :, :])
    return namespace(rotations).stack(chain, axis=-3)


def global_to_local(rotations: Array) -> Array:
    """Inverse of `local_to_global`: (..., 22, 3, 3) -> (..., 22, 3, 3)."""
    local = rotations[..., PARENTS[1:], :, :].mT @ rotations[..., 1:, :, :]
    return namespace(rotations).concatenate([rotations[..., :1, :, :], local], axis=-3)


def forward_kinematics(rotations: Array, pelvis: Array) -> Array:
    """Where the joints of the default body are.

    rotations  (..., 22, 3, 3) local
    pelvis     (..., 3) its position, metres (not SMPL's `trans`)
    returns    (..., 22, 3) metres; joint 0 is `pelvis`
    """
    offsets = as_like(OFFSETS[1:, :, None], rotations)  # (21, 3, 1)
    bones = (local_to_global(rotations)[..., PARENTS[1:], :, :] @ offsets)[..., 0]
    joints = [pelvis]
    for joint, parent in enumerate(PARENTS[1:], start=1):
        joints.append(joints[parent] + bones[..., joint - 1, :])
    return namespace(rotations).stack(joints, axis=-2)
