"""What a CUDA GPU does for each latent of a few streams, as CUDA graphs: captured once, then started as one.

A latent takes thousands of small kernels, and starting them one by one takes longer than they do. A graph holds no
decision of the host's. So where a lone latent's steps are worked on together, it is one pass over the whole path,
`Path.iterate`, after which the host synchronises, to know whether the points have converged; else it is all steps, one
after another.

A graph reads the weights that the model had when it was captured: they must not change any more. Nobody has measured
graphs yet on these networks as they are now: they are used only where they are asked for.

B streams, R rows of the transformer's batch (B, or 2B where there is guidance), C latent channels, D width, M moves.
"""

import threading
from collections.abc import Callable, Hashable
from functools import cache, partial
from typing import Generic, TypeVar

import torch
from torch import Tensor

from generation.fast.cache import advance
from generation.fast.timesteps import ParallelHead
from models.transformer import StreamingTransformer
from options.sampling import Sampling

Result = TypeVar("Result")
ROWS = 16           # at most of a batch that is captured: larger ones shrink as motions end, each size needs a graph
KEPT = 32           # graphs of a model, of which the one that was not used for longest goes first


class Graphs:
    """The graphs of one model, which several threads may use."""

    def __init__(self):
        self.captured: dict[Hashable, Callable[..., Tensor]] = {}
        self.lock = threading.Lock()

    @staticmethod
    def fit(rows: int) -> bool:
        """Whether a batch of so many rows is captured."""
        return rows <= ROWS

    def sample(self, head: ParallelHead, sampling: Sampling, noise: Tensor, condition: Tensor,
               empty: Tensor | None = None) -> Tensor:
        """`ParallelHead.sample`."""
        given = (noise, condition) if empty is None else (noise, condition, empty)
        return self.run((sampling, len(condition)), partial(SampleGraph, head, sampling), *given)

    def advance(self, model: StreamingTransformer, *inputs: Tensor) -> Tensor:
        """`cache.advance`."""
        return self.run(len(inputs[0]), partial(AdvanceGraph, partial(advance, model), 2), *inputs)

    @torch.inference_mode()
    def run(self, key: Hashable, make: Callable[..., Callable[..., Tensor]], *given: Tensor) -> Tensor:
        """What the graph of that name gives for these tensors; `make` captures it at its first call."""
        with self.lock:
            graph = self.captured.pop(key, None) or make(*given)
            self.captured[key] = graph                        # the last
            while len(self.captured) > KEPT:
                del self.captured[next(iter(self.captured))]
            return graph(*given)


@cache
def side_stream(device: int) -> torch.cuda.Stream:
    """The stream that a GPU's work is captured on."""
    return torch.cuda.Stream(device)


class Graph(Generic[Result]):
    """Work on tensors that stay where they are. A call does it again, and gives the same tensors, filled again."""

    def __init__(self, work: Callable[[], Result]):
        stream = side_stream(torch.cuda.current_device())
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


class SampleGraph:
    """`ParallelHead.sample`, for the noise (1 + M or more, B, C) and conditions (B, D) of B streams, under the text
    and, where there is guidance, under the empty text."""

    def __init__(self, head: ParallelHead, sampling: Sampling, noise: Tensor, condition: Tensor,
                 empty: Tensor | None = None):
        self.given = [tensor.clone() for tensor in (noise, condition, empty) if tensor is not None]
        plan = head.plan(sampling.steps, sampling.solver)
        self.moves, path = len(plan.path.times), plan.path
        self.together = head.together(plan, condition, empty is not None) > 1
        noise, condition, empty = self.given if empty is not None else (*self.given, None)
        whole = slice(0, self.moves)

        def one_after_another() -> Tensor:
            return head.sample(condition, empty, sampling, noise)

        def begin() -> tuple:
            noise_part = path.noise_part(noise, sampling.temperature)
            return head.predictor(plan, condition, empty, sampling.guidance), noise_part, noise_part.clone()

        def iterate() -> Tensor:
            predict, noise_part, points = self.once.result
            tried = points[whole]
            found, _ = path.iterate(predict, noise_part, tried, noise_part[:0], whole)
            settled = path.settled(tried, found[whole], head.tolerance)
            points.copy_(found)
            return settled

        self.once = Graph(begin if self.together else one_after_another)
        self.more = Graph(iterate) if self.together else None

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


class AdvanceGraph:
    """`cache.advance` of a model, for tensors of these shapes, of which it changes the first ones."""

    def __init__(self, advance: Callable[..., Tensor], changed: int, *given: Tensor):
        self.given, self.changed = [tensor.clone() for tensor in given], changed
        self.once = Graph(lambda: advance(*self.given))

    def __call__(self, *given: Tensor) -> Tensor:
        """Conditions (R, D); those given that `advance` changes are changed."""
        torch._foreach_copy_(self.given, given)
        condition = self.once().clone()
        torch._foreach_copy_(given[:self.changed], self.given[:self.changed])
        return condition
