"""Pack trained checkpoints for shipping: matrices in float16, one folder that `from_pretrained` loads.

python -m scripts.release --tae output/tae_small/best --ar output/t2m_small/last --guidance 4
python -m scripts.release --mosa output/mosa_small/best --mosa-tokenizer output/mosa_tokenizer_small/best
python -m scripts.release --evaluator output/evaluator_mocap_272/best --out weights/evaluator_mocap_272
"""

from dataclasses import dataclass, replace
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from Evaluator_272.checkpoints import evaluator_checkpoint, load_evaluator
from models.checkpoints import (
    ar_checkpoint, fingerprint, load_ar, load_mosa, load_mosa_tokenizer, load_tae, mosa_checkpoint,
    mosa_tokenizer_checkpoint, tae_checkpoint,
)
from options import opt, parse
from options.sampling import MoSaFlags, SamplingFlags
from utils.checkpoint import write_json, write_whole
from utils.errors import run

Parts = tuple[dict[str, Tensor], dict]    # tensors and config


@dataclass(frozen=True)
class Release:
    """Pack a TAE and an AR model for shipping, or MoSa, or an evaluator."""

    tae: str = opt("output/tae_small/best", "TAE checkpoint")
    ar: str = opt("output/t2m_small/last", "AR checkpoint")
    sampling: SamplingFlags = SamplingFlags()       # to store as the default
    stop_threshold: float | None = opt(None, "distance to the end latent at which a motion ends; None: as in the "
                                       "checkpoint")
    past: int | None = opt(None, "latents of the past that a new prompt goes on from; None: likewise")
    evaluator: str | None = opt(None, "evaluator checkpoint, to pack this instead, without its decoder")
    mosa: str | None = opt(None, "MoSa's transformer, to pack this instead, with its tokenizer")
    mosa_tokenizer: str = opt("output/mosa_tokenizer_small/best", "MoSa's tokenizer")
    mosa_sampling: MoSaFlags = MoSaFlags()          # to store as its default
    out: str | None = opt(None, "folder to write; None: mocap_stream, mocap_mosa or evaluator_mocap_272 in weights/")


def main():
    config = parse({"default": Release()})
    if config.evaluator:
        packed, name = {".": evaluator_parts(config.evaluator)}, "evaluator_mocap_272"
    elif config.mosa:
        packed, name = mosa_parts(config), "mocap_mosa"
    else:
        packed, name = generator_parts(config), "mocap_stream"
    out = Path(config.out or f"weights/{name}")
    for name, (tensors, stored) in packed.items():
        with write_whole(out / name / "model.safetensors") as path:       # into the folder: a model card may lie there
            save_file({key: rounded(tensor).contiguous() for key, tensor in tensors.items()}, path)
        write_json(out / name / "config.json", stored)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{out}: {size / 1e6:.1f} MB")


def rounded(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.ndim > 1 else tensor


def mosa_parts(config: Release) -> dict[str, Parts]:
    """The transformer is of the tokenizer as it is packed."""
    codes, found = load_mosa_tokenizer(config.mosa_tokenizer), load_mosa(config.mosa)
    if found.tokenizer != fingerprint(codes):
        raise ValueError(f"{config.mosa} was trained with another tokenizer than {config.mosa_tokenizer}: give that "
                         "one")
    codes.load_state_dict({name: rounded(tensor) for name, tensor in codes.state_dict().items()})
    return dict(tokenizer=mosa_tokenizer_checkpoint(codes),
                transformer=mosa_checkpoint(found._replace(
                    tokenizer=fingerprint(codes),
                    sampling=config.mosa_sampling.over(found.sampling, config.sampling.temperature))))


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
    sampling = config.sampling.over(ar.sampling).but(past=config.past)
    tae = load_tae(config.tae)
    if not tae.has_statistics:
        raise ValueError(f"{config.tae} is the authors' file, which MotionStreamer loads as it is: give one of ours")
    return dict(tae=tae_checkpoint(tae), ar=ar_checkpoint(ar.model, calibration, sampling, ar.text_encoder))


if __name__ == "__main__":
    run(main)
