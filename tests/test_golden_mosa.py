"""MoSa's networks agree with the published ones, in two folders, and a number that differs is seen."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from conftest import GOLDEN
from golden_mosa import check

COPIES = Path(__file__).parent / "golden"
FILES = ("tokenizer", "quantizer", "sar", "generation")


@pytest.mark.parametrize("folder", sorted({COPIES.resolve(), GOLDEN.resolve()}))
def test_all_numbers_agree(folder, capsys):
    assert check(folder)
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) > 40 and "FAIL" not in printed


@pytest.mark.parametrize("file, name, group", [
    ("tokenizer", "reconstructed", "reconstructed"), ("tokenizer", "w/encoder.conv_in.bias", "z"),
    ("quantizer", "ema/l2/step2/code_sum_1", "ema/l2/step2"), ("quantizer", "znorm/grad_phi_0_first_weight", "znorm"),
    ("sar", "corrupted_ids_1", "corrupted_logits"), ("sar", "no_text_loss", "no_text_loss"),
    ("generation", "sampled/ids_2", "sampled"), ("generation", "smooth/z_hat", "smooth"),
    ("generation", "edit/mask", "edit"), ("generation", "config", "config nb_codes"), ("sar", "more", "more"),
])
def test_a_changed_number_fails(tmp_path, capsys, file, name, group):
    for one in FILES:
        shutil.copy(COPIES / f"mosa_{one}.npz", tmp_path)
    path = tmp_path / f"mosa_{file}.npz"
    with np.load(path) as arrays:
        changed = dict(arrays)
    if name == "config":
        changed[name] = np.array(str(changed[name]).replace('"nb_codes": [13, 15', '"nb_codes": [13, 16'))
    else:
        values = np.array(changed.get(name, np.zeros(1, np.float32)))
        flip = values.dtype.kind in "ib" or name == "edit/mask"
        values.flat[0] = 1 - values.flat[0] if flip else values.flat[0] + 0.1
        changed[name] = values
    np.savez(path, **changed)
    assert not check(tmp_path)
    failed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAIL")]
    assert any(line.split()[1:3] == [f"{file}:", group.split()[0]] for line in failed), failed


def test_a_missing_file_is_named(tmp_path, refused):
    import golden_mosa
    assert "mosa_tokenizer.npz" in refused(golden_mosa.main, tmp_path)
