"""Train the AR model for text to motion, with two forwards (MotionStreamer, section 3.4).

python train_t2m.py --preset small --latent-dir data/latents
torchrun --nproc-per-node 8 train_t2m.py --latent-dir humanml3d_272/t2m_latents
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dataset.latents import NO_TEXT, LatentClips
from Evaluator_272.watch import load_watch
from generation.fast.training import accelerate_training, compile_training
from generation.pipeline import text_encoder_of
from models.checkpoints import ar_checkpoint, fill, fingerprint, load_ar, load_tae, load_text
from models.text_transformer import TextTransformer
from models.transformer import StreamingTransformer
from models.two_forward import REPEATS, scored_latents, two_forward_loss
from options import opt, parse, to_json
from options.data import Data
from options.models import AR
from options.sampling import STEPS, Calibration, Sampling
from options.training import Training
from utils.distributed import distributed, gather, mean_of_all, noise_like, rank, world_size
from utils.engine import fit, seed_step, to_device
from utils.errors import run

BIN = 10        # diffusion steps whose loss is one curve
QUARTERS = 4    # of a clip: a text predicts the mean and the deviation of the latents in each


@dataclass(frozen=True)
class TrainT2M:
    """Train the AR model for text to motion. The defaults are the published ones."""

    model: AR = AR()
    training: Training = Training(
        exp_name="t2m", total_iter=100_000, batch_size=256, lr=1e-4, warmup=10_000, schedule="cosine",
        betas=(0.9, 0.999), weight_decay=1e-6, eval_iter=10_000, save_iter=10_000)
    start: str | None = opt(None, "AR model to start from, of the same sizes: a checkpoint folder or the authors' "
                            "file; a model that reads tokens takes from one of vectors all but what reads the text",
                            flag="resume-trans")
    text: str | None = opt(None, "text transformer to start from, as train_text.py made it: a checkpoint folder",
                           flag="resume-text")
    tae: str | None = opt(None, "TAE that must have made the latents", flag="resume-pth")
    evaluator: str | None = opt(None, "evaluator that judges generated motions at every evaluation: a checkpoint "
                                "folder, or the authors' file; needs --resume-pth and the data set")
    watch: int = opt(96, "motions that it judges, of the split val; three of them are shown in TensorBoard")
    latent_dir: str = opt("humanml3d_272/t2m_latents", "latent folder that get_latent.py made")
    text_drop: float = opt(0.1, "share of the samples whose text is dropped, for guidance")
    early: float = opt(0.0, "latent l of a clip, from 0, counts with probability early / (l + 1), the last always; "
                            "0: all count")
    text_start: int = opt(0, "channels of the text's layers that start as the linear regression of motion on sentences")
    text_noise: float = opt(0.0, "deviation of the noise added to the embeddings, so that new wordings stay near old")
    replaced: float = opt(1.0, "the most of the latents that the two forwards replace by predictions; 0: one forward")
    context_noise: float = opt(0.0, "noise on the latents that the model conditions on, of a deviation up to this")
    repeats: int = opt(REPEATS, "times that each latent counts in a step, with other diffusion noise")
    crop: int = opt(0, "latents of a clip that are trained on, from its beginning; 0: all")
    by_words: float = opt(0.0, "with --balance: share of the samples that goes by words as people use them")
    favour: tuple[str, ...] = opt((), "NAME=FACTOR: with --balance, clips whose name begins so, mirror images too, are "
                                  "sampled FACTOR times as often")
    moments: float = opt(0.0, "weight of a loss of the text alone: what it says of the mean and the deviation of its "
                         "clip's latents in each quarter; needs --text tokens")
    gain: float = opt(0.0, "the first weights' deviation times the root of their inputs; 0: it is 0.02, as published")


SMALL = AR(text="tokens", text_dim=384, cross_every=2, text_everywhere=True, width=256, layers=6, heads=4,
           head_width=512, head_depth=4, prediction="velocity")
TINY = AR(text_dim=384, width=32, layers=2, heads=2, head_width=32, head_depth=1)

PRESETS = {
    "full": TrainT2M(),                                                              # 86 M + 156 M
    "small": TrainT2M(SMALL, Training(                                               # 14.4 M
        Data("mocap_272"), exp_name="t2m_small", total_iter=10_000, batch_size=128, optimizer="muon", lr=1e-3,
        warmup=50, schedule="cosine", betas=(0.9, 0.99), weight_decay=1e-2, clip=1.0, ema=0.998, balance=0.5,
        eval_iter=1000, save_iter=250, precision="bfloat16"), early=10.0, text_noise=0.1, replaced=0.0,
        context_noise=0.4, repeats=1, crop=64, by_words=0.5, moments=1.0, gain=0.8),
    "tiny": TrainT2M(TINY, Training(
        Data("mocap_272"), exp_name="t2m_tiny", total_iter=20, batch_size=4, lr=1e-3, warmup=1, schedule="cosine",
        eval_iter=10, save_iter=10, print_iter=5)),
}


class TextMoments(nn.Module):
    """What a text alone says of its clip, by linear regression: mean and deviation of the latents in each quarter.

    The diffusion loss tells the text transformer little, since the latents before say nearly all about the next one;
    this tells it at once what sentences mean. Only training has it.
    """

    def __init__(self, width: int, channels: int):
        super().__init__()
        self.linear = nn.Linear(width, QUARTERS * 2 * channels)

    def forward(self, pooled: Tensor, latents: Tensor, lengths: Tensor, past: Tensor) -> Tensor:
        """pooled texts (B, D); clips as in `T2MObjective` -> the mean squared error over quarters that hold latents."""
        place = torch.arange(latents.shape[1], device=latents.device) - past[:, None]                # (B, L)
        quarter = (QUARTERS * place).div((lengths - past)[:, None], rounding_mode="floor")
        member = (quarter[:, None] == torch.arange(QUARTERS, device=latents.device)[:, None]).to(latents.dtype)
        member = member / member.sum(dim=-1, keepdim=True).clamp(min=1)                              # (B, Q, L)
        mean = member @ latents                                                                      # (B, Q, C)
        deviation = (member @ latents ** 2 - mean ** 2).clamp(min=0).sqrt()
        error = self.linear(pooled).view(len(pooled), QUARTERS, -1) - torch.cat([mean, deviation], dim=-1)
        return mean_of_all((error ** 2)[member.any(dim=-1)])


def with_noise(text: Tensor, deviation: float, empty: Tensor) -> Tensor:
    """Texts (B, D) or (B, N, D) with noise, but on the empty one (D,) or (N, D), which guidance uses as it is, and on
    padding."""
    first, empty = (text[:, :1], empty[:1]) if text.ndim == 3 else (text, empty)
    kept = (first != empty).any(dim=-1, keepdim=True) & (text != 0).any(dim=-1, keepdim=True)
    return text + deviation * kept * noise_like(text)


class T2MObjective(nn.Module):
    """What DDP wraps: both forwards and the diffusion loss."""

    def __init__(self, model: StreamingTransformer, calibration: Calibration, text_encoder: str, empty: Tensor,
                 config: TrainT2M):
        super().__init__()
        self.model, self.calibration, self.text_encoder, self.config = model, calibration, text_encoder, config
        self.moments = TextMoments(model.config.width, model.config.latent_dim) if config.moments else None
        self.register_buffer("empty", empty, persistent=False)            # (D,), or (N, D) of tokens

    def forward(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """batch: latents (B, L, C), lengths and past (B,), text (B, D) or (B, N, D), as LatentClips collates them."""
        text, config = batch["text"], self.config
        if self.training and config.text_noise:
            text = with_noise(text, config.text_noise, self.empty)
        latents, lengths, past = batch["latents"], batch["lengths"], batch["past"]
        prompt = self.model.prompt(text) if self.moments else None
        loss = two_forward_loss(
            self.model, latents, lengths, text, step, config.training.total_iter, past,
            early=config.early * self.training, replaced=config.replaced, context_noise=config.context_noise,
            repeats=config.repeats, prompt=prompt)
        if self.moments is None or prompt is None:
            return dict(loss=loss)
        moments = self.moments(prompt.positions[:, 0], latents, lengths, past)
        return dict(loss=loss + config.moments * moments, moments=moments)

    def compile(self, *_: Any, **__: Any) -> None:
        """The networks alone: the number of rows that a step samples differs each time."""
        compile_training(self.model)

    def checkpoint(self):
        return ar_checkpoint(self.model, self.calibration, Sampling(), self.text_encoder)


def train_ar(config: TrainT2M, pairs: bool) -> None:
    """Train on the single clips of the latent folder, with `pairs` also on its pairs for streams."""
    if config.evaluator and not config.tae:
        raise ValueError("--evaluator judges motions, which a TAE makes of latents; expected --resume-pth, its name")
    if config.watch < 2:
        raise ValueError(f"--watch is {config.watch}; expected 2 or more motions to judge")
    if config.model.text == "tokens" and config.text_start:
        raise ValueError(f"--text-start {config.text_start} is of sentence vectors; expected 0 with --text tokens")
    if config.moments and config.model.text != "tokens":
        raise ValueError(f"--moments {config.moments} trains the text transformer, found --text {config.model.text}: "
                         "give --text tokens")
    with distributed(config.training.device) as device:
        seed_step(config.training.seed)
        model = StreamingTransformer(config.model, config.gain)
        longest = model.most_latents + 1
        train = LatentClips(config.latent_dir, "train", longest, config.text_drop, pairs, config.training.balance,
                            config.crop, config.favour, config.by_words)
        val = LatentClips(config.latent_dir, "val", longest, pairs=pairs, crop=config.crop)
        check_latents(train, config.model, config.training.data.name)
        check_uses(train, config, pairs)
        index = train.index
        if config.start:
            train.scale = val.scale = start_model(model, config.start)
        elif config.text_start:
            model.start_text(*train.motion_of_text(config.text_start, config.training.balance, config.text_noise))
        if config.text:
            start_text(model.text, config.text, index["text_encoder"])
        calibration = Calibration(latent_scale=train.scale, stop_threshold=index["stop_threshold"],
                                  end_latent=tuple(index["end_latent"]))
        objective = T2MObjective(model, calibration, index["text_encoder"], train.texts[NO_TEXT], config).to(device)
        accelerate_training(objective)
        batches = list(fixed_batches(val, config.training.batch_size, config.training.seed))
        watch = load_watch(
            config.evaluator, config.tae, text_encoder_of(model, index["text_encoder"], device, on_disk=False),
            config.training.data, config.watch, device) if config.evaluator else None

        def evaluate(step: int) -> dict[str, float | bytes]:
            losses = losses_by_step(model, batches, config.training.seed, device)
            losses |= text_gaps(model, batches, config.training.seed, device)
            return losses | (watch(model, calibration) if watch else {})

        latents = {name: index[name] for name in ("tae", "text_encoder", "latent_scale")}
        fit(objective, train, config.training, to_json(config) | dict(latents=latents), evaluate, best="loss")


def start_model(model: StreamingTransformer, source: str) -> float:
    """Take the weights of an AR model, and return its latent scale.

    From a model that reads the text in another way come all weights but those that read it.
    """
    start = load_ar(source)
    tensors = start.model.state_dict()
    if start.model.config.text != model.config.text:
        reads_text = re.compile(r"text|.*cross")
        own = {name: value for name, value in model.state_dict().items() if reads_text.match(name)}
        tensors = own | {name: value for name, value in tensors.items() if not reads_text.match(name)}
    fill(model, tensors, source)
    return start.calibration.latent_scale


def start_text(text: TextTransformer | None, source: str, text_encoder: str) -> None:
    """Take a text transformer's weights.

    raises   ValueError if the model has none, or for one of other sizes or of another encoder's texts
    """
    tensors, encoder = load_text(source)
    if text is None:
        raise ValueError(f"{source} is a text transformer, and the model reads vectors: give --text tokens")
    if encoder != text_encoder:
        raise ValueError(f"{source} reads texts by {encoder}, and the latent folder holds texts by {text_encoder}: "
                         "make one with that folder: python train_text.py")
    fill(text, tensors, source)


def check_latents(clips: LatentClips, model: AR, dataname: str) -> None:
    """raises ValueError if the latent folder is not what the model trains on"""
    index, folder = clips.index, clips.folder
    if index["dataname"] != dataname:
        raise ValueError(f"{folder} holds latents of {index['dataname']}, not of {dataname}: give "
                         f"--dataname {index['dataname']}")
    made = clips.texts.kind, clips.texts.dim, len(index["end_latent"])
    read = model.text, model.text_dim, model.latent_dim
    if made != read:
        raise ValueError(f"{folder} holds texts ({made[0]}) of {made[1]} channels, made by {index['text_encoder']}, "
                         f"and latents of {made[2]}; the model reads {read[0]} of {read[1]} and {read[2]}: give "
                         f"--text {made[0]} --text-dim {made[1]} --latent-dim {made[2]}")


def check_uses(clips: LatentClips, config: TrainT2M, pairs: bool) -> None:
    """raises ValueError if the latent folder lacks the pairs that are trained on, or is of another TAE than is named"""
    index, folder = clips.index, config.latent_dir
    if pairs and not any(clips.past):
        raise ValueError(f"{folder} holds no pairs for streams: run get_latent.py with --streams FOLDER, or train on "
                         "single clips: python train_t2m.py")
    if config.tae and fingerprint(load_tae(config.tae)) != index["tae"]:
        raise ValueError(f"{folder} was not encoded by {config.tae}: run get_latent.py --resume-pth {config.tae} "
                         f"--latent-dir {folder} --dataname {index['dataname']} --text-encoder {index['text_encoder']}")


def fixed_batches(clips: LatentClips, size: int, seed: int):
    """Every clip once, in batches, with the same captions every time, and a caption of another kind's clip: `other`."""
    rng = np.random.default_rng(seed)
    kinds = np.array(clips.groups)
    for first in range(0, len(clips), size):
        part = range(first, min(first + size, len(clips)))
        others = [np.flatnonzero(kinds != kinds[index]) for index in part]
        other = clips.collate([clips.sample(rng.choice(unlike) if len(unlike) else index, rng)
                               for index, unlike in zip(part, others)])
        yield clips.collate([clips.sample(index, rng) for index in part]) | dict(other=other["text"])


