"""The evaluator's checkpoint folders <-> networks."""

from pathlib import Path
from typing import Any

from torch import Tensor

from Evaluator_272.model import Evaluator
from Evaluator_272.published import load_published_evaluator
from models.published import fill
from options import from_json, to_json
from options.models import EvaluatorModel
from utils.checkpoint import load_checkpoint, pointed


def evaluator_checkpoint(evaluator: Evaluator, mean: Tensor, std: Tensor) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_checkpoint` writes: the tensors, with the statistics (272,) of the data, and the config."""
    return dict(evaluator.state_dict(), mean=mean, std=std), dict(evaluator=to_json(evaluator.config))


def load_evaluator(source: Path | str) -> tuple[Evaluator, Tensor | None, Tensor | None]:
    """An evaluator -> the network, and the mean and std (272,) that normalise its motions.

    source  a checkpoint folder, whose decoder may be left out, since only training needs it; or the authors' file,
            whose statistics lie with the data (None, None)
    raises  FileNotFoundError, or ValueError for a damaged checkpoint or another network's
    """
    if pointed(source).is_file():
        return load_published_evaluator(source), None, None
    tensors, config = load_checkpoint(source)
    if "evaluator" not in config or "mean" not in tensors or "std" not in tensors:
        raise ValueError(f"{source} is not an evaluator's checkpoint. Make one: "
                         "python -m Evaluator_272.train --preset mocap_272")
    mean, std = tensors.pop("mean"), tensors.pop("std")
    decodes = any(name.startswith("decoder.") for name in tensors)
    return fill(Evaluator(from_json(EvaluatorModel, config["evaluator"]), decodes), tensors, source), mean, std
