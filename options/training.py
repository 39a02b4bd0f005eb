"""What every training script has in common."""

from dataclasses import dataclass

from options import opt
from options.data import Data


DEVICES = ("auto", "cuda", "mps", "cpu")


@dataclass(frozen=True)
class Training:
    """Data, run folder, schedule and devices of one training run. The published flags keep their names."""

    data: Data = Data()
    out_dir: str = opt("output", "folder of all runs")
    exp_name: str = opt("run", "this run's folder in out_dir; repeating the command resumes it")

    total_iter: int = opt(100_000, "steps in all")
    batch_size: int = opt(128, "samples per step, over all ranks together")
    accumulate: int = opt(1, "parts that a step's batch is worked through in, one after the other, for less memory; "
                          "what is taken over a batch (the sigma of a loss, negatives, means over valid rows) is then "
                          "taken over each part")
    balance: float = opt(0.0, "sample a clip by 1/(clips of its kind)^balance: 0 all clips alike, 1 all kinds alike")
    optimizer: str = opt("adamw", "adamw, or muon: Muon for the matrices of wide linear layers, AdamW for the rest",
                         choices=("adamw", "muon"))
    lr: float = opt(2e-4, "learning rate after the warm-up")
    warmup: int = opt(1000, "steps of linear warm-up", flag="warm-up-iter")
    schedule: str = opt("constant", "learning rate after the warm-up", choices=("constant", "cosine"))
    lr_scheduler: tuple[int, ...] = opt((), "steps at which the learning rate is multiplied by gamma")
    gamma: float = opt(0.05, "factor of the learning rate at each step of lr_scheduler")
    betas: tuple[float, ...] = opt((0.9, 0.99), "AdamW's decay rates of the first and second moment")
    weight_decay: float = opt(0.0, "weight decay")
    clip: float = opt(0.0, "largest gradient norm; 0: any")
    ema: float = opt(0.0, "decay of the moving average of the weights, 0.999 for one; it is what is evaluated and what "
                     "a checkpoint's model holds, beside the codebooks as they are; 0: none, the weights themselves")
    seed: int = opt(123, "of weights, samples and noise")

    eval_iter: int = opt(5000, "steps between evaluations")
    save_iter: int = opt(5000, "steps between checkpoints")
    keep: int = opt(2, "newest checkpoints that are kept, beside the best one")
    print_iter: int = opt(100, "steps between logged averages")
    workers: int = opt(0, "data loading processes per rank; 0: none beside the training process")
    device: str = opt("auto", "where to train", choices=DEVICES)
    precision: str = opt("float32", "number format of the forward pass; a CPU that lacks bfloat16 takes float32",
                         choices=("float32", "bfloat16"))
    compile: bool = opt(False, "torch.compile the objective: some minutes at the start, then faster steps")

    def __post_init__(self):
        for name in ("total_iter", "batch_size", "accumulate", "eval_iter", "save_iter", "keep", "print_iter"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} is {getattr(self, name)}; expected 1 or more.")
        if not 0 <= self.ema < 1:
            raise ValueError(f"--ema is {self.ema}; expected 0, for none, or a decay below 1, such as 0.999.")
        if len(self.betas) != 2:
            raise ValueError(f"--betas has {len(self.betas)} values; expected two.")
