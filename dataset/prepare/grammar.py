"""From labels to sentences: verb phrases, subjects and styles put together in many natural forms.

A phrase marks its verbs with braces and the owner of a limb with @: "{raise} @ left hand and {lower} it".
The owner becomes the, their, his, her or your, as the subject asks.
"""

import hashlib
import random
import re
from dataclasses import dataclass

DOUBLED = {"run", "jog", "step", "put", "set", "trot", "get", "strut", "spin", "hop", "sit", "let", "bob",
           "swim", "slip", "nod", "grab", "cut", "skip", "clap", "stop", "drop", "pat", "plod", "bid", "chop",
           "jab", "rap", "mop", "shuffle-step", "hit"}
IRREGULAR = {"be": ("is", "being"), "have": ("has", "having"), "do": ("does", "doing"), "go": ("goes", "going"),
             "see": ("sees", "seeing"), "tiptoe": ("tiptoes", "tiptoeing"), "flee": ("flees", "fleeing")}
SUBJECTS = ["a person"] * 8 + ["someone"] * 3 + ["the person"] * 3 + ["a man"] * 2 + ["the man"] + [
    "somebody", "a figure", "the figure", "a character", "the character", "a human", "an individual",
    "this person", "he", "they", "they", "a guy", "the subject", "the actor"]
REQUESTS = ["make the character {base}", "make a person {base}", "let the figure {base}", "have someone {base}",
            "show me a person who {third}", "show someone {gerund}", "i want to see a person {gerund}",
            "the character should {base}", "a motion of a person {gerund}", "a person can be seen {gerund}",
            "animate a person who {third}", "please {base}", "this is a person {gerund}"]


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


def draws(key: str) -> random.Random:
    """A source of random draws that depends on `key` alone, the same on every machine."""
    return random.Random(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big"))


def conjugate(verb: str, form: str) -> str:
    """The `base`, `third` (he walks) or `gerund` (walking) form of a verb."""
    if form == "base":
        return verb
    if verb in IRREGULAR:
        return IRREGULAR[verb][form == "gerund"]
    if form == "gerund":
        if verb.endswith("ie"):
            return verb[:-2] + "ying"
        if verb.endswith("e") and not verb.endswith("ee"):
            return verb[:-1] + "ing"
        return verb + (verb[-1] if verb in DOUBLED else "") + "ing"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + ("es" if verb.endswith(("s", "sh", "ch", "x", "z", "o")) else "s")


def inflect(phrase: str, form: str, owner: str) -> str:
    """Fill a phrase: its verbs in a form, its limbs with an owner."""
    return re.sub(r"\{(\w+)\}", lambda match: conjugate(match[1], form), phrase).replace("@", owner)


def sentence(random_: random.Random, phrases: list[str], style: Style | None, gait: bool) -> str:
    """One sentence of a random form; `gait` says that the motion travels, so that words about steps fit."""
    phrase = random_.choice(phrases)
    subject, tail, lead, pronoun = random_.choice(SUBJECTS), "", "", "he"
    if style is not None:
        pronoun = style.pronoun
        if pronoun != "he" and subject in ("a man", "the man", "he", "a guy"):
            subject = {"he": "she"}.get(subject, subject.replace("man", "woman").replace("guy", "woman"))
        tails = style.tails + (style.gait_tails if gait else ())
        where = random_.random()
        if where < 0.42:
            subject = random_.choice(style.subjects)
        elif where < 0.52:
            lead = random_.choice(style.leads) + " "
        else:
            tail = " " + random_.choice(tails)
        if where < 0.42 and random_.random() < 0.25:
            tail = " " + random_.choice(tails)
    owner = random_.choice(["the", "the", "their", {"he": "his", "she": "her"}[pronoun]])
    if subject in ("he", "she"):
        owner = {"he": "his", "she": "her"}[subject]
    form = random_.random()
    named = style is not None and subject in style.subjects     # a command cannot say who obeys it
    if subject == "they":
        owner = random_.choice(["their", "the"])
        text = f"they {inflect(phrase, 'base', owner)}"
    elif named or form < 0.46:
        text = f"{subject} {inflect(phrase, 'third', owner)}"
        if random_.random() < 0.2:
            text = f"{subject} is {inflect(phrase, 'gerund', owner)}"
    elif form < 0.56:
        text = f"{subject} is {inflect(phrase, 'gerund', owner)}"
    elif form < 0.72:
        text = inflect(phrase, "base", random_.choice(["the", "your"]))
    elif form < 0.86:
        text = inflect(phrase, "gerund", "the")
    else:
        filled = {form: inflect(phrase, form, "the") for form in ("base", "third", "gerund")}
        text = random_.choice(REQUESTS).format(**filled)
    return lead + text + tail + random_.choice(["", "", "."])


def sentences(key: str, phrases: list[str], style: Style | None = None, styled: float = 0.65,
              gait: bool = False, count: int = 6) -> list[str]:
    """Distinct sentences about one clip, drawn by `key`, its id.

    phrases   what happens; see the module's docstring
    style     how; the share `styled` of the sentences says it
    """
    random_, found = draws(key), {}
    for _ in range(20 * count):
        text = sentence(random_, phrases, style if random_.random() < styled else None, gait)
        found.setdefault(text.rstrip("."), text)
        if len(found) == count:
            break
    return list(found.values())
