"""Train the AR model for streams: on single clips and on pairs (A, B), where A is only context (section 3.4).

python train_streamer.py --preset small --latent-dir data/latents --resume-trans output/t2m_small/last
torchrun --nproc-per-node 8 train_streamer.py --latent-dir babel_272_stream/t2m_babel_latents

A pair is one sequence [B's text][A's latents][B's latents][end]; replacement and loss are B's only.
"""

from dataclasses import dataclass, replace

from options import parse
from options.data import Data
from train_t2m import PRESETS as T2M
from train_t2m import TrainT2M, train_ar
from utils.errors import run


@dataclass(frozen=True)
class TrainStreamer(TrainT2M):
    """Train the AR model for streams. The defaults are the published ones."""


def preset(name: str, latent_dir: str, **training) -> TrainStreamer:
    """The preset of train_t2m.py with other data and schedule."""
    t2m = T2M[name]
    return TrainStreamer(**vars(replace(t2m, training=replace(t2m.training, **training), latent_dir=latent_dir)))


PRESETS = {
    "full": preset("full", "babel_272_stream/t2m_babel_latents", data=Data("t2m_babel_272"),
                   exp_name="motionstreamer"),
    "small": preset("small", "data/latents", exp_name="streamer_small"),
    "tiny": preset("tiny", "data/latents", exp_name="streamer_tiny"),
}


def main():
    train_ar(parse(PRESETS), pairs=True)


if __name__ == "__main__":
    run(main)
