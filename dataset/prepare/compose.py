"""Clips that do two things, of prepared ones: one after another, at once, and standing still.

    then_000001   two or three parts, each a clip or a whole meaningful piece of one, joined as stream pairs are
    both_000001   the arms of one clip on the legs and path of another
    ID_still      a stretch of clip ID in which the body stands still

The layout is that of `folder`; each clip comes with its mirror image, ID "M" + its own. Only train and val have some,
made of their own clips alone. Sentences about all of a clip are made of the verb phrases of its parts.
Letters: T frames at 30 fps. Metres, y up.
"""

import json
import random
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dataset.captions import format_caption, swap_left_right
from dataset.clips import report, split_ids
from dataset.prepare.connectives import compose_sentences, forms, plain
from dataset.prepare.describe import describe_freely, story
from dataset.prepare.folder import LONGEST, SHORTEST, Entry, building, finish, in_processes
from dataset.prepare.grammar import STYLES, random_of, sentences
from dataset.prepare.joining import Unfit
from dataset.prepare.pieces import STILL_KIND, Arms, Piece, change_kind, survey
from dataset.prepare.sequences import Chain, in_sequence
from dataset.prepare.together import LEADS, SHORTEST_LEGS, Bowing, Pairing, at_once, bow_walking
from motion.representation_272 import mirror_pose, motion272_to_pose, pose_to_motion272
from motion.skeleton import forward_kinematics

SPLITS = ("train", "val")
BALANCE = 0.7           # 0: clips are sampled alike, 1: kinds are
OFTEN = 3               # times as often as others are COMMON kinds sampled
SAME = 8                # times as often is a part of the same style sampled, and one of the same performer
CANDIDATES = 6          # clips of a kind, of which the one that goes on best is taken
NEAR, ASIDE = 0.2, 15   # m/s and degrees by which a halt or a start may well differ from the walk that it is of
ATTEMPTS = 20           # at a sequence before its number is left out
THREE = 0.2             # share of sequences that have three parts
STILLS = 0.08           # share of the parts that stand still
SHORTEST_PART = 45      # frames that a part which may be cut anywhere has
SHORT = 70              # frames at most of such a part that has a halt or a start beside it
HELD = 0.45             # share of raised hands that are up all the time
OWN_LEGS = 0.08         # share of the pairings whose legs are the arms' own, which stand
BOWING = 0.06           # share of the pairings in which somebody bows while walking
PLAIN = ("", "normal")  # styles that go with all
NO_PHRASES = dict(style="", phrases=[])
# Kinds that people ask for, kinds that are no parts (they hold on to something, or hardly stand still), and kinds that
# leave the arms or the trunk free.
COMMON = re.compile(r"walk(?!-(uneven|style))|run|jog|dash|turn|raise|wave|bye|bow|kick|punch|throw|jump|hop|sit|pick|"
                    r"clap|side|squat|crouch|step|greet|get-up|spin|start")
APART = re.compile(r"climb|acrobatics|motorcycle|stand$|queue")
LEGS = re.compile(r"(walk|run|jog|dash|sneak|march|jump|hop|sit|squat|turn|start)(?!.*(uneven|style|hands|reach))")
BOW, BOW_LEGS = re.compile(r"bow"), re.compile(r"(walk|sneak|step)(?!.*(turn|around|veer|uneven))")
# Words of phrases that another clip's arms, or legs and trunk, or legs may make untrue.
OF_ARMS = r"\b(hands?|arms?|elbows?|wav|swing)"
OF_BODY = r"\b(stand|still|step|walk|sit|bow|bend|body|head|up and down)"
OF_LEGS = r"\b(stand|still|step|walk|sit)"
PREPARE = "python -m dataset.prepare bandai-namco --source … --out {}"


@dataclass(frozen=True)
class Stock:
    """What a split's clips are good for, as `Survey`."""
    pieces: list[Piece]
    stands: list[Piece]
    changes: dict[str, list[Piece]]
    arms: list[Arms]


