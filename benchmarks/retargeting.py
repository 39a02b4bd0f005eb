"""How near do retargeted motions stay to their captures? Every file of a set.

    python -m benchmarks.retargeting --set bandai-namco --source Bandai-Namco-Research-Motiondataset
    python -m benchmarks.retargeting --set cmu --source cmu.tar.xz cmu_extra.tar.xz
    python -m benchmarks.retargeting --set snu --source snu.tar.xz

Letters: T frames, J joints (22).
"""

from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dataset.prepare import bandai_namco, cmu, snu
from dataset.prepare.archive import unpacked
from dataset.prepare.folder import Trial
from motion.formats import read_capture
from motion.representation_272 import motion272_to_positions, pose_to_motion272
from motion.retarget import find_joints, load_skeleton_map, resample, retarget
from motion.rotation import y_rotation
from motion.skeleton import ANKLES, HIPS, KNEES, OFFSETS, PARENTS
from options import opt, parse
from utils.errors import run

FLOOR = 0.03    # metres within which the lowest joint has to stand


@dataclass(frozen=True)
class Retargeting:
    """Distances of joints, lengths of bones, height over the floor and error of the representation."""

    set: str = opt("bandai-namco", "whose files these are", choices=("bandai-namco", "cmu", "snu"))
    source: tuple[Path, ...] = opt((Path("Bandai-Namco-Research-Motiondataset"),),
                                   "folders or archives of the captures; CMU's descriptions beside or in them")
    every: int = opt(1, "measure only each n-th file")


def measure(trial: Trial) -> tuple[float, float, float, float] | str:
    """Mean distance to the source's joints, scaled by the legs' length, and 5th percentile of the lowest joint's height
    (metres); largest change of a bone's length (relative) and error of decode(encode) (metres). Or why it is refused.
    """
    try:
        capture = read_capture(trial.path, trial.skeleton, trial.fps)
        skeleton_map = load_skeleton_map(trial.skeleton_map)
        rotations, joints = retarget(capture, skeleton_map)
    except ValueError as error:
        return f"{trial.path.name}: {error}"
    theirs, _, between = find_joints(capture, skeleton_map)
    places = resample(capture, theirs, skeleton_map.get("skip_frames", 0))[1]                       # (T, J, 3)
    legs = np.linalg.norm(places[:, KNEES + ANKLES] - places[:, HIPS + KNEES], axis=-1).sum(-1).mean()
    places *= np.linalg.norm(OFFSETS[KNEES + ANKLES], axis=-1).sum() / legs
    places[..., 1] -= places[..., 1].min()
    own = [joint for joint in range(len(OFFSETS)) if joint not in between]
    bones = np.linalg.norm(joints[:, 1:] - joints[:, PARENTS[1:]], axis=-1)
    start = joints[:1, :1] * [1, 0, 1]                    # the representation begins over the origin, facing z+
    heading = np.arctan2(rotations[0, 0, 0, 2], rotations[0, 0, 2, 2])
    reconstructed = motion272_to_positions(pose_to_motion272(rotations, joints))
    error = np.linalg.norm(reconstructed - (joints - start) @ y_rotation(-heading).T, axis=-1).max()
    return (np.linalg.norm(joints - places, axis=-1)[:, own].mean(), np.percentile(joints[..., 1].min(axis=1), 5),
            (bones.max(axis=0) / bones.min(axis=0)).max() - 1, error)


def main() -> None:
    config = parse({"retargeting": Retargeting()})
    with ExitStack() as stack:
        folders = [stack.enter_context(unpacked(source)) for source in config.source]
        match config.set:
            case "cmu":
                trials, skipped = cmu.trials(folders, cmu.texts_beside(config.source)[0], [])
            case "snu":
                trials, skipped = snu.trials(folders[0])
            case "bandai-namco":
                trials, skipped = bandai_namco.trials(folders[0])
        trials = trials[::config.every]
        if not trials:
            raise ValueError(f"found no capture in {config.source[0]}, expected files of {config.set}: give --source")
        with ProcessPoolExecutor() as pool:
            found = list(tqdm(pool.map(measure, trials, chunksize=8), total=len(trials)))
    refused = skipped + [text for text in found if isinstance(text, str)]
    print("\n".join(refused))
    if len(refused) == len(skipped) + len(trials):
        raise ValueError(f"every one of {len(trials)} files is refused, for the reasons above: give another --source")
    distance, low, bone, error = np.array([values for values in found if not isinstance(values, str)]).T
    print(f"{len(distance)} files retargeted, {len(refused)} refused\n"
          f"joints from the source's: {100 * distance.mean():.1f} cm on average, {100 * distance.max():.1f} at most\n"
          f"lowest joint within {100 * FLOOR:.0f} cm of the floor at the 5th percentile of the frames: "
          f"{(np.abs(low) <= FLOOR).mean():.2%}\n"
          f"lengths of bones constant to {bone.max():.1e}\n"
          f"decode(encode) within {error.max():.1e} m")


if __name__ == "__main__":
    run(main)
