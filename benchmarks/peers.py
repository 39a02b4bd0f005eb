"""How long ten seconds of motion take, beside untrained stand-ins with the architecture of others.

    python -m benchmarks.peers --json peers.json

Each round makes one clip of 9.8 seconds with each system, interleaved on the same CPU; what counts are medians. Ours
makes it as a stream, each latent decoded as soon as it is sampled, and once more as a clip, decoded at the end; our
MoSa makes clips only, in ten passes. Texts are embedded beforehand, for all. The stand-ins have the published sizes and
random weights, in float32 and PyTorch's own layers, and for each clip as many passes as those systems make, of two rows
where there is guidance. What they do besides (sampling of tokens, noise, masks) is left out, in their favour. They show
nothing before the clip is done.

MDM      a transformer of 8 layers (width 512, 4 heads, MLP 1024) over 196 frames and the condition (arXiv 2209.14916);
         50 steps, as its authors' later, faster model
MoMask   two transformers of 8 layers (width 384, 6 heads, MLP 1024) over 49 tokens and the condition: 10 passes of the
         masked, 5 of the residual one; then the decoder of T2M-GPT's shape, width 512 (arXiv 2312.00063)
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import nn

import train_mosa
import train_mosa_tokenizer
from benchmarks.generate import TEXT, RandomTexts, ar_of, tae_of
from benchmarks.timing import processor, table, timed
from benchmarks.train import plain_layers
from generation.mosa import SHIPPED as MOSA
from generation.mosa import MoSa
from generation.pipeline import MotionStreamer
from models.causal_tae import FRAMES_PER_LATENT, CausalTAE
from models.checkpoints import MoSaCheckpoint, load_mosa, load_mosa_tokenizer
from models.mosa.tokenizer import CAQVAE
from models.mosa.transformer import ScaleTransformer
from motion.representation_272 import FPS
from options import opt, parse
from options.models import TAE
from options.sampling import PRECISIONS, SOLVERS, Compute, MoSaSampling
from utils.checkpoint import write_json
from utils.errors import run

SECONDS, PEERS_FPS = 9.8, 20
COLUMNS = {"system": ("system", ""), "first_frame_seconds": ("s to first", ".4f"),
           "stream_seconds": ("s as a stream", ".3f"), "clip_seconds": ("s at once", ".3f"),
           "of_slowest": ("of the slowest", ".1%")}
Times = tuple[float, float, float]                        # seconds to the first frames, of the stream, of the clip


@dataclass(frozen=True)
class Peers:
    """Time a clip of each system."""

    weights: Path = opt(Path("weights/mocap_stream"), "folder with the checkpoints tae/ and ar/")
    mosa: Path | None = opt(None, "folder with MoSa's tokenizer/ and transformer/; None: what ships, or untrained "
                            "networks of the preset small where nothing does")
    precision: tuple[str, ...] = opt(("float32", "int8"), "precisions of our models", choices=PRECISIONS)
    steps: tuple[int, ...] = opt((4,), "MotionStreamer's diffusion steps")
    solver: str = opt("fitted", "how they go", choices=SOLVERS)
    rounds: int = opt(7, "clips of each system")
    threads: int | None = opt(None, "of the CPU; None: torch's own number")
    json: Path | None = opt(None, "file for all rows")


def main() -> None:
    config = parse({"peers": Peers()})
    if config.rounds < 1:
        raise ValueError(f"--rounds {config.rounds}: expected 1 or more")
    if config.threads:
        torch.set_num_threads(config.threads)
    systems = {"MDM's shape": mdm(), "MoMask's shape": momask()}
    for precision in config.precision:
        for steps in config.steps:
            systems[f"ours, {precision}, {steps} steps"] = ours(config, precision, steps)
        folder = config.mosa or (MOSA if MOSA.is_dir() else None)
        systems[f"our MoSa, {'' if folder else 'untrained, '}{precision}"] = mosa(folder, precision)
    times = [{name: clip() for name, clip in systems.items()} for _ in range(1 + config.rounds)][1:]
    names = "first_frame_seconds", "stream_seconds", "clip_seconds"
    rows = [dict(system=system, processor=processor(), threads=torch.get_num_threads())
            | dict(zip(names, map(median, zip(*(found[system] for found in times))))) for system in systems]
    for row in rows:
        row["of_slowest"] = row["clip_seconds"] / max(other["clip_seconds"] for other in rows)
    print(f"\n{SECONDS} s of motion, {processor()}, threads: {torch.get_num_threads()}\n{table(rows, COLUMNS)}")
    if config.json:
        write_json(config.json, rows)


def ours(config: Peers, precision: str, steps: int) -> Callable[[], Times]:
    """Makes a stream, then a clip of the same length."""
    ar = ar_of("small", config.weights)
    model = MotionStreamer(tae_of("small", config.weights), ar.model, RandomTexts.of(ar.model.config), ar.calibration,
                           ar.sampling.but(steps=steps, solver=config.solver), Compute("cpu", precision))
    frames = round(SECONDS * FPS)

    def stream() -> float:
        start, frames_of = time.perf_counter(), model.stream(TEXT, hold=True)
        next(frames_of)
        first = time.perf_counter() - start
        for _ in range(-(-frames // FRAMES_PER_LATENT) - 1):
            next(frames_of)
        return first

    def clip() -> Times:
        seconds, first = timed(stream)
        return first, seconds, timed(partial(model.generate, TEXT, length=frames))[0]
    return clip


def mosa(folder: Path | None, precision: str) -> Callable[[], Times]:
    """Makes a clip with MoSa; None: with random networks."""
    if folder:
        tokenizer, transformer = load_mosa_tokenizer(folder / "tokenizer"), load_mosa(folder / "transformer")
    else:
        sizes = train_mosa_tokenizer.PRESETS["small"].model
        tokenizer, network = CAQVAE(sizes), ScaleTransformer(train_mosa.PRESETS["small"].model, sizes.codes)
        transformer = MoSaCheckpoint(network, MoSaSampling(), "", None, None, None)
    text_encoder = RandomTexts(transformer.model.config.text_dim, tokens=True)
    model = MoSa(tokenizer, transformer, text_encoder, compute=Compute("cpu", precision))    # pyright: ignore
    frames = round(SECONDS * FPS)
    return all_at_once(lambda: model.generate(TEXT, length=frames))


def all_at_once(work: Callable[[], object]) -> Callable[[], Times]:
    """The clip of a system that shows nothing before it is done."""
    return lambda: 3 * (timed(torch.inference_mode()(work))[0],)


def mdm() -> Callable[[], Times]:
    """Makes a clip of MDM's shape."""
    network, motion = transformer(512, 4), torch.randn(2, round(SECONDS * PEERS_FPS) + 1, 263)
    into, out = nn.Linear(263, 512), nn.Linear(512, 263)

    def work() -> None:
        for _ in range(50):
            out(network(into(motion)))
    return all_at_once(work)


def momask() -> Callable[[], Times]:
    """Makes a clip of MoMask's shape."""
    masked, residual, tokens = transformer(384, 6), transformer(384, 6), round(SECONDS * PEERS_FPS) // 4
    x, out, decoder = torch.randn(2, tokens + 1, 384), nn.Linear(384, 512), CausalTAE(TAE(width=512)).eval()
    latents = torch.randn(1, tokens, decoder.config.latent_dim)

    def work() -> None:
        for network in 10 * [masked] + 5 * [residual]:
            out(network(x))
        plain_layers(decoder.decoder, decoder.from_latent(latents).mT)
    return all_at_once(work)


def transformer(width: int, heads: int) -> nn.TransformerEncoder:
    """Eight layers."""
    layer = nn.TransformerEncoderLayer(width, heads, 1024, activation="gelu", batch_first=True)
    return nn.TransformerEncoder(layer, 8).eval()


if __name__ == "__main__":
    run(main)
