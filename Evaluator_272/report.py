"""What a table is written as: rows of metrics with their intervals, printed and as JSON, and what they were made of."""

import hashlib
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from Evaluator_272.metrics import mean_and_interval, too_few_for_fid
from utils.checkpoint import pointed

DECIMALS = {"PJ": 5, "AUJ": 5, "split-half AUJ": 5}    # metres per frame^3 are small; others have 3


def hash_of(source: Path, *statistics: np.ndarray) -> str:
    """sha256 of a checkpoint: its weights, its config and the statistics that it is used with."""
    source = pointed(source)
    paths = [source / "model.safetensors", source / "config.json"] if source.is_dir() else [source]
    found = hashlib.sha256()
    for part in [*(path.read_bytes() for path in paths), *(values.tobytes() for values in statistics)]:
        found.update(part)
    return found.hexdigest()


def hash_of_data(described_motions: Iterable[tuple[list, np.ndarray]]) -> str:
    """sha256 of motions, and of what counts beside each."""
    found = hashlib.sha256()
    for described, motion in described_motions:
        found.update(repr(described).encode() + motion.tobytes())
    return found.hexdigest()


def versions() -> dict[str, str]:
    return dict(python=platform.python_version(), torch=torch.__version__, numpy=np.__version__)


def summarise(repetitions: dict[str, Sequence[dict[str, float]]]) -> dict[str, dict[str, tuple[float, float]]]:
    """Row -> the metrics of each repetition  ->  row -> metric -> mean and half-width of its 95% interval."""
    return {row: {metric: mean_and_interval([one[metric] for one in found]) for metric in found[0]}
            for row, found in repetitions.items()}


def table(report: dict) -> str:
    """A report's rows as a table, mean ± half-width, and a warning for each FID of too few motions.

    report   "rows" as of `summarise`; "samples": metric -> motions that it is of, the smaller set's; "dimensions" of
             an embedding
    """
    columns = list(dict.fromkeys(metric for row in report["rows"].values() for metric in row))
    widths = {column: max(18, len(column) + 2) for column in columns}
    lines = [f"{'':26}" + "".join(f"{column:>{width}}" for column, width in widths.items())]
    for name, found in report["rows"].items():
        cells = {column: " ± ".join(f"{value:.{DECIMALS.get(column, 3)}f}" for value in found[column])
                 if column in found else "-" for column in columns}
        lines.append(f"{name:26}" + "".join(f"{cells[column]:>{width}}" for column, width in widths.items()))
    for name, size in report["samples"].items():
        if too_few_for_fid(size, report["dimensions"]):
            lines.append(f"{name}: {size} motions are too few for {report['dimensions']} channels, so it is large and "
                         "means little; compare it with the real row's only.")
    return "\n".join(lines)
