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
from utils.distributed import mean_over_ranks, rank, wait_for_all, world_size
from utils.log import Log

# Options that say where and how often, not what is learnt: a run may be resumed with others.
FREE = {"out_dir", "exp_name", "data_root", "device", "workers", "eval_iter", "save_iter", "print_iter", "compile",
        "keep", "tae", "tokenizer", "text_dir", "evaluator", "watch"}

Key = tuple[int, int, int]  # item of the data, step that draws it, its position in the global batch


def fit(objective: nn.Module, data: Any, config: Training, record: dict[str, Any],
        evaluate: Callable[[int], dict[str, float | bytes]] | None = None, best: str | None = None) -> Path:
    """Train `objective` up to step `config.total_iter`, from the run's newest checkpoint if it has one.

    objective   on its device, built after `seed_step(config.seed)`. `objective(batch, step)` gives a dict of
                scalars; "loss" is minimised, all are logged. Each is that of the whole batch on every rank
                (`utils/distributed.py`), or of one part of it, over which the engine takes the mean.
                `objective.checkpoint()` gives (tensors, config) for later scripts.
    data        `len(data)`; `data.sample(index, rng)` draws one sample with a numpy generator;
                `data.collate(samples)` makes the batch, a tensor or any nest of dicts, lists and tuples;
                `data.name(index)` tells errors which clip a sample is of.
                With `config.balance`, item i is drawn in proportion to `data.rarity[i] ** config.balance`.
    record      the whole config as JSON; the run stores it and is resumed with the same only (but for `FREE`)
    evaluate    `evaluate(step)` gives metrics, without gradients and in eval mode; every rank calls it, and
                the results are averaged over ranks. What is bytes is a GIF, of rank 0 alone. With `config.ema`
                it sees the averaged weights, which the checkpoints' `model.safetensors` holds too; buffers are as they
                are, since those that move are averages themselves (MoSa's codebooks)
    best        the metric, lower is better, that decides where the run's `best` points
    returns     the run's folder, OUT_DIR/EXP_NAME
    Raises ValueError for the folder of another run, a damaged run, a batch that the ranks cannot share
    equally, a sample that cannot be drawn or is not finite, by the name of its clip, a data worker that is
    killed, and a loss or gradient that is not finite.
    """
    folder = Path(config.out_dir) / config.exp_name
    _claim(folder, record)
    device = next(objective.parameters()).device
    parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, config.lr, (config.betas[0], config.betas[1]), fused=True,
                                  weight_decay=config.weight_decay)
    averages = [parameter.detach().clone() for parameter in parameters if config.ema]
    first_step, best_so_far = _resume(folder, objective, optimizer, averages)
    if config.compile:
        objective.compile(dynamic=True)  # batches differ in length
    ddp = DistributedDataParallel(objective) if world_size() > 1 else objective
    with (checkpoint.naming(folder), _naming_lost_workers(folder),
          closing(Log(folder, first_step, config.total_iter, config.batch_size, device)) as log):
        _warn_of_precision(log, config, device)
        objective.train()
        parts = iter(batches(data, config, first_step))
        for step in range(first_step, config.total_iter + 1):
            optimizer.zero_grad()
            losses = _backward(ddp, parts, config, step, device)
            norm = clip_gradients(parameters, config.clip)
            _refuse_nan(losses["loss"], norm, step, folder)
            _update(optimizer, parameters, averages, config, step)

            last = step == config.total_iter
            log.add(losses | {"gradient_norm": norm})
            if step % config.print_iter == 0 or last:
                log.show_averages(step, learning_rate(step, config))
            improved = False
            if evaluate and (step % config.eval_iter == 0 or last):
                with log.off_the_clock(), _exchanged(parameters, averages):
                    metrics, videos = _evaluate(objective, evaluate, step, device)
                log.show_metrics(step, metrics)
                log.show_videos(step, videos)
                if best and metrics[best] < best_so_far["value"]:
                    improved, best_so_far = True, dict(value=metrics[best], step=step)
            if step % config.save_iter == 0 or last or improved:
                with log.off_the_clock():
                    log.flush()
                    if rank() == 0:
                        _save(folder, objective, optimizer, parameters, averages, step, best_so_far, config.keep)
                    wait_for_all()
        if first_step > config.total_iter:
            log.say(f"{folder} is already at step {first_step - 1}; nothing to train.")
    return folder


