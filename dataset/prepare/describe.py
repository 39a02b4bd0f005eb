"""True sentences about any clip, from what `dataset.prepare.events` measures in it.

phrases/events.json holds the words: NAME -> verb phrases of `grammar`, in which <name> stands for any phrase of that
name, <name-ing> and <name-base> for its gerund and its base form. Names are of the left side; the right is its mirror.
"""

import re
from dataclasses import replace
from random import Random

import numpy as np

from dataset.captions import swap_left_right
from dataset.prepare.events import Event, events
from dataset.prepare.events.event import side_of
from dataset.prepare.free import free_sentences_of
from dataset.prepare.grammar import STYLES, WORDS, inflect, phrase_table, random_of, sentence

WAYS = ("walk", "run", "move")
LIMBS = ("raise", "wave", "stretch", "clap", "punch", "touch-head", "hips", "cross", "behind", "clasp", "stoop")
REPEATED = ("jump", "hop", "squat", "crouch", "raise", "kick", "pick", "punch", "wave", "bow", "clap", "throw", "knee",
            "swing", "duck", "cartwheel", "flip", "roll")
TURNS = ((30, 65, "bit"), (70, 110, "quarter"), (150, 215, "half"), (320, 400, "full"), (500, 9999, "many"))
SALIENCE = {"turn": 0.7, "bend": 0.75, "lean": 0.5, "raise": 0.8, "stretch": 0.5, "stand": 0.35, "crouch": 0.6,
            "crouch-down": 0.5, "crouch-up": 0.4, "squat-up": 0.6, "walk-in-place": 0.9, "run-in-place": 0.9,
            "climb": 1.1, "pick": 1.15, "kick": 1.05, "jump": 1.05, "hop": 1.1, "punch": 1.05, "throw": 1.1,
            "swing": 0.9, "knee": 0.6, "touch-head": 0.7, "hips": 0.7, "cross": 0.7, "behind": 0.6, "clasp": 0.45,
            "cartwheel": 1.3, "flip": 1.3, "roll": 1.3, "jacks": 1.3}    # of other kinds 1
CLAUSES = 4        # of the longest sentence


def describe(clauses: list[list[Event]], key: str, style: str | None = None) -> list[str]:
    """Up to five sentences about a clip: the main thing alone, and all in order; none if nothing is sure.

    clauses  its `story`
    key      the clip's id: it seeds the wording
    style    a name of `grammar.STYLES`: some sentences then say it
    """
    random_ = random_of(f"{key} describe")
    how = STYLES[style] if style else None
    people = phrase_table("events")["people"]
    gait = any(event.kind in WAYS for clause in clauses for event in clause)
    found = {}
    for length in (1, 1, 2, CLAUSES, CLAUSES) if clauses else ():
        told = main_clauses(clauses, length)
        styled = how is not None and random_.random() < (0.2 if style == "normal" else 0.65)
        if len(told) == 2 and random_.random() < 0.2:
            first, second = (clause_phrase(told, number, random_) for number in range(2))
            lead = inflect(expand("lead", random_, {"a": [first]}), "gerund", "the")
            text = sentence(random_, [second], how, styled, gait, people, lead)
        else:
            text = sentence(random_, [whole_phrase(told, random_)], how, styled, gait, people)
        found.setdefault(text.rstrip("."), text)
    return list(found.values())


def describe_freely(clauses: list[list[Event]], key: str, style: str | None = None) -> list[str]:
    """Up to twelve free sentences, which mostly do without the obvious verb; arguments as of `describe`."""
    names = [[set(event_names(event)) for event in clause] for clause in clauses]
    return free_sentences_of(clauses, names, key, style)


def verb_phrases(clauses: list[list[Event]], key: str) -> list[str]:
    """Up to eight verb phrases true of the whole clip, to be joined with others; none if too much happens for one."""
    random_ = random_of(f"{key} phrases")
    if not clauses or len(clauses) > 3:
        return []
    return list(dict.fromkeys(whole_phrase(clauses, random_) for _ in range(8)))


def kind_of(clauses: list[list[Event]]) -> str:
    """What a clip mainly shows, as a label: run-forward, walk-circle-left, raise-both; unclear if nothing is sure."""
    main = main_clauses(clauses, 1)
    if not main:
        return "unclear"
    event = main[0][0]
    shape = "" if event.shape == "straight" else event.shape
    return "-".join(filter(None, (event.kind, shape or event.way, event.side)))


