"""Evaluate: the row of a model next to the row of the real motions (MotionStreamer).

python eval_t2m.py --target t2m --dataname mocap_272
python eval_t2m.py --target stream --streams data/mocap_272_stream --resume-trans output/streamer_small/last
torchrun --nproc-per-node 8 eval_t2m.py --target tae --resume-pth output/tae_small/last

Protocol: clips of 60 to 299 frames of the test split, cut to whole latents; in every repetition one caption is drawn
for each, and batches of 32 in a random order; the last short batch is dropped. Means of 20 repetitions, 95% intervals.
`--target stream` is of two prompts, one after the other; its protocol is in Evaluator_272/streams.py.
`--target latency` measures instead how many seconds the first frame takes, against the number of frames.
N motions, D channels of an embedding.
"""

import hashlib
import platform
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from dataset.clips import load_clips, own_or_data, with_statistics
from dataset.pairs import POOL, SHORTEST, Item, MotionTexts
from dataset.streams import REMEDY, Pair
from Evaluator_272 import streams
from Evaluator_272.checkpoints import load_evaluator
from Evaluator_272.judge import Judge
from generation.fast import accelerate
from generation.pipeline import MotionStreamer, text_encoder_of
from models.causal_tae import FRAMES_PER_LATENT, CausalTAE
from models.checkpoints import load_ar, load_tae
from motion.representation_272 import DIM, motion272_to_positions
from options import opt, parse, to_json
from options.sampling import Compute, SamplingFlags
from options.training import DATASETS
from utils import metrics
from utils.checkpoint import write_json, write_whole
from utils.distributed import distributed, rank
from utils.errors import run

WEIGHTS = Path(__file__).parent / "weights"
LONGEST = 299                      # frames
MULTIMODALITY_PAIRS = 10
TARGETS = ("truth", "tae", "t2m", "stream", "latency")
DECIMALS = {"PJ": 5, "AUJ": 5, "AUJ halves": 5}    # metres per frame^3 are small; others have 3
LATENCY_FRAMES = (32, 64, 96, 128, 160, 192, 224, 256, 288)
LATENCY_TEXT = "a person walks forward"


@dataclass(frozen=True)
class EvalT2M:
    """Print a row of a table, and the real motions' row beside it; write both to OUT/TARGET.json."""

    target: str = opt("t2m", "truth: the real motions alone; tae: rebuilt; t2m: generated from the captions; "
                      "stream: of two prompts, one after the other; latency: how long until the first frame, and "
                      "until the last, by the number of frames",
                      choices=TARGETS)
    evaluator: Path = opt(WEIGHTS / "evaluator_mocap_272", "a checkpoint folder, or the authors' epoch=99.ckpt")
    resume_pth: Path = opt(WEIGHTS / "mocap_stream" / "tae", "TAE: a checkpoint folder, or the authors' net_last.pth")
    resume_trans: Path = opt(WEIGHTS / "mocap_stream" / "ar", "AR model: a checkpoint folder, or the authors' file")
    dataname: str = opt("mocap_272", "data set", choices=DATASETS)
    data_root: str | None = opt(None, "folder that contains motion_data/; None: the published name, here")
    split: str = opt("test", "clips to evaluate on; streams: always val", choices=("train", "val", "test"))
    streams: str | None = opt(None, "folder of val_stream/ and val_stream_text/, the pairs that --target stream needs")
    repetitions: int = opt(20, "draws of captions, batches and noise")
    limit: int | None = opt(None, "use this many clips, or pairs, only; the same for every target")
    batch: int = opt(32, "motions embedded, rebuilt or generated at once")
    sampling: SamplingFlags = SamplingFlags()
    compute: Compute = Compute()
    multimodality_texts: int = opt(0, "captions that are generated several times for MModality; the paper's: 100")
    multimodality_motions: int = opt(30, "times that each of them is")
    seed: int = opt(0, "of every draw")
    out: Path = opt(Path("output/eval"), "folder of the results, and of the embeddings that are kept between runs")


def hash_of(source: Path, *statistics: np.ndarray) -> str:
    """sha256 of a checkpoint: its weights, its config and the statistics that it is used with."""
    paths = [source / "model.safetensors", source / "config.json"] if source.is_dir() else [source]
    found = hashlib.sha256()
    for part in [*(path.read_bytes() for path in paths), *(values.tobytes() for values in statistics)]:
        found.update(part)
    return found.hexdigest()


