"""The only training loop.

The step is the only clock: learning rate, samples and noise of step s are functions of (seed, s) alone. So to
resume means to run the same command again, with the result of a run that was never stopped.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from options.training import Training
from utils import checkpoint
from utils.distributed import mean_over_ranks, rank, world_size
from utils.log import Log
from utils.run import Run, last_good

Key = tuple[int, int, int]  # item of the data, step that samples it, its position in the global batch


def fit(objective: nn.Module, data: Any, config: Training, record: dict[str, Any],
        evaluate: Callable[[int], dict[str, float | bytes]] | None = None, best: str | None = None) -> Path:
    """Train `objective` up to step `config.total_iter`, from the run's newest checkpoint if it has one.

    objective   on its device, built after `seed_step(config.seed)`. `objective(batch, step)` gives a dict of
                scalars; "loss" is minimised, all are logged. Each is that of the whole batch on every rank
                (`utils/distributed.py`), or of one part of it, over which the engine takes the mean.
                `objective.checkpoint()` gives (tensors, config) for later scripts.
    data        `len(data)`; `data.sample(index, rng)` gives one sample, by a numpy generator;
                `data.collate(samples)` makes the batch, a tensor or any nest of dicts, lists and tuples;
                `data.name(index)` tells errors which clip a sample is of.
                With `config.balance`, item i is sampled in proportion to `data.rarity[i] ** config.balance`.
    record      the whole config as JSON; the run stores it and is resumed with the same only (but for `RESUME_EXEMPT`)
    evaluate    `evaluate(step)` gives metrics, without gradients and in eval mode; every rank calls it, and
                the results are averaged over ranks. What is bytes is a GIF, of rank 0 alone. With `config.ema`
                it sees the averaged weights, which the checkpoints' `model.safetensors` holds too; buffers are as they
                are, since those that move are averages themselves (MoSa's codebooks)
    best        the metric, lower is better, that decides where the run's `best` points
    returns     the run's folder, OUT_DIR/EXP_NAME
    Raises ValueError as `Run`, and for a batch that the ranks cannot share equally, a sample that cannot be made or is
    not finite, by the name of its clip, a data worker that is killed, and a loss or gradient that is not finite.
    """
    run = Run(objective, config, record)
    if config.compile:
        objective.compile(dynamic=True)  # batches differ in length
    ddp = DistributedDataParallel(objective) if world_size() > 1 else objective
    with (checkpoint.naming(run.folder), _naming_lost_workers(run.folder),
          closing(Log(run.folder, run.first_step, config.total_iter, config.batch_size, run.device)) as log):
        _warn_of_precision(log, config, run.device)
        objective.train()
        parts = iter(batches(data, config, run.first_step))
        for step in range(run.first_step, config.total_iter + 1):
            for optimizer in run.optimizers:
                optimizer.zero_grad()
            losses = _backward(ddp, parts, config, step, run.device)
            norm = clip_gradients(run.parameters, config.clip)
            _refuse_nan(losses["loss"], norm, step, run.folder)
            _update(run, step)

            last = step == config.total_iter
            log.add(losses | {"gradient_norm": norm})
            if step % config.print_iter == 0 or last:
                log.show_averages(step, learning_rate(step, config))
            improved = False
            if evaluate and (step % config.eval_iter == 0 or last):
                improved = _evaluate(run, evaluate, best, step, log)
            if step % config.save_iter == 0 or last or improved:
                with log.off_the_clock():
                    log.flush()
                    run.save(step)
        if run.first_step > config.total_iter:
            log.say(f"{run.folder} is already at step {run.first_step - 1}; nothing to train.")
    return run.folder


def seed_step(seed: int, step: int = 0, part: int = 0) -> None:
    """Seed torch for one part of one step, alike on every rank: a resumed run samples the same noise."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, part]).generate_state(1, np.uint64)[0]))


def learning_rate(step: int, config: Training) -> float:
    """lr · min(1, s / warmup) · gamma^(drops before s) [· ½(1 + cos(π · (s − warmup) / (total − warmup)))]"""
    rate = config.lr * min(1.0, step / max(1, config.warmup))
    rate *= config.gamma ** sum(step > drop for drop in config.lr_scheduler)
    if config.schedule == "cosine" and step > config.warmup:
        rate *= 0.5 * (1 + math.cos(math.pi * (step - config.warmup) / (config.total_iter - config.warmup)))
    return rate


def clip_gradients(parameters: Sequence[Tensor], longest: float) -> Tensor:
    """The norm of all gradients together, as it was before they were shortened to that of `longest`; 0: never."""
    norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    if longest:
        nn.utils.clip_grads_with_norm_(parameters, longest, norm)
    return norm


def ema_decay(step: int, config: Training) -> float:
    """min(ema, (1 + s) / (10 + s)): the first weights, which are random, are soon forgotten."""
    return min(config.ema, (1 + step) / (10 + step))


def batches(data: Any, config: Training, first_step: int = 1) -> DataLoader:
    """This rank's share of every part of the global batch, of every step from `first_step` to the last.

    Raises ValueError if the batch does not divide by the number of parts and ranks, or balance has nothing to go by.
    """
    if config.batch_size % (shares := world_size() * config.accumulate):
        in_parts = f" in {config.accumulate} parts" if config.accumulate > 1 else ""
        raise ValueError(f"The global batch of {config.batch_size} does not divide by {world_size()} ranks{in_parts}; "
                         f"give --batch-size a multiple of {shares}.")
    if not len(data):
        raise ValueError("The data set is empty, expected samples; prepare it or give another --data-root.")
    if config.balance and getattr(data, "rarity", None) is None:
        raise ValueError("This data set has no groups to balance; train with --balance 0.")
    return DataLoader(_Samples(data, config.seed), batch_sampler=_keys(data, config, first_step),
                      collate_fn=data.collate, num_workers=config.workers,
                      pin_memory=config.device != "cpu" and torch.cuda.is_available())


def to_device(batch: Any, device: torch.device) -> Any:
    """Move every tensor of nested dicts, lists and tuples."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {name: to_device(value, device) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device) for value in batch)
    return batch


def _keys(data: Any, config: Training, first_step: int) -> Iterator[list[Key]]:
    """What each part of each step samples: all data once an epoch, or by weight; the same for any number of ranks.

    A part is a contiguous block of the global batch, and a rank's share a contiguous block of the part.
    """
    @lru_cache(maxsize=2)  # a batch may begin in one epoch and end in the next
    def order(epoch: int) -> np.ndarray:
        return np.random.default_rng([config.seed, epoch]).permutation(len(data))

    shares = np.cumsum(data.rarity ** config.balance, dtype=np.float64) if config.balance else np.ones(1)
    shares /= shares[-1]
    share = config.batch_size // config.accumulate // world_size()
    for step in range(first_step, config.total_iter + 1):
        if config.balance:
            uniform = np.random.default_rng([config.seed, step]).random(config.batch_size)
            items = np.searchsorted(shares, uniform, side="right")
        else:
            numbers = np.arange((step - 1) * config.batch_size, step * config.batch_size)
            items = [order(epoch)[place] for epoch, place in zip(*np.divmod(numbers, len(data)))]
        for part in range(config.accumulate):
            first = (part * world_size() + rank()) * share
            yield [(int(items[position]), step, position) for position in range(first, first + share)]


class _Samples(Dataset):
    """Keys to samples, each sampled with a generator of its own, whichever rank or worker does it."""

    def __init__(self, data: Any, seed: int) -> None:
        self.data, self.seed = data, seed

    def __getitem__(self, key: Key) -> Any:
        item, step, position = key
        try:
            # From 1, because numpy seeds [a, b] and [a, b, 0] alike, and [seed, step] is taken in `_keys`.
            sample = self.data.sample(item, np.random.default_rng([self.seed, step, position + 1]))
        except Exception as error:  # of whatever kind, it must say which clip it was
            raise BadSample(f"Step {step}: the clip {self.data.name(item)} cannot be sampled "
                            f"({type(error).__name__}: {error}). Fix it, or take it off its split.") from error
        if not _finite(sample):
            raise BadSample(f"Step {step}: the clip {self.data.name(item)} holds NaN or infinity. "
                            "Fix it, or take it off its split.")
        return sample


class BadSample(ValueError):
    """A clip is at fault. A DataLoader puts its worker's traceback before the message; the message alone is shown."""

    def __str__(self) -> str:
        return super().__str__().rpartition(f"{type(self).__name__}: ")[2].strip()


def _finite(sample: Any) -> bool:
    """Whether all arrays of a sample, an array or a nest of lists and tuples, are."""
    if isinstance(sample, (list, tuple)):
        return all(map(_finite, sample))
    return not isinstance(sample, np.ndarray) or bool(np.isfinite(sample).all())


@contextmanager
def _naming_lost_workers(folder: Path) -> Iterator[None]:
    """Let the RuntimeError that a DataLoader raises when its worker was killed leave as a ValueError that says more."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker (pid" not in str(error):
            raise
        raise ValueError(f"{str(error).splitlines()[0].strip(' .')}. Perhaps memory ran out: repeat the command with "
                         f"fewer --workers; it goes on from the last good checkpoint, {last_good(folder)}.") from error


def _backward(ddp: nn.Module, parts: Iterator[Any], config: Training, step: int,
              device: torch.device) -> dict[str, Tensor]:
    """Gradients of one step, summed over its parts; returns the means of what the objective reports.

    Ranks exchange gradients once, with the last part.
    """
    means = {}
    for part in range(config.accumulate):
        seed_step(config.seed, step, part)
        batch = to_device(next(parts), device)
        last = part == config.accumulate - 1
        with ddp.no_sync() if isinstance(ddp, DistributedDataParallel) and not last else nullcontext():
            with torch.autocast(device.type, torch.bfloat16, enabled=in_bfloat16(config, device)):
                losses = ddp(batch, step)  # through DDP, never around it
            (losses["loss"] / config.accumulate).backward()
        for name, value in losses.items():
            means[name] = means.get(name, 0.0) + value.detach().float() / config.accumulate
    return means


def _update(run: Run, step: int) -> None:
    """Move the weights at this step's rate, and their averages."""
    for optimizer in run.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, run.config)
        optimizer.step()
    if run.averages:
        with torch.no_grad():
            torch._foreach_lerp_(run.averages, [*run.parameters],    # pyright: ignore
                                 1 - ema_decay(step, run.config))


