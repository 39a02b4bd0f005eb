"""What ships of MoSa, on a real clip. Skipped where it does not ship yet."""

import pytest
import torch

from Evaluator_272.metrics import mpjpe
from generation.mosa import SHIPPED
from models.checkpoints import load_mosa_tokenizer
from motion.representation_272 import motion272_to_positions

pytestmark = pytest.mark.skipif(not (SHIPPED / "tokenizer").is_dir(), reason="weights/mocap_mosa is not there")


@torch.no_grad()
def test_each_further_scale_lowers_the_error(golden_file):
    tokenizer = load_mosa_tokenizer(SHIPPED / "tokenizer")
    motion = golden_file("representation_272")[0]["motion_272"][:tokenizer.config.frames].float()
    found, joints = tokenizer.quantize(motion[None]), motion272_to_positions(motion.numpy())
    errors = [mpjpe(joints, motion272_to_positions(tokenizer.decode_latents(total, len(motion))[0].numpy()))
              for total in found.sums]
    assert all(finer < coarser for coarser, finer in zip(errors, errors[1:])), errors
