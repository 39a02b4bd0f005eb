"""All that exists only for speed. `accelerate` puts it into networks from outside, which compute the same as before:

timesteps   diffusion steps in parallel, and solvers fitted to a model
layers      packed linear layers and convolutions, in less precision if asked
cache       keys and values of streams, in a ring
graphs      CUDA graphs
training    layers of training on a CPU, and no work for padding
"""

from collections.abc import Sequence
from typing import TypeVar

from torch import nn

from generation.fast.layers import pack
from generation.fast.timesteps import parallel
from models.head import DiffusionHead
from options.sampling import Fitted

Network = TypeVar("Network", bound=nn.Module)
TOLERANCES = {"float32": 5e-6, "bfloat16": 0.02, "int8": 0.02}     # as near as rounding lets a latent come anyway


def accelerate(model: Network, precision: str = "float32", tolerance: float | str | None = "auto",
               fitted: Sequence[Fitted] = ()) -> Network:
    """Make a network fast, in place, for inference on the device where it is; returned too.

    precision  of the linear layers, as `layers` has them
    tolerance  how far, of a latent's size, diffusion steps that are worked on together may be from one after another;
               0: one after another; "auto" or None: what the precision bears
    fitted     the solvers that were fitted to the model, for Sampling(solver="fitted")
    raises     ValueError as `layers.pack`, and for a tolerance below 0
    """
    tolerance = TOLERANCES.get(precision, 0.0) if tolerance in (None, "auto") else float(tolerance)
    if not tolerance >= 0:
        raise ValueError(f"a tolerance of {tolerance}: expected 0 or more, or \"auto\"")
    for head in [module for module in model.modules() if isinstance(module, DiffusionHead)]:
        parallel(head, tolerance, fitted)
    return pack(model, precision)
