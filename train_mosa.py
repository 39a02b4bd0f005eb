"""Train MoSa's scale-wise autoregressive transformer: text -> codes of ten scales (arXiv 2511.01200).

python train_mosa.py --preset small --resume-pth output/mosa_tokenizer_small/best
torchrun --nproc-per-node 8 train_mosa.py --preset humanml3d --resume-pth output/mosa_tokenizer_263/best
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dataset.clips import layout_of, load_clips, load_groups, long_enough, with_statistics
from dataset.latent_folder import Texts
from dataset.mosa import CaptionedWindows, caption_texts
from Evaluator_272.watch import load_watch
from generation.fast.training import compile_training
from generation.mosa import MoSa
from models.checkpoints import MoSaCheckpoint, fingerprint, load_mosa, load_mosa_tokenizer, mosa_checkpoint
from models.mosa.losses import corrupted, sar_loss, scale_losses
from models.mosa.text import token_encoder
from models.mosa.tokenizer import CAQVAE
from models.mosa.transformer import ScaleTransformer
from models.text_encoder import MINILM
from options import opt, parse, to_json
from options.data import Data
from options.models import SAR
from options.sampling import Compute, MoSaSampling
from options.training import Training
from train_mosa_tokenizer import SHORTEST
from utils.distributed import distributed, gather, padded_alike, rank, world_size
from utils.engine import fit, seed_step, to_device
from utils.errors import run

KEPT = 4096      # training captions whose lengths a checkpoint keeps, at most


@dataclass(frozen=True)
class TrainMoSa:
    """Train MoSa's transformer on the codes of a trained tokenizer. The defaults are the published ones."""

    model: SAR = SAR(text_dim=384)
    training: Training = Training(
        exp_name="mosa", total_iter=180_000, batch_size=64, lr=2e-4, warmup=2001, lr_scheduler=(108_000,), gamma=0.1,
        weight_decay=1e-5, eval_iter=5000, save_iter=5000)
    tokenizer: str = opt("output/mosa_tokenizer/best", "MoSa's tokenizer: a checkpoint folder, or the authors' file",
                         flag="resume-pth")
    start: str | None = opt(None, "transformer to start from, of the same sizes: a checkpoint folder or the authors' "
                            "file", flag="resume-trans")
    text_encoder: str = opt(MINILM, "sentence-transformers name or folder, whose token states are read; or CLIP's")
    text_dir: str | None = opt(None, "folder of the captions' token states, made at the first start; a latent folder "
                               "with --text tokens is one; None: texts_DATANAME in --out-dir")
    evaluator: str | None = opt(None, "evaluator that judges generated motions at every evaluation: a checkpoint "
                                "folder, or the authors' file; of 272 channels")
    watch: int = opt(96, "motions that it judges, of the split val; three of them are shown in TensorBoard")
    cond_drop_prob: float = opt(0.1, "share of the samples whose text is zeroed, for guidance")
    pkeep: float = opt(0.5, "share of the codes that the input keeps, the others being random; -1: another share for "
                       "each scale and step")
    finest_weight: float = opt(1.0, "weight of the finest scale's loss beside the mean of the others'")
    count_padding: bool = opt(True, "codes of the padding behind short motions count in the loss, as published")


FULL = TrainMoSa()
PRESETS = {
    "full": FULL,                                                                              # 18.9 M
    "humanml3d": TrainMoSa(training=replace(FULL.training, data=Data("humanml3d_263"), exp_name="mosa_263"),
                           tokenizer="output/mosa_tokenizer_263/best"),
    "small": TrainMoSa(SAR(384, 256, 4, 6, 768, 0.0), Training(                                # 8.2 M
        Data("mocap_272"), exp_name="mosa_small", total_iter=5800, batch_size=64, optimizer="muon", lr=1e-3,
        warmup=100, schedule="cosine", weight_decay=1e-5, clip=1.0, ema=0.998, balance=0.5, eval_iter=1000,
        save_iter=100, precision="bfloat16"), tokenizer="output/mosa_tokenizer_small/best"),
    "tiny": TrainMoSa(SAR(384, 32, 2, 2, 48), Training(
        Data("mocap_272"), exp_name="mosa_tiny", total_iter=20, batch_size=4, lr=1e-3, warmup=1, eval_iter=10,
        save_iter=10, print_iter=5), tokenizer="output/mosa_tokenizer_tiny/last"),
}


