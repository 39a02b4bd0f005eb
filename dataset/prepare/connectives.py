"""Sentences about several motions, one after another or at once, of the verb phrases of each.

phrases/compose.json holds the forms. In a form {who} is the subject, {a}, {b} and {c} are the motions' phrases as its
verbs, {a_ing} and {a_base} their other forms, {he_a} such a phrase with its own pronoun, {state} how hands are held;
all other braces mark verbs of the subject, as {stop}.
"""

import random
import re

import numpy as np

from dataset.prepare.describe import story, verb_phrases
from dataset.prepare.grammar import MEN, POSSESSIVES, STYLES, SUBJECTS, conjugate, inflect, phrase_table
from dataset.prepare.joining import Unfit
from dataset.prepare.pieces import GAITS, Piece
from motion.representation_272 import motion272_to_positions

CAPTIONS = 5
COMPOUND = re.compile(r"[,;]| and | or | then | while | before | after | until | as if |again$|^\{(keep|continue)\}")
# What is measured in a clip and need not be so in a part of it: counts, long ways, changes of pace.
OF_ALL = re.compile(r"\b(\d+|two|three|four|five|six|seven|eight|nine|ten) (\w+ )?(steps|times)\b|\b(twice|after)\b|"
                    r"across|long (way|stretch)|from one|down (the street|a corridor)|on and on|faster|slower|speed|"
                    r"\b(slow|slowing)\}? down|(accele|decele)rat| (first|second)$")
AWKWARD = re.compile(r"for a (while|bit|moment|second)\b.* for a (while|bit|moment|second)\b|\bwhile\b.*\bwhile\b")
WORDS = 8                       # words of a phrase in a sentence of two
STYLED = 0.6                    # share of sentences that say the style, if all parts have one
OF_WOMEN = re.compile(r"\b(she|\w*woman|lady|girl)\b")
PLACE = re.compile(r"\{(\w+)\}")


def forms(name: str) -> tuple[str, ...]:
    """The forms or phrases that compose.json has under a name."""
    return tuple(phrase_table("compose")[name])


def plain(piece: Piece, without: str = r"(?!)") -> tuple[str, ...]:
    """A piece's short phrases of one action each, of which no word matches `without`; all of them if there is none.

    Where its kind names a side, its phrases do. compose.json has own ones for kinds of which less than all is a part.
    A piece that is cut from its clip says nothing measured in all of it; if need be, what the piece itself shows.
    raises   Unfit if nothing of a piece that is cut is short and sure
    """
    own = phrase_table("compose")["kinds"].get(piece.kind, piece.phrases)
    sides = re.findall("left|right|both", piece.kind)
    phrases = [phrase for phrase in own if not sides or re.search("|".join(sides), phrase)] or own
    short = list(filter(_is_short, phrases))
    if piece.kept is None or GAITS.match(piece.kind):
        short = [phrase for phrase in short if not OF_ALL.search(phrase)] or list(filter(_is_short, _measured(piece)))
        if not short:
            raise Unfit("a part of which nothing short is sure, being cut")
    return tuple([phrase for phrase in short if not re.search(without, phrase)] or short or phrases)


def _measured(piece: Piece) -> list[str]:
    """Verb phrases of what the piece itself shows."""
    shown = story(motion272_to_positions(piece.frames.astype(np.float64)))
    return verb_phrases(shown, f"{piece.id} {piece.first}")


def _is_short(phrase: str) -> bool:
    return len(phrase.split()) <= WORDS and not COMPOUND.search(phrase)


def compose_sentences(random_: random.Random, names: tuple[str, ...], parts: list[tuple[str, ...]], style: str = "",
                      states: tuple[str, ...] = ()) -> list[str]:
    """CAPTIONS distinct sentences.

    names    of forms that are true here
    parts    the phrases of each motion
    style    of all parts, a name of STYLES or ""
    states   how hands are held, for forms that say {state}
    """
    found = {}
    for _ in range(20 * CAPTIONS):
        form = random_.choice(forms(random_.choice(names)))
        chosen = [random_.choice(phrases) for phrases in parts]
        text = _sentence(random_, form, chosen, style, random_.choice(states) if states else "")
        if not AWKWARD.search(text):
            found.setdefault(text.rstrip("."), text)
        if len(found) == CAPTIONS:
            break
    return list(found.values())


def _sentence(random_: random.Random, form: str, phrases: list[str], style: str, state: str) -> str:
    how = STYLES.get(style)
    subject, lead, tail = random_.choice(SUBJECTS), "", ""
    if how is not None and how.pronoun == "she":
        subject = "a person" if subject in MEN else subject
    if how is not None and random_.random() < (0.2 if style == "normal" else STYLED):
        where = random_.random()
        if "{who}" in form and where < 0.6:
            subject = random_.choice(how.subjects)
        elif form.startswith("{who}") and where < 0.7:
            lead = random_.choice(how.leads) + " "
        elif re.search(r"\{(he_)?\w(_\w+)?\}$", form):
            tail = " " + random_.choice(how.tails)
    pronoun = _pronoun(random_, subject, how.pronoun if how else "")
    owner = random_.choice(("the", POSSESSIVES[pronoun]))
    if "{who}" not in form:
        owner = random_.choice(("the", "your")) if re.match(r"\{\w_base\}", form) else "the"
    text = filled(form, subject, pronoun, owner, phrases, state)
    return lead + text + tail + random_.choice(("", "", "."))


def _pronoun(random_: random.Random, subject: str, of_style: str) -> str:
    """Of a subject's own further verbs and limbs."""
    if subject in POSSESSIVES:
        return subject
    if of_style == "she" or OF_WOMEN.search(subject):
        return "she"
    return "he" if re.search(r"\b(man|guy|boy)\b", subject) else random_.choice(("he", "they"))


def filled(form: str, subject: str, pronoun: str, owner: str, phrases: list[str], state: str) -> str:
    plural, they = subject == "they", pronoun == "they"
    words = {"who": subject, "is": "are" if plural else "is", "has": "have" if plural else "has",
             "he_is": "they are" if they else f"{pronoun} is", "state": state.replace("@", owner)}
    for letter, phrase in zip("abc", phrases):
        words |= {letter: inflect(phrase, "base" if plural else "third", owner),
                  f"{letter}_base": inflect(phrase, "base", owner), f"{letter}_ing": inflect(phrase, "gerund", owner),
                  f"he_{letter}": f"{pronoun} " + inflect(phrase, "base" if they else "third", owner)}
    return PLACE.sub(lambda place: words.get(place[1]) or conjugate(place[1], "base" if plural else "third"), form)
