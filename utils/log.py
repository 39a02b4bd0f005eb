"""What people look at while a run trains: a progress bar or plain lines, and TensorBoard, of rank 0 only."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary    # pyright: ignore[reportAttributeAccessIssue]
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from utils.distributed import mean_over_ranks, rank


class Log:
    """Averages what a run reports, over steps and ranks, and shows it."""

    def __init__(self, folder: Path, first_step: int, total_steps: int, samples_per_step: int,
                 device: torch.device) -> None:
        speaks = rank() == 0
        # What a killed run logged after its last checkpoint comes again; TensorBoard drops the first.
        self.writer = SummaryWriter(str(folder), purge_step=first_step) if speaks else None
        self.bar = tqdm(total=total_steps, initial=first_step - 1, dynamic_ncols=True,
                        disable=None if speaks else True)  # None: disabled where there is no terminal
        self.lines = speaks and not sys.stderr.isatty()
        self.total, self.samples_per_step, self.device = total_steps, samples_per_step, device
        self.first, self.begun = first_step, time.perf_counter()
        self._restart()

    def add(self, values: dict[str, Tensor]) -> None:
        """Count one step's scalars into the running averages."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.detach().float()
        self.steps += 1
        self.bar.update()

    def show_averages(self, step: int, lr: float) -> None:
        """Show the averages since the last call, with rate and memory. Every rank calls it."""
        losses = {name: float(total) / self.steps for name, total in self.sums.items()}
        losses = mean_over_ranks(losses, self.device)
        rate = self.steps * self.samples_per_step / (time.perf_counter() - self.since)
        self.bar.set_postfix(loss=f"{losses['loss']:.4g}", samples_per_s=f"{rate:.0f}")
        if self.lines:
            self.say(f"step {step}/{self.total}  {_words(losses)}  lr {lr:.3g}  {rate:.0f} samples/s  "
                     f"{self._time_left(step)} left")
        self._write(step, {f"train/{name}": value for name, value in losses.items()})
        self._write(step, {"run/lr": lr, "run/samples_per_second": rate,
                           "run/peak_memory_gb": _peak_memory(self.device)})
        self._restart()

    def show_metrics(self, step: int, metrics: dict[str, float]) -> None:
        """Show the results of an evaluation."""
        self.say(f"step {step}: {_words(metrics)}")
        self._write(step, {f"val/{name}": value for name, value in metrics.items()})

    def show_videos(self, step: int, videos: dict[str, bytes]) -> None:
        """Put GIFs among TensorBoard's images, where they move."""
        for name, gif in videos.items():
            if self.writer:
                width, height = Image.open(BytesIO(gif)).size
                image = Summary.Image(encoded_image_string=gif, width=width, height=height, colorspace=3)
                summary = Summary(value=[Summary.Value(tag=f"video/{name}", image=image)])
                self.writer._get_file_writer().add_summary(summary, step)

    @contextmanager
    def off_the_clock(self) -> Iterator[None]:
        """What is done here does not count into the samples per second."""
        start = time.perf_counter()
        yield
        self.since += time.perf_counter() - start

    def say(self, text: str) -> None:
        """Print a line without breaking the bar."""
        if self.writer:
            self.bar.write(text, file=sys.stdout)
            sys.stdout.flush()

    def flush(self) -> None:
        """Bring everything so far to disk, so that a checkpoint never knows more steps than TensorBoard."""
        if self.writer:
            self.writer.flush()

    def close(self) -> None:
        """End bar and TensorBoard file."""
        self.bar.close()
        if self.writer:
            self.writer.close()

    def _write(self, step: int, values: dict[str, float]) -> None:
        if self.writer:
            for name, value in values.items():
                self.writer.add_scalar(name, value, step)

    def _time_left(self, step: int) -> timedelta:
        """At the pace since this process began, evaluations included."""
        pace = (time.perf_counter() - self.begun) / (step - self.first + 1)
        return timedelta(seconds=round(pace * (self.total - step)))

    def _restart(self) -> None:
        self.sums, self.steps, self.since = {}, 0, time.perf_counter()


def _words(values: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())


def _peak_memory(device: torch.device) -> float:
    """In gigabytes: the accelerator's where it counts, else the process's own; 0 where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    try:
        import resource
    except ImportError:                             # Windows does not say
        return 0.0
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is bytes on macOS, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
