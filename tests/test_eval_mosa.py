"""eval_t2m.py on MoSa: rows beside the real ones."""

from dataclasses import replace

import numpy as np
import pytest

from models.checkpoints import mosa_checkpoint, mosa_tokenizer_checkpoint
from models.text_encoder import MINILM
from options.sampling import MoSaFlags
from test_eval_t2m import pytestmark, rows, set_up    # noqa: F401, a fixture
from test_generate_mosa import checkpoint
from test_mosa import tokenizer
from train_mosa_tokenizer import TINY
from utils.checkpoint import save_checkpoint


@pytest.fixture(scope="module")
def mosa(set_up, tmp_path_factory):    # noqa: F811
    folder, codes = tmp_path_factory.mktemp("mosa"), tokenizer(TINY)
    save_checkpoint(folder / "tokenizer", *mosa_tokenizer_checkpoint(codes))
    save_checkpoint(folder / "transformer", *mosa_checkpoint(checkpoint(384, MINILM, codes)))
    return replace(set_up, model="mosa", resume_pth=folder / "tokenizer", resume_trans=folder / "transformer",
                   repetitions=1)


def test_a_reconstructed_row(mosa):
    config = replace(mosa, target="mosa-tokenizer")
    found = rows(config)
    assert set(found) == {"real", "mosa-tokenizer"}
    row = found["mosa-tokenizer"]
    assert row["MPJPE"][0] > 0 and 0 < row["code use %"][0] <= 100 and row["perplexity"][0] >= 1
    assert rows(config) == found                                         # from what is kept


def test_a_generated_row(mosa):
    found = rows(replace(mosa, target="t2m", multimodality_texts=2, multimodality_motions=20))
    assert set(found) == {"real", "mosa"} and found["mosa"]["MModality"][0] > 0
    assert all(np.isfinite(value).all() for value in found["mosa"].values())
    other = rows(replace(mosa, target="t2m", mosa=MoSaFlags(cond_scale=0.0)))
    assert other["mosa"]["FID"] != found["mosa"]["FID"]
