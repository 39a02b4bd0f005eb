"""Evaluate: the row of a model next to the row of the real motions (MotionStreamer).

python eval_t2m.py --target t2m --dataname mocap_272
python eval_t2m.py --target stream --streams data/mocap_272_stream --resume-trans output/streamer_small/last
torchrun --nproc-per-node 8 eval_t2m.py --target tae --resume-pth output/tae_small/last

Evaluator_272/README.md says by which protocol; `python -m benchmarks.latency` measures the time to the first frame.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter

from dataset.clips import own_or_data, with_statistics
from dataset.motion_texts import POOL
from dataset.pairs import REMEDY
from Evaluator_272 import protocol, streams
from Evaluator_272.checkpoints import load_evaluator
from Evaluator_272.judge import Judge
from Evaluator_272.report import hash_of, summarise, table, versions
from generation.fast import accelerate
from generation.mosa import SHIPPED as MOSA
from generation.mosa import MoSa, given_or_shipped
from generation.pipeline import SHIPPED, MotionStreamer
from models.checkpoints import load_mosa_tokenizer, load_tae
from options import opt, parse, to_json
from options.data import Data272
from options.sampling import Compute, MoSaFlags, SamplingFlags
from utils.checkpoint import write_json
from utils.distributed import distributed, rank
from utils.errors import run

WEIGHTS = Path(__file__).parent / "weights"
TARGETS = ("truth", "tae", "t2m", "stream", "mosa-tokenizer")
TAE, AR = SHIPPED / "tae", SHIPPED / "ar"


@dataclass(frozen=True)
class EvalT2M:
    """Print a row of a table, and the real motions' row beside it; write both to OUT/TARGET.json."""

    target: str = opt("t2m", "truth: the real motions alone; tae: reconstructed; t2m: generated from the captions; "
                      "stream: of two prompts, one after the other; mosa-tokenizer: reconstructed from MoSa's codes",
                      choices=TARGETS)
    model: str = opt("motionstreamer", "the system that generates, for --target t2m",
                     choices=("motionstreamer", "mosa"))
    evaluator: Path = opt(WEIGHTS / "evaluator_mocap_272", "a checkpoint folder, or the authors' epoch=99.ckpt")
    resume_pth: Path = opt(TAE, "TAE, or MoSa's tokenizer: a checkpoint folder, or the authors' file")
    resume_trans: Path = opt(AR, "AR model, or MoSa's transformer: a checkpoint folder, or the authors' file")
    data: Data272 = Data272("mocap_272")
    split: str = opt("test", "clips to evaluate on; streams: always val", choices=("train", "val", "test"))
    streams: str | None = opt(None, "folder of val_stream/ and val_stream_text/, the pairs that --target stream needs")
    repetitions: int = opt(20, "samples of captions, batches and noise")
    limit: int | None = opt(None, "use this many clips, or pairs, only; the same for every target")
    batch: int = opt(32, "motions embedded, reconstructed or generated at once")
    sampling: SamplingFlags = SamplingFlags()
    mosa: MoSaFlags = MoSaFlags()
    compute: Compute = Compute()
    multimodality_texts: int = opt(0, "captions that are generated several times for MModality; the paper's: 100")
    multimodality_motions: int = opt(30, "times that each of them is")
    seed: int = opt(0, "of everything that is sampled")
    out: Path = opt(Path("output/eval"), "folder of the results, and of the embeddings that are kept between runs")


