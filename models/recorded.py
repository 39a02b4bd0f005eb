"""What a CUDA GPU does for each latent, as CUDA graphs: recorded once, then started as one.

A latent takes thousands of small kernels, and starting them one by one takes longer than they do. A graph holds no
decision of the host's. So of a lone latent, of which rows cost a GPU nothing, it is one pass over its whole path
(`Path.walk` with all points ahead), after which the host looks whether they have settled; of several latents it is
all their steps, one after another.

B streams, R rows of the transformer's batch (B, or 2B where there is guidance), C latent channels, D width, M moves.
"""

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import torch
from torch import Tensor

from models.head import DiffusionHead, Plan

Result = TypeVar("Result")
ONE_AT_A_TIME = threading.RLock()       # streams of several threads share a model's recordings


def records(device: torch.device) -> bool:
    """Whether work there is recorded."""
    return device.type == "cuda"


def recorded(recordings: dict[Hashable, Callable[..., Tensor]], key: Hashable, make: Callable[..., Callable[..., Tensor]],
             *given: Tensor) -> Tensor:
    """What a model's recording of that name gives for these tensors; `make` records it at its first call."""
    with ONE_AT_A_TIME:
        if key not in recordings:
            recordings[key] = make(*given)
        return recordings[key](*given)


class Recording(Generic[Result]):
    """Work on tensors that stay where they are. A call does it again, and gives the same tensors, filled anew."""

    def __init__(self, work: Callable[[], Result]):
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            work()                                        # libraries prepare themselves, which no graph can hold
        torch.cuda.current_stream().wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        # Another thread may embed a prompt meanwhile: what it asks of the GPU is no part of this.
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.result = work()

    def __call__(self) -> Result:
        self.graph.replay()
        return self.result


class RecordedSample:
    """`DiffusionHead.sample` by one plan, for conditions (R, D) of B streams and their noise (1 + M or more, B, C)."""

    def __init__(self, head: DiffusionHead, plan: Plan, guidance: float, temperature: float, tolerance: float,
                 condition: Tensor, noise: Tensor):
        self.head, self.plan = head, plan
        self.guidance, self.temperature, self.tolerance = guidance, temperature, tolerance
        self.condition, self.noise = condition.clone(), noise.clone()
        self.lone = bool(tolerance) and noise.shape[1] == 1
        self.once = Recording(self.begin)
        self.predict, self.still, self.points = self.once.result
        self.more = Recording(self.again) if self.lone else None

    def __call__(self, condition: Tensor, noise: Tensor) -> Tensor:
        """Latents (B, C)."""
        self.condition.copy_(condition)
        self.noise.copy_(noise)
        self.once()
        moves = len(self.plan.path.times)
        for _ in range(moves if self.lone else 0):
            if int(self.more()) == moves - 1:
                break
        return self.points[-1].clone()

    def begin(self) -> tuple:
        """What `again` goes on from; several latents' points are drawn at once."""
        groups = self.condition.view(self.noise.shape[1], -1, self.condition.shape[1]).unbind(dim=1)
        condition, empty = groups if len(groups) == 2 else (*groups, None)
        predict = self.head.predictor(self.plan, condition, empty, self.guidance)
        still = self.plan.path.still(self.noise[0], self.noise[1:], self.temperature)
        return predict, still, still.clone() if self.lone else self.plan.path.walk(predict, still)[None]

    def again(self) -> Tensor:
        """One pass over the whole path. How many points after the first have settled."""
        path, whole = self.plan.path, slice(0, len(self.plan.path.times))
        tried = self.points[whole]
        points, _ = path.again(self.predict, self.still, tried, tried[:0], whole)
        settled = path.settled(tried, points[whole], self.tolerance)
        self.points.copy_(points)
        return settled


class RecordedStep:
    """`StreamingTransformer.advance`, for tensors of these shapes, of which it changes the first ones."""

    def __init__(self, advance: Callable[..., Tensor], changed: int, *given: Tensor):
        self.given, self.changed = [tensor.clone() for tensor in given], changed
        self.once = Recording(lambda: advance(*self.given))

    def __call__(self, *given: Tensor) -> Tensor:
        """Conditions (R, D); those given that `advance` changes are changed."""
        torch._foreach_copy_(self.given, given)
        condition = self.once().clone()
        torch._foreach_copy_(given[:self.changed], self.given[:self.changed])
        return condition