def story(joints: np.ndarray) -> list[list[Event]]:
    """What happens in a clip, one thing after another: each is an event, and what the hands do meanwhile.

    joints   (T, 22, 3) metres, y up, 30 fps
    """
    found = events(joints)
    clear = [event for event in found if salience(event) > 0.3]
    found = merged(clear if any(event.kind != "stand" for event in clear) else found)
    found = [event for event in found if event_names(event)]
    found = [event for event in found if event.kind != "stand" or not event.during(
        (other for other in found if other is not event), 0.3)]
    clauses = [[event] for event in found if event.kind not in LIMBS]
    runs = [event for event in found if event.kind == "run"]
    lifts = [event for event in found if event.kind in ("raise", "wave")]
    for limb in sorted((event for event in found if event.kind in LIMBS), key=lambda event: -salience(event)):
        if is_low(limb) and limb.during(runs, 0.3) or limb.kind == "stretch" and limb.during(lifts, 0.2):
            continue    # elbows are bent in a run; an arm is stretched on its way up
        over = max(clauses, key=lambda clause: limb.share(clause[0]), default=None)
        if over and limb.share(over[0]) > 0.6 and (over[0].kind not in LIMBS or over[0].side != limb.side != "both"):
            over.append(limb)
        else:
            clauses.append([limb])
    return main_clauses(clauses, CLAUSES)


def is_low(event: Event) -> bool:
    """Whether it is a hand held up no higher than the belly or the chest."""
    return event.kind == "raise" and event.how == "low"


def main_clauses(clauses: list[list[Event]], count: int) -> list[list[Event]]:
    """The main ones, in order of time; of two that begin and go on together only one, for none is before the other."""
    kept = []
    for clause in sorted(clauses, key=lambda clause: -salience(clause[0])):
        event = clause[0]
        if not any(abs(event.first - other.first) < 8 and event.share(other) > 0.6 for other, *_ in kept):
            kept.append(clause)
    return sorted(kept[:count], key=lambda clause: clause[0].first)


def merged(found: list[Event]) -> list[Event]:
    """The events with those of several parts made one: down and up again, the same thing repeated."""
    rows = []
    for event in found:
        before = rows[-1] if rows else Event("", 0, 1)
        down = before.kind == f"{event.kind}-down"
        if event.kind == f"{before.kind}-up" and before.count == 1 and before.kind in ("squat", "crouch"):
            rows[-1] = replace(before, end=event.end)
        elif down and event.kind in ("squat", "crouch", "kneel") and not event.lasting and event.frames < 45:
            rows[-1] = replace(event, first=before.first, count=1)
        elif down and event.kind not in ("crawl", "duck-walk"):
            continue    # what one gets down to need not be said again
        elif event.kind == f"{before.kind}-up" and before.frames < 20 and before.begun:
            rows[-1] = event
        elif (event.kind, event.side, event.way) == (before.kind, before.side, before.way) and \
                event.kind in REPEATED and not before.begun:
            rows[-1] = replace(before, end=event.end, how=event.how if event.how == before.how else "",
                               count=before.count + event.count, lasting=event.lasting)
        else:
            rows.append(event)
    return rows


def salience(event: Event) -> float:
    """How much an event is what a clip shows."""
    if event.kind in WAYS:
        return min(1.0, 0.4 + 0.5 * event.metres) if event.way or event.shape else 0.45
    if event.kind in LIMBS and event.frames < 15 and event.kind != "punch":
        return 0.25
    if is_low(event):
        return 0.25 if event.frames < 30 else 0.4
    return SALIENCE.get(event.kind, 1.0)


def whole_phrase(clauses: list[list[Event]], random_: Random) -> str:
    """One verb phrase for all clauses, in order."""
    rests = [clause for clause in clauses if clause[0].kind == "stand"]
    if 0 < len(rests) < len(clauses) and random_.random() < 0.4:
        clauses = [clause for clause in clauses if clause not in rests]
    parts = [clause_phrase(clauses, number, random_) for number in range(len(clauses))]
    if len(parts) == 1:
        return parts[0]
    own = {name: [part] for name, part in zip("abcd", parts)}
    return expand(WORDS["numbers"][len(parts)], random_, own)


def clause_phrase(clauses: list[list[Event]], number: int, random_: Random) -> str:
    """A verb phrase for one of the clauses, which may refer to the one before."""
    event, *limbs = clauses[number]
    before = clauses[number - 1][0] if number else None
    names = event_names(event)
    if event.kind == "stand" and len(clauses) > 1:
        names = ["stand after"] if number == len(clauses) - 1 else ["stand before"] if number == 0 else names
    elif before and event.way == "forward" and event.shape in ("", "straight") and random_.random() < 0.6:
        names = known(f"{event.kind} after {before.kind}") or names
    phrase = expand(random_.choice(names), random_, context(event))
    starts = (before.kind == "stand" if before else not event.begun) and event.kind in WAYS
    if starts and random_.random() < 0.15:
        phrase = expand("starting", random_, {"a": [phrase]})
    if not limbs:
        return phrase
    lasts = limbs[0].kind in ("wave", "clap", "punch") or limbs[0].frames > 0.5 * event.frames
    withs = known(*(f"with {name}" for name in event_names(limbs[0]))) if lasts else []
    if withs and random_.random() < 0.6:
        return f"{phrase} {expand(random_.choice(withs), random_, context(limbs[0]))}"
    other = expand(random_.choice(event_names(limbs[0])), random_, context(limbs[0]))
    return expand("while", random_, {"a": [phrase], "b": [other]})


