"""A folder of your own captures, BVH or AMC, each with its captions `ID.txt` beside it."""

from pathlib import Path
from typing import Any

from dataset.prepare.folder import Trial, described_by, split_by_strata
from dataset.prepare.ids import captures_below, clip_id_of, words_of
from motion.retarget import load_skeleton_map


# Other files of motion, which are passed over unless the same capture is there as BVH or AMC, and what to do with them.
OTHERS = {".npz": "the command amass reads it", ".c3d": "export the solved skeleton as BVH",
          ".fbx": "export it as BVH from Blender", ".glb": "export it as BVH from Blender"}


def trials(source: Path, skeleton_map: str = "auto", **reading: Any) -> tuple[list[Trial], list[str]]:
    """List the captures below `source`, split by file.

    skeleton_map   the name of a map that ships, the path of a JSON file, or "auto": each file's is found out
    reading        up, fps, unit, rest_frame, as in `Trial`
    The captions are HumanML3D's lines or plain sentences; without them, the file's name.
    raises         what `motion.retarget.load_skeleton_map` raises
    """
    if skeleton_map != "auto":
        load_skeleton_map(skeleton_map)
    ids = {path: clip_id_of(path.relative_to(source)) for path in captures_below(source, ".bvh", ".amc")}
    known = {path.with_suffix("") for path in ids}
    splits = split_by_strata(dict.fromkeys(ids.values(), "file"), val=0.04, test=0.06)
    found = []
    skipped = [f"{path.name}: expected .bvh or .amc; {OTHERS[path.suffix.lower()]}"
               for path in captures_below(source, *OTHERS) if path.with_suffix("") not in known]
    for path, clip_id in ids.items():
        words = words_of(path.stem.replace("-", " "))
        try:
            captions = described_by(path.with_suffix(".txt"), words)
        except ValueError as error:
            skipped.append(f"{path.name}: {error}")
            continue
        found.append(Trial(clip_id, path, skeleton_map, splits[clip_id], words, captions, **reading))
    return found, skipped
