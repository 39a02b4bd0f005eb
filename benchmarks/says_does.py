"""Does what the sentence says happen? Sentences in, motions out, and plain geometry to judge them.

    python -m benchmarks.says_does --data-root data/mocap_272 --json says_does.json
    python -m benchmarks.says_does --validation --guidance 3                   other sentences, to choose by
    python -m benchmarks.says_does --calibrate --data-root data/mocap_272     how real clips pass the tests

Every kind of motion has a plain sentence and one unlike any caption. Kinds, tests and sentences were fixed
before any motion was generated; who wrote the sentences had not read the captions and knew of them only which
kind the text encoder finds nearest. A test sees joints, no sentence.
The control is to shuffle the texts among the kinds so that none stays. A motion then meets the test of each
other kind equally often, so what passes is the mean over all of them: no draw is needed.

Letters: K kinds, T frames, 30 per second.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import geometry as does
from dataset.captions import read_captions
from dataset.clips import dataset_root, load_groups, split_ids
from models.pipeline import MotionStreamer
from models.text_encoder import TextEncoder
from motion.measures import in_one_piece
from motion.representation_272 import FPS, motion272_to_positions
from options import opt, parse
from options.models import Drawing
from utils.checkpoint import write_json
from utils.errors import run

MOST_CLIPS = 150     # real clips of a kind that are looked at


@dataclass(frozen=True)
class SaysDoes:
    """Generate motions from sentences and test whether they do what the sentence says."""

    weights: Path = opt(Path("weights/mocap_stream"), "folder with the checkpoints tae/ and ar/")
    seeds: int = opt(5, "motions per sentence, with the seeds 0, 1, ...")
    batch: int = opt(60, "motions drawn at once; a lone one works on several steps together, as in a stream")
    drawing: Drawing = Drawing()
    validation: bool = opt(False, "other sentences than the reported, by which to choose how to sample")
    calibrate: bool = opt(False, "test the real clips of the data set instead")
    data_root: str | None = opt(None, "folder of mocap_272, to measure how unlike its captions these are")
    json: Path | None = opt(None, "file for all that is printed, and more")


@dataclass(frozen=True)
class Kind:
    """A kind of motion that the data holds, how to ask for it and how to tell it."""

    label: str
    groups: str                             # its names in the data set's groups.json, space between
    test: Callable[[np.ndarray], bool]      # joints (T, 22, 3)
    sentences: tuple[str, str]              # plain; unlike any caption
    validation: tuple[str, str]             # likewise


LEFT, RIGHT = dict(side="left"), dict(side="right")
KINDS = (
    Kind("walks forward", "walk", does.walks,
         ("a person walks forward", "Off he strolls, straight ahead down the corridor."),
         ("someone is walking straight ahead", "She ambles onward along the path, in no hurry.")),
    Kind("runs", "run", does.runs,
         ("a person runs", "Late again, so off she goes, jogging fast after the bus."),
         ("someone is jogging", "He breaks into a jog to catch up with his friends.")),
    Kind("sprints", "dash", partial(does.runs, faster_than=2.5),
         ("a person sprints", "Like a racer at the gun he tears down the track at full speed."),
         ("someone dashes at top speed", "Sprint as fast as your legs will carry you!")),
    Kind("walks backwards", "walk-back", does.walks_backwards,
         ("a person walks backwards", "Slowly she backs away from the growling dog."),
         ("someone steps backward", "Retreat in reverse, still watching the door.")),
    Kind("walks to the left", "walk-left", partial(does.walks_sideways, **LEFT),
         ("a person walks sideways to the left", "Shuffle sideways, crab fashion, to your left."),
         ("someone side-steps to the left", "He edges leftward along the wall, step after sideways step.")),
    Kind("walks to the right", "walk-right", partial(does.walks_sideways, **RIGHT),
         ("a person walks sideways to the right", "Shuffle off sideways, making room on your right."),
         ("someone side-steps to the right", "Edge along the wall, sideways, rightward.")),
    Kind("turns left", "walk-turn-left", partial(does.turns, **LEFT),
         ("a person walks and turns left", "At the corner he takes a left and keeps on walking."),
         ("someone walks, then turns to the left", "She strolls up the street and bends off leftwards.")),
    Kind("turns right", "walk-turn-right", partial(does.turns, **RIGHT),
         ("a person walks and turns right", "He rounds the bend to the right and saunters off."),
         ("someone walks, then turns to the right", "He heads down the lane and swings off rightwards.")),
    Kind("raises the left hand", "raise-up-left-hand", partial(does.raises, **LEFT),
         ("a person raises the left hand", "Who is left-handed? Put your left hand high in the air!"),
         ("someone lifts their left hand up", "She stretches her left arm up towards the ceiling.")),
    Kind("raises the right hand", "raise-up-right-hand", partial(does.raises, **RIGHT),
         ("a person raises the right hand", "Up goes his right arm to hail a taxi."),
         ("someone lifts their right hand up", "Reach for the sky with your right arm.")),
    Kind("raises both hands", "raise-up-both-hands", does.raises_both,
         ("a person raises both hands", "Hands up, both of them, this is a robbery!"),
         ("someone lifts both arms up", "He throws his two arms high above his head in triumph.")),
    Kind("waves the left hand", "wave-left-hand", partial(does.waves, **LEFT),
         ("a person waves the left hand", "Left hand going from side to side, she greets a friend."),
         ("someone is waving with their left hand", "Say hello to the crowd, wagging your left hand.")),
    Kind("waves the right hand", "wave-right-hand", partial(does.waves, **RIGHT),
         ("a person waves the right hand", "His right hand wags hello to a pal across the square."),
         ("someone is waving with their right hand", "Flap that right hand at the camera, hello!")),
    Kind("waves both hands", "wave-both-hands", does.waves_both,
         ("a person waves both hands", "Two hands wagging in the air, she hails the ship."),
         ("someone is waving with both hands", "Both arms swing back and forth to hail the rescue plane.")),
    Kind("bows", "bow", does.bows,
         ("a person bows", "The butler bends low in respect before the queen."),
         ("someone bows politely", "Bend from the waist to thank the audience.")),
    Kind("waves goodbye", "bye byebye", does.waves_goodbye,
         ("a person waves goodbye", "Farewell! From the door she gestures bye-bye to her guests."),
         ("someone says goodbye with a wave", "See you soon, bye! He wags a hand as the train leaves.")),
    Kind("jumps", "jump jump-forward", does.jumps,
         ("a person jumps", "Up he springs, both feet clear of the ground."),
         ("someone jumps up", "Leap into the air, now!")),
    Kind("punches", "punch", does.punches,
         ("a person punches", "The boxer lets his fists fly at an unseen rival."),
         ("someone is boxing", "Throw a couple of hard jabs.")),
    Kind("kicks", "kick", does.kicks,
         ("a person kicks", "Her leg flies up to boot the ball over the goal."),
         ("someone does a kick", "Swing your leg up and boot him!")),
    Kind("climbs a ladder", "climb-ladder", does.climbs,
         ("a person climbs a ladder", "Rung by rung the painter makes his way up to the roof."),
         ("someone is climbing up a ladder", "Up the ladder she goes to fetch the cat.")),
    Kind("turns a cartwheel", "cartwheel", does.turns_over,
         ("a person does a cartwheel", "The gymnast wheels over, hands on the mat, legs in the air."),
         ("someone turns a cartwheel", "Go head over heels on your hands, like a spinning wheel.")),
)


def main() -> None:
    config = parse({"says_does": SaysDoes()})
    if min(config.seeds, config.batch) < 1:
        raise ValueError(f"--seeds {config.seeds} --batch {config.batch}: expected 1 or more")
    if config.calibrate:
        return calibrate(config.data_root)
    model = MotionStreamer.from_pretrained(config.weights, precision=config.drawing.precision)
    model.sampling = config.drawing.over(model.sampling)
    sentences = [kind.validation if config.validation else kind.sentences for kind in KINDS]
    closest = closest_captions(sentences, config.data_root, model.text_encoder) if config.data_root else []
    settings = {name: getattr(model.sampling, name) for name in ("guidance", "temperature", "steps", "solver", "tolerance")}
    report = dict(weights=str(config.weights), validation=config.validation, precision=config.drawing.precision,
                  batch=config.batch, **settings, **check(model, sentences, config.seeds, config.batch), closest_captions=closest)
    show(report)
    if config.json:
        write_json(config.json, report)


def check(model: MotionStreamer, sentences: Sequence[tuple[str, str]], seeds: int, batch: int) -> dict:
    """Generate `seeds` motions of the model's own length for both sentences of every kind, and test them."""
    texts = [text for pair in sentences for text in pair for _ in range(seeds)]
    numbers = [number for pair in sentences for _ in pair for number in range(seeds)]
    motions = []
    for first in range(0, len(texts), batch):
        part = slice(first, first + batch)
        motions += model.generate_batch(texts[part], numbers[part])
    passes = np.array([judge(motion) for motion in motions]).reshape(len(KINDS), 2, seeds, len(KINDS))
    seconds = np.array([len(motion) for motion in motions]).reshape(len(KINDS), -1).mean(axis=1) / FPS
    plain, unlike = np.diagonal(passes, axis1=0, axis2=3).sum(axis=1)  # (K,) each, how many of `seeds`
    shuffled = pass_of_others(passes.mean(axis=(1, 2)))
    kinds = [dict(kind=kind.label, sentences=sentences[row], plain=int(plain[row]), unlike=int(unlike[row]),
                  others=float(shuffled[row]), seconds=float(seconds[row])) for row, kind in enumerate(KINDS)]
    return dict(seeds=seeds, all=float((plain + unlike).mean()) / (2 * seeds),
                unlike=float(unlike.mean()) / seeds, shuffled=float(shuffled.mean()), kinds=kinds)


