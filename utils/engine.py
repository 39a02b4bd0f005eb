"""The only training loop.

The step is the only clock: learning rate, samples and noise of step s are functions of (seed, s) alone. So to
resume means to run the same command again, with the result of a run that was never stopped.
"""

import math
from collections.abc import Callable, Iterator
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
from utils.distributed import mean_over_ranks, rank, wait_for_all, world_size
from utils.log import Log

# Options that say where and how often, not what is learnt: a run may be resumed with others.
FREE = {"out_dir", "exp_name", "data_root", "device", "workers", "eval_iter", "save_iter", "print_iter", "compile"}

Key = tuple[int, int, int]  # item of the data, step that draws it, its position in the global batch


def fit(objective: nn.Module, data: Any, config: Training, record: dict[str, Any],
        evaluate: Callable[[int], dict[str, float]] | None = None, best: str | None = None) -> Path:
    """Train `objective` up to step `config.total_iter`, from the run's newest checkpoint if it has one.

    objective   on its device, built after `seed_step(config.seed)`. `objective(batch, step)` gives a dict of
                scalars; "loss" is minimised, all are logged. Means over the batch, since gradients are
                averaged over ranks. `objective.checkpoint()` gives (tensors, config) for later scripts.
    data        `len(data)`; `data.sample(index, rng)` draws one sample with a numpy generator;
                `data.collate(samples)` makes the batch, a tensor or any nest of dicts, lists and tuples.
                With `config.balance`, item i is drawn in proportion to `data.rarity[i] ** config.balance`.
    record      the whole config as JSON; the run stores it and is resumed with the same only (but for `FREE`)
    evaluate    `evaluate(step)` gives metrics, without gradients and in eval mode; every rank calls it, and
                the results are averaged over ranks
    best        the metric, lower is better, that decides where the run's `best` points
    returns     the run's folder, OUT_DIR/EXP_NAME
    Raises ValueError for the folder of another run, a damaged run, a batch that the ranks cannot share
    equally, and a loss or gradient that is not finite.
    """
    folder = Path(config.out_dir) / config.exp_name
    _claim(folder, record)
    device = next(objective.parameters()).device
    parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, config.lr, config.betas, fused=True,
                                  weight_decay=config.weight_decay)
    first_step, best_so_far = _resume(folder, objective, optimizer)
    if config.compile:
        objective.compile(dynamic=True)  # batches differ in length
    ddp = DistributedDataParallel(objective) if world_size() > 1 else objective
    log = Log(folder, first_step, config.total_iter, config.batch_size, device)
    try:
        objective.train()
        for step, batch in enumerate(batches(data, config, first_step), first_step):
            seed_step(config.seed, rank(), step)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, config)
            with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                losses = ddp(to_device(batch, device), step)  # through DDP, never around it
            optimizer.zero_grad()
            losses["loss"].backward()
            norm = nn.utils.clip_grad_norm_(parameters, config.clip or math.inf)
            _refuse_nan(losses["loss"], norm, step, folder)
            optimizer.step()

            last = step == config.total_iter
            log.add(losses | {"gradient_norm": norm})
            if step % config.print_iter == 0 or last:
                log.show_averages(step, learning_rate(step, config))
            improved = False
            if evaluate and (step % config.eval_iter == 0 or last):
                metrics = _evaluate(objective, evaluate, step, device)
                log.show_metrics(step, metrics)
                improved = best is not None and metrics[best] < best_so_far["value"]
                best_so_far = dict(value=metrics[best], step=step) if improved else best_so_far
            if step % config.save_iter == 0 or last or improved:
                log.flush()
                if rank() == 0:
                    _save(folder, objective, optimizer, step, best_so_far)
                wait_for_all()
        if first_step > config.total_iter:
            log.say(f"{folder} is already at step {first_step - 1}; nothing to train.")
    finally:
        log.close()
    return folder


