"""VRM animation 1.0: motion without a body, which web avatars (VRM, three-vrm) play.

Source: the VRM Consortium's specification of VRMC_vrm_animation.
"""

from collections.abc import Sequence
from pathlib import Path

from motion.formats.bones import BONES
from motion.formats.glb import Take, animated_skeleton, save

EXTENSION = "VRMC_vrm_animation"


def write_vrma(path: str | Path, takes: Sequence[Take], fps: float = 30) -> None:
    """Write takes on VRM's humanoid bones: rotations of all, translation of the hips alone. Errors as `write_glb`."""
    gltf = animated_skeleton(takes, "vrm", fps)
    bones = {name: {"node": node} for node, name in enumerate(BONES["vrm"])}
    gltf.extensions = {EXTENSION: {"specVersion": "1.0", "humanoid": {"humanBones": bones}}}
    gltf.extensionsUsed = [EXTENSION]
    save(path, gltf)
