"""What a sentence says one after another: "an old man walks, then he bows" is "an old man walks" and "an old man bows".

Words of order part a sentence anywhere ("then", "before", "after", "followed by"); a comma or "and" does in front of a
verb, but not where things happen at once ("while", "both"). The verbs are those that captions are made of. A part
without a subject gets the sentence's, one without a verb the verb before it ("... and then the left hand"). To go and
to turn on the way is one thing, as in the captions of clips; and so is to stop.
"""

import re
from functools import cache, partial
from typing import NamedTuple

from dataset.prepare.grammar import PHRASES, STYLES, SUBJECTS, conjugate

MOST = 32    # parts; a longer story is no sentence
pattern = partial(re.compile, flags=re.IGNORECASE)

HE = r"(?:he|she|they|it|you)"
SOON = r"(?:right |just |shortly )?"
THEN = (rf"(?:then|next|finally|lastly|last(?= {HE} )|afterwards?|subsequently|thereafter|eventually|at last|"
        rf"in the end|{SOON}after (?:that|this|which))")
ORDER = pattern(rf"[\s,.;]+(?:and |but )?(?:{HE} )?{THEN}\b,?(?: and)?(?: {THEN}\b,?)?\s+|"
                rf"[\s,]+(?:and (?:is )?)?followed by\s+|[.;]\s+(?={HE} )")
LEAD = pattern(rf"^(?:at first|first of all|first|to (?:begin|start) with|initially|and|{THEN})\b,?\s+")
TAIL = pattern(rf",?\s+(?:{THEN}|first)$")

# Whole sentences, and which groups of theirs come one after another. A deed has a pronoun, or is said as a gerund.
DEED = rf"((?:having |{HE} )?(?P<verb>\w+)\b.*?)"
AFTER = rf"(?:{SOON}after|(?:once|when) {HE} (?:is|are) (?:done|finished))"
TURNED = ((pattern(rf"{AFTER} {DEED}, (.+)"), (1, 3)), (pattern(rf"{SOON}before {DEED}, (.+)"), (3, 1)),
          (pattern(rf"(.+?),? {SOON}before {DEED}"), (1, 2)), (pattern(rf"(.+?),? {AFTER} {DEED}"), (2, 1)))
FROM_TO = pattern(r"\b\w+ from (\w+ing\b.*) to (?=\w+ing\b)")
BEGIN_BY = pattern(r"\b(starts?|begins?|finish(?:es)?|ends?)(?: off| up)?(?: by)? (\w+ing)\b")

JOINT = pattern(r"\s*,\s*(?:and\s+)?|\s+and\s+")
AT_ONCE = pattern(rf"\b(?:whil(?:e|st)|meanwhile|simultaneously|at once|at the same (?:time|moment)|as {HE}|they both|"
                  r"both \w+s|without (?:stopping|pausing)|along the way|or)\b")
BARE = pattern("raise|lift|lower|bend|hold|grab|take|pick|move|put")    # these need an object: "raises and lowers it"
HALT = pattern("stop|halt|pause|come to a (?:stop|halt|standstill)")
TURN = pattern(r"(?:turn|pivot|veer|bend|bear|curve|swing|head|round|rotate|"
               r"(?:make|take|hang) an? .*(?:turn|left|right))\b.*")

THIRD = pattern(r"(?!\w+(?:ss|wards|ways)$)\w+s")
COUNTED = pattern(r"an?|the|this|that|his|her|its|their|your|some|one|two|three|four|five|six|few|big|small|\d+")
NO_VERBS = {"hand", "hands", "head", "face", "back", "have", "has"}    # rather the body's parts, and how one has them


class Verb(NamedTuple):
    base: str
    form: str        # base, third or gerund

    def in_form(self, form: str) -> str:
        return "is" if self.base == "be" else conjugate(self.base, form)


class Clause(NamedTuple):
    subject: str     # all words before the verb; "" if it begins with the verb
    verb: Verb
    rest: str

    def adverbs(self) -> list[str]:
        """Those among the words before the verb."""
        return [word for word in self.subject.split() if word.endswith("ly")]

    def has_subject(self) -> bool:
        """Whether it says who does it, other than by a pronoun."""
        return not all(word.endswith("ly") or re.fullmatch(HE, word.lower()) for word in self.subject.split())


