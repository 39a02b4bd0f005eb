"""An event: something that a body does from one frame of a clip to another."""

from collections.abc import Iterable
from dataclasses import dataclass

ENDS = 2     # frames: what begins before this began before the clip, and likewise at its end
WAYS = ("forward", "forward-left", "left", "backward-left", "backward", "backward-right", "right", "forward-right")


@dataclass(frozen=True)
class Event:
    """Something that a body does from frame `first` to before frame `end`; what is not sure is left empty."""
    kind: str
    first: int
    end: int
    side: str = ""           # left, right or both: of a limb, or where a turn or a curve goes
    way: str = ""            # one of WAYS, seen from the body; or up, down, side
    shape: str = ""          # of a path: straight, curve, circle, ...
    how: str = ""            # a pace or a height
    metres: float = 0
    degrees: float = 0       # positive to the left
    count: int = 0           # steps, or repetitions
    begun: bool = False      # it had begun before the clip
    lasting: bool = False    # it goes on after the clip

    @property
    def frames(self) -> int:
        return self.end - self.first

    def share(self, other: "Event") -> float:
        """The share of its frames that another event has too."""
        return max(0, min(self.end, other.end) - max(self.first, other.first)) / self.frames

    def during(self, others: Iterable["Event"], share: float) -> bool:
        """Whether one of the others has more than a share of its frames."""
        return any(self.share(other) > share for other in others)


def side_of(degrees: float) -> str:
    return "left" if degrees > 0 else "right"


def cut_off(first: int, end: int, frames: int) -> dict[str, bool]:
    """Whether something had begun before a clip of so many frames and goes on after it: for an Event."""
    return dict(begun=first < ENDS, lasting=end > frames - ENDS)
