"""SMPL, SMPL-H and SMPL-X model files, which their authors give to whoever registers: the mesh, as a Body.

Nothing of theirs is needed to read them, chumpy neither: a pickle's arrays are taken out by an unpickler that makes
arrays and nothing else. Shape is the average; corrections of a pose (`posedirs`) are left out, as glTF has none.
"""

import pickle
from functools import cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import scipy.sparse

from motion.body import LEFT, REST, RIGHT, SKIN, TRUNK, Body, skinned
from motion.skeleton import JOINT_NAMES

NEEDED = ("v_template", "f", "weights", "J_regressor")
HEAD, LEFT_WRIST, RIGHT_WRIST = 15, 20, 21
# What moves with which of the 22 joints, by the number of a model's joints: hands, jaw, eyes.
BEYOND = {24: [LEFT_WRIST, RIGHT_WRIST], 52: [LEFT_WRIST] * 15 + [RIGHT_WRIST] * 15,
          55: [HEAD] * 3 + [LEFT_WRIST] * 15 + [RIGHT_WRIST] * 15}
# The functions that make arrays and numbers from what a pickle stores.
MADE = {"ndarray": np.ndarray, "dtype": np.dtype, "_reconstruct": np.zeros(1).__reduce__()[0],
        "scalar": np.float64(0).__reduce__()[0]}


@cache
def read_smpl(path: str | Path) -> Body:
    """The mesh of a model file, .npz or .pkl, on our 22 joints.

    raises   FileNotFoundError; ValueError that names the file, what was found and what was expected
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}; expected an SMPL, SMPL-H or SMPL-X model, .npz or .pkl.")
    try:
        arrays = {name: plain(value) for name, value in load(path).items()}
        vertices, faces, weights, regressor = (arrays[name] for name in NEEDED)
        if weights.shape[1] not in BEYOND or regressor.shape != weights.T.shape or vertices.shape != (len(weights), 3):
            raise ValueError(f"vertices {vertices.shape} and weights {weights.shape}")
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, BadZipFile, pickle.UnpicklingError) as error:
        raise ValueError(f"{path}: found no readable {error}; expected an SMPL, SMPL-H or SMPL-X model with the arrays "
                         f"{', '.join(NEEDED)} and 24, 52 or 55 joints.") from None
    merged = weights[:, :22].copy()
    np.add.at(merged.T, BEYOND[weights.shape[1]], weights[:, 22:].T)
    joints = regressor[:22] @ vertices
    place = REST[0] - joints[0]                     # the pelvis where ours is at rest
    colours = np.array([colour_of(name) for name in JOINT_NAMES])[merged.argmax(axis=1)]
    return skinned(vertices + place, faces.astype(int), colours, merged, joints + place)


def colour_of(name: str) -> tuple[int, int, int]:
    """As our own body has it: limbs by side, head and hands of skin."""
    if name in ("head", "neck") or name.endswith("wrist"):
        return SKIN
    limb = name.endswith(("hip", "knee", "ankle", "foot", "shoulder", "elbow"))
    return TRUNK if not limb else LEFT if name.startswith("left") else RIGHT


def load(path: Path) -> dict[str, Any]:
    """What of a model file is needed, still as it is stored."""
    if path.suffix.lower() == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in NEEDED if name in file}
    with open(path, "rb") as file:
        stored = ArraysOnly(file, encoding="latin1").load()
    return {name: stored[name] for name in NEEDED if name in stored}


def plain(value: Any) -> np.ndarray:
    """A stored array, sparse matrix or chumpy object as an array."""
    value = getattr(value, "x", value)
    return np.asarray(value.todense()) if scipy.sparse.issparse(value) else np.asarray(value)


class Chumpy:
    """Stands for chumpy's classes: keeps what was stored in them, of which `x` are the numbers."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.x = state.get("x")


class ArraysOnly(pickle.Unpickler):
    """Refuses whatever is not an array, so that a file of doubtful origin can run no code."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "chumpy":
            return Chumpy
        if module.startswith("scipy.sparse") and name in ("csc_matrix", "csr_matrix"):
            return getattr(scipy.sparse, name)
        if module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray") and name in MADE:
            return MADE[name]
        if (module, name) == ("_codecs", "encode"):                       # how Python 3 stores bytes for Python 2
            return lambda text, encoding: text.encode("latin1")
        raise pickle.UnpicklingError(f"array, but {module}.{name}")
