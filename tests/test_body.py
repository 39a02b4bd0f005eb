"""The body: closed, on the floor, left as right, and moved by its joints."""

import numpy as np
import pytest

from motion.body import LEFT, RIGHT, pose_body, rest_body
from motion.rotation import axis_angle_to_matrix
from motion.skeleton import JOINT_NAMES, forward_kinematics

BODY = rest_body()
STILL = np.tile(np.eye(3), (22, 1, 1))


def edges() -> np.ndarray:
    """(3 F, 2), each triangle's in its direction."""
    return np.concatenate([BODY.faces[:, pair] for pair in ([0, 1], [1, 2], [2, 0])]).astype(int)


def test_shapes_and_kinds():
    count = len(BODY.vertices)
    assert count < 3000 and BODY.faces.max() == count - 1
    for values, width, kind in ((BODY.normals, 3, "float32"), (BODY.colours, 3, "uint8"), (BODY.joints, 4, "uint8"),
                                (BODY.weights, 4, "float32")):
        assert values.shape == (count, width) and values.dtype == kind
    np.testing.assert_allclose(np.linalg.norm(BODY.normals, axis=1), 1, atol=1e-6)


def test_it_is_closed_and_its_triangles_face_outward():
    """Every edge has one triangle on each side; the volume is a person's."""
    forward = {tuple(edge) for edge in edges()}
    assert len(forward) == 3 * len(BODY.faces) and forward == {(b, a) for a, b in forward}
    corners = BODY.vertices[BODY.faces].astype(float)
    assert 0.05 < np.einsum("fi,fi->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6 < 0.09
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (np.einsum("fi,fi->f", across, BODY.normals[BODY.faces].mean(axis=1)) > 0).all()


def test_it_stands_on_the_floor_and_its_left_is_orange():
    assert abs(BODY.vertices[:, 1].min()) < 1e-6 and 1.6 < BODY.vertices[:, 1].max() < 1.8
    for colour, sign in ((LEFT, 1), (RIGHT, -1)):
        assert (sign * BODY.vertices[(BODY.colours == colour).all(axis=1), 0] > -0.02).all()


def test_right_is_left_in_a_mirror():
    """To the centimetre: the joints of the two sides differ by that."""
    mirrored = BODY.vertices * [-1, 1, 1]
    distances = np.linalg.norm(mirrored[:, None] - BODY.vertices[None], axis=-1).min(axis=1)
    assert distances.max() < 0.012


def test_weights_share_a_vertex_and_change_smoothly():
    assert (BODY.weights >= 0).all()
    np.testing.assert_allclose(BODY.weights.sum(axis=1), 1, atol=1e-6)
    dense = np.zeros((len(BODY.vertices), 22))
    np.add.at(dense, (np.arange(len(dense))[:, None], BODY.joints), BODY.weights)
    assert (dense.max(axis=0) > 0.4).all()                 # no joint is idle; spine2 has close neighbours
    first, second = edges().T
    length = np.linalg.norm(BODY.vertices[first] - BODY.vertices[second], axis=1)
    change = np.abs(dense[first] - dense[second]).sum(axis=1)
    assert (change < 0.05 + 62 * length).all()             # no joint takes over within less than five centimetres


def test_the_rest_pose_is_the_mesh():
    vertices, normals = pose_body(BODY, STILL, BODY.rest[0])
    np.testing.assert_allclose(vertices, BODY.vertices, atol=1e-6)
    np.testing.assert_allclose(normals, BODY.normals, atol=1e-6)


def test_a_turned_and_moved_body_is_the_mesh_turned_and_moved():
    turn, place = axis_angle_to_matrix(np.array([0.3, -1.0, 0.5])), np.array([1.0, 2, 3])
    vertices, normals = pose_body(BODY, np.stack([np.concatenate([turn[None], STILL[1:]])]), place[None])
    np.testing.assert_allclose(vertices[0], (BODY.vertices - BODY.rest[0]) @ turn.T + place, atol=1e-6)
    np.testing.assert_allclose(normals[0], BODY.normals @ turn.T, atol=1e-6)


@pytest.mark.parametrize("joint", range(22))
def test_what_hangs_below_a_joint_follows_it(joint):
    """Vertices of one joint alone keep their place in its frame, whatever the pose."""
    rotations = axis_angle_to_matrix(np.random.default_rng(joint).normal(0, 0.6, (22, 3)))
    pelvis = np.array([0.0, 1, 0])
    vertices, _ = pose_body(BODY, rotations, pelvis)
    own = (BODY.weights[:, 0] > 0.99) & (BODY.joints[:, 0] == joint)
    place = forward_kinematics(rotations, pelvis)[joint]
    distance = np.linalg.norm(vertices[own] - place, axis=1)
    np.testing.assert_allclose(distance, np.linalg.norm(BODY.vertices[own] - BODY.rest[joint], axis=1), atol=2e-3)
    assert own.any() or JOINT_NAMES[joint] == "spine2"
