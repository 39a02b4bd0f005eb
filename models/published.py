"""The authors' checkpoint files, read into our modules: the only place that knows their parameter names."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from torch import Tensor, nn

from models.causal_tae import CausalTAE
from models.transformer import StreamingTransformer
from options.models import AR, TAE
from utils.checkpoint import load_torch

Network = TypeVar("Network", bound=nn.Module)

TAE_NAMES = [
    (r"^tae\.", ""), (r"^decode_proj", "from_latent"), (r"^encoder\.proj", "to_moments"),
    (r"\.model\.", "."), (r"\.conv\.", "."),
]
AR_NAMES = [
    (r"^transformer\.wte", "latent_embed"), (r"^transformer\.cond_embed", "text_embed"),
    (r"^transformer\.h\.", "blocks."), (r"^transformer\.ln_f", "norm"), (r"^out_proj", "out"),
    (r"\.rms_1\.", ".norm_attention."), (r"\.rms_2\.", ".norm_mlp."),
    (r"\.attn\.c_attn", ".attention.qkv"), (r"\.attn\.c_proj", ".attention.out"), (r"\.attn\.", ".attention."),
    (r"\.mlp\.c_fc1", ".mlp.gate"), (r"\.mlp\.c_fc2", ".mlp.value"), (r"\.mlp\.c_proj", ".mlp.out"),
    (r"^diff_loss\.net\.", "head."), (r"^head\.cond_embed", "head.condition_embed"),
    (r"^head\.input_proj", "head.input"), (r"^head\.res_blocks", "head.blocks"), (r"\.in_ln\.", ".norm."),
    (r"^head\.final_layer\.adaLN_modulation\.1", "head.final_modulation"),
    (r"^head\.final_layer\.linear", "head.output"), (r"\.adaLN_modulation\.1", ".modulation"),
]


def load_published_tae(source: Path | str | Mapping) -> CausalTAE:
    """The authors' `net_last.pth` as a CausalTAE; the sizes come from the shapes.

    source  a path, or the dictionary that such a file holds ({"net": state} or the state itself)
    raises  FileNotFoundError; ValueError if it is not such a file
    """
    state = read_state(source, envelope="net", names=TAE_NAMES)
    config = sizes(source, lambda: TAE(latent_dim=state["from_latent.weight"].shape[1],
                                       width=state["from_latent.weight"].shape[0]))
    return fill(CausalTAE(config), state, describe(source))


def load_published_ar(source: Path | str | Mapping, heads: int = 12) -> StreamingTransformer:
    """The authors' AR checkpoint as a StreamingTransformer; the sizes come from the shapes, except `heads`.

    source  a path, or the dictionary that such a file holds ({"trans": state, ...} or the state itself)
    raises  FileNotFoundError; ValueError if it is not such a file
    """
    state = read_state(source, envelope="trans", names=AR_NAMES)

    def count(pattern: str) -> int:
        return len({match[0] for name in state if (match := re.match(pattern, name))})

    config = sizes(source, lambda: AR(
        latent_dim=state["latent_embed.weight"].shape[1], text_dim=state["text_embed.weight"].shape[1],
        width=state["latent_embed.weight"].shape[0], layers=count(r"blocks\.\d+\."), heads=heads,
        head_width=state["head.input.weight"].shape[0], head_depth=count(r"head\.blocks\.\d+\."),
    ))
    if config.width % (2 * heads):
        raise ValueError(f"a width of {config.width} cannot be cut into {heads} heads of even size: give heads=")
    return fill(StreamingTransformer(config), state, describe(source))


def read_state(source: Path | str | Mapping, envelope: str, names: list[tuple[str, str]]) -> dict[str, Tensor]:
    """Open the file and its envelope, drop `module.` prefixes, and translate the parameter names."""
    content = source if isinstance(source, Mapping) else load_torch(source)
    state = content.get(envelope, content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{describe(source)} holds no parameters under {envelope!r}: "
                         "expected the authors' checkpoint of this network")
    translated = {}
    for name, value in state.items():
        name = name.removeprefix("module.")
        for pattern, ours in names:
            name = re.sub(pattern, ours, name)
        translated[name] = value
    return translated


def sizes(source, read):
    """What `read()` finds in the shapes; a missing parameter means another network's file."""
    try:
        return read()
    except KeyError as error:
        raise ValueError(f"{describe(source)} is a checkpoint of another network: "
                         f"it has no {error.args[0]}") from None


def fill(model: Network, tensors: dict[str, Tensor], source: Path | str) -> Network:
    """`model` with these weights, in eval mode; every name and shape must fit, or ValueError names `source`."""
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split()[:40])
        raise ValueError(f"{source} does not fit {type(model).__name__} ({reason} ...): "
                         "give an undamaged checkpoint of this network") from None
    return model.eval()


def describe(source) -> str:
    return "the given dictionary" if isinstance(source, Mapping) else str(source)
