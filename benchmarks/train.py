"""How fast the three trainers are and what they need, against the published loop written plainly.

    python -m benchmarks.train --size small --json train.json
    python -m benchmarks.train --size small --batch 8 --repeats 1 --curves 200 --latent-dir data/latents \
        --data-root data/mocap_272 --figure docs/precisions.png

Both take steps in one process, interleaved, with equal weights, batches and random numbers, without the text encoder.
The plain loop of the AR model pads to the context, computes all positions twice, samples for all rows and tiles them
before it drops the padding; its layers are the library's. It is float32; ours, the step of utils/engine.py, also runs
in bfloat16. The objective is the published one, without what the small presets add. Times are medians, losses those of
the first step; memory is what model, optimizer and two steps add to the process. Differences are relative.

B clips, L latents, T frames, C latent channels, D and W widths, R rows: (clip, latent) pairs.
"""

import ctypes
import gc
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.timing import processor
from dataset.clips import load_clips, load_statistics
from dataset.latents import LatentClips
from dataset.windows import MotionWindows
from generation.fast import training
from generation.fast.training import accelerate_training
from models.attention import rope_table, rotate
from models.causal_tae import CausalTAE, ResidualBlock, gaussian_kl, sample_latents, sigma_nll
from models.transformer import StreamingTransformer
from models.two_forward import REPEATS, Choices, replaced_share, two_forward_loss
from motion.representation_272 import DIM, ROOT
from options import opt, parse
from options.data import Data
from options.sampling import STEPS
from options.training import DEVICES, Training
from train_causal_tae import PRESETS as TAE
from train_causal_tae import TAEObjective, TrainTAE
from train_streamer import PRESETS as STREAMS
from train_t2m import PRESETS as T2M
from train_t2m import TrainT2M
from utils.checkpoint import write_json, write_whole
from utils.distributed import pick_device
from utils.engine import clip_gradients, learning_rate, seed_step, to_device
from utils.errors import run

BATCHES = {"small": 32, "full": 8, "tiny": 4}
PRECISIONS = ("float32", "bfloat16")
SHORTEST = 10                  # latents of a random clip
TOKENS = 12                    # of a random text, where the model reads these
Batch = dict[str, Tensor]


@dataclass(frozen=True)
class TrainBenchmark:
    """Time the three trainers against the published loop."""

    size: str = opt("small", "preset of the three trainers", choices=tuple(BATCHES))
    trainers: tuple[str, ...] = opt(("tae", "t2m", "streams"), "which of them", choices=("tae", "t2m", "streams"))
    batch: int = opt(0, "samples of a step; 0: 32 small, 8 full, 4 tiny")
    repeats: int = opt(7, "timed steps of each kind")
    curves: int = opt(0, "steps that ours trains in each precision, from one start, on the same batches")
    latent_dir: str | None = opt(None, "latent folder for the AR model's batches; None: random latents")
    data_root: str | None = opt(None, "folder of mocap_272 for the TAE's batches; None: random motions")
    device: str = opt("auto", "where to train", choices=DEVICES)
    figure: Path | None = opt(None, "picture of the curves")
    json: Path | None = opt(None, "file for all that is printed, and the curves")


@dataclass(frozen=True)
class Trainer:
    """One of the three. `batch(step, steps in all)` is padded to the context; losses are of (model, batch)."""
    name: str
    training: Training
    build: Callable[[], nn.Module]
    batch: Callable[[int, int], Batch]
    ours: Callable[[nn.Module, Batch], Tensor]
    plain: Callable[[nn.Module, Batch], Tensor]


