"""Our checkpoint folders <-> networks: what is stored beside the weights, in one place."""

import hashlib
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from models.causal_tae import CausalTAE
from models.published import fill, load_published_ar, load_published_tae
from models.streamer import StreamingTransformer
from models.text_encoder import DEFAULT_TEXT_ENCODER
from options import from_json, to_json
from options.models import AR, TAE, Sampling
from utils.checkpoint import load_checkpoint


def tae_checkpoint(tae: CausalTAE, mean: Tensor, std: Tensor) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_checkpoint` writes of a TAE: its tensors, with the statistics (272,) of its data, and its config."""
    return dict(tae.state_dict(), mean=mean, std=std), dict(model=to_json(tae.config))


def load_tae(source: Path | str) -> tuple[CausalTAE, Tensor | None, Tensor | None]:
    """A TAE -> the network, and the mean and std (272,) that normalise its motions.

    source  a checkpoint folder, or the authors' file: this has no statistics, they lie with the data (None, None)
    raises  FileNotFoundError, or ValueError for a damaged checkpoint or another network's
    """
    if Path(source).is_file():
        return load_published_tae(source), None, None
    tensors, config = load_checkpoint(source, required=["model"])
    if "mean" not in tensors or "std" not in tensors:
        raise ValueError(f"{source} is not a TAE checkpoint: it has no mean and std. "
                         "Make one: python train_causal_tae.py")
    mean, std = tensors.pop("mean"), tensors.pop("std")
    return fill(CausalTAE(from_json(TAE, config["model"])), tensors, source), mean, std


def ar_checkpoint(model: StreamingTransformer, sampling: Sampling,
                  text_encoder: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_checkpoint` writes of an AR model: its tensors and its config."""
    return model.state_dict(), dict(model=to_json(model.config), sampling=to_json(sampling), text_encoder=text_encoder)


def load_ar(source: Path | str) -> tuple[StreamingTransformer, Sampling, str]:
    """An AR model -> the network, how to sample from it, and the name of its text encoder. As `load_tae`."""
    if Path(source).is_file():
        return load_published_ar(source), Sampling(), DEFAULT_TEXT_ENCODER
    tensors, config = load_checkpoint(source, required=["model"])
    if "sampling" not in config:
        raise ValueError(f"{source} is not an AR checkpoint: its config has no 'sampling'. "
                         "Make one: python train_t2m.py")
    model = fill(StreamingTransformer(from_json(AR, config["model"])), tensors, source)
    stored = {name: value for name, value in config["sampling"].items() if name != "tolerance"}    # it was stored once
    return model, from_json(Sampling, stored), config["text_encoder"]


def fingerprint(tae: CausalTAE) -> str:
    """A short hash of what makes latents, the encoding half, to tell whether two TAEs make the same."""
    digest = hashlib.sha256()
    for name, tensor in sorted([*tae.encoder.state_dict().items(), *tae.to_moments.state_dict().items()]):
        digest.update(name.encode() + tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
