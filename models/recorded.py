"""What a CUDA GPU does for each latent of a few streams, as CUDA graphs: recorded once, then started as one.

A latent takes thousands of small kernels, and starting them one by one takes longer than they do. A graph holds no
decision of the host's. So where a lone latent's steps are worked on together, it is one pass over the whole path,
`Path.again`, after which the host looks whether its points have settled; else it is all steps, one after another.

A recording reads the weights that the model had: they must not change any more.

B streams, R rows of the transformer's batch (B, or 2B where there is guidance), C latent channels, D width, M moves.
"""

import threading
from collections.abc import Callable, Hashable
from functools import cache
from typing import Generic, TypeVar

import torch
from torch import Tensor

from models.head import DiffusionHead, Plan

Result = TypeVar("Result")
ROWS = 16           # at most of a batch that is recorded: larger ones shrink as their motions end, and each size is another
KEPT = 32           # recordings of a model, of which the one that was not used for longest goes first
ONE_AT_A_TIME = threading.Lock()        # streams of several threads share a model's recordings


def records(device: torch.device, rows: int) -> bool:
    """Whether the work of so many rows there is recorded."""
    return device.type == "cuda" and rows <= ROWS


@torch.inference_mode()
def recorded(recordings: dict[Hashable, Callable[..., Tensor]], key: Hashable, make: Callable[..., Callable[..., Tensor]],
             *given: Tensor) -> Tensor:
    """What a model's recording of that name gives for these tensors; `make` records it at its first call."""
    with ONE_AT_A_TIME:
        recording = recordings.pop(key, None) or make(*given)
        recordings[key] = recording                       # the last
        while len(recordings) > KEPT:
            del recordings[next(iter(recordings))]
        return recording(*given)


@cache
def aside(device: int) -> torch.cuda.Stream:
    """The stream that a GPU's work is recorded on."""
    return torch.cuda.Stream(device)


class Recording(Generic[Result]):
    """Work on tensors that stay where they are. A call does it again, and gives the same tensors, filled anew."""

    def __init__(self, work: Callable[[], Result]):
        stream = aside(torch.cuda.current_device())
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            work()                                        # libraries prepare themselves, which no graph can hold
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        # Another thread may embed a prompt meanwhile: what it asks of the GPU is no part of this.
        with torch.cuda.graph(self.graph, stream=stream, capture_error_mode="thread_local"):
            self.result = work()

    def __call__(self) -> Result:
        self.graph.replay()
        return self.result


class RecordedSample:
    """`DiffusionHead.sample` by one plan, for the noise (1 + M or more, B, C) and conditions (B, D) of B streams, under
    the text and, where there is guidance, under the empty text."""

    def __init__(self, head: DiffusionHead, plan: Plan, guidance: float, temperature: float, tolerance: float,
                 noise: Tensor, condition: Tensor, empty: Tensor | None = None):
        self.given = [tensor.clone() for tensor in (noise, condition, empty) if tensor is not None]
        self.moves = len(plan.path.times)
        self.together = head.ahead(plan, tolerance, condition, empty is not None) > 1
        noise, condition, empty = self.given if empty is not None else (*self.given, None)
        path, whole = plan.path, slice(0, self.moves)

        def one_after_another() -> Tensor:
            return head.sample(condition, empty, guidance, temperature, noise[0], noise[1:], plan)

        def begin() -> tuple:
            still = path.still(noise[0], noise[1:], temperature)
            return head.predictor(plan, condition, empty, guidance), still, still.clone()

        def again() -> Tensor:
            predict, still, points = self.once.result
            tried = points[whole]
            found, _ = path.again(predict, still, tried, still[:0], whole)
            settled = path.settled(tried, found[whole], tolerance)
            points.copy_(found)
            return settled

        self.once = Recording(begin if self.together else one_after_another)
        self.more = Recording(again) if self.together else None

    def __call__(self, *given: Tensor) -> Tensor:
        """Latents (B, C)."""
        torch._foreach_copy_(self.given, given)
        if not self.together:
            return self.once().clone()
        _, _, points = self.once()
        for _ in range(self.moves):
            if int(self.more()) == self.moves - 1:        # all but the first, which has not moved at all
                break
        return points[-1].clone()


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
