"""Teach the model moves of your own: a few captures with captions, in minutes on a laptop.

python finetune_t2m.py --source my_captures --out-dir output/mine

Beside the captures it rehearses: motions that the model itself makes of sentences that it knows, so that it forgets
less, for the data it was trained on are not there. docs/finetuning.md says what that costs all the same. The fine-tuned
model lies in OUT_DIR/weights.
"""

import random
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dataset.captions import format_caption
from dataset.prepare import bvh_folder
from dataset.prepare.archive import unpacked
from dataset.prepare.bandai_namco import content_phrases
from dataset.prepare.folder import SHORTEST, Entry, Trial, building, finish, merge, prepare
from dataset.prepare.grammar import STYLES, phrase_table, sentences
from Evaluator_272.report import hash_of
from generation.pipeline import SHIPPED, MotionStreamer
from get_latent import GetLatent, encode_set
from models.checkpoints import ar_checkpoint, load_ar, load_tae, tae_checkpoint
from motion.captures import Reading
from options import opt, parse
from options.data import Data, Data272
from options.training import DEVICES, Training
from train_t2m import TrainT2M, train_ar
from utils.checkpoint import read_json, save_checkpoint, write_json
from utils.distributed import pick_device
from utils.errors import run

BATCH = 32                                       # motions generated at once
MADE_OF = "made_of.json"                         # of which weights and sentences rehearsed motions are
MANY = 16                                        # captures for which starting other processes is worth it
CONTENTS = ("walk", "run", "walk-turn-left", "walk-turn-right", "raise-up-left-hand", "raise-up-right-hand",
            "raise-up-both-hands", "wave-left-hand", "wave-right-hand", "wave-both-hands")
PRESET = TrainT2M(training=Training(
    Data("mocap_272"), exp_name="finetuning", total_iter=300, batch_size=16, lr=2e-4, warmup=20, schedule="cosine",
    weight_decay=1e-6, clip=1.0, ema=0.99, balance=1.0, eval_iter=150, save_iter=50, print_iter=25),
    replaced=0.0, context_noise=0.4, repeats=1, text_noise=0.1)


@dataclass(frozen=True)
class Finetune:
    """Teach the model the moves of a few captures, while it rehearses its own."""

    source: Path = opt(Path("captures"), "folder or archive of BVH or AMC files, each with its captions NAME.txt, a "
                       "line for each, beside it")
    out_dir: Path = opt(Path("output/finetuned"), "folder for all that is made; repeating the command resumes the "
                        "training")
    weights: Path = opt(SHIPPED, "model to start from: a folder with the checkpoints tae/ and ar/")
    rehearsed: int = opt(192, "motions of its own that the model rehearses: half of the training's samples")
    total_iter: int = opt(PRESET.training.total_iter, "training steps")
    batch_size: int = opt(PRESET.training.batch_size, "samples in a step")
    lr: float = opt(PRESET.training.lr, "learning rate after the warm-up")
    seed: int = opt(123, "of sentences, samples and noise")
    device: str = opt("auto", "where to generate and to train", choices=DEVICES)
    reading: Reading = Reading()


def main():
    config = parse({"default": Finetune()}, show=False)
    if config.rehearsed < 20:
        raise ValueError(f"--rehearsed is {config.rehearsed}; expected 20 motions or more.")
    out, start = config.out_dir, load_ar(config.weights / "ar")
    with unpacked(config.source) as source:
        trials, skipped = captures(source, config.reading)
        prepare(trials, skipped, out / "captured_272", workers=0 if len(trials) < MANY else None)
    rehearse(config, out / "rehearsed_272")
    merge([out / "captured_272", out / "rehearsed_272"], out / "both_272")
    encode_set(GetLatent(
        tae=str(config.weights / "tae"), latent_dir=str(out / "latents"),
        data=Data272(PRESET.training.data.name, out / "both_272"), text_encoder=start.text_encoder,
        text=start.model.config.text, seed=config.seed, device=config.device), pick_device(config.device))
    training = replace(PRESET.training, out_dir=str(out), total_iter=config.total_iter, batch_size=config.batch_size,
                       lr=config.lr, seed=config.seed, device=config.device)
    train_ar(replace(PRESET, model=start.model.config, training=training, start=str(config.weights / "ar"),
                     latent_dir=str(out / "latents")), pairs=False)

    model = load_ar(out / training.exp_name / "last").model
    save_checkpoint(out / "weights" / "tae", *tae_checkpoint(load_tae(config.weights / "tae")))
    save_checkpoint(out / "weights" / "ar", *ar_checkpoint(model, start.calibration, start.sampling,
                                                           start.text_encoder))
    said = trials[0].captions(trials[0].id)[0]
    print(f"Try it: python demo_t2m.py --resume-pth {out / 'weights' / 'tae'} --resume-trans {out / 'weights' / 'ar'} "
          f'--text "{getattr(said, "text", said)}"')


def captures(source: Path, reading: Reading) -> tuple[list[Trial], list[str]]:
    """The captures below `source`, all for training and of one kind, and what was left out."""
    trials, skipped = bvh_folder.trials(source, reading.skeleton, up=reading.up, fps=reading.fps, unit=reading.unit,
                                        rest_frame=reading.rest_frame)
    return [replace(trial, split="train", group="captured") for trial in trials], skipped


def rehearse(config: Finetune, out: Path) -> None:
    """A data set of the model's own motions, of sentences that it knows, as they are without guidance; a tenth for val.

    With guidance they would be more alike than those that it learned from. Those that are there already, of the same
    weights and sentences, stay.
    """
    texts, entries = known_sentences(config.rehearsed, config.seed), []
    made_of = dict(weights={name: hash_of(config.weights / name) for name in ("tae", "ar")}, texts=texts)
    if (out / MADE_OF).is_file() and read_json(out / MADE_OF) == made_of:
        return print(f"{out}: {len(texts)} motions are rehearsed already")
    model = MotionStreamer.from_pretrained(config.weights, config.device)
    with building(out) as folder:
        (folder / "motion_data").mkdir()
        for first in tqdm(range(0, len(texts), BATCH), unit=f" x {BATCH} motions rehearsed"):
            some = texts[first:first + BATCH]
            motions = model.generate_batch(some, range(first, first + len(some)), guidance=1.0, temperature=1.0)
            for number, (text, motion) in enumerate(zip(some, motions), start=first):
                if len(motion) >= SHORTEST and np.isfinite(motion).all():
                    name, split = f"rehearsed_{number:04d}", "val" if number % 10 == 0 else "train"
                    np.save(folder / "motion_data" / f"{name}.npy", motion)
                    entries.append(Entry(name, split, "rehearsed", (format_caption(text),)))
        finish(folder, entries, [])
        write_json(folder / MADE_OF, made_of)


def known_sentences(count: int, seed: int) -> list[str]:
    """Sentences such as the model was trained on: half of the grammar, in all styles, half free wordings."""
    random_ = random.Random(seed)
    wordings = [texts for name in ("free", "wordings") for texts in phrase_table(name).values()]
    found = []
    for number in range(count):
        if number % 2:
            found.append(random_.choice(random_.choice(wordings)))
            continue
        content, style = random_.choice(CONTENTS), random_.choice(sorted(STYLES))
        found += sentences(f"{seed} {number}", content_phrases(content, style), STYLES[style], count=1)
    return found


if __name__ == "__main__":
    run(main)