def judge(motion: np.ndarray) -> np.ndarray:
    """motion (T, 272) -> whether it passes each kind's test, (K,) bool; one that has exploded passes none."""
    if not np.isfinite(motion).all():
        return np.zeros(len(KINDS), dtype=bool)
    joints = motion272_to_positions(motion.astype(np.float64))
    return np.array([in_one_piece(joints) and kind.test(joints) for kind in KINDS])


def pass_of_others(rates: np.ndarray) -> np.ndarray:
    """rates (K, K), the share of a row's motions that pass a column's test -> the other rows' mean (K,)."""
    return (rates.sum(axis=0) - rates.diagonal()) / (len(rates) - 1)


def closest_captions(sentences: Sequence[tuple[str, str]], data_root: str,
                     text_encoder: TextEncoder) -> list[tuple[dict, dict]]:
    """For both sentences of every kind the nearest training caption in the text encoder's space.

    raises   ValueError if a sentence that should be unlike the captions is one of them
    """
    root = dataset_root("mocap_272", data_root)
    captions = sorted({caption.text for name in split_ids(root, "train", "python -m dataset.prepare")
                       for caption in read_captions(root / "texts" / f"{name}.txt")})
    known = {words(caption) for caption in captions}
    for _, unlike in sentences:
        if words(unlike) in known:
            raise ValueError(f"{unlike!r} is a training caption, expected a sentence unlike them: reword it")
    embeddings = unit(text_encoder(captions, progress=True).numpy())
    cosines = unit(text_encoder([text for pair in sentences for text in pair]).numpy()) @ embeddings.T
    found = [dict(caption=captions[row.argmax()], cosine=float(row.max())) for row in cosines]
    return list(zip(found[::2], found[1::2]))


