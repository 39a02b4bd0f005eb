"""What all benchmarks time and print with."""

import platform
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch


def timed(work: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Seconds, and what came out; a GPU has then done its work."""
    start = time.perf_counter()
    result = work(*arguments)
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return time.perf_counter() - start, result


def processor(device: torch.device | str = "cpu") -> str:
    """Its name, as far as the system tells."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*:\s*(.+)", info.read_text(encoding="utf-8")) if info.exists() else []
    return names[0] if names else platform.processor() or platform.machine()


def table(rows: Sequence[dict], columns: dict[str, tuple[str, str]]) -> str:
    """A line of headings, then one for each row; `columns`: key -> heading and format. A dash is None."""
    lines = [[heading for heading, _ in columns.values()]]
    lines += [["-" if row[key] is None else format(row[key], form) for key, (_, form) in columns.items()]
              for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths)) for line in lines)