def main() -> None:
    config = parse({"train": TrainBenchmark()})
    if min(config.batch, config.repeats - 1, config.curves) < 0:
        raise ValueError(f"--batch {config.batch} --repeats {config.repeats} --curves {config.curves}: expected 1 or "
                         "more repeats, 0 or more of the others")
    if config.figure and not config.curves:
        raise ValueError("--figure shows the curves of --curves steps: give their number")
    device, count = pick_device(config.device), config.batch or BATCHES[config.size]
    about = dict(size=config.size, batch=count, threads=torch.get_num_threads(),
                 processor=torch.cuda.get_device_name(device) if device.type == "cuda" else processor())
    report = dict(rows=[], checks=[], curves={})
    made = dict(tae=lambda: tae_trainer(TAE[config.size], count, config.data_root),
                t2m=lambda: ar_trainer("t2m", T2M[config.size], count, config.latent_dir),
                streams=lambda: ar_trainer("streams", STREAMS[config.size], count, config.latent_dir))
    for trainer in (made[name]() for name in config.trainers):
        rows, checks = compare(trainer, config.repeats, device)
        report["rows"] += [dict(trainer=trainer.name) | row | about for row in rows]
        report["checks"].append(dict(trainer=trainer.name) | checks)
        if config.curves:
            report["curves"][trainer.name] = {name: curve(trainer, name, config.curves, device) for name in PRECISIONS}
    print(f"\n{table(report['rows'])}\n\n{table(report['checks'])}")
    for name, curves in report["curves"].items():
        last = -max(1, config.curves // 10)
        print(f"\n{name}, mean loss of the last tenth of {config.curves} steps:",
              *(f"{precision} {np.mean(losses[last:]):.5g}" for precision, losses in curves.items()))
    if config.json:
        write_json(config.json, report)
    if config.figure:
        plot_curves(report["curves"], config.figure)


def tae_trainer(preset: TrainTAE, count: int, folder: str | None = None) -> Trainer:
    """On motions (B, T, 272), random but smooth if no data set is given."""
    data = Data("mocap_272", folder)
    windows = folder and MotionWindows(load_clips(data, "train"), *load_statistics(data), preset.window)

    def batch(step: int, total: int) -> Batch:
        if windows:
            rng = np.random.default_rng(step)
            return dict(motion=windows.collate([windows.sample(int(clip), rng)
                                                for clip in rng.integers(len(windows), size=count)]))
        corners = torch.randn(count, DIM, 9, generator=torch.Generator().manual_seed(step))
        return dict(motion=F.interpolate(corners, preset.window, mode="linear").mT.contiguous())

    def build() -> TAEObjective:
        return TAEObjective(CausalTAE(preset.model), preset.root_weight)

    return Trainer("tae", preset.training, build, batch,
                   lambda objective, batch: objective(batch["motion"], step=0)["loss"], plain_tae_loss)


def ar_trainer(name: str, preset: TrainT2M, count: int, folder: str | None) -> Trainer:
    """On latents (B, L, C), lengths and past (B,), text (B, text_dim) or (B, TOKENS, text_dim), with random
    numbers for all rows. Of the random clips for streams, half are pairs."""
    model, pairs = preset.model, name == "streams"
    clips = LatentClips(folder, "train", model.context, preset.text_drop, pairs) if folder else None
    if clips and (clips.texts.kind, clips.texts.dim) != (model.text, model.text_dim):
        raise ValueError(f"{folder} holds texts ({clips.texts.kind}) of {clips.texts.dim} channels, the model reads "
                         f"{model.text} of {model.text_dim}: give another --size or --latent-dir")

    def batch(step: int, total: int) -> Batch:
        rng, generator = np.random.default_rng(step), torch.Generator().manual_seed(step)
        normal, integers, uniform = (partial(sample, generator=generator) for sample in
                                     (torch.randn, torch.randint, torch.rand))
        if clips:
            found = clips.collate([clips.sample(int(clip), rng) for clip in rng.integers(len(clips), size=count)])
            missing = model.context - found["latents"].shape[1]
            found |= dict(latents=F.pad(found["latents"], (0, 0, 0, missing)), text=found["text"].float())
        else:
            lengths = integers(SHORTEST, model.context + 1, (count,))
            past = pairs * integers(2, (count,)) * (lengths * uniform(count)).long()
            found = dict(latents=normal(count, model.context, model.latent_dim), lengths=lengths, past=past,
                         text=F.normalize(normal(count, *[TOKENS] * (model.text == "tokens"), model.text_dim), dim=-1))
        rows, replaced = count * model.context, int(model.context * replaced_share(step, total))
        return found | dict(replaced_positions=torch.randperm(model.context, generator=generator)[:replaced],
                            t_first=integers(STEPS, (rows,)), noise_first=normal(rows, model.latent_dim),
                            t_second=integers(STEPS, (REPEATS * rows,)),
                            noise_second=normal(REPEATS * rows, model.latent_dim))

    def ours(model: StreamingTransformer, batch: Batch) -> Tensor:
        given = Given(batch["latents"], model.most_latents + 1, batch)
        return two_forward_loss(model, batch["latents"], batch["lengths"], batch["text"], 1, 2, batch["past"],
                                choices=given)

    return Trainer(name, preset.training, partial(StreamingTransformer, model), batch, ours, plain_ar_loss)


class Given(Choices):
    """Choices made elsewhere.

    given   replaced_positions; t_first and noise_first of all B L rows, for the first forward; t_second and
            noise_second of the rows that count, tiled, for the second
    """

    def __init__(self, latents: Tensor, context: int, given: Batch):
        super().__init__(latents, context)
        self.given, self.forwards = given, iter(("first", "second"))

    def replaced_positions(self, step: int, total_steps: int, most: float) -> Tensor:
        return torch.isin(torch.arange(self.count, device=self.device), self.given["replaced_positions"])

    def steps_and_noise(self, kept: Tensor, repeats: int = 1) -> tuple[Tensor, Tensor]:
        name = next(self.forwards)
        rows = kept.flatten().nonzero()[:, 0] if name == "first" else slice(int(kept.sum()) * repeats)
        return self.given[f"t_{name}"][rows], self.given[f"noise_{name}"][rows]


def cut(batch: Batch) -> Batch:
    """Padded to the longest clip only, with the same random numbers."""
    if "latents" not in batch:
        return batch
    longest, chosen = int(batch["lengths"].max()), batch["replaced_positions"]
    first = {name: batch[name].unflatten(0, batch["latents"].shape[:2])[:, :longest].flatten(0, 1)
             for name in ("t_first", "noise_first")}
    return batch | first | dict(latents=batch["latents"][:, :longest], replaced_positions=chosen[chosen < longest])


def plain_ar_loss(model: StreamingTransformer, batch: Batch) -> Tensor:
    """Section 4 of the specification. The first forward keeps its graph, as published, though nothing uses it."""
    latents, rows = batch["latents"], batch["latents"].flatten(0, 1)                          # (B, L, C), (R, C)
    position = torch.arange(latents.shape[1], device=latents.device)
    new = position >= batch["past"][:, None]                                                  # (B, L)
    conditions = plain_conditions(model, latents[:, :-1], batch["text"])                      # (R, D)
    with torch.no_grad():
        predicted = plain_diffusion(model.head, rows, conditions, batch["t_first"], batch["noise_first"])[1]
    replaced = new & torch.isin(position, batch["replaced_positions"])
    mixed = torch.where(replaced[..., None], predicted.view_as(latents), latents)
    conditions = plain_conditions(model, mixed[:, :-1], batch["text"])
    kept = (new & (position < batch["lengths"][:, None])).flatten().repeat(REPEATS)           # (4R,)
    rows, conditions = (x.repeat(REPEATS, 1)[kept] for x in (rows, conditions))
    t, noise = (batch[name][:len(rows)] for name in ("t_second", "noise_second"))
    return plain_diffusion(model.head, rows, conditions, t, noise)[0].mean()


def plain_conditions(model: StreamingTransformer, latents: Tensor, text: Tensor) -> Tensor:
    """Section 2, at all positions: latents (B, L-1, C), texts as `stack_texts` has them -> conditions (R, D). What the
    published model has not, token states and cross-attention, is ours."""
    prompt = model.prompt(text)
    x = torch.cat([prompt.positions, model.latent_embed(latents) + prompt.everywhere], dim=1)    # (B, P+L-1, D)
    heads, dim = model.config.heads, model.config.width // model.config.heads
    rope = rope_table(torch.arange(x.shape[1], device=x.device), dim)
    for block, tokens in zip(model.blocks, model.text_of_blocks(prompt)):
        qkv = block.attention.qkv(block.norm_attention(x)).unflatten(-1, (3, heads, dim))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)                                                  # (B, H, L, D/H) each
        q, k = (rotate(F.normalize(part, dim=-1), rope) for part in (q, k))
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=block.attention.scale.item())
        x = x + block.attention.out(seen.transpose(1, 2).flatten(-2))
        x = x + block.cross(block.norm_cross(x), *tokens) if tokens else x
        x = x + block.mlp(block.norm_mlp(x))
    return model.out(model.norm(x))[:, model.config.text_positions - 1:].flatten(0, 1)


