"""What a second system has to have to be trained, evaluated, shown and exported as the first: two protocols.

Streaming and editing are abilities that a system has or has not; who needs one asks for it.
B clips, T frames; motion has 272 channels, denormalised (MoSa's may have 263).
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor


@runtime_checkable
class Tokenizer(Protocol):
    """Motion <-> codes: continuous latents or numbers of a codebook. The statistics of its data are its own."""

    @property
    def frames_per_code(self) -> int:
        """Frames that one code stands for."""
        ...

    def encode(self, motion: Tensor, /) -> Any:
        """motion (B, T, 272), T a multiple of `frames_per_code` -> codes"""
        ...

    def decode(self, codes: Any, /) -> Tensor:
        """codes -> motion (B, T, 272)"""
        ...


@runtime_checkable
class Generator(Protocol):
    """Sentences -> motions."""

    def generate_batch(self, texts: Sequence[str], seeds: Sequence[int],
                       lengths: int | Sequence[int | None] | None = None,
                       sampling: Any = None) -> list[np.ndarray]:
        """Sentences and seeds, one each -> motions [(T_i, 272)], each the same whatever its neighbours are.

        lengths   frames, one for all or one for each; None: the generator decides
        sampling  how to sample, `Sampling` or `MoSaSampling`; None: as its checkpoint says
        """
        ...