def hash_of_data(told_and_motions: Iterable[tuple[list, np.ndarray]]) -> str:
    """sha256 of motions, and of what counts beside each."""
    found = hashlib.sha256()
    for told, motion in told_and_motions:
        found.update(repr(told).encode() + motion.tobytes())
    return found.hexdigest()


def some(values: list, config: EvalT2M) -> list:
    """As many as `limit` says, drawn, in their order."""
    if config.limit is None:
        return values
    chosen = np.random.default_rng(config.seed).permutation(len(values))[:config.limit]
    return [values[index] for index in sorted(chosen)]


def read_items(config: EvalT2M) -> list[Item]:
    """What is evaluated on, longest first so that batches are of like length, cut to whole latents."""
    clips = load_clips(config.dataname, config.data_root, config.split)
    pairs = MotionTexts(clips, np.zeros(DIM), np.ones(DIM), SHORTEST, LONGEST)
    items = some(sorted(pairs.items, key=lambda item: (-len(item.motion), item.id)), config)
    if len(items) < POOL:
        raise ValueError(f"{len(items)} motions to evaluate on; expected at least {POOL}, among which a text finds its "
                         "own: give another --split")
    return [Item(item.id, item.motion[:len(item.motion) // FRAMES_PER_LATENT * FRAMES_PER_LATENT], item.texts,
                 item.group) for item in items]


def draw(items: Sequence[Item], seed: int, repetition: int) -> tuple[np.ndarray, list[str]]:
    """One repetition's items in their order, in whole batches of 32, and a caption for each."""
    rng = np.random.default_rng([seed, repetition])
    order = rng.permutation(len(items))[:len(items) // POOL * POOL]
    return order, [items[index].texts[rng.integers(len(items[index].texts))] for index in order]


def row(real: np.ndarray, motions: np.ndarray, texts: np.ndarray, everyone: np.ndarray,
        rng: np.random.Generator) -> dict[str, float]:
    """One repetition's metrics of `motions` (N, D), in the order of `real` and of `texts`.

    everyone   (M, D) all real motions: what FID compares with
    "FID halves" compares one random half of the real motions with these of the other half, so that the real motions'
    own value tells how small it can be for so many.
    """
    precision = metrics.pooled_r_precision(texts, motions, POOL)
    half, other = np.split(rng.permutation(len(motions) // 2 * 2), 2)
    return {"FID": metrics.frechet_distance(everyone, motions),
            "FID halves": metrics.frechet_distance(real[half], motions[other]),
            **{f"R@{k}": float(share) for k, share in enumerate(precision, start=1)},
            "MM-Dist": metrics.multimodal_distance(texts, motions),
            "Diversity": metrics.diversity(motions, None, rng)}


def rebuild(tae: CausalTAE, device: torch.device, judge: Judge,
            items: Sequence[Item], part: range) -> np.ndarray:
    """Embeddings (N, D) of motions rebuilt from the means of their latents, and their MPJPE as one more column."""
    motions = [items[index].motion for index in part]
    padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(motion) for motion in motions], batch_first=True).to(device)
    with torch.no_grad():
        decoded = tae.decode(tae.encode(padded)).cpu().numpy()                       # causal: padding changes nothing
    rebuilt = [frames[:len(motion)] for frames, motion in zip(decoded, motions)]
    errors = [metrics.mpjpe(motion272_to_positions(motion), motion272_to_positions(frames))
              for motion, frames in zip(motions, rebuilt)]
    return np.column_stack([judge.motions(rebuilt), errors])


def generate(model: MotionStreamer, judge: Judge, texts: Sequence[str], lengths: Sequence[int], seeds: Sequence[int],
             part: range) -> np.ndarray:
    """Embeddings (N, D) of motions generated at the given lengths. Errors as `refuse_exploded`."""
    part = slice(part.start, part.stop)
    motions = model.generate_batch(texts[part], seeds[part], lengths[part])
    refuse_exploded(texts[part], motions)
    return judge.motions(motions)


def generate_streams(model: MotionStreamer, judge: Judge, pairs: Sequence[Pair], seeds: Sequence[int],
                     part: range) -> np.ndarray:
    """What streams of the pairs' prompts are judged by (N,), as `streams.cut`. Errors as `refuse_exploded`."""
    part = slice(part.start, part.stop)
    scenes = [streams.Scene.of(pair) for pair in pairs[part]]
    motions = streams.play(model, scenes, seeds[part])
    refuse_exploded([" * ".join(pair.texts) for pair in pairs[part]], motions)
    return streams.cut(motions, [pair.past for pair in pairs[part]], judge.motions)


def refuse_exploded(texts: Sequence[str], motions: Sequence[np.ndarray]) -> None:
    """ValueError unless all motions are finite."""
    if bad := [text for text, motion in zip(texts, motions) if not np.isfinite(motion).all()]:
        raise ValueError(f"the motions of {len(bad)} captions are not finite, the first is {bad[0]!r}: "
                         "give a smaller --guidance or another checkpoint")


def evaluate(config: EvalT2M, device: torch.device) -> dict:
    """Everything that is printed and written: each row's metrics, mean and half-width of the 95% interval."""
    judge, items = load_judge(config, device), read_items(config)
    data = hash_of_data(([item.id, item.texts], item.motion) for item in items)
    hashes = dict(evaluator=judge.hash, data=data)

    everyone = judge.of_items(items, data)
    of_text = judge.of_sentences(text for item in items for text in item.texts)
    rebuilt = model = None
    if config.target == "tae":
        tae = with_statistics(load_tae(config.resume_pth), config.dataname, config.data_root)
        hashes["tae"] = hash_of(config.resume_pth, tae.mean.numpy(), tae.std.numpy())
        rebuilt = judge.kept_or(["tae", data, hashes["tae"], *how_exact(config)], len(items), partial(
            rebuild, accelerate(tae.to(device), config.compute.precision), device, judge, items), "rebuilt motions")
    if config.target == "t2m":
        model = load_model(config, device)
        hashes |= hashes_of_model(config, model)

    repetitions: dict[str, list[dict[str, float]]] = {"real": []}
    for repetition in range(config.repetitions):
        order, captions = draw(items, config.seed, repetition)
        texts, real = np.stack([of_text[text] for text in captions]), everyone[order]

        def add(name: str, motions: np.ndarray, told: np.ndarray = texts, **more: float) -> None:
            rng = np.random.default_rng([config.seed, repetition, 1])
            repetitions.setdefault(name, []).append(row(real, motions, told, everyone, rng) | more)

        add("real", real)
        if config.target == "truth":                      # what a judge that knows nothing would say
            add("real, captions shuffled", real, np.random.default_rng([config.seed, repetition, 2]).permutation(texts))
        if rebuilt is not None:
            frames = [len(items[index].motion) for index in order]
            add("tae", rebuilt[order, :-1], MPJPE=float(np.average(rebuilt[order, -1], weights=frames)))
        if model is not None:
            made = generated(config, judge, model, hashes, items, order, captions, repetition)
            add("t2m", made, **multimodality(config, judge, model, hashes, items, order, captions, repetition))

    return report_of(config, repetitions, hashes, len(order), everyone.shape[1],
                     {"FID": len(order), "FID halves": len(order) // 2})


def evaluate_streams(config: EvalT2M, device: torch.device) -> dict:
    """As `evaluate`, of streams that follow the prompts of pairs."""
    judge, pairs = load_judge(config, device), some(streams.read_pairs(config.streams), config)
    items, model = read_items(replace(config, split="val", limit=None)), load_model(config, device)
    data = hash_of_data(([item.id, item.texts], item.motion) for item in items)
    data_pairs = hash_of_data(([pair.id, pair.texts, pair.past], pair.motion) for pair in pairs)
    hashes = dict(evaluator=judge.hash, data=data, pairs=data_pairs) | hashes_of_model(config, model)

    clips = judge.of_items(items, data)
    of_text = judge.of_sentences(text for pair in pairs for text in pair.texts)
    texts = np.array([[of_text[text] for text in pair.texts] for pair in pairs])                      # (N, 2, D)
    real = judge.kept_or(["pairs", data_pairs, streams.WINDOW], len(pairs), lambda part: streams.cut(
        [pairs[index].motion for index in part], [pairs[index].past for index in part], judge.motions), "real pairs")
    repetitions: dict[str, list[dict[str, float]]] = {"real": [], "stream": []}
    for repetition in range(config.repetitions):
        seeds = np.random.default_rng([config.seed, repetition, 5]).integers(2 ** 62, size=len(pairs)).tolist()
        key = ["stream", data_pairs, streams.WINDOW, hashes["tae"], hashes["ar"], *how_exact(config), model.sampling,
               seeds]
        made = judge.kept_or(key, len(pairs), partial(generate_streams, model, judge, pairs, seeds),
                             f"repetition {repetition + 1}")
        for name, found in (("real", real), ("stream", made)):
            repetitions[name].append(streams.row(real, found, texts, clips,
                                                 np.random.default_rng([config.seed, repetition, 1])))
    return report_of(config, repetitions, hashes, len(pairs), clips.shape[1],
                     {"FID": min(len(clips), 2 * len(pairs)), "transition FID": len(pairs),
                      "transition FID halves": len(pairs) // 2})


def report_of(config: EvalT2M, repetitions: dict[str, list[dict[str, float]]], hashes: dict[str, str], motions: int,
              dimensions: int, samples: dict[str, int]) -> dict:
    """What is printed and written; `samples` are the motions that each FID is of, the smaller set's."""
    rows = {name: {metric: metrics.mean_and_interval([one[metric] for one in found]) for metric in found[0]}
            for name, found in repetitions.items()}
    return dict(rows=rows, motions=motions, samples=samples, dimensions=dimensions, config=to_json(config),
                sha256=hashes, versions=versions())


def load_judge(config: EvalT2M, device: torch.device) -> Judge:
    evaluator, mean, std = load_evaluator(config.evaluator)
    mean, std = (values.numpy() for values in own_or_data(mean, std, config.dataname, config.data_root))
    return Judge(evaluator.to(device), mean, std, hash_of(config.evaluator, mean, std), config.batch,
                 config.out / "kept")


def load_model(config: EvalT2M, device: torch.device) -> MotionStreamer:
    tae = with_statistics(load_tae(config.resume_pth), config.dataname, config.data_root)
    ar = load_ar(config.resume_trans)
    return MotionStreamer(tae, ar.model, text_encoder_of(ar.model, ar.text_encoder, device), ar.calibration,
                          config.sampling.over(ar.sampling), replace(config.compute, device=device.type))


def how_exact(config: EvalT2M) -> list:
    """Of what embeddings depend on: precision and tolerance, and with int8 the batch, whose rows share a scale."""
    return [config.compute.precision, config.compute.tolerance, *[config.batch] * (config.compute.precision == "int8")]


def hashes_of_model(config: EvalT2M, model: MotionStreamer) -> dict[str, str]:
    return dict(tae=hash_of(config.resume_pth, model.tae.mean.cpu().numpy(), model.tae.std.cpu().numpy()),
                ar=hash_of(config.resume_trans))


def generated(config: EvalT2M, judge: Judge, model: MotionStreamer, hashes: dict, items: Sequence[Item],
              order: np.ndarray, captions: Sequence[str], repetition: int, times: int = 1) -> np.ndarray:
    """Embeddings (N * times, D) of a motion for every caption, at the true length; drawn in the order of length."""
    texts = np.repeat(np.array(captions, dtype=object), times)
    lengths = np.repeat([len(items[index].motion) for index in order], times)
    rng = np.random.default_rng([config.seed, repetition, 3, times])
    seeds = rng.integers(2 ** 62, size=len(texts))
    by_length = np.argsort(-lengths, kind="stable")
    texts, lengths, seeds = (values[by_length].tolist() for values in (texts, lengths, seeds))
    key = ["t2m", hashes["tae"], hashes["ar"], *how_exact(config), model.sampling, texts, lengths, seeds]
    rows = judge.kept_or(key, len(texts), partial(generate, model, judge, texts, lengths, seeds),
                         f"repetition {repetition + 1}")
    return rows[np.argsort(by_length)]


def multimodality(config: EvalT2M, judge: Judge, model: MotionStreamer, hashes: dict, items: Sequence[Item],
                  order: np.ndarray, captions: Sequence[str], repetition: int) -> dict[str, float]:
    """How far apart the motions of one caption are; nothing unless it is asked for."""
    count, times = min(config.multimodality_texts, len(order)), config.multimodality_motions
    if not count:
        return {}
    motions = generated(config, judge, model, hashes, items, order[:count], captions[:count], repetition, times)
    return {"MModality": metrics.multimodality(motions.reshape(count, times, -1), MULTIMODALITY_PAIRS,
                                               np.random.default_rng([config.seed, repetition, 4]))}


def table(report: dict) -> str:
    """The rows as a table, mean ± half-width."""
    columns = list(dict.fromkeys(metric for row in report["rows"].values() for metric in row))
    widths = {column: max(18, len(column) + 2) for column in columns}
    lines = [f"{'':26}" + "".join(f"{column:>{width}}" for column, width in widths.items())]
    for name, found in report["rows"].items():
        cells = {column: " ± ".join(f"{value:.{DECIMALS.get(column, 3)}f}" for value in found[column])
                 if column in found else "-" for column in columns}
        lines.append(f"{name:26}" + "".join(f"{cells[column]:>{width}}" for column, width in widths.items()))
    for name, size in report["samples"].items():
        if metrics.too_few_for_fid(size, report["dimensions"]):
            lines.append(f"{name}: {size} motions are too few for {report['dimensions']} channels, so it is large and "
                         "means little; compare it with the real row's only.")
    return "\n".join(lines)


def first_and_last(model: MotionStreamer, frames: int, seed: int) -> tuple[float, float]:
    """Seconds from a sentence to its motion's first four frames, and to the last of `frames`, as a stream."""
    start, first = time.perf_counter(), 0.0
    for _ in islice(model.stream(LATENCY_TEXT, seed, hold=True), frames // FRAMES_PER_LATENT):
        first = first or time.perf_counter() - start
    return first, time.perf_counter() - start


def measure_latency(config: EvalT2M, device: torch.device) -> dict:
    """Medians over the repetitions for each number of frames; what is written to latency.json."""
    model = load_model(config, device)
    first_and_last(model, LATENCY_FRAMES[0], config.seed)                # the first time is slower: caches, threads
    times = [[first_and_last(model, frames, config.seed + repetition) for repetition in range(config.repetitions)]
             for frames in tqdm(LATENCY_FRAMES, unit="length")]
    first, last = np.median(times, axis=1).T.tolist()
    return dict(frames=LATENCY_FRAMES, first_frame_s=first, last_frame_s=last, config=to_json(config),
                device=str(device), threads=torch.get_num_threads(), versions=versions(),
                sha256=dict(tae=hash_of(config.resume_pth), ar=hash_of(config.resume_trans)))


def latency_lines(report: dict) -> str:
    times = zip(report["frames"], report["first_frame_s"], report["last_frame_s"])
    return "\n".join(f"{frames:4} frames: the first after {first:.3f} s, the last after {last:.3f} s"
                     for frames, first, last in times)


def plot_latency(report: dict, path: Path) -> None:
    from matplotlib.figure import Figure                                  # imported late: it takes a second

    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(report["frames"], report["last_frame_s"], "o--", color="tab:gray", label="last frame")
    axes.plot(report["frames"], report["first_frame_s"], "o-", label="first frame")
    axes.set(xlabel="frames of the motion (30 a second)", ylabel="seconds after the sentence", ylim=(0, None))
    axes.legend()
    with write_whole(path) as temporary:
        figure.savefig(temporary, dpi=150)


def versions() -> dict[str, str]:
    return dict(python=platform.python_version(), torch=torch.__version__, numpy=np.__version__)


def publish(config: EvalT2M, report: dict, text: str, scalars: dict[str, float]) -> None:
    """Print `text`, write the report whole, and append the scalars to TensorBoard, one step for each evaluation."""
    print(text)
    write_json(config.out / f"{config.target}.json", report)
    number = len(list(config.out.glob("events.out.tfevents*")))
    with SummaryWriter(str(config.out)) as writer:
        for name, value in scalars.items():
            writer.add_scalar(name, value, number)
    print(f"written to {config.out / config.target}.json")


def main():
    config = parse({"default": EvalT2M()})
    of_streams = config.target == "stream"                                # each pair has two parts
    for name, least in dict(repetitions=1, batch=1, limit=POOL // 2 if of_streams else POOL, multimodality_texts=0,
                            multimodality_motions=MULTIMODALITY_PAIRS).items():
        value = getattr(config, name)
        if value is not None and value < least:
            raise ValueError(f"--{name.replace('_', '-')} is {value}; expected {least} or more.")
    if of_streams and config.streams is None:
        raise ValueError(f"--target stream needs --streams, the folder of the pairs. {REMEDY}")
    with distributed(config.compute.device) as device:
        if config.target == "latency":
            if rank() == 0:                                               # others would only disturb the clock
                report = measure_latency(config, device)
                plot_latency(report, config.out / "latency.png")
                publish(config, report, latency_lines(report), {
                    f"latency/{name}": report[name][-1] for name in ("first_frame_s", "last_frame_s")})
            return
        report = (evaluate_streams if of_streams else evaluate)(config, device)
        if rank() == 0:
            publish(config, report, table(report), {
                f"{metric}/{name}".replace(" ", "_"): mean
                for name, found in report["rows"].items() for metric, (mean, _) in found.items()})


if __name__ == "__main__":
    run(main)