@dataclass(frozen=True)
class Draft:
    """A clip to be made."""
    name: str
    split: str
    plan: Piece | Chain | Pairing | Bowing


def prepare_composed(sources: list[str | Path], out: str | Path, sequences: int = 5000, together: int = 2500,
                     workers: int | None = None) -> None:
    """Make composed clips of prepared data sets' clips, in parallel and in order: the same bytes on every run.

    sequences, together   how many for train, each with its mirror image; val gets a tenth
    workers               processes, by default one for each core; 0: none but this one
    raises   FileNotFoundError if a source was not prepared; ValueError if train gets no clip, or `out` holds something
             else than an earlier data set or is a source
    """
    sources, out = [Path(source) for source in sources], Path(out)
    if min(sequences, together) < 0 or not sequences + together:
        raise ValueError(f"found --sequences {sequences} --together {together}, expected at least one clip")
    for source in sources:
        for needed in ("motion_data", "groups.json", "phrases.json"):
            if not (source / needed).exists():
                raise FileNotFoundError(f"found no {source / needed}, expected a prepared data set. "
                                        f"Make it first: {PREPARE.format(source)}")
        if source.resolve() == out.resolve():
            raise ValueError(f"found {out} as --source and as --out, expected two folders: choose another --out")
    drafts = []
    numbers = {"train": (range(1, sequences + 1), range(1, together + 1)),
               "val": tuple(range(count + 1, count + 1 + -(-count // 10)) for count in (sequences, together))}
    for split in SPLITS:
        stock = read_stock(sources, split, workers)
        drafts += draft_stills(stock, split)
        drafts += draft_sequences(stock, split, numbers[split][0])
        drafts += draft_together(stock, split, numbers[split][1])
    entries, problems = [], defaultdict(list)
    with building(out) as folder:
        (folder / "motion_data").mkdir()
        made = in_processes(partial(make, folder), drafts, workers, chunksize=16)
        for draft, clips in zip(drafts, tqdm(made, total=len(drafts), desc="clips", mininterval=1)):
            if isinstance(clips, str):
                problems[clips].append(draft.name)
            else:
                entries += clips
        finish(folder, entries, [f"{name}: {reason}" for reason, names in problems.items() for name in names])
    count = Counter(f"{entry.split} {entry.group.split()[0]}" for entry in entries)
    print(f"{len(entries)} clips in {out}: " + ", ".join(f"{number} {what}" for what, number in count.items()))
    print(f"{sum(map(len, problems.values()))} left out" + report(problems))


def read_stock(sources: list[Path], split: str, workers: int | None) -> Stock:
    """What all clips of a split are good for, their mirror images aside; those without phrases are no parts."""
    tasks = []
    for source in sources:
        groups, phrases = (json.loads((source / name).read_text(encoding="utf-8"))
                           for name in ("groups.json", "phrases.json"))
        ids = set(split_ids(source, split, PREPARE.format(source)))
        tasks += [(source, name, groups[name], phrases.get(name, NO_PHRASES)) for name in sorted(ids)
                  if not (name[0] == "M" and name[1:] in ids)]
    found = list(tqdm(in_processes(survey, tasks, workers, chunksize=32), total=len(tasks), desc=f"{split} clips",
                      mininterval=1))
    pieces, stands, changes, arms = ([each for clip in found for each in getattr(clip, name)]
                                     for name in ("pieces", "stands", "changes", "arms"))
    changes += [replace(piece, id=f"M{piece.id}", drift=-piece.drift) for piece in changes]
    return Stock(pieces, stands, by_kind(changes), arms)


def draft_stills(stock: Stock, split: str) -> list[Draft]:
    """All stretches in which somebody stands, as clips."""
    count, drafts = Counter(), []
    for stand in stock.stands:
        if stand.end - stand.first < SHORTEST:
            continue
        count[stand.id] += 1
        again = f"_{count[stand.id]}" if count[stand.id] > 1 else ""
        drafts.append(Draft(f"{stand.id}_still{again}", split,
                            replace(stand, end=min(stand.end, stand.first + LONGEST))))
    return drafts


def draft_sequences(stock: Stock, split: str, numbers: range) -> list[Draft]:
    """A sequence for each number, which seeds it; rare kinds often."""
    pools = by_kind([piece for piece in stock.pieces + stock.stands if not APART.match(piece.kind)])
    weight = {kind: len(pieces) ** (1 - BALANCE) * (OFTEN if COMMON.match(kind) else 1)
              for kind, pieces in pools.items()}
    if STILL_KIND in pools:
        weight[STILL_KIND] = STILLS / (1 - STILLS) * (sum(weight.values()) - weight[STILL_KIND])
    drafts = []
    for number in numbers if len(pools) > 1 else ():
        rng = np.random.default_rng([SPLITS.index(split), 0, number])
        parts, chain = 3 if rng.random() < THREE else 2, None
        for _ in range(ATTEMPTS):
            chain = chain or _sample_chain(rng, stock, pools, weight, parts)
        if chain:
            drafts.append(Draft(f"then_{number:06d}", split, chain))
    return drafts


def _sample_chain(rng: np.random.Generator, stock: Stock, pools: dict[str, list[Piece]], weight: dict[str, float],
                parts: int) -> Chain | None:
    """Kinds, and of each some clips of one style, so that one person may do it all; None if there are no such."""
    kinds = [sample(rng, list(weight), list(weight.values()), 1)[0] for _ in range(parts)]
    if any(first == second for first, second in pairwise(kinds)):
        return None
    longest = LONGEST * 2 // 3 if parts == 2 else LONGEST // parts
    options, style, performer = [], "", None
    for kind in kinds:
        fitting = [piece for piece in pools[kind] if alike(piece.style, style)]
        fitting = [piece for piece in fitting if piece.least <= longest] or (fitting if parts == 2 else [])
        if not fitting:
            return None
        likely = [SAME ** ((piece.style == style) + (piece.performer == performer)) for piece in fitting]
        found = sample(rng, fitting, likely, CANDIDATES)
        options.append(tuple(piece for piece in found if piece.style == found[0].style))
        style, performer = style if found[0].style in PLAIN else found[0].style, performer or found[0].performer
    lengths = rng.integers(SHORTEST_PART, min(longest, LONGEST // 2 - SHORTEST_PART), parts).tolist()
    return Chain(tuple(options), tuple(lengths), _detour(rng, stock, options, lengths))


def _detour(rng: np.random.Generator, stock: Stock, options: list[tuple[Piece, ...]],
            lengths: list[int]) -> Chain | None:
    """The same parts with real changes of pace between them; None if they have one pace or none is known."""
    short = SHORT if len(options) == 2 else SHORTEST_PART
    parts, times = [options[0]], [min(lengths[0], short)]
    for (before, *_), after, length in zip(options, options[1:], lengths[1:]):
        between = stock.changes.get(change_kind(before.pace, after[0].pace), [])
        if between:
            faster = max(before, after[0], key=lambda piece: piece.speed)
            likely = [np.exp(-abs(piece.speed - faster.speed) / NEAR
                             - abs((piece.drift - faster.drift + 180) % 360 - 180) / ASIDE) for piece in between]
            parts.append(tuple(sample(rng, between, likely, 2 * CANDIDATES)))
            times.append(SHORTEST_PART)
        parts.append(after)
        times.append(min(length, short))
    return Chain(tuple(parts), tuple(times)) if len(parts) > len(options) else None


def draft_together(stock: Stock, split: str, numbers: range) -> list[Draft]:
    """A pairing of arms and legs, or a bow on walking legs, for each number, which seeds it."""
    pools = by_kind([piece for piece in stock.pieces if LEGS.match(piece.kind)])
    arms = by_kind([arms for arms in stock.arms if not APART.match(arms.kind)])
    bows = [piece for piece in stock.pieces if BOW.match(piece.kind)]
    drafts = []
    for number in numbers:
        rng = np.random.default_rng([SPLITS.index(split), 1, number])
        if bows and rng.random() < BOWING:
            plan = _draw_bowing(rng, pools, bows)
        else:
            plan = _draw_pairing(rng, pools, arms) if arms else None
        if plan:
            drafts.append(Draft(f"both_{number:06d}", split, plan))
    return drafts


def _draw_pairing(rng: np.random.Generator, pools: dict[str, list[Piece]],
                  arms: dict[str, list[Arms]]) -> Pairing | None:
    kind, = sample(rng, list(arms), [len(found) ** (1 - BALANCE) for found in arms.values()], 1)
    chosen, = sample(rng, arms[kind], [1] * len(arms[kind]), 1)
    up, acting = chosen.up[1] - chosen.up[0], chosen.piece.end - chosen.piece.first
    held = rng.random() < HELD and (up >= SHORTEST_LEGS if chosen.waves else chosen.high)
    least = SHORTEST_LEGS if held else acting
    most = up if held and chosen.waves else LONGEST    # of legs that may not be cut
    if rng.random() < OWN_LEGS:
        legs = (replace(chosen.piece, kind=STILL_KIND, phrases=()),)
    else:
        legs = _draw_legs(rng, pools, chosen.piece, least, most)
    times = rng.integers((5, SHORTEST_LEGS), (LEADS, LONGEST // 2)).tolist()
    return Pairing(chosen, legs, held, *times, rng.random()) if legs else None


def _draw_bowing(rng: np.random.Generator, pools: dict[str, list[Piece]], bows: list[Piece]) -> Bowing | None:
    bow, = sample(rng, bows, [1] * len(bows), 1)
    upright = {kind: pieces for kind, pieces in pools.items() if BOW_LEGS.match(kind)}
    legs = _draw_legs(rng, upright, bow, bow.end - bow.first, LONGEST)
    return Bowing(bow, legs, int(rng.integers(5, LEADS)), rng.random()) if legs else None


def _draw_legs(rng: np.random.Generator, pools: dict[str, list[Piece]], above: Piece, least: int,
               most: int) -> tuple[Piece, ...]:
    """Some clips of a kind that have the frames to walk under another one's arms or trunk; () if there are none."""
    def fits(piece: Piece) -> bool:
        frames = piece.end - piece.first
        return least <= frames and (piece.kept is None or frames <= most) and alike(piece.style, above.style)

    fitting = {kind: found for kind, pieces in pools.items() if (found := list(filter(fits, pieces)))}
    if not fitting:
        return ()
    kind, = sample(rng, list(fitting), [len(pieces) ** (1 - BALANCE) for pieces in fitting.values()], 1)
    likely = [SAME ** (piece.style == above.style) for piece in fitting[kind]]
    return tuple(sample(rng, fitting[kind], likely, CANDIDATES))


def by_kind(items: list) -> dict[str, list]:
    """Pieces, or arms, by their kinds, which are in order."""
    pools = defaultdict(list)
    for item in items:
        pools[item.kind].append(item)
    return dict(sorted(pools.items()))


def alike(style: str, other: str) -> bool:
    """One person may move so: in one style, or either without."""
    return style == other or style in PLAIN or other in PLAIN


def sample(rng: np.random.Generator, items: list, weight: list[float], count: int) -> list:
    """At most `count` of the items, none twice, each sampled by its weight."""
    share = np.array(weight, dtype=float)
    return [items[place] for place in rng.choice(len(items), min(count, len(items)), False, share / share.sum())]


def make(folder: Path, draft: Draft) -> list[Entry] | str:
    """Write a clip and its mirror image, or say why there is none."""
    try:
        motion, group, lines = compose(draft)
    except Unfit as problem:
        return str(problem)
    entries, lines = [], [*lines, *describe_freely(story(motion[1]), draft.name)]
    for name, pose in ((draft.name, motion), (f"M{draft.name}", mirror_pose(*motion))):
        np.save(folder / "motion_data" / f"{name}.npy", pose_to_motion272(*pose).astype(np.float32))
        own = swap_left_right if name != draft.name else str
        entries.append(Entry(name, draft.split, own(group), tuple(format_caption(own(line)) for line in lines)))
    return entries


def compose(draft: Draft) -> tuple[tuple[np.ndarray, np.ndarray], str, list[str]]:
    """The pose, the label and the sentences of a clip.

    raises   Unfit if nothing plausible can be made
    """
    random_ = random_of(draft.name)
    match draft.plan:
        case Chain() as chain:
            motion, parts = in_sequence(chain)
            return pose_of(motion), f"then {parts[-1].kind}", describe_sequence(random_, parts)
        case Pairing() as pairing:
            pose, legs = at_once(pairing)
            return pose, f"both {pairing.arms.kind}", describe_pairing(random_, pairing, legs)
        case Bowing(bow=bow) as bowing:
            pose, legs = bow_walking(bowing)
            told = [plain(legs, OF_ARMS), plain(bow, OF_LEGS)]
            return pose, f"both {bow.kind}", compose_sentences(random_, ("both",), told, shared_style([bow, legs]))
        case Piece() as stand:
            lines = sentences(draft.name, list(forms("still")), STYLES.get(stand.style))
            return pose_of(stand.frames), STILL_KIND, lines
        case plan:
            raise AssertionError(f"a plan that is {plan}")


def pose_of(motion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (T, 22, 3, 3) and joints (T, 22, 3) of a motion (T, 272)."""
    rotations, pelvis = motion272_to_pose(motion.astype(np.float64))
    return rotations, forward_kinematics(rotations, pelvis)


def describe_sequence(random_: random.Random, parts: list[Piece]) -> list[str]:
    """Sentences about parts that follow one another; what is between them goes without saying."""
    parts = [part for part in parts if part.phrases or part.kind == STILL_KIND]
    told = []
    for number, part in enumerate(parts):
        if part.kind != STILL_KIND:
            told.append(plain(part))
        elif number and parts[number - 1].travels:
            told.append(forms("still_stopped"))
        else:
            told.append(forms(("still_first", "still_middle")[number > 0] if number + 1 < len(parts) else "still_last"))
    names = ("then_three",) if len(parts) == 3 else ("then",) * 5
    if len(parts) == 2 and parts[0].travels and not parts[1].travels and parts[1].kind != STILL_KIND:
        names += ("then_stopping",)
    return compose_sentences(random_, names, told, shared_style(parts))


def describe_pairing(random_: random.Random, pairing: Pairing, legs: Piece) -> list[str]:
    """Sentences about arms and legs that do different things."""
    arms = pairing.arms
    side = "both" if len(arms.sides) == 2 else "left"
    own = swap_left_right if arms.sides == ("right",) else str
    legs_told = forms("on_the_spot") if legs.kind == STILL_KIND else plain(legs, OF_ARMS)
    names, arms_told, states = ("both",), plain(arms.piece, OF_BODY), ()
    if pairing.held and not arms.waves:
        names, arms_told = ("both_held", "both_held", "both"), tuple(map(own, forms(f"holds_{side}")))
        states = tuple(map(own, forms(f"states_{side}")))
    return compose_sentences(random_, names, [legs_told, arms_told], shared_style([arms.piece, legs]), states)


def shared_style(parts: list[Piece]) -> str:
    """The style of all parts, "" if they differ."""
    styles = {part.style for part in parts}
    return styles.pop() if len(styles) == 1 else ""