def parts_of(text: str) -> list[str]:
    """The sentences that a sentence says one after another, in order of time; [text] if it says but one thing, or more
    than MOST."""
    whole = BEGIN_BY.sub(_begun, text.strip(" \t\n.!,;"))
    pieces = [piece for ordered in _in_order(whole) for piece in _at_verbs(ordered, bool(AT_ONCE.search(whole)))]
    clauses = [_clause(piece) for piece in pieces]
    if not 2 <= len(pieces) <= MOST or clauses[0] is None:
        return [text]
    main = next((clause for clause in clauses if clause and clause.has_subject()), clauses[0])
    parts, verb, goes = [], main.verb, False
    for piece, clause in zip(pieces, clauses):
        verb = clause.verb if clause else verb
        said = _said_by(main, piece, clause, verb)
        deed = f"{verb.base} {clause.rest}".strip() if clause else ""
        if parts and (HALT.fullmatch(deed) or goes and TURN.fullmatch(deed)):
            parts[-1] += " and " + said.removeprefix(main.subject).strip()
        else:
            parts.append(said)
        goes = verb.base in _gaits()
    return parts if len(parts) > 1 else [text]


def _said_by(main: Clause, piece: str, clause: Clause | None, verb: Verb) -> str:
    """A piece as a sentence of its own, with the main clause's subject where it has none, and this verb likewise."""
    if clause and clause.has_subject():
        return piece
    if clause or not THIRD.fullmatch(piece.split()[0]):
        piece = f"{verb.in_form(main.verb.form)} {clause.rest if clause else piece}".strip()
    return " ".join(filter(None, (main.subject, *(clause.adverbs() if clause else ()), piece)))


def _in_order(text: str) -> list[str]:
    """A sentence parted at its words of order, earlier things first, and without these words."""
    for form, order in TURNED:
        found = form.fullmatch(text)
        if found and found["verb"].lower() in _verbs():
            return [piece for group in order for piece in _in_order(found[group])]
    pieces = [TAIL.sub("", LEAD.sub("", piece.strip(" ,"))) for piece in ORDER.split(FROM_TO.sub(r"is \1 then ", text))]
    return [re.sub(r"\bfirst ", "", piece) for piece in pieces if piece]


def _begun(found: re.Match) -> str:
    """What "starts by bowing" says without the start: "bows"."""
    start, deed = _verbs().get(found[1].lower()), _verbs().get(found[2].lower())
    return deed.in_form(start.form) if start and deed else found[0]


def _at_verbs(piece: str, at_once: bool) -> list[str]:
    """A piece parted at each comma or "and" before a verb of its first verb's form; what is going on ("is walking and
    turns") goes on."""
    clause = _clause(piece)
    if at_once or clause is None or clause.verb.form == "gerund" or clause.verb.base == "be":
        return [piece]
    pieces, begin = [], 0
    for joint in JOINT.finditer(piece):
        before, behind = _clause(piece[begin:joint.start()]), _clause(piece[joint.end():])
        if (before and (before.rest or not BARE.fullmatch(before.verb.base)) and behind
                and behind.verb.form == clause.verb.form and behind.subject.split() == behind.adverbs()):
            pieces.append(piece[begin:joint.start()])
            begin = joint.end()
    return [*pieces, piece[begin:]]


def _clause(text: str) -> Clause | None:
    """The first verb and what is around it; None if there is none. Behind a subject, any word in s may be a verb."""
    words = text.split()
    for place, word in enumerate(words):
        before, bare = words[place - 1].lower() if place else "", word.strip(",").lower()
        verb = _verbs().get(bare)
        if not verb and before in _subject_nouns() and THIRD.fullmatch(word) and bare not in NO_VERBS:
            verb = Verb(bare[:-1], "third")
        if verb and not COUNTED.fullmatch(before):
            return Clause(" ".join(words[:place]), verb, " ".join(words[place + 1:]))
    return None


@cache
def _verbs() -> dict[str, Verb]:
    """All forms of the verbs that the phrases of captions mark with braces."""
    tables = (path.read_text(encoding="utf-8") for path in PHRASES.glob("*.json") if path.stem != "free")    # has none
    marked = {verb for table in tables for verb in re.findall(r"\{([a-z]{2,})\}", table)}
    forms = {conjugate(verb, form): Verb(verb, form) for form in ("gerund", "third", "base") for verb in sorted(marked)}
    known = {form: verb for form, verb in forms.items() if form not in NO_VERBS}
    return known | dict.fromkeys(("is", "are"), Verb("be", "third"))


@cache
def _gaits() -> frozenset[str]:
    """The verbs of going, in whatever style."""
    phrases = (phrase for style in STYLES.values() for phrase in (*style.walks, *style.runs))
    return frozenset(re.findall(r"\{(\w+)\}", " ".join(phrases))) | {"go", "move", "step", "march", "stroll", "wander"}


@cache
def _subject_nouns() -> frozenset[str]:
    """The last words of the subjects of captions: person, someone, he."""
    subjects = [*SUBJECTS, *(subject for style in STYLES.values() for subject in style.subjects)]
    return frozenset(subject.split()[-1] for subject in subjects)
