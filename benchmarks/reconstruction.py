"""How well does a TAE reconstruct clips that it has not seen, and does it tremble?

    python -m benchmarks.reconstruction --split test
    python -m benchmarks.reconstruction --split test --data-root data/cmu_272     one of the sets alone
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from dataset.clips import Clip, load_clips, load_groups
from models.causal_tae import FRAMES_PER_LATENT
from models.checkpoints import load_tae
from options import opt, parse
from options.data import Data272
from options.training import DEVICES
from train_causal_tae import reconstruction
from utils.distributed import pick_device
from utils.errors import run


@dataclass(frozen=True)
class Reconstruction:
    """MPJPE of reconstructed clips, and their jerk relative to that of the captured: all, and by
    kind of motion."""

    tae: str = opt("weights/mocap_stream/tae", "TAE: a checkpoint folder", flag="resume-pth")
    data: Data272 = Data272("mocap_272")
    split: str = opt("test", "clips to reconstruct", choices=("train", "val", "test"))
    device: str = opt("auto", "where to run", choices=DEVICES)


def main() -> None:
    config = parse({"reconstruction": Reconstruction()})
    tae = load_tae(config.tae)
    if not tae.has_statistics:
        raise ValueError(f"{config.tae} has no statistics: give a checkpoint folder")
    tae.to(pick_device(config.device))
    clips = [clip for clip in load_clips(config.data, config.split) if len(clip.motion) >= FRAMES_PER_LATENT]
    groups, of_group = load_groups(config.data), defaultdict(list)
    for clip in clips:
        of_group[groups.get(clip.id, "all")].append(clip)
    found, frames = [], []
    for name, members in sorted(of_group.items(), key=lambda item: -len(item[1])):
        found.append(list(reconstruction(tae, members).values()))
        frames.append(sum(len(clip.motion) // FRAMES_PER_LATENT for clip in members))
        show(name, members, *found[-1])
    show("every frame", clips, *np.average(found, axis=0, weights=frames))


def show(name: str, clips: list[Clip], error: float, jerk: float, turned: float, captured: float) -> None:
    print(f"{name:24}{len(clips):6} clips{error:8.1f} mm{jerk / captured:8.2f} times the jerk, "
          f"{turned / captured:.2f} by the rotations")


if __name__ == "__main__":
    run(main)
