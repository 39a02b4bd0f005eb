"""How motions are generated, in three parts: what belongs to a checkpoint, how to sample, where and how to run."""

import math
from dataclasses import dataclass, fields, replace
from numbers import Integral
from typing import Any

from options import opt
from options.training import DEVICES

STEPS = 50                                              # of the diffusion, in training; at most as many in sampling
FORMULAE = ("ancestral", "ddim", "dpm++")
SOLVERS = (*FORMULAE, "fitted")
PRECISIONS = ("float32", "bfloat16", "int8")


@dataclass(frozen=True)
class Fitted:
    """A solver of K steps that `fit_solver.py` fitted to one AR model: at each the head predicts an x_0, and the next
    point is noise[k] times the start noise and a sum of all x_0 so far. The last point is the latent."""

    times: tuple[float, ...]        # (K,) where on the schedule the network believes to be, from STEPS - 1 down to 0
    noise: tuple[float, ...]        # (K,)
    starts: tuple[float, ...]       # K (K + 1) / 2 factors: one of the first point, two of the second ...
    guiding: tuple[float, ...]      # (K,) what the guidance beyond 1 is multiplied by

    def __post_init__(self):
        count = len(self.times)
        expected = count, count * (count + 1) // 2, count
        found = len(self.noise), len(self.starts), len(self.guiding)
        if found != expected or not count:
            raise ValueError(f"a fitted solver of {count} steps has {found} numbers for noise, starts and guiding: "
                             f"expected {expected}; fit it again: python fit_solver.py")


@dataclass(frozen=True)
class Calibration:
    """What was measured of an AR model's latents or fitted to it, and is stored in its checkpoint: nobody chooses it.
    The defaults fit the authors' weights."""

    latent_scale: float = opt(1.0, "latents of the TAE are those of the AR model times this")
    stop_threshold: float = opt(0.1, "distance to the end latent, in the TAE's units, below which a motion ends")
    end_latent: tuple[float, ...] = opt(
        (-0.03545712, -0.11705846, -0.05517992, 0.00844862, 0.04809663, 0.00272764, 0.18799046, -0.02028011,
         0.01018141, 0.03007844, -0.03314216, -0.03098543, 0.02590478, 0.00261714, 0.01297793, -0.10481539),
        "the encoding of four all-zero normalised frames")
    fitted: tuple[Fitted, ...] = opt((), "solvers of its own, each for another number of steps")


@dataclass(frozen=True)
class Sampling:
    """How latents are sampled. A checkpoint stores what suits it; every call may give another."""

    guidance: float = opt(4.0, "weight of the text against the empty text")
    temperature: float = opt(1.0, "factor of the noise")
    steps: int = opt(STEPS, "diffusion steps of a latent, 1 to 50")
    solver: str = opt("ancestral", "ancestral, as in training; ddim or dpm++, for fewer steps; fitted, the model's own "
                      "for very few", choices=SOLVERS)
    past: int = opt(77, "latents of the motion so far that a new prompt goes on from, at most")
    parts: bool = opt(False, "what a sentence says one after another holds in turn, as prompts do")

    def __post_init__(self):
        if not math.isfinite(self.guidance):
            raise ValueError(f"a guidance of {self.guidance}: expected a finite number, such as 4")
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"a temperature of {self.temperature}: expected a number of 0 or more, such as 1")
        if not all(isinstance(value, Integral) for value in (self.past, self.steps)):
            raise ValueError(f"{self.steps!r} diffusion steps and a past of {self.past!r} latents: expected whole "
                             "numbers")
        if self.past < 0:
            raise ValueError(f"a past of {self.past} latents: expected 0 or more")
        if not 1 <= self.steps <= STEPS:
            raise ValueError(f"{self.steps} diffusion steps: expected 1 to {STEPS}")
        if self.solver not in SOLVERS:
            raise ValueError(f"the solver {self.solver!r}: expected one of {', '.join(SOLVERS)}")

    def but(self, **changes: float | str | None) -> "Sampling":
        """The same, but for the changes by name; one of None changes nothing.

        raises   ValueError for a name or a value that cannot be
        """
        return changed(self, changes)


