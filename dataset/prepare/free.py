"""Free sentences about a clip: small scenes, orders, comparisons, that say in other words what its geometry shows.

phrases/free.json holds them by what a clip shows: one thing ("walk-circle-left"), one in a style ("old walk"), two
things one after another ("walk then sit-down") or at once ("walk while wave-left"). phrases/free_keys.json gives these
names: of an event, by what phrases/events.json calls it; of two events in order; and of a style. Names are of the left
side; the right is its mirror.
"""

from functools import cache

from dataset.captions import swap_left_right
from dataset.prepare.events import Event
from dataset.prepare.grammar import OF_MEN, STYLES, phrase_table, random_of

COUNT = 12     # sentences of a clip
GAITS = ("walk", "run", "move")


def free_sentences_of(clauses: list[list[Event]], names: list[list[set[str]]], key: str,
                      style: str | None) -> list[str]:
    """Up to COUNT free sentences about a clip, sampled by `key`.

    clauses  what happens, one thing after another; each an event, and what the hands do meanwhile
    names    what each of these events is called in phrases/events.json
    style    a name of `STYLES`
    """
    shown = [[_free_names(event, called) for event, called in zip(clause, rows)]
             for clause, rows in zip(clauses, names)]
    # A rest need not be said, but it makes a walk stop.
    moving = [row for row, (event, *_) in zip(shown, clauses) if event.kind != "stand"]
    gait = any(event.kind in GAITS for event, *_ in clauses)
    shown = moving if len(moving) > 1 or moving and not gait else shown
    alone = shown[0][0] if len(shown) == 1 and len(shown[0]) == 1 else set()
    then = {f"{a} then {b}" for a in shown[0][0] for b in shown[1][0]} if len(shown) == 2 else set()
    both = len(shown) == 1 and len(shown[0]) == 2
    at_once = {f"{a} while {b}" for a in shown[0][0] for b in shown[0][1]} if both else set()
    then |= {name for pair in then for name in phrase_table("free_keys")["then"].get(pair, ())}
    manner = phrase_table("free_keys")["styles"].get(style or "")
    styled = {f"{manner} {name}" for name in alone} if manner else set()
    found = [_sentences(wanted) for wanted in (sorted(styled), sorted(alone | then | at_once))]
    if style and STYLES[style].pronoun == "she":
        found = [[text for text in texts if not OF_MEN.search(text)] for texts in found]
    random_ = random_of(f"{key} free scenes")
    chosen = random_.sample(found[0], min(COUNT // 2, len(found[0])))
    return chosen + random_.sample(found[1], min(COUNT - len(chosen), len(found[1])))


@cache
def every_free_sentence() -> frozenset[str]:
    """All free sentences, and their mirror images."""
    sentences = {text for texts in phrase_table("free").values() for text in texts}
    return frozenset(sentences | set(map(swap_left_right, sentences)))


def _free_names(event: Event, called: set[str]) -> set[str]:
    """The names of an event in phrases/free.json."""
    table = phrase_table("free_keys")["events"]
    names = {f"run {name}" for name in called} | {f"{event.kind} {event.how}"} if event.kind == "run" else called
    names = names | {f"{event.kind} {event.how}"} if event.kind == "walk" else names
    found = set()
    for name in names:
        found |= set(table.get(name, ())) | set(map(swap_left_right, table.get(swap_left_right(name), ())))
    return found


def _sentences(names: list[str]) -> list[str]:
    """All sentences of some names, without those of a name that has none."""
    table = phrase_table("free")
    return [text for name in names
            for text in table.get(name) or map(swap_left_right, table.get(swap_left_right(name), ()))]
