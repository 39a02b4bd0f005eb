"""A clip as FBX, for Maya, 3ds Max, Unity and Unreal, by the Blender that you have (3.3 or newer).

    blender --background --python scripts/to_fbx.py -- clip.glb clip.fbx
    python scripts/to_fbx.py clip.bvh clip.fbx                              where `pip install bpy` has been done

A .glb brings the body, a .bvh the skeleton alone. Nothing of the project is imported: Blender runs this file.
"""

import sys
from pathlib import Path


def main(arguments: list[str]) -> None:
    if len(arguments) != 2 or Path(arguments[0]).suffix.lower() not in (".bvh", ".glb", ".vrma"):
        sys.exit(f"error: found {' '.join(arguments) or 'nothing'}, expected: clip.glb clip.fbx (or clip.bvh clip.fbx)")
    source, target = (str(Path(path).absolute()) for path in arguments)
    if not Path(source).is_file():
        sys.exit(f"error: There is no file {source}; make one: python demo_t2m.py --text 'a person walks' --format glb")
    try:
        import bpy    # pyright: ignore[reportMissingImports]  Blender's own
    except ImportError:
        sys.exit("error: this Python has no bpy; run it in Blender: "
                 "blender --background --python scripts/to_fbx.py -- clip.glb clip.fbx")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.context.scene.render.fps = 30
    load(bpy, source)
    actions = [action.frame_range for action in bpy.data.actions]
    bpy.context.scene.frame_start = int(min((first for first, _ in actions), default=1))
    bpy.context.scene.frame_end = int(max((last for _, last in actions), default=1))
    bpy.ops.export_scene.fbx(filepath=target, add_leaf_bones=False, bake_anim_simplify_factor=0.0)
    print(f"wrote {target}")


def load(bpy, source: str) -> None:
    """Read a .bvh or a glTF into the open scene, 30 frames a second; the first frame is 1 of a BVH, 0 of a glTF."""
    if source.endswith(".bvh"):
        bpy.ops.preferences.addon_enable(module="io_anim_bvh")
        import io_anim_bvh.import_bvh as reader    # pyright: ignore[reportMissingImports]
        # Blender before 3.5 opens files with a mode, "rU", that Python 3.11 no longer knows.
        reader.open = lambda path, mode: open(path, mode.replace("U", ""))
        bpy.ops.import_anim.bvh(filepath=source, axis_forward="-Z", axis_up="Y", frame_start=1)
    else:
        import numpy
        vars(numpy).setdefault("bool", bool)    # Debian 12's Blender 3.4 wants the name that its NumPy 1.24 has not
        bpy.ops.preferences.addon_enable(module="io_scene_gltf2")
        bpy.ops.import_scene.gltf(filepath=source)


if __name__ == "__main__":
    main(sys.argv[sys.argv.index("--") + 1:] if "--" in sys.argv else sys.argv[1:])