def known(*names: str) -> list[str]:
    """Those of the names that phrases/events.json has, for this or the other side."""
    table = phrase_table("events")
    names = [" ".join(name.split()) for name in names]
    return [name for name in names if name in table or swap_left_right(name) in table]


def event_names(event: Event) -> list[str]:
    """The names in phrases/events.json of all that is true of an event; what is more exact comes more often."""
    kind, side, way, how = event.kind, event.side, event.way, event.how
    again = "again" if event.count > 1 else ""
    match kind:
        case "walk" | "run" | "move":
            return way_names(event)
        case "raise" | "wave" if how == "low":
            return known(f"{kind} {side} low")
        case "raise":
            return raise_names(event)
        case "climb":
            return known(f"climb {way} {how}" if how == "steep" else f"climb {way}")
        case "turn":
            return known(f"turn {side} {size(event)}")
        case "jump" if event.degrees:
            return known(f"jump turning {side_of(event.degrees)}")
        case "jump":
            return known(*[f"jump {way} {again}"] if again else [f"jump {way}", f"jump {how}" if how else ""])
        case "squat" | "crouch":
            return known(f"{kind} {again}" if event.count else f"{kind} held")
        case "kneel" | "kneel-down":
            return known(kind if side == "both" else f"{kind} one {side}")
        case "walk-in-place" | "run-in-place":
            return known(f"{kind} {how}")
    more = [(side, way), (side, how), (side, again), (way, how), (how,), (again,)]
    exact = known(*(" ".join((kind, *words)) for words in more if all(words)))
    return 2 * exact + known(kind, f"{kind} {side}", f"{kind} {way}")


def way_names(event: Event) -> list[str]:
    """Those of a walk, a run or a move."""
    kind, side, way, shape = event.kind, event.side, event.way, event.shape.replace("straight", "")
    if shape and way == "forward":
        exact = known(f"{shape} {side} {size(event)}") if size(event) else []
        return exact if size(event) == "bit" and exact else 2 * exact + known(f"{shape} {side}", shape)
    if event.how in ("faster", "slower") and way == "forward":
        return known(f"go {event.how}")
    counted = 0 < event.count < 10 and event.metres > 0.3 * event.count
    if counted and event.count == 1:
        return known(f"step {way}") or known("go")
    far = "far" if event.metres > 4 else "short" if event.metres < 1 else ""
    names = [f"go {way}", f"go {way} {event.shape}" if event.shape else "", f"go {way} {far}" if far else ""]
    names += 2 * [f"{kind} {way or 'unsure'}"] + 3 * counted * [f"steps {way}"]
    return known(*names, *4 * [f"{way} {shape} {side}"] if shape else [])


def raise_names(event: Event) -> list[str]:
    """Those of a hand that is raised, held up or lowered, as far as the clip shows it."""
    side, high = event.side, f"{event.side} {event.how}"
    if event.begun:
        return known(*([f"hold {side}", f"hold {high}"] if event.lasting else [f"lower {side}"]))
    held = [f"hold {side}"] if event.frames > 60 else []
    down = [] if event.lasting else [f"raise {side} down"]
    exact = 2 * [f"raise {high}"] if event.how else []
    again = 2 * [f"raise {side} again"] if event.count > 1 else []
    return known(f"raise {side}", *down, *held, *exact, *again)


def size(event: Event) -> str:
    """A word for the degrees of a turn; empty between two."""
    return next((word for least, most, word in TURNS if least <= abs(event.degrees) <= most), "")


def context(event: Event) -> dict[str, list[str]]:
    """What <go>, <steps>, <times> and <number> stand for in the phrases of an event."""
    table, gait = phrase_table("events"), "walk" if event.kind == "climb" else event.kind
    numbers, own = WORDS["numbers"], {"go": table.get(f"{gait} {event.how}") or table.get(gait, [])}
    word = numbers[event.count] if event.count < len(numbers) else str(event.count)
    for name, phrases in WORDS["counted"].items():
        own[name] = [phrase.format(word=word, digits=event.count)
                     for phrase in phrases.get(str(event.count), phrases["more"])]
    return own


def expand(name: str, random_: Random, own: dict[str, list[str]]) -> str:
    """A phrase of that name, its symbols filled from `own` and from the table."""
    table = phrase_table("events")
    if name not in own and name not in table:
        return swap_left_right(expand(swap_left_right(name), random_, own))

    def fill(match: re.Match) -> str:
        phrase = expand(match[1], random_, own)
        form = {"ing": "gerund", "base": "base"}.get(match[2])
        return inflect(phrase, form, "@") if form else phrase
    return re.sub(r"<([\w ]+)(?:-(ing|base))?>", fill, random_.choice(own.get(name) or table[name]))