def plain_diffusion(head: nn.Module, latents: Tensor, condition: Tensor, t: Tensor,
                    noise: Tensor) -> tuple[Tensor, Tensor]:
    """Section 3: the squared error of each row (R,), and the x_0 (R, C) that it implies."""
    noisy = head.diffusion.add_noise(latents, t, noise)
    x, y = head.input(noisy), head.time_embed(t) + head.condition_embed(condition)            # (R, W)
    for block in head.blocks:
        shift, scale, gate = block.modulation(F.silu(y)).chunk(3, dim=-1)
        x = x + gate * block.mlp(block.norm(x) * (1 + scale) + shift)
    shift, scale = head.final_modulation(F.silu(y)).chunk(2, dim=-1)
    found = head.output(F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift)
    signal, sigma = head.diffusion.signal[t, None], head.diffusion.noise[t, None]
    start = (noisy - sigma * found) / signal
    if head.diffusion.prediction == "velocity":                     # v = add_noise(noise, t, -x_0)
        start, noise = signal * noisy - sigma * found, head.diffusion.add_noise(noise, t, -latents)
    return ((found - noise) ** 2).mean(dim=-1), start


def plain_tae_loss(objective: TAEObjective, batch: Batch) -> Tensor:
    """Section 1, in the layout of the library's convolutions."""
    tae, motion = objective.tae, batch["motion"]
    mean, logvar = tae.to_moments(plain_layers(tae.encoder, motion.mT).mT).chunk(2, dim=-1)   # (B, L, C)
    logvar = logvar.clamp(-30, 20)
    reconstructed = plain_layers(tae.decoder, tae.from_latent(sample_latents(mean, logvar)).mT).mT  # (B, T, 272)
    root = sigma_nll(reconstructed[..., ROOT], motion[..., ROOT])
    return sigma_nll(reconstructed, motion) + gaussian_kl(mean, logvar) + objective.root_weight * root


