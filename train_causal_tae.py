"""Train the causal temporal autoencoder (MotionStreamer, section 3.2).

python train_causal_tae.py --preset small --dataname mocap_272 --data-root data/mocap_272
torchrun --nproc-per-node 8 train_causal_tae.py --dataname t2m_272
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from dataset.clips import Clip, load_clips, load_groups, long_enough, with_statistics
from dataset.pairs import load_pairs
from dataset.windows import MotionWindows
from Evaluator_272 import protocol
from Evaluator_272.metrics import jerk, mpjpe
from Evaluator_272.watch import side_by_side
from generation.fast.training import accelerate_training
from models.causal_tae import FRAMES_PER_LATENT, CausalTAE, gaussian_kl, sigma_nll
from models.checkpoints import begin, load_tae, tae_checkpoint
from motion.representation_272 import POSITIONS, ROOT, ROTATIONS, motion272_to_pose, motion272_to_positions
from motion.skeleton import forward_kinematics
from options import opt, parse, to_json
from options.data import Data
from options.models import TAE
from options.training import Training
from utils.distributed import distributed, gather, rank, world_size
from utils.engine import fit, seed_step
from utils.errors import run

SHOWN = 2    # clips that TensorBoard shows reconstructed beside the captured


@dataclass(frozen=True)
class TrainTAE:
    """Train the causal temporal autoencoder. The defaults are the published ones."""

    model: TAE = TAE()
    training: Training = Training(
        exp_name="causal_tae", total_iter=2_000_000, batch_size=128, lr=5e-5, lr_scheduler=(1_900_000,),
        eval_iter=20_000, save_iter=20_000)
    start: str | None = opt(None, "TAE to start from: a checkpoint folder, or the authors' file", flag="resume-pth")
    window: int = opt(64, "frames of a training window", flag="window-size")
    root_weight: float = opt(7.0, "weight of the root's channels in the loss", flag="root-loss")
    position_weight: float = opt(0.0, "weight of a loss of the joints' positions in metres, where the far joints count "
                                 "as much as they are seen to", flag="position-loss")
    jerk_weight: float = opt(0.0, "weight of a loss of the jerk of positions and of rotations, which must not tremble",
                             flag="jerk-loss")
    latent_spread: float = opt(1.0, "factor of the posterior's deviation in what the decoder is trained on; above 1 it "
                               "learns to stay smooth on latents that are not quite right, as generated ones are")
    decoder_only: bool = opt(False, "train the decoder alone: the latents stay as they are")
    streams: str | None = opt(None, "folder of train_stream/, to whose pairs of motions the TAE is trained too")


PRESETS = {
    "full": TrainTAE(),                                                        # paper: MPJPE 22.9 mm on HumanML3D-272
    "small": TrainTAE(TAE(width=256), Training(                                # 5.1 M; ships for mocap_272
        Data("mocap_272"), exp_name="tae_small", total_iter=16_000, batch_size=64, lr=4e-4, warmup=300,
        schedule="cosine", clip=0.0, balance=0.5, eval_iter=4000, save_iter=1000, precision="bfloat16"),
        position_weight=2.0, jerk_weight=2.0),
    "tiny": TrainTAE(TAE(width=32), Training(
        Data("mocap_272"), exp_name="tae_tiny", total_iter=20, batch_size=4, lr=1e-3, warmup=1, eval_iter=10,
        save_iter=10, print_iter=5)),
}


class TAEObjective(nn.Module):
    """What DDP wraps: everything that needs gradients is inside this forward."""

    def __init__(self, tae: CausalTAE, root_weight: float, position_weight: float = 0.0, jerk_weight: float = 0.0,
                 latent_spread: float = 1.0, parts: int = 1):
        super().__init__()
        self.tae = tae
        self.root_weight, self.position_weight, self.jerk_weight = root_weight, position_weight, jerk_weight
        self.latent_spread, self.parts = latent_spread, parts

    def forward(self, motion: Tensor, step: int) -> dict[str, Tensor]:
        """motion (B, T, 272), normalised. "loss" is minimised; all are logged."""
        def nll(reconstructed: Tensor, motion: Tensor) -> Tensor:
            """A sum over the batch; the engine takes the mean over the parts that it comes in."""
            return self.parts * sigma_nll(reconstructed, motion)

        reconstructed, mean, logvar = (x.float() for x in self.tae(motion, self.latent_spread))
        recon = nll(reconstructed, motion)
        root = nll(reconstructed[..., ROOT], motion[..., ROOT])
        losses = dict(recon=recon, root=root, kl=gaussian_kl(mean, logvar))
        loss = recon + losses["kl"] + self.root_weight * root
        reconstructed, motion = (x * self.tae.std for x in (reconstructed, motion))    # no mean: differences count
        if self.position_weight:
            losses["position"] = nll(reconstructed[..., POSITIONS], motion[..., POSITIONS])
            loss = loss + self.position_weight * losses["position"]
        if self.jerk_weight:
            jerks = reconstructed.diff(n=3, dim=1), motion.diff(n=3, dim=1)
            losses["jerk"] = sum(nll(*(jerk[..., part] for jerk in jerks)) for part in (POSITIONS, ROTATIONS))
            loss = loss + self.jerk_weight * losses["jerk"]
        return dict(loss=loss, **losses)

    def checkpoint(self):
        return tae_checkpoint(self.tae)


def reconstruct(tae: CausalTAE, clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    """A clip's motion (T, 272), cut to whole latents, and the same decoded from their means."""
    motion = clip.motion[:len(clip.motion) // FRAMES_PER_LATENT * FRAMES_PER_LATENT]
    return motion, protocol.reconstruct(tae, [motion])[0]


def reconstruction(tae: CausalTAE, clips: list[Clip]) -> dict[str, float]:
    """Whole clips reconstructed, shared out among the ranks, averaged over frames: MPJPE in mm; the mean jerk of the
    reconstructed joints, of those that the reconstructed rotations give, and of the captured, mm per frame^3."""
    found, frames = np.zeros(4), 0
    for clip in clips[rank()::world_size()]:
        motion, reconstructed = reconstruct(tae, clip)
        joints, captured = motion272_to_positions(reconstructed), motion272_to_positions(motion)
        turned = forward_kinematics(*motion272_to_pose(reconstructed))
        found += len(motion) * np.array([mpjpe(captured, joints), *(
            1000 * jerk(one).mean() for one in (joints, turned, captured))])
        frames += len(motion)
    found, frames = map(sum, zip(*gather((found, frames))))
    return dict(zip(("mpjpe_mm", "jerk_mm", "rotations_jerk_mm", "captured_jerk_mm"), (found / frames).tolist()))


def videos(tae: CausalTAE, clips: list[Clip]) -> dict[str, bytes]:
    """GIFs of a fixed choice of clips, captured and reconstructed side by side."""
    chosen = np.random.default_rng(0).permutation(len(clips))[:SHOWN]
    return {clips[index].id: side_by_side(dict(zip(("captured", "reconstructed"), reconstruct(tae, clips[index]))))
            for index in chosen}


def main():
    config = parse(PRESETS)
    if config.window < FRAMES_PER_LATENT or config.window % FRAMES_PER_LATENT:
        raise ValueError(f"--window-size is {config.window}; expected a multiple of {FRAMES_PER_LATENT}")
    if config.decoder_only and not config.start:
        raise ValueError("--decoder-only keeps the encoder of a trained TAE; expected --resume-pth, which names it")
    data = config.training.data
    with distributed(config.training.device) as device:
        seed_step(config.training.seed)
        tae = with_statistics(begin(config.start, load_tae, CausalTAE, config.model), data)
        train, groups = load_clips(data, "train"), load_groups(data)
        if config.streams:
            pairs, kinds = load_pairs(config.streams, "train")
            train, groups = train + pairs, groups | kinds
        windows = MotionWindows(train, tae.mean.numpy(), tae.std.numpy(), config.window, groups)
        clips = long_enough(load_clips(data, "val"), FRAMES_PER_LATENT, "val")
        if config.decoder_only:
            tae.encoder.requires_grad_(False)
            tae.to_moments.requires_grad_(False)
        objective = TAEObjective(tae, config.root_weight, config.position_weight, config.jerk_weight,
                                 config.latent_spread, config.training.accumulate).to(device)
        accelerate_training(objective)

        def evaluate(step: int) -> dict[str, float | bytes]:
            return reconstruction(tae, clips) | (videos(tae, clips) if rank() == 0 else {})

        fit(objective, windows, config.training, to_json(config), evaluate, best="mpjpe_mm")


if __name__ == "__main__":
    run(main)
