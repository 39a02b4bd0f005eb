"""The authors' evaluator file, read into our modules: the only place that knows its parameter names."""

import re
from collections.abc import Mapping
from pathlib import Path

from Evaluator_272.model import Evaluator
from models.published import describe, fill, read_state, sizes
from options.models import EvaluatorModel

NAMES = [
    (r"^motionencoder\.skel_embedding", "motion_embed"), (r"^textencoder\.projection\.1", "text_embed"),
    (r"^motionencoder\.", "motion_encoder."), (r"^textencoder\.", "text_encoder."), (r"^motiondecoder\.", "decoder."),
    (r"\.mu_token", ".mean_token"), (r"\.seqTrans(En|De)coder\.", ".blocks."), (r"\.final_layer\.", ".out."),
]
PARTS = ("motion_embed.", "motion_encoder.", "text_embed.", "text_encoder.", "decoder.")
BACKBONE = "text_encoder.text_model."


def load_published_evaluator(source: Path | str | Mapping, heads: int = 4,
                             text_backbone: str = EvaluatorModel.text_backbone) -> Evaluator:
    """The authors' `epoch=99.ckpt` as an Evaluator; widths and depths come from the shapes.

    source         a path, or the dictionary that such a file holds ({"state_dict": state} or the state itself). The
                   backbone's own weights, textencoder.text_model.*, may be there: then they are used
    text_backbone  the frozen encoder that it was trained with
    raises         FileNotFoundError; ValueError if it is not such a file, or the backbone is another
    """
    state = read_state(source, envelope="state_dict", names=NAMES)
    backbone = {name.removeprefix(BACKBONE): value for name, value in state.items() if name.startswith(BACKBONE)}
    state = {name: value for name, value in state.items()
             if name.startswith(PARTS) and not name.startswith(BACKBONE) and not name.endswith(".pe")}
    config = sizes(source, lambda: EvaluatorModel(
        text_backbone=text_backbone, text_dim=state["text_embed.weight"].shape[1],
        latent_dim=state["motion_embed.weight"].shape[0],
        feed_forward=state["motion_encoder.blocks.layers.0.linear1.weight"].shape[0],
        layers=len({match[0] for name in state if (match := re.match(r"motion_encoder\.blocks\.layers\.\d+\.", name))}),
        heads=heads))
    if config.latent_dim % heads:
        raise ValueError(f"a width of {config.latent_dim} cannot be cut into {heads} heads: give heads=")
    evaluator = fill(Evaluator(config), state, describe(source))
    if backbone:
        fill(evaluator.load_backbone().model, backbone, describe(source))
    return evaluator