def changed(sampling: Any, changes: dict[str, Any]) -> Any:
    """`sampling` with some fields changed, by name; one of None changes nothing. ValueError for another name."""
    names = [item.name for item in fields(sampling)]
    if unknown := sorted(set(changes) - set(names)):
        raise ValueError(f"sampling has no {', '.join(unknown)}: expected some of {', '.join(names)}")
    return replace(sampling, **{name: value for name, value in changes.items() if value is not None})


@dataclass(frozen=True)
class SamplingFlags:
    """How a script samples; None: as is stored with the model."""

    guidance: float | None = opt(None, "weight of the text; None: what is stored with the model")
    temperature: float | None = opt(None, "factor of the noise; None: what is stored with the model")
    steps: int | None = opt(None, "diffusion steps of a latent, 1 to 50; None: what is stored with the model")
    solver: str | None = opt(None, "ancestral, as in training; ddim or dpm++, for few steps; fitted, the model's own "
                             "for very few; None: what is stored with the model", choices=SOLVERS)
    parts: bool | None = opt(None, "what a sentence says one after another holds in turn, as prompts do; None: what is "
                             "stored with the model")

    def over(self, stored: Sampling) -> Sampling:
        """What is stored with a model, but for what is given here."""
        return stored.but(**vars(self))


@dataclass(frozen=True)
class Compute:
    """Where and how to run. But for rounding, it changes no motion."""

    device: str = opt("auto", "where to run", choices=DEVICES)
    precision: str = opt("float32", "of the linear layers; int8 on CPUs only", choices=PRECISIONS)
    tolerance: float | None = opt(None, "how far, of a latent's size, diffusion steps that are worked on together may "
                                  "be from one after another; 0: one after another; None: what the precision bears")
    cuda_graphs: bool = opt(False, "run a few streams on a CUDA GPU as CUDA graphs")


@dataclass(frozen=True)
class MoSaSampling:
    """How MoSa samples its codes. The defaults are the published ones."""

    cond_scale: float = opt(4.0, "weight of the text against no text; it grows from 0 at the coarsest scale")
    top_k: float = opt(0.8, "share of the least likely codes that are discarded; 0: none")
    top_p: float = opt(0.95, "codes are sampled from the likeliest that together have this probability; 0: all")
    temperature: float = opt(1.0, "what the logits are divided by")
    more_smooth: bool = opt(False, "mix codes instead of sampling one; smoother, and without the three before")
    guide_first: bool = opt(False, "the weight of the text is the same at every scale, the coarsest included")

    def __post_init__(self):
        if not math.isfinite(self.cond_scale):
            raise ValueError(f"a cond-scale of {self.cond_scale}: expected a finite number, such as 4")
        if not 0 <= self.top_k < 1 or not 0 <= self.top_p <= 1:
            raise ValueError(f"top-k {self.top_k}, top-p {self.top_p}: expected shares of 0 to 1, top-k below 1")
        if not self.temperature > 0:
            raise ValueError(f"the temperature {self.temperature}: expected a number above 0")

    def but(self, **changes: float | bool | None) -> "MoSaSampling":
        """As `Sampling.but`."""
        return changed(self, changes)


@dataclass(frozen=True)
class MoSaFlags:
    """How a script samples from MoSa; None: as is stored with the model."""

    cond_scale: float | None = opt(None, "MoSa: weight of the text; None: what is stored with the model")
    top_k: float | None = opt(None, "MoSa: share of the least likely codes that are discarded; None: as stored")
    top_p: float | None = opt(None, "MoSa: codes are of the likeliest that have this probability; None: as stored")
    more_smooth: bool | None = opt(None, "MoSa: mix codes instead of sampling one; None: as stored")
    guide_first: bool | None = opt(None, "MoSa: guide the coarsest scale as much as the finest; None: as stored")

    def over(self, stored: MoSaSampling, temperature: float | None) -> MoSaSampling:
        """What is stored with a model, but for what is given here."""
        return stored.but(**vars(self), temperature=temperature)
