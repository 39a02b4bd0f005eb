"""Our checkpoint folders <-> networks: what is stored beside the weights, in one place."""

import hashlib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from torch import Tensor

from models.causal_tae import CausalTAE
from models.mosa.tokenizer import CAQVAE
from models.mosa.transformer import ScaleTransformer
from models.published import (
    fill, load_published_ar, load_published_mosa_tokenizer, load_published_mosa_transformer, load_published_tae,
)
from models.text_encoder import DEFAULT_TEXT_ENCODER
from models.text_transformer import TextTransformer
from models.transformer import StreamingTransformer
from options import from_json, to_json
from options.models import AR, CAQ, SAR, TAE, Codes
from options.sampling import Calibration, MoSaSampling, Sampling
from utils.checkpoint import load_checkpoint, pointed

AnyTokenizer = TypeVar("AnyTokenizer", CausalTAE, CAQVAE)


class ARCheckpoint(NamedTuple):
    """The AR model, what was measured of its latents, how to sample from it, and the name of its text encoder."""
    model: StreamingTransformer
    calibration: Calibration
    sampling: Sampling
    text_encoder: str


def tae_checkpoint(tae: CausalTAE) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_checkpoint` writes of a TAE: its tensors, with the statistics of its data, and its config."""
    return dict(tae.state_dict(), mean=tae.mean, std=tae.std), dict(model=to_json(tae.config))


def load_tae(source: Path | str) -> CausalTAE:
    """A TAE, with its statistics.

    source  a checkpoint folder, or the authors' file: this has no statistics, they lie with the data
    raises  FileNotFoundError, or ValueError for a damaged checkpoint or another network's
    """
    if pointed(source).is_file():
        return load_published_tae(source)
    tensors, config = load_checkpoint(source, required=["model"])
    if "mean" not in tensors or "std" not in tensors:
        raise ValueError(f"{source} is not a TAE checkpoint: it has no mean and std. "
                         "Make one: python train_causal_tae.py")
    statistics = tensors.pop("mean"), tensors.pop("std")
    return fill(CausalTAE(from_json(TAE, config["model"])), tensors, source).set_statistics(*statistics)


def begin(source: Path | str | None, load: Callable[[Path | str], AnyTokenizer],
          network: Callable[[Any], AnyTokenizer], config: TAE | CAQ) -> AnyTokenizer:
    """A tokenizer to train: the one that `load` finds in `source`, if that is given, else a new `network(config)`.

    raises   ValueError if the one that is found has another config
    """
    found = load(source) if source else network(config)
    if found.config != config:
        raise ValueError(f"{source} is a {found.config}, the options say {config}: give its sizes")
    return found


def ar_checkpoint(model: StreamingTransformer, calibration: Calibration, sampling: Sampling,
                  text_encoder: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_checkpoint` writes of an AR model: its tensors and its config."""
    return model.state_dict(), dict(model=to_json(model.config), calibration=to_json(calibration),
                                    sampling=to_json(sampling), text_encoder=text_encoder)


def load_ar(source: Path | str) -> ARCheckpoint:
    """An AR model and what is stored beside it. As `load_tae`."""
    if pointed(source).is_file():
        return ARCheckpoint(load_published_ar(source), Calibration(), Sampling(), DEFAULT_TEXT_ENCODER)
    tensors, config = load_checkpoint(source, required=["model"])
    if "sampling" not in config:
        raise ValueError(f"{source} is not an AR checkpoint: its config has no 'sampling'. "
                         "Make one: python train_t2m.py")
    config = with_calibration(config)
    return ARCheckpoint(fill(StreamingTransformer(from_json(AR, config["model"])), tensors, source),
                        from_json(Calibration, config["calibration"]), from_json(Sampling, config["sampling"]),
                        config["text_encoder"])


def text_checkpoint(text: TextTransformer, config: AR, text_encoder: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_checkpoint` writes of a text transformer alone, for an AR model of this config."""
    return text.state_dict(), dict(text_transformer=to_json(config), text_encoder=text_encoder)


