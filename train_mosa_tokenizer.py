"""Train MoSa's tokenizer, CAQ-VAE: motion <-> codes of ten scales (arXiv 2511.01200).

python train_mosa_tokenizer.py --preset small --dataname mocap_272
torchrun --nproc-per-node 8 train_mosa_tokenizer.py --preset humanml3d --data-root dataset/HumanML3D
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from dataset.clips import Clip, layout_of, load_clips, load_groups, long_enough, with_statistics
from dataset.mosa import EveryWindow
from Evaluator_272.codes import CodeUse
from Evaluator_272.metrics import mpjpe
from models.checkpoints import begin, load_mosa_tokenizer, mosa_tokenizer_checkpoint
from models.mosa.losses import smooth_l1
from models.mosa.tokenizer import POSITIONS, CAQVAE
from models.published import MOSA_SCALES
from motion.representation_263 import motion_to_positions
from options import opt, parse, to_json
from options.data import Data
from options.models import CAQ, Codes
from options.training import Training
from utils.distributed import distributed, gather, rank, world_size
from utils.engine import fit, seed_step
from utils.errors import run

SHORTEST = 2      # seconds
BATCH = 32        # clips that are reconstructed at once


@dataclass(frozen=True)
class TrainMoSaTokenizer:
    """Train MoSa's tokenizer. The defaults are the published ones, but for 272 channels at 30 fps."""

    model: CAQ = CAQ()
    training: Training = Training(
        exp_name="mosa_tokenizer", total_iter=200_000, batch_size=256, lr=2e-4, warmup=2001, lr_scheduler=(120_000,),
        gamma=0.1, eval_iter=5000, save_iter=5000)
    start: str | None = opt(None, "tokenizer to start from, of the same sizes: a checkpoint folder or the authors' "
                            "file", flag="resume-pth")
    commit: float = opt(0.02, "weight of the distance between latents and codes")
    commit_beta: float = opt(1.0, "in it, weight of the part that pulls the latents to the codes")
    loss_vel: float = opt(0.5, "weight of the joints' positions, beside all channels (the published name)")
    count_padding: bool = opt(True, "the padding behind short motions counts in the losses, as published")


FULL = TrainMoSaTokenizer()
TINY = CAQ(codes=Codes((2, 5, 12, 25), 8, 12, 16), width=8)
PRESETS = {
    "full": FULL,                                                                              # 34.5 M
    "humanml3d": TrainMoSaTokenizer(                           # as published, epochs in steps of 256 of 23,384 clips
        CAQ(channels=263, codes=Codes(MOSA_SCALES)),
        replace(FULL.training, data=Data("humanml3d_263"), exp_name="mosa_tokenizer_263")),
    "small": TrainMoSaTokenizer(                                                               # 6.9 M
        CAQ(codes=Codes(code_dim=192), width=128, phi_relu=False, ema_of="scale", feat_bias=10.0),
        Training(Data("mocap_272"), exp_name="mosa_tokenizer_small", total_iter=16_000, batch_size=32, lr=4e-4,
                 warmup=300, schedule="cosine", clip=1.0, balance=0.5, eval_iter=2000, save_iter=500,
                 precision="bfloat16"), count_padding=False),
    "tiny": TrainMoSaTokenizer(TINY, Training(
        Data("mocap_272"), exp_name="mosa_tokenizer_tiny", total_iter=20, batch_size=4, lr=1e-3, warmup=1,
        eval_iter=10, save_iter=10, print_iter=5)),
}


class TokenizerObjective(nn.Module):
    """What DDP wraps: everything that needs gradients, and the codebooks' statistics, which ranks sum."""

    def __init__(self, tokenizer: CAQVAE, config: TrainMoSaTokenizer):
        super().__init__()
        self.tokenizer, self.config = tokenizer, config
        self.parts = 0      # of this step's batch that have come

    def forward(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """batch: motion (B, t, D), normalised, and lengths (B,). "loss" is minimised; all are logged.

        The codebooks move once a step, with the last part of its batch.
        """
        config, tokenizer = self.config, self.tokenizer
        motion, lengths = tokenizer.pad(batch["motion"], batch["lengths"]), batch["lengths"]             # (B, T, D)
        reconstructed, found = tokenizer(motion, config.commit_beta)
        inside = None
        if not config.count_padding:
            inside = torch.arange(motion.shape[1], device=motion.device) < lengths[:, None]              # (B, T)
        losses = dict(recon=smooth_l1(reconstructed.float(), motion, inside), commit=found.commit)
        loss = losses["recon"] + config.commit * found.commit
        if places := POSITIONS.get(motion.shape[-1]):
            losses["position"] = smooth_l1(reconstructed.float()[..., places], motion[..., places], inside)
            loss = loss + config.loss_vel * losses["position"]
        if self.training:
            self.parts = (self.parts + 1) % config.training.accumulate
            if not self.parts:
                tokenizer.quantizer.update()
        return dict(loss=loss, **losses)

    def checkpoint(self):
        return mosa_tokenizer_checkpoint(self.tokenizer)


def reconstruction(tokenizer: CAQVAE, clips: list[Clip]) -> dict[str, float]:
    """The first frames of clips reconstructed, shared out among the ranks: MPJPE in mm over all frames, the share of
    the codes that were used, in percent, and perplexity."""
    longest, unit = tokenizer.config.frames, tokenizer.frames_per_code
    motions = [np.asarray(clip.motion[:min(len(clip.motion) // unit * unit, longest)]) for clip in clips]
    use, error, frames = CodeUse(tokenizer), 0.0, 0
    for first in range(rank() * BATCH, len(motions), world_size() * BATCH):
        part = motions[first:first + BATCH]
        error += sum(len(motion) * mpjpe(motion_to_positions(motion), motion_to_positions(decoded))
                     for motion, decoded in zip(part, use.reconstruct(part)))
        frames += sum(map(len, part))
    error, frames = map(sum, zip(*gather((error, frames))))
    return dict(mpjpe_mm=error / frames, **use.measures())


def main():
    config = parse(PRESETS)
    data = config.training.data
    shortest = SHORTEST * layout_of(data).fps
    with distributed(config.training.device) as device:
        seed_step(config.training.seed)
        tokenizer = with_statistics(begin(config.start, load_mosa_tokenizer, CAQVAE, config.model), data)
        windows = EveryWindow(load_clips(data, "train"), tokenizer.mean.numpy(), tokenizer.std.numpy(), shortest,
                              config.model.frames, config.model.frames_per_code, load_groups(data))
        clips = long_enough(load_clips(data, "val"), shortest, "val")
        objective = TokenizerObjective(tokenizer.to(device), config)
        fit(objective, windows, config.training, to_json(config), lambda step: reconstruction(tokenizer, clips),
            best="mpjpe_mm")


if __name__ == "__main__":
    run(main)