def seed_step(seed: int, step: int = 0, part: int = 0) -> None:
    """Seed torch for one part of one step, alike on every rank: a resumed run draws the same noise."""
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
    """What each part of each step draws: all data once in every epoch, or by weight; the same for any number of ranks.

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
            draws = np.random.default_rng([config.seed, step]).random(config.batch_size)
            items = np.searchsorted(shares, draws, side="right")
        else:
            drawn = np.arange((step - 1) * config.batch_size, step * config.batch_size)
            items = [order(epoch)[place] for epoch, place in zip(*np.divmod(drawn, len(data)))]
        for part in range(config.accumulate):
            first = (part * world_size() + rank()) * share
            yield [(int(items[position]), step, position) for position in range(first, first + share)]


class _Samples(Dataset):
    """Keys to samples, each drawn with a generator of its own, whichever rank or worker draws it."""

    def __init__(self, data: Any, seed: int) -> None:
        self.data, self.seed = data, seed

    def __getitem__(self, key: Key) -> Any:
        item, step, position = key
        try:
            # From 1, because numpy seeds [a, b] and [a, b, 0] alike, and [seed, step] is taken in `_keys`.
            sample = self.data.sample(item, np.random.default_rng([self.seed, step, position + 1]))
        except Exception as error:  # of whatever kind, it must say which clip it was
            raise BadSample(f"Step {step}: the clip {self.data.name(item)} cannot be drawn "
                            f"({type(error).__name__}: {error}). Mend it, or take it off its split.") from error
        if not _finite(sample):
            raise BadSample(f"Step {step}: the clip {self.data.name(item)} holds NaN or infinity. "
                            "Mend it, or take it off its split.")
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
                         f"fewer --workers; it goes on from the last good checkpoint, {_last_good(folder)}.") from error


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


def _update(optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor], averages: Sequence[Tensor],
            config: Training, step: int) -> None:
    """Move the weights at this step's rate, and their averages."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step, config)
    optimizer.step()
    if config.ema:
        with torch.no_grad():
            torch._foreach_lerp_(averages, [*parameters], 1 - ema_decay(step, config))    # pyright: ignore


def _warn_of_precision(log: Log, config: Training, device: torch.device) -> None:
    if config.precision == "bfloat16" and not in_bfloat16(config, device):
        log.say("This processor has no bfloat16, and would take hundreds of times as long: training in float32.")