def words(sentence: str) -> str:
    return " ".join(re.findall(r"\w+", sentence.lower()))


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def show(report: dict) -> None:
    seeds = report["seeds"]
    cosines = [[found["cosine"] for found in pair] for pair in report["closest_captions"]]
    print(f"\n{report['weights']}, guidance {report['guidance']:g}, temperature {report['temperature']:g}, "
          f"{report['steps']} {report['solver']} steps, {report['precision']}, "
          f"{'validation' if report['validation'] else 'reported'} sentences; passed:")
    print(f"{'':24}plain unlike others  seconds" + "   cosine to the closest caption" * bool(cosines))
    for row, kind in enumerate(report["kinds"]):
        near = "   plain {:.2f}, unlike {:.2f}".format(*cosines[row]) if cosines else ""
        print(f"{kind['kind']:24}{kind['plain']:3}/{seeds}{kind['unlike']:5}/{seeds}{kind['others']:7.0%}"
              f"{kind['seconds']:9.1f}{near}")
    print("all {all:.0%}, the unlike half {unlike:.0%}, texts shuffled {shuffled:.0%}".format(**report))
    if cosines:
        plain, unlike = np.mean(cosines, axis=0)
        print(f"cosine on average: plain {plain:.2f}, unlike {unlike:.2f}; no unlike sentence is a caption")


def calibrate(data_root: str | None) -> None:
    """Print how many per cent of the data set's clips of each kind pass the test of each kind."""
    root, groups = dataset_root("mocap_272", data_root), load_groups("mocap_272", data_root)
    passes = []
    for kind in KINDS:
        names = sorted(name for name, group in groups.items() if group in kind.groups.split())
        if not names:
            raise ValueError(f"{root}/groups.json names no {kind.groups}, expected some: prepare it again")
        names = names[::-(-len(names) // MOST_CLIPS)]
        passes.append([judge(np.load(root / "motion_data" / f"{name}.npy", allow_pickle=False))
                       for name in names])
    rates = np.array([np.mean(of_a_kind, axis=0) for of_a_kind in passes])
    others = pass_of_others(rates)
    print(f"per cent of the real clips of a row that pass the test of a column\n{'':24}clips  own others |"
          + "".join(f"{column:4}" for column in range(1, len(KINDS) + 1)))
    for row, kind in enumerate(KINDS):
        print(f"{row + 1:2} {kind.label:21}{len(passes[row]):5}{rates[row, row]:5.0%}{others[row]:7.0%} |"
              + "".join(f"{100 * rate:4.0f}" for rate in rates[row]))
    print(f"on average {rates.diagonal().mean():.0%} of the own and {others.mean():.0%} of the others' clips")


if __name__ == "__main__":
    run(main)
