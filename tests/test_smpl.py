"""SMPL's model files, made up of our own body: read as meshes, old pickles without chumpy, and nothing else run."""

import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

from motion.body import REST, rest_body
from motion.formats.export import Files, check_files, export
from motion.formats.smpl import read_smpl
from motion.representation_272 import pose_to_motion272
from test_gltf import read

JOINTS = {"SMPL": 24, "SMPL-H": 52, "SMPL-X": 55}


def model(joints: int) -> dict[str, np.ndarray]:
    """Our body as such a file has it: hands with joints of their own, around the world's origin."""
    body = rest_body()
    weights = np.zeros((len(body.vertices), joints))
    np.add.at(weights, (np.arange(len(weights))[:, None], body.joints), body.weights)
    for wrist, first in ((20, joints - 30 if joints > 24 else 22), (21, joints - 15 if joints > 24 else 23)):
        weights[:, first], weights[:, wrist] = 0.75 * weights[:, wrist], 0.25 * weights[:, wrist]
    vertices = body.vertices - [0.3, 0.2, 0.1]
    regressor = np.zeros((joints, len(vertices)))
    for joint in range(22):
        regressor[joint] = solve(vertices, REST[joint] - [0.3, 0.2, 0.1])
    return dict(v_template=vertices, f=body.faces.astype(np.uint32), weights=weights, J_regressor=regressor)


def solve(vertices: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The smallest factors of the vertices that give a place, summing to 1."""
    system = np.concatenate([vertices.T, np.ones((1, len(vertices)))])
    return np.linalg.lstsq(system, np.append(place, 1), rcond=None)[0]


@pytest.mark.parametrize("joints", JOINTS.values(), ids=JOINTS)
def test_a_model_is_a_body(tmp_path, joints):
    np.savez(tmp_path / "model.npz", **model(joints))
    read, ours = read_smpl(tmp_path / "model.npz"), rest_body()
    np.testing.assert_allclose(read.vertices, ours.vertices, atol=1e-5)
    np.testing.assert_allclose(read.rest, REST, atol=1e-5)
    np.testing.assert_array_equal(read.faces, ours.faces)
    for body in (read, ours):
        assert body.weights.sum(axis=1) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(dense(read), dense(ours), atol=1e-5)


def dense(body) -> np.ndarray:
    """Weights (V, 22)."""
    weights = np.zeros((len(body.vertices), 22))
    np.add.at(weights, (np.arange(len(weights))[:, None], body.joints), body.weights)
    return weights


def test_old_pickles_are_read_without_chumpy(tmp_path, monkeypatch):
    """As SMPL's own file: chumpy's objects around arrays, a sparse regressor."""
    chumpy = types.ModuleType("chumpy.ch")
    chumpy.Ch = type("Ch", (), {"__module__": "chumpy.ch"})
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    monkeypatch.setitem(sys.modules, "chumpy.ch", chumpy)
    arrays = model(24)
    wrapped = chumpy.Ch()
    wrapped.x, wrapped._dirty = arrays["v_template"], True
    regressor = scipy.sparse.csc_matrix(arrays["J_regressor"])
    stored = arrays | dict(v_template=wrapped, J_regressor=regressor, bs_type="lrotmin")
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(stored, protocol=2))
    monkeypatch.undo()
    assert "chumpy" not in sys.modules
    np.testing.assert_allclose(read_smpl(tmp_path / "model.pkl").vertices, rest_body().vertices, atol=1e-5)


class Trap:
    def __reduce__(self):
        return Path.touch, (Path("trapped"),)


@pytest.mark.parametrize("write, reason", [
    (lambda path: path.write_bytes(pickle.dumps({"v_template": Trap()})), "no readable array, but pathlib"),
    (lambda path: path.write_bytes(b"nothing"), "expected an SMPL"),
    (lambda path: path.write_bytes(pickle.dumps([])), "expected an SMPL"),
    (lambda path: path.write_bytes(pickle.dumps({"f": np.zeros(3)})), "expected an SMPL"),
    (lambda path: path.write_bytes(pickle.dumps(model(24) | {"weights": np.zeros((5, 7))})), "weights (5, 7)"),
])
def test_what_is_no_model_is_named_and_not_run(tmp_path, monkeypatch, write, reason):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "model.pkl")
    with pytest.raises(ValueError, match="model.pkl.*expected") as error:
        read_smpl(tmp_path / "model.pkl")
    assert reason in str(error.value) and not (tmp_path / "trapped").exists()
    with pytest.raises(FileNotFoundError, match="nowhere.npz"):
        read_smpl("nowhere.npz")


def test_its_mesh_is_drawn_and_exported(tmp_path):
    arrays = model(55)
    arrays["v_template"] = arrays["v_template"] * [1.0, 1.05, 1.0]
    np.savez(tmp_path / "tall.npz", **arrays)
    motion = pose_to_motion272(np.tile(np.eye(3), (4, 22, 1, 1)), np.tile(REST, (4, 1, 1))).astype(np.float32)
    for body in (None, tmp_path / "tall.npz"):
        files = Files(out=tmp_path / str(bool(body)), format="glb,strip", body=body)
        check_files(files)
        export(files, "still", motion, "still")
    heights = []
    for tall in (False, True):
        gltf, arrays = read(tmp_path / str(tall) / "still.glb")
        heights.append(arrays[gltf["meshes"][0]["primitives"][0]["attributes"]["POSITION"]][:, 1].max())
    assert heights[1] == pytest.approx(1.05 * heights[0], abs=0.05) and heights[1] > heights[0] + 0.02
    with pytest.raises(FileNotFoundError):
        check_files(Files(out=tmp_path, body=tmp_path / "nowhere.npz"))