def plain_layers(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """(B, W, T) through convolutions padded on the left, residual blocks, ReLUs and up-samplings."""
    for layer in layers:
        if isinstance(layer, ResidualBlock):
            x = x + plain_layers([nn.ReLU(), layer.conv1, nn.ReLU(), layer.conv2], x)
        elif isinstance(layer, nn.Sequential):
            x = plain_layers(layer, x)
        elif isinstance(layer, nn.Conv1d):
            (kernel,), (stride,), (dilation,) = layer.kernel_size, layer.stride, layer.dilation
            x = nn.Conv1d.forward(layer, F.pad(x, ((kernel - 1) * dilation + 1 - stride, 0)))
        else:
            x = layer(x) if isinstance(layer, nn.ReLU) else F.interpolate(x, scale_factor=2)
    return x


class Side:
    """A model in training: by our loss and step, or by the plain ones."""

    def __init__(self, trainer: Trainer, device: torch.device, plain: bool = False, filled: bool = True):
        self.training, self.plain, self.loss_of = trainer.training, plain, trainer.plain if plain else trainer.ours
        seed_step(self.training.seed)
        self.model = trainer.build().to(device)
        if not plain:
            accelerate_training(self.model)
        self.parameters = list(self.model.parameters())
        for parameter in self.parameters:
            if filled and not parameter.any():            # as built, zero gates would hide mistakes
                nn.init.normal_(parameter, std=0.02)
        self.optimizer = torch.optim.AdamW(self.parameters, self.training.lr, self.training.betas,
                                           weight_decay=self.training.weight_decay, fused=None if plain else True)

    def loss(self, batch: Batch, precision: str = "float32", step: int = 1) -> Tensor:
        seed_step(self.training.seed, step=step)          # for the TAE's noise
        autocast = torch.autocast(self.parameters[0].device.type, torch.bfloat16, enabled=precision == "bfloat16")
        with autocast:
            return self.loss_of(self.model, batch)

    def step(self, batch: Batch, precision: str = "float32", step: int = 1) -> float:
        loss = self.loss(batch, precision, step)
        self.optimizer.zero_grad()
        loss.backward()
        if not self.plain:
            clip_gradients(self.parameters, self.training.clip).item()
        self.optimizer.step()
        return loss.item()


def compare(trainer: Trainer, repeats: int, device: torch.device) -> tuple[list[dict], dict]:
    """A row for each precision, and the checks. Half of the positions are replaced, the mean over a training.

    tflop_per_sample  multiplications and additions of the linear layers, forwards and backwards
    padding_costs     time of our step with the batch padded to the context, divided by that padded to its longest clip;
                      and the same for clips half as long
    """
    wide = to_device(trainer.batch(1, 2), device)
    runs = (False, cut(wide), "float32"), (False, cut(wide), "bfloat16"), (True, wide, "float32")
    memory = [peak_memory_mb(trainer, device, *run) for run in runs]
    sides = Side(trainer, device), Side(trainer, device, plain=True)
    losses, gradients = [], []
    for is_plain, batch, precision in runs:
        loss = sides[is_plain].loss(batch, precision)
        gradients.append(torch.autograd.grad(loss, sides[is_plain].parameters))
        losses.append(loss.item())
    bfloat16_error, error = (max(float((found - expected).norm() / expected.norm()) for found, expected in
                                 zip(gradients[0], other)) for other in gradients[1:])
    del gradients, loss
    seconds = medians(repeats, *(partial(sides[is_plain].step, *given) for is_plain, *given in runs))
    rows = [dict(precision=precision, seconds_per_step=seconds[n], steps_per_second=1 / seconds[n],
                 plain_seconds_per_step=seconds[2], times_plain=seconds[2] / seconds[n], loss=losses[n],
                 plain_loss=losses[2], peak_memory_mb=memory[n], plain_peak_memory_mb=memory[2])
            for n, precision in enumerate(PRECISIONS)]
    checks = dict(loss_difference=abs(losses[0] / losses[2] - 1), gradient_difference=error,
                  bfloat16_times_float32=seconds[0] / seconds[1],
                  bfloat16_loss_difference=abs(losses[1] / losses[0] - 1), bfloat16_gradient_difference=bfloat16_error)
    with patch.object(training, "matmul", F.linear), FlopCounterMode(display=False) as operations:   # it knows these
        sides[0].loss(cut(wide)).backward()
    checks["tflop_per_sample"] = operations.get_total_flops() / len(next(iter(wide.values()))) / 1e12
    if "lengths" in wide:
        halved = wide | {name: wide[name] // 2 for name in ("lengths", "past")}
        for name, batch in dict(padding_costs=wide, padding_of_halved_costs=halved).items():
            needed, taken = medians(repeats, *(partial(sides[0].step, given) for given in (cut(batch), batch)))
            checks[name] = taken / needed
    return rows, checks


def curve(trainer: Trainer, precision: str, steps: int, device: torch.device) -> list[float]:
    """The losses of a training of so many steps, with the preset's learning rate after a tenth of warm-up."""
    side, losses = Side(trainer, device, filled=False), []
    training = replace(trainer.training, total_iter=steps, warmup=max(1, steps // 10))
    for step in range(1, steps + 1):
        for group in side.optimizer.param_groups:
            group["lr"] = learning_rate(step, training)
        losses.append(side.step(cut(to_device(trainer.batch(step, steps), device)), precision, step))
    return losses


def plot_curves(curves: dict[str, dict[str, list[float]]], path: Path) -> None:
    """A panel for each trainer with the loss of every step in both precisions, and how far these are apart below, in
    per cent of what float32's spans."""
    from matplotlib.figure import Figure                                  # imported late: it takes a second

    figure = Figure(figsize=(9, 4), layout="constrained")
    above, below = figure.subplots(2, len(curves), sharex=True, height_ratios=(3, 1), squeeze=False)
    for losses, apart, (name, of) in zip(above, below, curves.items()):
        steps = range(1, 1 + len(of["float32"]))
        losses.plot(steps, of["float32"], color="tab:gray", linewidth=2, label="float32")
        losses.plot(steps, of["bfloat16"], color="tab:orange", linewidth=0.8, label="bfloat16")
        apart.plot(steps, 100 * np.subtract(of["bfloat16"], of["float32"]) / np.ptp(of["float32"]), color="tab:orange",
                   linewidth=0.8)
        losses.set(title=name, ylabel="loss")
        apart.set(xlabel="step", ylabel="apart, %", ylim=(-5, 5))
    above[0].legend()
    with write_whole(path) as temporary:
        figure.savefig(temporary, dpi=150)


def medians(repeats: int, *works: Callable[[], object]) -> list[float]:
    """Seconds of each, interleaved, after one round that is not counted."""
    times = np.zeros((repeats + 1, len(works)))
    for place in np.ndindex(times.shape):
        start = time.perf_counter()
        works[place[1]]()
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()
        times[place] = time.perf_counter() - start
    return np.median(times[1:], axis=0).tolist()


def peak_memory_mb(trainer: Trainer, device: torch.device, plain: bool, batch: Batch, precision: str) -> float | None:
    """What a model and two steps take at most, beyond what is held before; None where the system does not tell."""
    def work() -> None:
        side = Side(trainer, device, plain)
        for _ in range(2):
            side.step(batch, precision)

    def status(name: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name))

    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - before) / 1024 ** 2
    if device.type != "cpu" or sys.platform != "linux":
        return None
    ctypes.CDLL(None).malloc_trim(0)                      # what is free goes back to the system
    Path("/proc/self/clear_refs").write_text("5")         # the peak starts again, from what is held now
    before = status("VmRSS")
    work()
    return (status("VmHWM") - before) / 1024


def table(rows: list[dict]) -> str:
    """The rows of a report side by side, their many names as headings on the left."""
    def shown(value: object) -> str:
        return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)

    lines = [[name, *(shown(row.get(name)) for row in rows)] for name in max(rows, key=len)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


if __name__ == "__main__":
    run(main)