def in_bfloat16(config: Training, device: torch.device) -> bool:
    """Whether the forward pass is in bfloat16: where it is asked for, but on a CPU only if this computes in it, since
    others take hundreds of times as long as in float32."""
    able = (device.type != "cpu"
            or torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return config.precision == "bfloat16" and able


@torch.no_grad()
def _evaluate(objective: nn.Module, evaluate: Callable[[int], dict[str, float | bytes]], step: int,
              device: torch.device) -> tuple[dict[str, float], dict[str, bytes]]:
    """The metrics, averaged over ranks, and the videos."""
    objective.eval()
    found = evaluate(step)
    objective.train()
    videos = {name: value for name, value in found.items() if isinstance(value, bytes)}
    scalars: dict[str, float] = {name: value for name, value in found.items() if not isinstance(value, bytes)}
    return mean_over_ranks(scalars, device), videos


@contextmanager
@torch.no_grad()
def _exchanged(parameters: Sequence[Tensor], averages: Sequence[Tensor]) -> Iterator[None]:
    """The averaged weights where the weights are, and these where those were, in the meantime."""
    def exchange() -> None:
        for parameter, average in zip(parameters, averages):
            weights = parameter.clone()
            parameter.copy_(average)
            average.copy_(weights)

    exchange()
    try:
        yield
    finally:
        exchange()


def _refuse_nan(loss: Tensor, norm: Tensor, step: int, folder: Path) -> None:
    """Stop before a number that is not finite reaches the weights."""
    values = torch.stack([loss.detach().float(), norm.float()]).tolist()
    if not all(map(math.isfinite, values)):
        raise ValueError(f"Step {step}: the loss is {values[0]} and the gradient norm {values[1]}; the last good "
                         f"checkpoint is {_last_good(folder)}. Look at the data, or give a smaller --lr or --clip 1.")


def _last_good(folder: Path) -> Path | str:
    return checkpoint.pointed(folder / "last").resolve() if (folder / "last").exists() else "none yet"


def _claim(folder: Path, record: dict[str, Any]) -> None:
    """Store the config in a new run; refuse an old run that has another one."""
    if not checkpoint.steps(folder) or not (folder / "config.json").exists():    # nothing trained to protect
        if rank() == 0:
            checkpoint.write_json(folder / "config.json", record)
        return
    old, new = _flat(checkpoint.read_json(folder / "config.json")), _flat(record)
    differing = [f"{name} was {_told(old, name)}, now {_told(new, name)}" for name in sorted(old | new)
                 if old.get(name) != new.get(name) and name.removeprefix("training.") not in FREE]
    if differing:
        raise ValueError(f"{folder} holds a run with other options: {'; '.join(differing)}. "
                         f"Repeat its command to resume it, or give another --exp-name.")


def _told(options: dict[str, Any], name: str) -> str:
    return repr(options[name]) if name in options else "no option"


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"model": {"width": 8}} -> {"model.width": 8}"""
    flat = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _save(folder: Path, objective: nn.Module, optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor],
          averages: Sequence[Tensor], step: int, best_so_far: dict[str, Any], keep: int) -> None:
    """Later scripts read the averaged weights, where there are any; resuming reads both."""
    with _exchanged(parameters, averages):
        tensors, described = objective.checkpoint()    # pyright: ignore[reportCallIssue]  it is no Tensor
        tensors = {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
    state = dict(step=step, best=best_so_far, averages=averages,
                 objective=objective.state_dict(), optimizer=optimizer.state_dict())
    checkpoint.save_checkpoint(checkpoint.step_folder(folder, step), tensors, described, state)
    _point(folder, step, best_so_far)
    checkpoint.prune(folder, keep)


def _resume(folder: Path, objective: nn.Module, optimizer: torch.optim.Optimizer,
            averages: Sequence[Tensor]) -> tuple[int, dict[str, Any]]:
    """Load the newest whole checkpoint; return the first step to do and the best evaluation so far."""
    path, state, damaged = checkpoint.newest_whole(folder)
    if path is None:
        return 1, dict(value=math.inf, step=0)
    try:
        objective.load_state_dict(state["objective"])
        optimizer.load_state_dict(state["optimizer"])
        _lay_alike(optimizer)
        for average, saved in zip(averages, state.get("averages", ()), strict=True):
            average.copy_(saved)
    except (KeyError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path} is a checkpoint of another model than {folder}/config.json describes; "
                         f"give another --exp-name.") from error
    if rank() == 0:
        print("\n".join([*damaged, f"Resuming from {path}."]), flush=True)
        _point(folder, state["step"], state["best"])  # a kill may have come between saving and pointing
    return state["step"] + 1, state["best"]


def _lay_alike(optimizer: torch.optim.Optimizer) -> None:
    """Moments in the order in memory of their parameters, which fused AdamW goes by; an older version had another."""
    for parameter, state in optimizer.state.items():
        for name, moment in state.items():
            if moment.shape == parameter.shape:
                state[name] = torch.empty_like(parameter).copy_(moment)


def _point(folder: Path, step: int, best_so_far: dict[str, Any]) -> None:
    checkpoint.point(folder / "last", checkpoint.step_folder(folder, step))
    if best_so_far["step"]:
        checkpoint.point(folder / "best", checkpoint.step_folder(folder, best_so_far["step"]))