@torch.no_grad()
def losses_by_step(model: StreamingTransformer, batches: list[dict[str, Tensor]], seed: int,
                   device: torch.device) -> dict[str, float]:
    """Diffusion loss on true prefixes (nothing replaced): of all steps, and of each ten of them, t = 0 the cleanest.

    Every latent counts once in each ten, with a step and noise of its own, the same every time. The batches are shared
    out among the ranks.
    """
    firsts = torch.arange(0, STEPS, BIN, device=device)
    total = np.zeros(len(firsts) + 1)                                     # the losses' sums, and the number of latents
    for number in range(rank(), len(batches), world_size()):
        seed_step(seed, number)
        batch = to_device(batches[number], device)
        losses = latent_losses(model, batch, batch["text"], firsts)[0]                                   # (5, R)
        total += [*losses.sum(dim=1).tolist(), losses.shape[1]]
    *sums, count = sum(gather(total)).tolist()
    means = {f"loss_t{first:02}_{first + BIN - 1:02}": one / count for first, one in zip(firsts.tolist(), sums)}
    return dict(loss=sum(means.values()) / len(means), **means)


@torch.no_grad()
def text_gaps(model: StreamingTransformer, batches: list[dict[str, Tensor]], seed: int,
              device: torch.device) -> dict[str, float]:
    """By how much the loss is higher under the caption of another kind of motion than under the clip's own, relative to
    that, for a clip's first eight latents and the next eight: how much the model listens. The loss is blind to it."""
    firsts = torch.arange(0, STEPS, BIN, device=device)
    total = np.zeros((2, 2))                                              # own, other; first eight, next eight
    for number in range(rank(), len(batches), world_size()):
        batch = to_device(batches[number], device)
        for row, text in enumerate((batch["text"], batch["other"])):
            seed_step(seed, number)
            losses, place = latent_losses(model, batch, text, firsts)
            total[row] += [float(losses[:, place // 8 == eight].sum()) for eight in (0, 1)]
    own, other = sum(gather(total))
    gaps = ((other - own) / own.clip(1e-12)).tolist()
    return {f"text_gap_{place}": gap for place, gap in zip(("1_8", "9_16"), gaps)}


def latent_losses(model: StreamingTransformer, batch: dict[str, Tensor], text: Tensor,
                  firsts: Tensor) -> tuple[Tensor, Tensor]:
    """The diffusion loss (5, R) of the R latents of a batch that count, under a text, at a step of each ten; and which
    of its clip each latent is (R,), from 0, behind the past."""
    latents, lengths = batch["latents"], batch["lengths"]
    scored = scored_latents(latents.shape[1], lengths, batch["past"])                                    # (B, L)
    conditions = model(latents[:, :-1], text, lengths - 1)[scored].repeat(len(firsts), 1)
    start = latents[scored].repeat(len(firsts), 1)                                                       # (5 R, C)
    t = firsts[:, None] + torch.randint(BIN, (len(firsts), int(scored.sum())), device=latents.device)
    losses = model.head.loss(start, conditions, t.flatten(), torch.randn_like(start))[0].view_as(t)
    place = torch.arange(latents.shape[1], device=latents.device) - batch["past"][:, None]
    return losses, place[scored]


def main():
    train_ar(parse(PRESETS), pairs=False)


if __name__ == "__main__":
    run(main)