def seed_step(seed: int, rank: int = 0, step: int = 0) -> None:
    """Seed torch for one step of one rank: a resumed run draws the same noise."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0]))


def learning_rate(step: int, config: Training) -> float:
    """lr · min(1, s / warmup) · gamma^(drops before s) [· ½(1 + cos(π · (s − warmup) / (total − warmup)))]"""
    rate = config.lr * min(1.0, step / max(1, config.warmup))
    rate *= config.gamma ** sum(step > drop for drop in config.lr_scheduler)
    if config.schedule == "cosine" and step > config.warmup:
        rate *= 0.5 * (1 + math.cos(math.pi * (step - config.warmup) / (config.total_iter - config.warmup)))
    return rate


def batches(data: Any, config: Training, first_step: int = 1) -> DataLoader:
    """This rank's share of the global batch of every step from `first_step` to the last.

    Raises ValueError if the batch does not divide by the number of ranks, or balance has nothing to go by.
    """
    if config.batch_size % world_size():
        raise ValueError(f"The global batch of {config.batch_size} does not divide by {world_size()} ranks; "
                         f"give --batch-size a multiple of {world_size()}.")
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
    """What each step draws: all data once in every epoch, or by weight; the same for any number of ranks."""
    @lru_cache(maxsize=2)  # a batch may begin in one epoch and end in the next
    def order(epoch: int) -> np.ndarray:
        return np.random.default_rng([config.seed, epoch]).permutation(len(data))

    if config.balance:
        shares = np.cumsum(data.rarity ** config.balance, dtype=np.float64)
        shares /= shares[-1]
    share = config.batch_size // world_size()
    mine = range(rank() * share, (rank() + 1) * share)
    for step in range(first_step, config.total_iter + 1):
        if config.balance:
            draws = np.random.default_rng([config.seed, step]).random(config.batch_size)
            items = np.searchsorted(shares, draws, side="right")
        else:
            drawn = np.arange((step - 1) * config.batch_size, step * config.batch_size)
            items = [order(epoch)[place] for epoch, place in zip(*np.divmod(drawn, len(data)))]
        yield [(int(items[position]), step, position) for position in mine]


class _Samples(Dataset):
    """Keys to samples, each drawn with a generator of its own, whichever rank or worker draws it."""

    def __init__(self, data: Any, seed: int) -> None:
        self.data, self.seed = data, seed

    def __getitem__(self, key: Key) -> Any:
        item, step, position = key
        # From 1, because numpy seeds [a, b] and [a, b, 0] alike, and [seed, step] is taken in `_keys`.
        return self.data.sample(item, np.random.default_rng([self.seed, step, position + 1]))


@torch.no_grad()
def _evaluate(objective: nn.Module, evaluate: Callable[[int], dict[str, float]], step: int,
              device: torch.device) -> dict[str, float]:
    objective.eval()
    metrics = mean_over_ranks(evaluate(step), device)
    objective.train()
    return metrics


def _refuse_nan(loss: Tensor, norm: Tensor, step: int, folder: Path) -> None:
    """Stop before a number that is not finite reaches the weights."""
    values = torch.stack([loss.detach().float(), norm.float()]).tolist()
    if not all(map(math.isfinite, values)):
        good = (folder / "last").resolve() if (folder / "last").exists() else "none yet"
        raise ValueError(f"Step {step}: the loss is {values[0]} and the gradient norm {values[1]}; the last "
                         f"good checkpoint is {good}. Look at the data, or give a smaller --lr or --clip 1.")


def _claim(folder: Path, record: dict[str, Any]) -> None:
    """Store the config in a new run; refuse an old run that has another one."""
    if not checkpoint.steps(folder) or not (folder / "config.json").exists():    # nothing trained to protect
        if rank() == 0:
            checkpoint.write_json(folder / "config.json", record)
        return
    old, new = _flat(checkpoint.read_json(folder / "config.json")), _flat(record)
    differing = [f"{name} was {old.get(name)!r}, now {new.get(name)!r}" for name in sorted(old | new)
                 if old.get(name) != new.get(name) and name.split(".")[-1] not in FREE]
    if differing:
        raise ValueError(f"{folder} holds a run with other options: {'; '.join(differing)}. "
                         f"Repeat its command to resume it, or give another --exp-name.")


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"model": {"width": 8}} -> {"model.width": 8}"""
    flat = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _save(folder: Path, objective: nn.Module, optimizer: torch.optim.Optimizer, step: int,
          best_so_far: dict[str, Any]) -> None:
    state = dict(step=step, best=best_so_far,
                 objective=objective.state_dict(), optimizer=optimizer.state_dict())
    checkpoint.save_checkpoint(checkpoint.step_folder(folder, step), *objective.checkpoint(), state)
    _point(folder, step, best_so_far)
    checkpoint.prune(folder)


def _resume(folder: Path, objective: nn.Module,
            optimizer: torch.optim.Optimizer) -> tuple[int, dict[str, Any]]:
    """Load the newest whole checkpoint; return the first step to do and the best evaluation so far."""
    path, state, damaged = checkpoint.newest_whole(folder)
    if path is None:
        return 1, dict(value=math.inf, step=0)
    try:
        objective.load_state_dict(state["objective"])
        optimizer.load_state_dict(state["optimizer"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path} is a checkpoint of another model than {folder}/config.json describes; "
                         f"give another --exp-name.") from error
    if rank() == 0:
        print("\n".join([*damaged, f"Resuming from {path}."]), flush=True)
        _point(folder, state["step"], state["best"])  # a kill may have come between saving and pointing
    return state["step"] + 1, state["best"]


def _point(folder: Path, step: int, best_so_far: dict[str, Any]) -> None:
    checkpoint.point(folder / "last", checkpoint.step_folder(folder, step))
    if best_so_far["step"]:
        checkpoint.point(folder / "best", checkpoint.step_folder(folder, best_so_far["step"]))
