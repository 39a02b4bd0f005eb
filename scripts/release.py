"""Pack trained checkpoints for shipping: matrices in float16, one folder that MotionStreamer.from_pretrained loads.

python -m scripts.release --tae output/tae_small/best --ar output/t2m_small/last --guidance 4
python -m scripts.release --evaluator output/evaluator_mocap_272/best --out weights/evaluator_mocap_272
"""

from dataclasses import dataclass, replace
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from Evaluator_272.checkpoints import evaluator_checkpoint, load_evaluator
from models.checkpoints import ar_checkpoint, load_ar, load_tae, tae_checkpoint
from options import opt, parse
from utils.checkpoint import write_json, write_whole
from utils.errors import run

Parts = tuple[dict[str, Tensor], dict]    # tensors and config


@dataclass(frozen=True)
class Release:
    """Pack a TAE and an AR model for shipping, or an evaluator."""

    tae: str = opt("output/tae_small/best", "TAE checkpoint")
    ar: str = opt("output/t2m_small/last", "AR checkpoint")
    guidance: float | None = opt(None, "guidance to store as the default; None: as in the checkpoint")
    temperature: float | None = opt(None, "temperature to store as the default; None: as in the checkpoint")
    stop_threshold: float | None = opt(None, "distance to the end latent at which a motion ends; None: likewise")
    past: int | None = opt(None, "latents of the past that a new prompt goes on from; None: likewise")
    evaluator: str | None = opt(None, "evaluator checkpoint, to pack this instead, without its decoder")
    out: str | None = opt(None, "folder to write; None: weights/mocap_stream, or weights/evaluator_mocap_272")


def main():
    config = parse({"default": Release()})
    packed = {".": evaluator_parts(config.evaluator)} if config.evaluator else generator_parts(config)
    out = Path(config.out or ("weights/evaluator_mocap_272" if config.evaluator else "weights/mocap_stream"))
    for name, (tensors, stored) in packed.items():
        with write_whole(out / name / "model.safetensors") as path:       # into the folder: a model card may lie there
            save_file({key: tensor.half().contiguous() if tensor.ndim > 1 else tensor
                       for key, tensor in tensors.items()}, path)
        write_json(out / name / "config.json", stored)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{out}: {size / 1e6:.1f} MB")


def evaluator_parts(source: str) -> Parts:
    evaluator, mean, std = load_evaluator(source)
    if mean is None:
        raise ValueError(f"{source} is the authors' file, which eval_t2m.py loads as it is: give one of ours")
    tensors, stored = evaluator_checkpoint(evaluator, mean, std)
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("decoder.")}, stored


def generator_parts(config: Release) -> dict[str, Parts]:
    ar = load_ar(config.ar)
    calibration = ar.calibration
    if config.stop_threshold is not None:
        calibration = replace(calibration, stop_threshold=config.stop_threshold)
    sampling = ar.sampling.but(guidance=config.guidance, temperature=config.temperature, past=config.past)
    tae = load_tae(config.tae)
    if not tae.has_statistics:
        raise ValueError(f"{config.tae} is the authors' file, which MotionStreamer loads as it is: give one of ours")
    return dict(tae=tae_checkpoint(tae), ar=ar_checkpoint(ar.model, calibration, sampling, ar.text_encoder))


if __name__ == "__main__":
    run(main)
