"""A training run: its folder, what a step changes, and how both are stored and found again."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from options.training import Training
from utils import checkpoint
from utils.distributed import rank, wait_for_all

# Options that say where and how often, not what is learnt: a run may be resumed with others.
RESUME_EXEMPT = {"out_dir", "exp_name", "data.root", "device", "workers", "eval_iter", "save_iter", "print_iter",
                 "compile", "keep", "tae", "tokenizer", "text_dir", "evaluator", "watch"}
WIDE = 64    # channels from which a layer's matrix is Muon's
# What options of older runs are called today.
RENAMED = {"training.dataname": "training.data.name", "training.data_root": "training.data.root",
           "rebuild_weight": "reconstruction_weight"}


class Run:
    """An objective in training, as its run's newest whole checkpoint has it, or as it is given in a new run.

    record      as of `engine.fit`
    folder      OUT_DIR/EXP_NAME
    parameters  those of the objective that are trained; averages: their moving averages, none without `config.ema`
    first_step  the next to do
    best        value and step of the best evaluation so far; step 0: none yet
    raises      ValueError for the folder of another run, and for a damaged run
    """

    def __init__(self, objective: nn.Module, config: Training, record: dict[str, Any]):
        self.objective, self.config = objective, config
        self.folder = Path(config.out_dir) / config.exp_name
        claim(self.folder, record)
        self.device = next(objective.parameters()).device
        self.parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
        self.optimizers = optimizers(objective, config)
        self.averages = [parameter.detach().clone() for parameter in self.parameters if config.ema]
        self.first_step = 1
        self.best: dict[str, Any] = dict(value=math.inf, step=0)
        self.resume()

    def resume(self) -> None:
        """Load the newest whole checkpoint, if there is one."""
        path, state, damaged = checkpoint.newest_whole(self.folder)
        if path is None:
            return
        try:
            self.objective.load_state_dict(state["objective"])
            states = state["optimizer"] if isinstance(state["optimizer"], list) else [state["optimizer"]]    # older
            for optimizer, saved in zip(self.optimizers, states, strict=True):
                optimizer.load_state_dict(saved)
                lay_alike(optimizer)
            for average, saved in zip(self.averages, state.get("averages", ()), strict=True):
                average.copy_(saved)
        except (KeyError, RuntimeError, ValueError) as error:
            raise ValueError(f"{path} is a checkpoint of another model than {self.folder}/config.json describes; "
                             f"give another --exp-name.") from error
        self.first_step, self.best = state["step"] + 1, state["best"]
        if rank() == 0:
            print("\n".join([*damaged, f"Resuming from {path}."]), flush=True)
            self.point(state["step"])    # a kill may have come between saving and pointing

    def save(self, step: int) -> None:
        """Store all, by rank 0. Later scripts read the averaged weights, where there are any; resuming reads both."""
        if rank() == 0:
            with self.averaged():
                tensors, described = self.objective.checkpoint()    # pyright: ignore[reportCallIssue]  it is no Tensor
                tensors = {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
            state = dict(step=step, best=self.best, averages=self.averages, objective=self.objective.state_dict(),
                         optimizer=[optimizer.state_dict() for optimizer in self.optimizers])
            checkpoint.save_checkpoint(checkpoint.step_folder(self.folder, step), tensors, described, state)
            self.point(step)
            checkpoint.prune(self.folder, self.config.keep)
        wait_for_all()

    def point(self, step: int) -> None:
        """Let `last` be this step's checkpoint, and `best` that of the best evaluation."""
        checkpoint.point(self.folder / "last", checkpoint.step_folder(self.folder, step))
        if self.best["step"]:
            checkpoint.point(self.folder / "best", checkpoint.step_folder(self.folder, self.best["step"]))

    @contextmanager
    @torch.no_grad()
    def averaged(self) -> Iterator[None]:
        """The averaged weights where the weights are, and these where those were, in the meantime."""
        def exchange() -> None:
            for parameter, average in zip(self.parameters, self.averages):
                weights = parameter.clone()
                parameter.copy_(average)
                average.copy_(weights)

        exchange()
        try:
            yield
        finally:
            exchange()


def optimizers(objective: nn.Module, config: Training) -> list[torch.optim.Optimizer]:
    """AdamW, and as `config.optimizer` wishes Muon before it, whose steps are as long as AdamW's (arXiv 2502.16982).

    Muon (Jordan et al., 2024) steps by the momentum with all its singular values near 1. It takes the weights of
    linear layers of WIDE channels and more on both sides; all else is AdamW's: embeddings, biases, a network's ends.
    """
    wide = [layer.weight for layer in objective.modules() if config.optimizer == "muon" and isinstance(layer, nn.Linear)
            and layer.weight.requires_grad and min(layer.weight.shape) >= WIDE]
    others = [parameter for parameter in objective.parameters()
              if parameter.requires_grad and not any(parameter is weight for weight in wide)]
    adamw = torch.optim.AdamW(others, config.lr, (config.betas[0], config.betas[1]), fused=True,
                              weight_decay=config.weight_decay)
    if not wide:
        return [adamw]
    return [torch.optim.Muon(wide, config.lr, config.weight_decay, adjust_lr_fn="match_rms_adamw"), adamw]


def last_good(folder: Path) -> Path | str:
    """The newest checkpoint of a run, for what is said of a failure."""
    return checkpoint.pointed(folder / "last").resolve() if (folder / "last").exists() else "none yet"


def claim(folder: Path, record: dict[str, Any]) -> None:
    """Store the config in a new run; refuse an old run that has another one."""
    if not checkpoint.steps(folder) or not (folder / "config.json").exists():    # nothing trained to protect
        if rank() == 0:
            checkpoint.write_json(folder / "config.json", record)
        return
    stored, new = flat(checkpoint.read_json(folder / "config.json")), flat(record)
    old = {RENAMED.get(name, name): value for name, value in stored.items()}
    differing = [f"{name} was {named(old, name)}, now {named(new, name)}" for name in sorted(old | new)
                 if old.get(name) != new.get(name) and name.removeprefix("training.") not in RESUME_EXEMPT]
    if differing:
        raise ValueError(f"{folder} holds a run with other options: {'; '.join(differing)}. "
                         f"Repeat its command to resume it, or give another --exp-name.")


def named(options: dict[str, Any], name: str) -> str:
    return repr(options[name]) if name in options else "no option"


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"model": {"width": 8}} -> {"model.width": 8}"""
    found = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def lay_alike(optimizer: torch.optim.Optimizer) -> None:
    """Moments in the order in memory of their parameters, which fused AdamW goes by; an older version had another."""
    for parameter, state in optimizer.state.items():
        for name, moment in state.items():
            if moment.shape == parameter.shape:
                state[name] = torch.empty_like(parameter).copy_(moment)