def load_text(source: Path | str) -> tuple[dict[str, Tensor], str]:
    """The tensors of a text transformer, and the name of the text encoder whose token states it reads.

    raises  FileNotFoundError, or ValueError for a damaged checkpoint or another network's
    """
    tensors, config = load_checkpoint(source)
    if "text_transformer" not in config:
        raise ValueError(f"{source} is not a text transformer's checkpoint. Make one: python train_text.py")
    return tensors, config["text_encoder"]


def with_calibration(config: dict[str, Any]) -> dict[str, Any]:
    """The config of an AR checkpoint as it is written now: older ones kept calibration and tolerance under sampling."""
    if "calibration" in config:
        return config
    measured = {item.name for item in fields(Calibration)}
    stored = {name: value for name, value in config["sampling"].items() if name != "tolerance"}
    return config | dict(calibration={name: value for name, value in stored.items() if name in measured},
                         sampling={name: value for name, value in stored.items() if name not in measured})


def mosa_tokenizer_checkpoint(tokenizer: CAQVAE) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_checkpoint` writes of MoSa's tokenizer: its tensors, codebooks and statistics too, and its config."""
    return tokenizer.state_dict(), dict(tokenizer=to_json(tokenizer.config))


def load_mosa_tokenizer(source: Path | str) -> CAQVAE:
    """MoSa's tokenizer, with its statistics. As `load_tae`."""
    if pointed(source).is_file():
        return load_published_mosa_tokenizer(source)
    tensors, config = load_checkpoint(source)
    if "tokenizer" not in config:
        raise ValueError(f"{source} is not a checkpoint of MoSa's tokenizer: its config has no 'tokenizer'. "
                         "Make one: python train_mosa_tokenizer.py")
    return fill(CAQVAE(from_json(CAQ, config["tokenizer"])), tensors, source)


class MoSaCheckpoint(NamedTuple):
    """MoSa's transformer, how to sample from it, the name of its text encoder, the `fingerprint` of its tokenizer, and
    of some training captions the mean token state, of length 1 (N, E), with the frames of their motions (N,)."""
    model: ScaleTransformer
    sampling: MoSaSampling
    text_encoder: str
    tokenizer: str | None
    captions: Tensor | None
    frames: Tensor | None


def mosa_checkpoint(found: MoSaCheckpoint) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_checkpoint` writes of it."""
    lengths = {} if found.captions is None or found.frames is None else dict(
        captions=found.captions.half(), frames=found.frames)
    return found.model.state_dict() | lengths, dict(
        transformer=to_json(found.model.config), codes=to_json(found.model.codes), sampling=to_json(found.sampling),
        text_encoder=found.text_encoder, made_by=found.tokenizer)


def load_mosa(source: Path | str) -> MoSaCheckpoint:
    """MoSa's transformer and what is stored beside it. As `load_ar`."""
    if pointed(source).is_file():
        return MoSaCheckpoint(load_published_mosa_transformer(source), MoSaSampling(), "openai/clip-vit-base-patch32",
                              None, None, None)
    tensors, config = load_checkpoint(source)
    if "transformer" not in config:
        raise ValueError(f"{source} is not a checkpoint of MoSa's transformer: its config has no 'transformer'. "
                         "Make one: python train_mosa.py")
    lengths = tensors.pop("captions", None), tensors.pop("frames", None)
    model = ScaleTransformer(from_json(SAR, config["transformer"]), from_json(Codes, config["codes"]))
    return MoSaCheckpoint(fill(model, tensors, source), from_json(MoSaSampling, config["sampling"]),
                          config["text_encoder"], config["made_by"], *lengths)


def fingerprint(tokenizer: CausalTAE | CAQVAE) -> str:
    """A short hash of what makes codes, the encoding half, to tell whether two tokenizers make the same."""
    digest = hashlib.sha256()
    last = tokenizer.quantizer if isinstance(tokenizer, CAQVAE) else tokenizer.to_moments
    for name, tensor in sorted([*tokenizer.encoder.state_dict().items(), *last.state_dict().items()]):
        digest.update(name.encode() + tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