class SARObjective(nn.Module):
    """What DDP wraps. The tokenizer is no part of it: it is neither trained nor saved again.

    captions, frames  of `MoSaCheckpoint`
    """

    def __init__(self, model: ScaleTransformer, tokenizer: CAQVAE, config: TrainMoSa, captions: Tensor, frames: Tensor):
        super().__init__()
        self.model, self.config, self.frozen = model, config, (tokenizer.eval().requires_grad_(False),)
        self.stored = MoSaCheckpoint(model, MoSaSampling(), config.text_encoder, fingerprint(tokenizer), captions,
                                     frames)

    def forward(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """batch: motion (B, t, D), normalised, lengths (B,) in frames, text (B, N, E). "loss" is minimised; all are
        logged."""
        model, (tokenizer,) = self.model, self.frozen
        motion = tokenizer.pad(batch["motion"], batch["lengths"])                                 # (B, T, D)
        latents = batch["lengths"] // tokenizer.frames_per_code
        with torch.autocast(motion.device.type, enabled=False):
            with torch.no_grad():
                ids = tokenizer.quantizer(tokenizer.encode_normalised(motion)).ids                # [(B, s_q)]
            given = corrupted(ids, model.codes.nb_codes, self.config.pkeep) if self.training else ids
            with torch.no_grad():
                inputs = tokenizer.quantizer.inputs(given)[0]                                     # (B, L - s_1, C)
        logits = model(inputs, padded_alike(batch["text"]), latents)
        counts = None if self.config.count_padding else [
            torch.arange(size, device=latents.device) * model.codes.latents < latents[:, None] * size
            for size in model.codes.scales]
        losses, accuracies = scale_losses(logits, ids, counts)
        return dict(loss=sar_loss(losses, self.config.finest_weight), accuracy=torch.stack(accuracies).mean(),
                    coarsest=losses[0], finest=losses[-1])

    def compile(self, *_: Any, **__: Any) -> None:
        """The transformer alone: the tokenizer is not trained."""
        compile_training(self.model)

    def checkpoint(self):
        return mosa_checkpoint(self.stored)


@torch.no_grad()
def losses_of(objective: SARObjective, clips: CaptionedWindows, size: int, seed: int,
              device: torch.device) -> dict[str, float]:
    """What the objective reports on every clip, under a caption and from an offset that are always the same; batches
    are shared out among the ranks."""
    total, count = {}, 0
    for first in range(rank() * size, len(clips), world_size() * size):
        part = range(first, min(first + size, len(clips)))
        batch = to_device(clips.collate([clips.sample(index, np.random.default_rng([seed, index])) for index in part]),
                          device)
        for name, value in objective(batch, 0).items():
            total[name] = total.get(name, 0.0) + len(part) * float(value)
        count += len(part)
    found = gather((total, count))
    every = sum(count for _, count in found)
    return {name: sum(total.get(name, 0.0) for total, _ in found) / every for name in found[0][0]}


def caption_lengths(clips: CaptionedWindows, texts: Texts, seed: int) -> tuple[Tensor, Tensor]:
    """The mean token state, of length 1, of at most KEPT captions (N, E), and the frames of their motions (N,)."""
    pairs = [(clips.numbers[text], len(item.motion)) for item in clips.items for text in item.texts]
    chosen = np.random.default_rng(seed).permutation(len(pairs))[:KEPT]
    captions = torch.stack([texts[pairs[index][0]].mean(dim=0) for index in chosen])
    return F.normalize(captions, dim=-1), torch.tensor([pairs[index][1] for index in chosen])


def main():
    config = parse(PRESETS)
    data = config.training.data
    fps = layout_of(data).fps
    with distributed(config.training.device) as device:
        tokenizer = with_statistics(load_mosa_tokenizer(config.tokenizer), data)
        clips = {split: long_enough(load_clips(data, split), SHORTEST * fps, split) for split in ("train", "val")}
        folder = Path(config.text_dir or f"{config.training.out_dir}/texts_{data.name}")
        texts, numbers = caption_texts(folder, clips["train"] + clips["val"], config.text_encoder, device)
        if texts.dim != config.model.text_dim:
            raise ValueError(f"{config.text_encoder} gives token states of {texts.dim} channels, the model reads "
                             f"{config.model.text_dim}: give --text-dim {texts.dim}")
        train, val = (CaptionedWindows(
            clips[split], tokenizer.mean.numpy(), tokenizer.std.numpy(), SHORTEST * fps, tokenizer.config.frames,
            tokenizer.frames_per_code, texts, numbers, load_groups(data), drop, fps)
            for split, drop in (("train", config.cond_drop_prob), ("val", 0.0)))
        seed_step(config.training.seed)
        model = ScaleTransformer(config.model, tokenizer.config.codes)
        if config.start:
            found = load_mosa(config.start).model
            if (replace(found.config, dropout=config.model.dropout), found.codes) != (model.config, model.codes):
                raise ValueError(f"{config.start} is a {found.config}, the options say {config.model}: give its sizes")
            model.load_state_dict(found.state_dict())
        objective = SARObjective(model, tokenizer.to(device), config,
                                 *caption_lengths(train, texts, config.training.seed)).to(device)

        watch = load_watch(config.evaluator, None, token_encoder(config.text_encoder, device, on_disk=False), data,
                           config.watch, device) if config.evaluator else None

        def evaluate(step: int) -> dict[str, float | bytes]:
            losses = losses_of(objective, val, config.training.batch_size, config.training.seed, device)
            if watch is None:
                return {**losses}
            made = MoSa(tokenizer, objective.stored, watch.text_encoder, compute=Compute(device.type))
            return losses | watch.measure(made)

        fit(objective, train, config.training, to_json(config) | dict(made_by=fingerprint(tokenizer)), evaluate,
            best="loss")


if __name__ == "__main__":
    run(main)
