"""True sentences about any clip, from what `dataset.prepare.events` measures in it.

phrases/events.json holds the words: NAME -> verb phrases of `grammar`, in which <name> stands for any phrase of that
name, <name-ing> and <name-base> for its gerund and its base form. Names are of the left side; the right is its mirror.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from random import Random

import numpy as np

from dataset.captions import swap_left_right
from dataset.prepare.events import events
from dataset.prepare.grammar import STYLES, draws, inflect, phrase_table, sentence
from dataset.prepare.travel import Event

GAITS = ("walk", "run", "move")
LIMBS = ("raise", "wave", "stretch", "clap", "punch")
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
TURNS = ((30, 65, "bit"), (70, 110, "quarter"), (150, 215, "half"), (320, 400, "full"), (500, 9999, "many"))
SALIENCE = {"turn": 0.7, "bend": 0.6, "raise": 0.8, "stretch": 0.5, "stand": 0.35, "crouch": 0.6, "crouch-down": 0.5,
            "crouch-up": 0.4, "squat-up": 0.6, "pick": 1.15, "kick": 1.05, "jump": 1.05, "hop": 1.05, "punch": 1.05, "walk-in-place": 0.9, "run-in-place": 0.9, "climb": 1.1}
REPEATED = ("jump", "hop", "squat", "crouch", "raise", "kick", "pick", "punch", "wave", "bow", "clap")
CLAUSES = 4        # of the longest sentence


def describe(joints: np.ndarray, key: str, style: str | None = None) -> list[str]:
    """Sentences about a clip, the main thing alone and all in order; none if nothing is sure.

    joints   (T, 22, 3) metres, y up, 30 fps
    key      the clip's id: it draws the wording
    style    a name of `grammar.STYLES`: some sentences then say it
    """
    clauses, random_ = story(joints), draws(f"{key} describe")
    how = STYLES[style] if style else None
    found = {}
    for long in (False, False, True, True, True):
        phrase = _whole(clauses, random_) if long and len(clauses) > 1 else _main(clauses, random_)
        if phrase:
            styled = how is not None and random_.random() < (0.2 if style == "normal" else 0.65)
            gait = any(event.kind in GAITS for clause in clauses for event in clause)
            text = sentence(random_, [phrase], how, styled, gait)
            found.setdefault(text.rstrip("."), text)
    return list(found.values())


def verb_phrases(joints: np.ndarray, key: str) -> list[str]:
    """Verb phrases true of the whole clip, to be joined with others; none if too much happens for a short one."""
    clauses, random_ = story(joints), draws(f"{key} phrases")
    if not clauses or len(clauses) > 3:
        return []
    draw = _main if len(clauses) == 1 else _whole
    return list(dict.fromkeys(draw(clauses, random_) for _ in range(8)))


def story(joints: np.ndarray) -> list[list[Event]]:
    """What happens in a clip, one thing after another; each is an event and what is done with the arms meanwhile."""
    found = events(joints)
    clear = [event for event in found if salience(event) > 0.3]
    found = merged(clear if any(event.kind != "stand" for event in clear) else found)
    bodies = [event for event in found if event.kind not in LIMBS]
    bodies = [event for event in bodies if event.kind != "stand" or not any(
        other is not event and _within(event, other) > 0.3 for other in found)]
    clauses = [[event] for event in bodies]
    for limb in (event for event in found if event.kind in LIMBS):
        over = max(clauses, key=lambda clause: _within(limb, clause[0]), default=None)
        if over and over[0].kind not in LIMBS and _within(limb, over[0]) > 0.6:
            over.append(limb)
        elif limb.kind != "stretch" or not any(_within(limb, other) > 0.2 for other in found if other is not limb):
            clauses.append([limb])
    kept = sorted(clauses, key=lambda clause: -salience(clause[0]))[:CLAUSES]
    return sorted(kept, key=lambda clause: clause[0].first)


def merged(found: list[Event]) -> list[Event]:
    """The events with those of several parts made one: down and up again, the same thing repeated."""
    rows = []
    for event in found:
        before = rows[-1] if rows else None
        if before and event.kind == f"{before.kind}-up" and before.count == 1 and event.kind[:-3] in ("squat", "crouch"):
            rows[-1] = replace(before, end=event.end)
        elif before and before.kind == f"{event.kind}-down" and event.kind in ("squat", "crouch", "kneel") \
                and not event.open and event.frames < 45:
            rows[-1] = replace(event, first=before.first, count=1)
        elif before and before.kind == f"{event.kind}-down":
            continue    # what one gets down to need not be said again
        elif before and event.kind == f"{before.kind}-up" and before.frames < 20 and before.open:
            rows[-1] = event
        elif before and event.kind == before.kind in REPEATED and (
                event.kind, event.side, event.way, event.shape) == (before.kind, before.side, before.way, before.shape):
            how = event.how if event.how == before.how else ""
            rows[-1] = replace(before, end=event.end, how=how, count=max(before.count, 1) + max(event.count, 1))
        else:
            rows.append(event)
    return rows


def salience(event: Event) -> float:
    """How much an event is what a clip shows."""
    if event.kind in GAITS:
        return min(1.0, 0.4 + 0.5 * event.metres) if event.way or event.shape else 0.45
    if event.kind in LIMBS and event.frames < 15:
        return 0.3
    if event.kind == "raise" and event.how == "low":
        return 0.25
    return SALIENCE.get(event.kind, 1.0)


def _within(event: Event, other: Event) -> float:
    """The share of an event's frames that another one has too."""
    return max(0, min(event.end, other.end) - max(event.first, other.first)) / event.frames