def evaluate(config: EvalT2M, device: torch.device) -> dict:
    """Everything that is printed and written: each row's metrics, mean and half-width of the 95% interval."""
    judge = load_judge(config, device)
    items = protocol.read_items(config.data, config.split, config.limit, config.seed)
    clips = protocol.Clips(judge, items, config.seed)
    hashes = dict(evaluator=judge.hash, data=clips.hash)

    rows: dict[str, protocol.Row] = {"real": protocol.real}
    if config.target == "truth":
        rows["shuffled-text control"] = protocol.shuffled
    if config.target == "tae":
        tae = with_statistics(load_tae(config.resume_pth), config.data)
        hashes["tae"] = hash_of(config.resume_pth, tae.mean.numpy(), tae.std.numpy())
        rows["tae"] = protocol.Reconstructed(
            judge, clips, partial(protocol.reconstruct, accelerate(tae.to(device), config.compute.precision)),
            [hashes["tae"], *exactness(config)])
    if config.target == "mosa-tokenizer":
        path = config.resume_pth if config.resume_pth != TAE else MOSA / "tokenizer"
        tokenizer = with_statistics(load_mosa_tokenizer(path), config.data).to(device)
        hashes["tokenizer"] = hash_of(path, tokenizer.mean.cpu().numpy(), tokenizer.std.cpu().numpy())
        rows["mosa-tokenizer"] = protocol.Coded(judge, clips, tokenizer, [hashes["tokenizer"]])
    if config.target == "t2m":
        model = load_mosa(config, device) if config.model == "mosa" else load_model(config, device)
        hashes |= hashes_of_model(config, model)
        rows[config.model if config.model == "mosa" else "t2m"] = protocol.Generated(
            judge, model, key_of_model(config, model, hashes), config.multimodality_texts, config.multimodality_motions)
    motions = len(items) // POOL * POOL
    return dict(rows=summarise(clips.measure(rows, config.repetitions)), motions=motions,
                samples={"FID": motions, "split-half FID": motions // 2}, dimensions=clips.everyone.shape[1],
                config=to_json(config), sha256=hashes, versions=versions())


def evaluate_streams(config: EvalT2M, device: torch.device) -> dict:
    """As `evaluate`, of streams that follow the prompts of pairs."""
    judge = load_judge(config, device)
    pairs = protocol.some(streams.read_pairs(config.streams), config.limit, config.seed)
    items = protocol.read_items(config.data, "val")
    model = load_model(config, device)
    hashes = dict(evaluator=judge.hash) | hashes_of_model(config, model)
    found, hashes_of_data = streams.measure(model, judge, pairs, items, key_of_model(config, model, hashes),
                                            config.repetitions, config.seed)
    samples = {"FID": min(len(items), 2 * len(pairs)), "transition FID": len(pairs),
               "split-half transition FID": len(pairs) // 2}
    return dict(rows=summarise(found), motions=len(pairs), samples=samples,
                dimensions=judge.evaluator.config.latent_dim, config=to_json(config), sha256=hashes | hashes_of_data,
                versions=versions())


def load_judge(config: EvalT2M, device: torch.device) -> Judge:
    evaluator, mean, std = load_evaluator(config.evaluator)
    mean, std = (values.numpy() for values in own_or_data(mean, std, config.data))
    return Judge(evaluator.to(device), mean, std, hash_of(config.evaluator, mean, std), config.batch,
                 config.out / "kept")


def load_model(config: EvalT2M, device: torch.device) -> MotionStreamer:
    return MotionStreamer.load(config.resume_pth, config.resume_trans, config.data, config.sampling,
                               compute=replace(config.compute, device=device.type))


def load_mosa(config: EvalT2M, device: torch.device) -> MoSa:
    return MoSa.load(*given_or_shipped(config.resume_pth, config.resume_trans), config.data, config.mosa,
                     config.sampling.temperature, compute=replace(config.compute, device=device.type))


def hashes_of_model(config: EvalT2M, model: MotionStreamer | MoSa) -> dict[str, str]:
    paths = config.resume_pth, config.resume_trans
    paths, tokenizer = (given_or_shipped(*paths), model.tokenizer) if isinstance(model, MoSa) else (paths, model.tae)
    return dict(tae=hash_of(paths[0], tokenizer.mean.cpu().numpy(), tokenizer.std.cpu().numpy()), ar=hash_of(paths[1]))


def key_of_model(config: EvalT2M, model: MotionStreamer | MoSa, hashes: dict[str, str]) -> list:
    """What generated motions depend on, beside prompts, lengths and seeds."""
    return [hashes["tae"], hashes["ar"], *exactness(config), model.sampling]


def exactness(config: EvalT2M) -> list:
    """Precision and tolerance, and with int8 the batch, whose rows share a scale."""
    return [config.compute.precision, config.compute.tolerance, *[config.batch] * (config.compute.precision == "int8")]


def publish(config: EvalT2M, report: dict) -> None:
    """Print the table, write the report whole, and append it to TensorBoard, one step for each evaluation."""
    print(table(report))
    name = "mosa" if config.target == "t2m" and config.model == "mosa" else config.target
    write_json(config.out / f"{name}.json", report)
    number = len(list(config.out.glob("events.out.tfevents*")))
    with SummaryWriter(str(config.out)) as writer:
        for name, found in report["rows"].items():
            for metric, (mean, _) in found.items():
                writer.add_scalar(f"{metric}/{name}".replace(" ", "_"), mean, number)
    print(f"written to {config.out / name}.json")


def main():
    config = parse({"default": EvalT2M()})
    of_streams = config.target == "stream"                                # each pair has two parts
    for name, least in dict(repetitions=1, batch=1, limit=POOL // 2 if of_streams else POOL, multimodality_texts=0,
                            multimodality_motions=protocol.MULTIMODALITY_PAIRS).items():
        value = getattr(config, name)
        if value is not None and value < least:
            raise ValueError(f"--{name.replace('_', '-')} is {value}; expected {least} or more.")
    if of_streams and config.streams is None:
        raise ValueError(f"--target stream needs --streams, the folder of the pairs. {REMEDY}")
    with distributed(config.compute.device) as device:
        report = (evaluate_streams if of_streams else evaluate)(config, device)
        if rank() == 0:
            publish(config, report)


if __name__ == "__main__":
    run(main)
