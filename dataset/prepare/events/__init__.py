"""What a body does, measured: `events` finds it in the joints of any clip, with its frames, sides and numbers.

Conservative: what is near a threshold is no event, and what explains another thing away comes before it.
"""

from dataclasses import replace

import numpy as np

from dataset.prepare.events.event import Event
from dataset.prepare.events.gestures import (
    claps, hands, jacks, kicks, knees, punches, throws, touches,
)
from dataset.prepare.events.postures import balances, bends, ducks, inversions, lows, rests, seats
from dataset.prepare.events.travel import climbed, in_place, jumps, on_the_spot, returns, travels, turns
from motion.representation_272 import FPS

SHORTEST = FPS   # frames in which anything is sure: gaits are told apart over a second

__all__ = ["Event", "events"]


def events(joints: np.ndarray) -> list[Event]:
    """All that is found in a clip, in order of its beginning. joints (T, 22, 3) metres, y up, 30 fps."""
    if len(joints) < SHORTEST:
        return []
    joints = joints - [0, joints[..., 1].min(), 0]
    found = _apart(inversions(joints), [], 1)
    turned = turns(joints)
    found += _apart(jacks(joints), found)
    found += _apart(jumps(joints, turned), found, 0.1)
    flights = list(found)
    bent = _apart(bends(joints), flights)
    low = [event for event in _apart(lows(joints) + seats(joints), flights, 0.1) if not event.during(
        (other for other in bent if other.kind == "pick"), 0.5)]
    bent = [event for event in bent if not event.during(low, 0.3)]
    ways = [way for way in travels(joints, turned) if way.kind == "run" or not way.during(flights + low, 0.3)]
    spins = _apart(on_the_spot(joints, turned, ways), flights)
    ways = climbed(joints, ways)
    near = [replace(flight, first=flight.first - 15, end=flight.end + 15) for flight in flights]
    dips = _apart(ducks(joints, ways), near, 0)
    found += bent + low + dips + returns(joints, ways, spins)
    found += _apart(in_place(joints, ways + flights), low)
    found += _apart(kicks(joints), ways + flights, 0.5)
    found += _apart(balances(joints) + knees(joints), ways + found, 0.4)
    blows = punches(joints)
    blows += [throw for throw in _apart(throws(joints), blows) if throw.kind == "throw" or not throw.during(ways, 0.3)]
    blows += _apart(claps(joints), flights)
    held = touches(joints)
    held += [event for event in hands(joints) if not event.during(
        (touch for touch in held if touch.side in (event.side, "both")), 0.4)]
    held = _apart(held, blows + [event for event in flights if event.kind == "jacks"], 0.4)
    found += blows + [event for event in held if not any(
        blow.kind == "clap" and blow.share(event) > 0.5 and event.kind != "wave" for blow in blows)]
    found += rests(joints)
    return sorted(found, key=lambda event: (event.first, event.end, event.kind, event.side))


def _apart(found: list[Event], others: list[Event], share: float = 0.3) -> list[Event]:
    """The events that share no more than that part of their frames with any of the others."""
    return [event for event in found if not event.during(others, share)]