def _main(clauses: list[list[Event]], random_: Random) -> str:
    """A phrase for the main thing."""
    if not clauses:
        return ""
    most = max(range(len(clauses)), key=lambda number: salience(clauses[number][0]))
    return _clause(clauses, most, random_)


def _whole(clauses: list[list[Event]], random_: Random) -> str:
    """One phrase for all that happens, in order."""
    parts = [_clause(clauses, number, random_) for number in range(len(clauses))]
    if len(parts) == 1:
        return parts[0]
    return expand(("two", "three", "four")[len(parts) - 2], random_, dict(zip("abcd", ([part] for part in parts))))


def _clause(clauses: list[list[Event]], number: int, random_: Random) -> str:
    event, *limbs = clauses[number]
    names = event_names(event)
    if event.kind == "stand" and len(clauses) > 1:
        names = ["stand after"] if number == len(clauses) - 1 else ["stand before"] if number == 0 else names
    phrase = expand(random_.choice(names), random_, context(event))
    if not limbs:
        return phrase
    limb = limbs[0]
    table = phrase_table("events")
    withs = [f"with {name}" for name in event_names(limb) if _known(f"with {name}", table)]
    if withs and random_.random() < 0.6:
        return expand("while with", random_, {"a": [phrase], "with": [expand(withs[0], random_, {})]})
    other = expand(random_.choice(event_names(limb)), random_, context(limb))
    return expand("while", random_, {"a": [phrase], "b": [other]})


def _known(name: str, table: dict[str, list[str]]) -> bool:
    return name in table or swap_left_right(name) in table


