"""The authors' checkpoint files, read into our modules: the only place that knows their parameter names."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from models.causal_tae import CausalTAE
from models.mosa.tokenizer import CAQVAE
from models.mosa.transformer import ScaleTransformer
from models.transformer import StreamingTransformer
from options.models import AR, CAQ, SAR, TAE, Codes
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
MOSA_TOKENIZER_NAMES = [
    (r"\.(down|up)\.(\d+)\.block\.", r".levels.\2.blocks."), (r"\.(down|up)\.(\d+)\.attn\.", r".levels.\2.attentions."),
    (r"\.(down|up)\.(\d+)\.(down|up)sample\.", r".levels.\2.resample."),
    (r"\.mid\.block_1\.", ".middle.0."), (r"\.mid\.attn_1\.", ".middle.1."), (r"\.mid\.block_2\.", ".middle.2."),
    (r"\.norm_out\.", ".norm."), (r"\.nin_shortcut\.", ".shortcut."), (r"\.proj_out\.", ".out."),
    (r"^quantizer\.layers\.(\d+)\.codebook$", r"quantizer.books.\1.codes"),
    (r"^quantizer\.layers\.(\d+)\.code_", r"quantizer.books.\1."), (r"(\.books\.\d+\.)(sum|count)$", r"\1\2s"),
    (r"\.phi\.", "."),
]
MOSA_TRANSFORMER_NAMES = [
    (r"^pos_start$", "start"), (r"^input_process\.", "code_embed."), (r"^input_emb\.", "text_embed."),
    (r"^len_embed\.", "length_embed."), (r"^lvl_embed\.", "scale_embed."),
    (r"\.ln0\.", ".norm_cross."), (r"\.ln0_t\.", ".norm_text."),
    (r"\.ln1\.", ".norm_self."), (r"\.ln2\.", ".norm_mlp."),
    (r"\.attn0\.", ".cross."), (r"\.attn\.", ".attention."),
    (r"\.mlp\.0\.c_fc1\.", ".mlp.gate."), (r"\.mlp\.0\.c_fc2\.", ".mlp.value."),
    (r"\.mlp\.0\.c_proj\.", ".mlp.proj."),
]
MOSA_SCALES = (3, 6, 10, 15, 20, 25, 30, 36, 42, 49)      # the published ones, for 196 frames at 20 fps


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

    config = sizes(source, lambda: AR(
        latent_dim=state["latent_embed.weight"].shape[1], text_dim=state["text_embed.weight"].shape[1],
        width=state["latent_embed.weight"].shape[0], layers=count(state, r"blocks\.\d+\."), heads=heads,
        head_width=state["head.input.weight"].shape[0], head_depth=count(state, r"head\.blocks\.\d+\."),
    ))
    if config.width % (2 * heads):
        raise ValueError(f"a width of {config.width} cannot be cut into {heads} heads of even size: give heads=")
    return fill(StreamingTransformer(config), state, describe(source))


def load_published_mosa_tokenizer(source: Path | str | Mapping, scales: Sequence[int] | None = None,
                                  znorm: bool = True) -> CAQVAE:
    """The authors' tokenizer, `net_best_fid.tar` and the like, as a CAQVAE; most sizes come from the shapes.

    source  a path, or the dictionary that such a file holds ({"vq_model" or "net": state} or the state itself)
    scales  of the codes, which no shape tells; None: as opt.txt says, a folder above the file, else the published
    znorm   whether codes are found by the cosine
    returns the network, its padding group 0 of the authors' bank; with its statistics if ../meta/ has them
    raises  FileNotFoundError; ValueError if it is not such a file, or has another number of scales
    """
    state = read_state(source, envelope=("vq_model", "net"), names=MOSA_TOKENIZER_NAMES)

    def width(name: str) -> int:
        return state[f"{name}.weight"].shape[0]

    def read() -> CAQ:
        books, levels = count(state, r"quantizer\.books\.\d+\."), count(state, r"encoder\.levels\.\d+\.")
        found = tuple(scales or scales_beside(source) or MOSA_SCALES)
        first, last = (len(state[f"quantizer.books.{q}.codes"]) for q in (0, books - 1))
        if len(found) != count(state, r"quantizer\.phis\.\d+\."):
            raise ValueError(f"{describe(source)} has {count(state, r'quantizer.phis.[0-9]+.')} scales, expected "
                             f"{len(found)}, {' '.join(map(str, found))}: give scales=")
        base = width("encoder.conv_in")
        return CAQ(
            channels=width("decoder.conv_out"), codes=Codes(found, first, last, width("encoder.conv_out"), books == 1),
            width=base, width_mul=tuple(width(f"encoder.levels.{i}.blocks.0.conv1") // base for i in range(levels)),
            depth=count(state, r"encoder\.levels\.0\.blocks\.\d+\."), using_znorm=znorm,
            phi_k=state["quantizer.phis.0.0.0.weight"].shape[-1], phi_depth=count(state, r"quantizer\.phis\.0\.\d+\."))

    config = sizes(source, read)
    bank = state.pop("virtual_slot", torch.zeros(config.frames, config.channels))          # (groups T, D)
    if len(bank) % config.frames:
        raise ValueError(f"{describe(source)} has {len(bank)} rows of padding, expected a multiple of the "
                         f"{config.frames} frames of {len(config.codes.scales)} scales: give scales=")
    unused = re.compile(r"initted$|\.initted$|^decoder\.levels\.0\.resample\.")
    state = {name: value for name, value in state.items() if not unused.search(name)}
    mean, std = statistics_beside(source, config.channels)
    return fill(CAQVAE(config), state | {"quantizer.initialised": torch.tensor(True), "padding": bank[:config.frames],
                                         "mean": mean, "std": std}, describe(source))


def load_published_mosa_transformer(source: Path | str | Mapping, heads: int = 6) -> ScaleTransformer:
    """The authors' transformer, `net_best_fid.tar` and the like; the sizes come from the shapes, except `heads`.

    source  a path, or the dictionary that such a file holds ({"t2m_transformer" or "trans": state} or the state)
    raises  FileNotFoundError; ValueError if it is not such a file
    """
    state = read_state(source, envelope=("t2m_transformer", "trans"), names=MOSA_TRANSFORMER_NAMES)

    def read() -> tuple[SAR, Codes]:
        width, code_dim = state["code_embed.weight"].shape
        if width % (2 * heads):
            raise ValueError(f"a width of {width} cannot be cut into {heads} heads of even size: give heads=")
        scales = state.pop("lvl_1L").flatten().bincount()
        codes = [len(state[f"heads.{q}.weight"]) for q in range(len(scales))]
        return (SAR(text_dim=state["text_embed.weight"].shape[1], latent_dim=width, n_heads=heads,
                    n_layers=count(state, r"blocks\.\d+\."), ff_size=len(state["blocks.0.mlp.gate.weight"])),
                Codes(tuple(scales.tolist()), codes[0], codes[-1], code_dim))

    config = sizes(source, read)
    for name in ("freqs_cis", "attn_mask"):                                               # formulae
        state.pop(name, None)
    return fill(ScaleTransformer(*config), state, describe(source))


def count(state: Mapping, pattern: str) -> int:
    """How many different beginnings of parameter names fit the pattern."""
    return len({match[0] for name in state if (match := re.match(pattern, name))})


def scales_beside(source: Path | str | Mapping) -> list[int]:
    """The scales of the opt.txt, lines of `key: value`, in the folder above a MoSa file's; [] if it does not say."""
    path = Path() if isinstance(source, Mapping) else Path(source).parent.parent / "opt.txt"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    line = re.search(r"^scales:(.*)$", text, re.MULTILINE)
    return [int(number) for number in re.findall(r"\d+", line[1])] if line else []


def statistics_beside(source: Path | str | Mapping, channels: int) -> tuple[Tensor, Tensor]:
    """mean and std (D,) of the folder meta/ beside a MoSa file's; 0 and 1 if it is not there."""
    if isinstance(source, Mapping):
        return torch.zeros(channels), torch.ones(channels)
    paths = [Path(source).parent.parent / "meta" / name for name in ("mean.npy", "std.npy")]
    if not all(path.is_file() for path in paths):
        return torch.zeros(channels), torch.ones(channels)
    mean, std = (torch.from_numpy(np.load(path, allow_pickle=False)) for path in paths)
    return mean, std


def read_state(source: Path | str | Mapping, envelope: str | tuple[str, ...],
               names: list[tuple[str, str]]) -> dict[str, Tensor]:
    """Open the file and its envelope, of one of some names, drop `module.` prefixes, and translate the parameter
    names."""
    content = source if isinstance(source, Mapping) else load_torch(source)
    envelopes = (envelope,) if isinstance(envelope, str) else envelope
    state = None
    if isinstance(content, Mapping):
        state = next((content[name] for name in envelopes if name in content), content)
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{describe(source)} holds no parameters under {' or '.join(map(repr, envelopes))}: "
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
