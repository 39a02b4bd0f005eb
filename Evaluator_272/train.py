"""Train the evaluator.

python -m Evaluator_272.train --preset mocap_272
torchrun --nproc-per-node 8 -m Evaluator_272.train --dataname t2m_272
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dataset.clips import load_clips, load_groups, load_statistics, long_enough
from dataset.motion_texts import POOL, SHORTEST, MotionTexts
from Evaluator_272.checkpoints import evaluator_checkpoint
from Evaluator_272.losses import gaussian_kl, info_nce, reconstruction_error
from Evaluator_272.metrics import pooled_r_precision
from Evaluator_272.model import Evaluator
from models.causal_tae import sample_latents
from models.text_encoder import TextEncoder
from options import opt, parse, to_json
from options.data import Data
from options.models import EvaluatorModel
from options.training import Training
from utils.distributed import distributed, mean_of_all, padded_alike
from utils.engine import fit, seed_step, to_device
from utils.errors import run

LONGEST = 300      # frames


@dataclass(frozen=True)
class TrainEvaluator:
    """Train the evaluator. The defaults are the published ones."""

    model: EvaluatorModel = EvaluatorModel()
    training: Training = Training(exp_name="evaluator", total_iter=9_000, batch_size=256, lr=1e-4, warmup=0,
                                  betas=(0.9, 0.999), weight_decay=0.01, eval_iter=500, save_iter=500)
    sentence_encoder: str = opt("sentence-transformers/paraphrase-MiniLM-L6-v2",
                                "finds captions that say nearly the same: a sentence-transformers name or folder")
    reconstruction_weight: float = opt(1.0, "weight of the motion decoded from either latent; 0: no decoder runs")
    kl_weight: float = opt(1e-5, "weight of the four Kullback-Leibler terms")
    latent_weight: float = opt(1e-5, "weight of the distance between the two latents")
    contrast_weight: float = opt(0.1, "weight of InfoNCE")


# Without dropout and decoder, since fast attention on a CPU knows no dropout and the decoder runs twice.
MINILM = EvaluatorModel(text_backbone="all-MiniLM-L6-v2", text_dim=384, dropout=0.0)

PRESETS = {
    "full": TrainEvaluator(),                                                  # about 100 epochs of HumanML3D-272
    "mocap_272": TrainEvaluator(MINILM, Training(                              # for two CPU cores
        Data("mocap_272"), exp_name="evaluator_mocap_272", total_iter=600, batch_size=64, lr=4e-4, warmup=50,
        schedule="cosine", weight_decay=0.01, clip=1.0, balance=0.5, eval_iter=100, save_iter=100,
        precision="bfloat16"), sentence_encoder="all-MiniLM-L6-v2", reconstruction_weight=0.0),
    "tiny": TrainEvaluator(
        EvaluatorModel("all-MiniLM-L6-v2", 384, latent_dim=32, feed_forward=32, layers=1, heads=2),
        Training(Data("mocap_272"), exp_name="evaluator_tiny", total_iter=4, batch_size=4, lr=1e-3, warmup=1,
                 eval_iter=2, save_iter=2, print_iter=2), sentence_encoder="all-MiniLM-L6-v2"),
}


class EvaluatorObjective(nn.Module):
    """What DDP wraps: both encoders, the decoder and all losses."""

    def __init__(self, evaluator: Evaluator, sentence_encoder: TextEncoder, mean: Tensor, std: Tensor,
                 config: TrainEvaluator):
        super().__init__()
        self.evaluator, self.sentence_encoder, self.config = evaluator, sentence_encoder, config
        self.mean, self.std = mean, std

    def forward(self, batch: dict, step: int) -> dict[str, Tensor]:
        """batch: motion (B, T, 272), normalised, lengths (B,), text: B sentences, as MotionTexts collates them."""
        motion, lengths, config = padded_alike(batch["motion"]), batch["lengths"], self.config
        of_motion = mean, logvar = tuple(x.float() for x in self.evaluator.motion_moments(motion, lengths))
        of_text = text_mean, text_logvar = tuple(x.float() for x in self.evaluator.text_moments(batch["text"]))
        captions = self.sentence_encoder(batch["text"]).to(motion.device)
        nothing = torch.zeros_like(mean), torch.zeros_like(logvar)                       # N(0, 1)
        latents = [sample_latents(*moments) for moments in (of_motion, of_text)]
        losses = dict(
            kl=sum(gaussian_kl(*one, *other) for one, other in
                   ((of_text, of_motion), (of_motion, of_text), (of_text, nothing), (of_motion, nothing))),
            latent=mean_of_all(nn.functional.smooth_l1_loss(*latents)),
            contrast=info_nce(text_mean, mean, captions))
        loss = (config.kl_weight * losses["kl"] + config.latent_weight * losses["latent"]
                + config.contrast_weight * losses["contrast"])
        if config.reconstruction_weight:
            losses["reconstruction"] = sum(
                reconstruction_error(self.evaluator.decoder(latent, lengths).float(), motion, lengths)
                for latent in latents)
            loss = loss + config.reconstruction_weight * losses["reconstruction"]
        return dict(loss=loss, **losses)

    def checkpoint(self):
        return evaluator_checkpoint(self.evaluator, self.mean, self.std)


def retrieval(evaluator: Evaluator, pairs: MotionTexts, device: torch.device, seed: int) -> dict[str, float]:
    """R@1 to R@3 among 32 motions, for one caption of every motion, in an order and with captions set by `seed`."""
    rng = np.random.default_rng(seed)
    order, texts, motions = rng.permutation(len(pairs)), [], []
    for part in np.array_split(order, -(-len(order) // POOL)):
        batch = to_device(pairs.collate([pairs.sample(int(index), rng) for index in part]), device)
        texts.append(evaluator.encode_text(batch["text"]).cpu().numpy())
        motions.append(evaluator.encode_motion(batch["motion"], batch["lengths"]).cpu().numpy())
    shares = pooled_r_precision(np.concatenate(texts), np.concatenate(motions), min(POOL, len(order)))
    return {f"R@{k}": float(share) for k, share in enumerate(shares, start=1)}


def main():
    config = parse(PRESETS)
    data = config.training.data
    with distributed(config.training.device) as device:
        seed_step(config.training.seed)
        evaluator = Evaluator(config.model, decodes=config.reconstruction_weight > 0).to(device)
        evaluator.load_backbone()                              # first, so that a wrong name fails early
        mean, std = load_statistics(data)
        train = MotionTexts(load_clips(data, "train"), mean, std, SHORTEST, LONGEST, True, load_groups(data))
        val = long_enough(load_clips(data, "val"), SHORTEST, "val")
        val = MotionTexts(val, mean, std, SHORTEST, LONGEST, crop=True)
        objective = EvaluatorObjective(evaluator, TextEncoder(config.sentence_encoder, device, on_disk=False),
                                       torch.from_numpy(mean), torch.from_numpy(std), config)

        def evaluate(step: int) -> dict[str, float]:
            found = retrieval(evaluator, val, device, config.training.seed)
            return found | dict(missed=1 - found["R@1"])

        fit(objective, train, config.training, to_json(config), evaluate, best="missed")


if __name__ == "__main__":
    run(main)