def _warn_of_precision(log: Log, config: Training, device: torch.device) -> None:
    if config.precision == "bfloat16" and not in_bfloat16(config, device):
        log.say("This processor has no bfloat16, and would take hundreds of times as long: training in float32.")
    if config.optimizer == "muon" and not has_bfloat16(device):
        log.say("This processor has no bfloat16, in which Muon multiplies, so its steps take long: --optimizer adamw.")


def in_bfloat16(config: Training, device: torch.device) -> bool:
    """Whether the forward pass is in bfloat16: where it is asked for, but on a CPU only if this computes in it, since
    others take hundreds of times as long as in float32."""
    return config.precision == "bfloat16" and has_bfloat16(device)


def has_bfloat16(device: torch.device) -> bool:
    return (device.type != "cpu"
            or torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _evaluate(run: Run, evaluate: Callable[[int], dict[str, float | bytes]], best: str | None, step: int,
              log: Log) -> bool:
    """Show the metrics, averaged over ranks, and the videos -> whether the metric `best` is better than ever."""
    with log.off_the_clock(), run.averaged(), torch.no_grad():
        run.objective.eval()
        found = evaluate(step)
        run.objective.train()
        metrics: dict[str, float] = {name: value for name, value in found.items() if not isinstance(value, bytes)}
        metrics = mean_over_ranks(metrics, run.device)
    log.show_metrics(step, metrics)
    log.show_videos(step, {name: value for name, value in found.items() if isinstance(value, bytes)})
    if best is None or not metrics[best] < run.best["value"]:    # a NaN is not better
        return False
    run.best = dict(value=metrics[best], step=step)
    return True


def _refuse_nan(loss: Tensor, norm: Tensor, step: int, folder: Path) -> None:
    """Stop before a number that is not finite reaches the weights."""
    values = torch.stack([loss.detach().float(), norm.float()]).tolist()
    if not all(map(math.isfinite, values)):
        raise ValueError(f"Step {step}: the loss is {values[0]} and the gradient norm {values[1]}; the last good "
                         f"checkpoint is {last_good(folder)}. Look at the data, or give a smaller --lr or --clip 1.")
