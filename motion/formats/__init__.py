"""Capture files: BVH, ASF/AMC and AMASS-style npz, read to one `Capture`; BVH and npz written. Of GLB the rest pose."""

from pathlib import Path

from motion.formats.asf_amc import read_amc
from motion.formats.bvh import read_bvh, write_bvh
from motion.formats.capture import Capture, turned
from motion.formats.npz import read_amass, write_amass
from motion.formats.own_glb import OwnGLB

__all__ = ["Capture", "read_capture", "read_amc", "read_amass", "read_bvh", "write_amass", "write_bvh"]


def read_capture(path: str | Path, skeleton: str | Path | None = None, fps: float | None = None,
                 up: str | None = None, unit: float | None = None) -> Capture:
    """Read a motion capture file; its suffix says how.

    path      .bvh, .amc or .npz; of a .glb or .vrm its skeleton at rest, one frame
    skeleton  the .asf of an .amc; by default the only .asf beside it, or the one its name begins with
    fps       frames per second, where the file does not say its own rightly
    up        the axis of the file that points up, which is then turned to y; None: y, or z of an npz, as is usual;
              `motion.retarget` looks whether that is so
    unit      metres in the unit of an npz' path; a skeleton's own unit makes no difference
    raises    FileNotFoundError; ValueError for an unknown suffix or a broken file
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a .bvh, .amc or .npz capture.")
    match path.suffix.lower():
        case ".bvh":
            capture = read_bvh(path, fps)
        case ".amc":
            capture = read_amc(path, skeleton, fps)
        case ".npz":
            return read_amass(path, fps, up, unit)
        case ".glb" | ".vrm":
            return OwnGLB(path).capture
        case suffix:
            raise ValueError(f"{path}: found the suffix {suffix!r}, expected .bvh, .amc or .npz; Blender makes a .bvh "
                             "of what it imports, such as .fbx.")
    return turned(capture, up or "y")