def event_names(event: Event) -> list[str]:
    """The names in phrases/events.json of all that is true of an event; what is more exact comes more often."""
    def known(*names: str) -> list[str]:
        return [name for name in (" ".join(name.split()) for name in names) if _known(name, phrase_table("events"))]

    size = next((word for least, most, word in TURNS if least <= abs(event.degrees) <= most), "")
    match event.kind:
        case "walk" | "run" | "move":
            if event.shape and event.shape != "straight" and event.way == "forward":
                exact = known(f"{event.shape} {event.side} {dict(bit='little').get(size, size)}")
                return 2 * exact + known(f"{event.shape} {event.side}" if exact[:1] != ["corner left little"] else "") or \
                    known(event.shape)
            names = known(f"go {event.way}", f"go {event.way} {event.shape}") + 2 * known(f"{event.kind} {event.way}")
            steps = known(f"steps {event.way}") if 1 < event.count < 10 and event.metres > 0.3 * event.count else []
            return names + 3 * steps
        case "climb":
            return known(f"climb {event.way}")
        case "turn":
            return known(f"turn {event.side} {size}") if size else known(f"turn {event.side}")
        case "raise":
            down = "" if event.open else "down"
            exact = known(f"raise {event.side} {event.how}") if event.how else []
            return exact if event.how == "low" else known(
                f"raise {event.side}", f"raise {event.side} {down}") + 2 * exact
        case "wave" | "bow" | "stretch":
            parts = f"{event.kind} {event.side} {event.way}"
            exact = known(f"{parts} {event.how}") if event.how else []
            return exact if event.how == "low" else known(parts) + exact
        case "clap":
            return known("clap") + known("clap counted") * (1 < event.count < 10)
        case "jump":
            if event.degrees:
                return known(f"jump turning {'left' if event.degrees > 0 else 'right'}")
            again = " again" if event.count > 1 else ""
            return known(f"jump {event.way}{again}", f"jump {event.how}" if event.how and not again else "")
        case "hop":
            return known(f"hop {event.side}") + 2 * known(f"hop {event.side} {event.way}" if event.way else "")
        case "punch":
            again = " again" if event.count > 1 else ""
            return known(f"punch {event.side}{again}")
        case "kick":
            return known(f"kick {event.side}", f"kick {event.side} {event.way}" if event.way else "",
                         f"kick {event.side} {event.how}" if event.how else "")
        case "squat" | "crouch":
            held = " held" if event.count == 0 else " again" if event.count > 1 else ""
            return known(f"{event.kind}{held}")
        case "kneel" | "kneel-down":
            return known(f"{event.kind} one" if event.side != "both" else event.kind)
        case "walk-in-place" | "run-in-place":
            return known(f"{event.kind} {event.how}" if event.how else event.kind)
        case "balance" | "pick":
            return known(f"{event.kind} {event.side}")
        case _:
            return known(event.kind)


def context(event: Event) -> dict[str, list[str]]:
    """What <go>, <steps>, <times> and <number> stand for in the phrases of an event."""
    table, found = phrase_table("events"), {}
    if event.kind in (*GAITS, "climb"):
        pace = f"{event.kind} {event.how}"
        found["go"] = table.get(pace, []) + table.get("walk" if event.kind == "climb" else event.kind, [])
        if pace in table:
            found["go"] = table[pace]
    number = NUMBERS[event.count] if event.count < len(NUMBERS) else str(event.count)
    digits = number if event.count < 3 else str(event.count)
    found["number"] = [number, number, digits]
    found["steps"] = ["one step", "a step"] if event.count == 1 else [f"{number} steps", f"{number} steps", f"{digits} steps"]
    found["times"] = {1: ["once"], 2: ["twice", "two times"]}.get(event.count, [f"{number} times", f"{digits} times"])
    return found


def expand(name: str, random_: Random, own: dict[str, Iterable[str]]) -> str:
    """A phrase of that name, its symbols filled from `own` and from the table."""
    table = phrase_table("events")
    if name not in own and name not in table:
        return swap_left_right(expand(swap_left_right(name), random_, own))

    def fill(match: re.Match) -> str:
        phrase = expand(match[1], random_, own)
        form = {"ing": "gerund", "base": "base"}.get(match[2])
        return inflect(phrase, form, "@") if form else phrase
    return re.sub(r"<([\w ]+)(?:-(ing|base))?>", fill, random_.choice(own.get(name) or table[name]))
