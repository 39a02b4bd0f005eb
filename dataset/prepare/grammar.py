"""From labels to sentences: verb phrases, subjects and styles put together in many natural forms.

A phrase marks its verbs with braces and the owner of a limb with @: "{raise} @ left hand and {lower} it".
The owner becomes the, their, his, her or your, as the subject asks. phrases/grammar.json has subjects, requests and
irregular words, phrases/wordings.json sentences that no grammar makes: small scenes, orders, comparisons, about 120 for
each of the common labels.
"""

import hashlib
import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dataset.captions import swap_left_right

PHRASES = Path(__file__).with_name("phrases")
OF_MEN = re.compile(r"\b(he|his|him|himself|guy|guys|boy|boys|lad|sir|king|dad|daddy|father|grandad|grandpa|"
                    r"grandfather|uncle|brother|son|gentleman|prince|mr|(?!woman|women|human)\w*m[ae]n)\b",
                    re.IGNORECASE)


@dataclass(frozen=True)
class Style:
    """How a motion looks: who does it, what is added behind and before the sentence, its own verbs."""
    subjects: tuple[str, ...] = ()
    tails: tuple[str, ...] = ()
    gait_tails: tuple[str, ...] = ()
    leads: tuple[str, ...] = ()
    walks: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    pronoun: str = "he"

    @property
    def pronoun_of_limbs(self) -> str:
        return POSSESSIVES[self.pronoun]


@cache
def phrase_table(name: str) -> dict[str, Any]:
    """What phrases/NAME.json says, mostly verb phrases by what they tell of; not to be changed."""
    return json.loads((PHRASES / f"{name}.json").read_text(encoding="utf-8"))


def _styles() -> dict[str, Style]:
    """Every style under all its names, from phrases/styles.json."""
    found = {}
    for name, row in phrase_table("styles").items():
        style = Style(**{field: value if isinstance(value, str) else tuple(value)
                         for field, value in row.items() if field != "also"})
        found |= dict.fromkeys([name, *row.get("also", ())], style)
    return found


STYLES = _styles()
WORDS = phrase_table("grammar")
SUBJECTS = [subject for subject, share in WORDS["subjects"].items() for _ in range(share)]
MEN = WORDS["woman_for_man"]             # subjects that are men -> such women
POSSESSIVES = WORDS["possessives"]       # he -> his


def random_of(key: str) -> random.Random:
    """A source of random numbers that depends on `key` alone, the same on every machine."""
    return random.Random(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big"))


def conjugate(verb: str, form: str) -> str:
    """The `base`, `third` (he walks) or `gerund` (walking) form of a verb."""
    if form == "base":
        return verb
    if verb in WORDS["irregular"]:
        return WORDS["irregular"][verb][form == "gerund"]
    if form == "gerund":
        if verb.endswith("ie"):
            return verb[:-2] + "ying"
        if verb.endswith("e") and not verb.endswith("ee"):
            return verb[:-1] + "ing"
        return verb + (verb[-1] if verb in WORDS["doubled"] else "") + "ing"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + ("es" if verb.endswith(("s", "sh", "ch", "x", "z", "o")) else "s")


def inflect(phrase: str, form: str, owner: str) -> str:
    """Fill a phrase: its verbs in a form, its limbs with an owner."""
    return re.sub(r"\{([\w-]+)\}", lambda match: conjugate(match[1], form), phrase).replace("@", owner)


def sentence(random_: random.Random, phrases: list[str], style: Style | None, styled: bool, gait: bool,
             subjects: Sequence[str] = SUBJECTS, before: str = "") -> str:
    """One sentence of a random form.

    styled   whether it says the style; an unsaid one still keeps a woman from being called a man
    gait     whether the motion travels, so that words about steps fit
    before   what it begins with, as "after walking forward,"; then it is no request
    """
    phrase, subject, lead, tail = random_.choice(phrases), random_.choice(subjects), before and before + " ", ""
    if style is not None and style.pronoun == "she" and subject in MEN:
        subject = MEN[subject] if styled else "a person"
    personal = False    # then the sentence needs its subject: a command cannot say who obeys it
    if styled:
        tails = style.tails + (style.gait_tails if gait else ())
        where = random_.random()
        if where < 0.42:
            subject, personal = random_.choice(style.subjects), True
        elif where < 0.52 and not before:
            lead, personal = random_.choice(style.leads) + " ", True
        if where < 0.1 or where >= 0.52:
            tail = " " + random_.choice(tails)
    owner = random_.choice(["the", "the", "their", style.pronoun_of_limbs if style else "his"])
    if owner == "his" and subject in WORDS["women"]:
        owner = "her"
    owner = POSSESSIVES.get(subject, owner)
    form = random_.random()
    if subject == "they":
        text = f"they {inflect(phrase, 'base', owner)}"
    elif form < 0.46 or (personal and form < 0.75):
        text = f"{subject} {inflect(phrase, 'third', owner)}"
    elif form < 0.56 or personal:
        text = f"{subject} is {inflect(phrase, 'gerund', owner)}"
    elif form < 0.72 or before:
        text = inflect(phrase, "base", random_.choice(["the", "your"]))
    elif form < 0.86:
        text = inflect(phrase, "gerund", "the")
    else:
        filled = {form: inflect(phrase, form, "the") for form in ("base", "third", "gerund")}
        text = random_.choice(WORDS["requests"]).format(**filled)
    return lead + text + tail + random_.choice(["", "", "."])


def sentences(key: str, phrases: list[str], style: Style | None = None, styled: float = 0.65,
              gait: bool = False, count: int = 6) -> list[str]:
    """Distinct sentences about one clip, sampled by `key`, its id.

    phrases   what happens; see the module's docstring
    style     how; the share `styled` of the sentences says it
    """
    random_, found = random_of(key), {}
    for _ in range(20 * count):
        text = sentence(random_, phrases, style, style is not None and random_.random() < styled, gait)
        found.setdefault(text.rstrip("."), text)
        if len(found) == count:
            break
    return list(found.values())


@cache
def wordings(label: str) -> tuple[str, ...]:
    """The free sentences about a label; those of a right side are the left side's, swapped. () if there are none."""
    known = phrase_table("wordings")
    if label in known:
        return tuple(known[label])
    return tuple(swap_left_right(text) for text in known.get(swap_left_right(label), ()))


def free_sentences(key: str, label: str, style: Style | None = None, count: int = 4) -> list[str]:
    """Distinct sentences of `wordings(label)`, sampled by `key`; none that calls a woman a man."""
    she = style is not None and style.pronoun == "she"
    found = [text for text in wordings(label) if not (she and OF_MEN.search(text))]
    return random_of(f"{key} free").sample(found, min(count, len(found)))
