"""MoSa's published files: what loads, and what refuses with one sentence."""

import numpy as np
import pytest
import torch

from conftest import assert_relative
from models.published import load_published_mosa_tokenizer, load_published_mosa_transformer
from test_published import Code

SCALES = (2, 5, 9, 16)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("envelope", ["vq_model", "net", None])
def test_tokenizer_loads(tmp_path, golden_file, prefix, envelope):
    """Scales from opt.txt and statistics from meta/, where the authors' folders have them."""
    numbers, weights = golden_file("mosa_tokenizer")
    state = {prefix + name: value for name, value in weights.items()}
    (tmp_path / "model").mkdir()
    (tmp_path / "meta").mkdir()
    (tmp_path / "opt.txt").write_text("width: 16\nscales: [2, 5, 9, 16]\n")
    for name, value in (("mean", 0.5), ("std", 2.0)):
        np.save(tmp_path / "meta" / f"{name}.npy", np.full(272, value, np.float32))
    torch.save({envelope: state, "ep": 3} if envelope else state, tmp_path / "model" / "net_best_fid.tar")
    tokenizer = load_published_mosa_tokenizer(tmp_path / "model" / "net_best_fid.tar")
    assert tokenizer.config.codes.scales == SCALES and not tokenizer.training
    assert tokenizer.has_statistics and (tokenizer.mean == 0.5).all() and (tokenizer.std == 2).all()
    assert_relative(tokenizer.encode_normalised(numbers["motion"]), numbers["z"])


def test_another_number_of_scales_refuses(golden_file):
    state = {"net": golden_file("mosa_tokenizer")[1]}
    with pytest.raises(ValueError, match="has 4 scales, expected 10, 3 6 10 .*: give scales="):
        load_published_mosa_tokenizer(state)
    with pytest.raises(ValueError, match="rows of padding, expected a multiple of the 68 frames.*: give scales="):
        load_published_mosa_tokenizer(state, scales=(2, 5, 9, 17))


@pytest.mark.parametrize("envelope", ["t2m_transformer", "trans", None])
def test_transformer_loads(tmp_path, golden_file, envelope):
    numbers, weights = golden_file("mosa_sar")
    weights = {name: value for name, value in weights.items()}
    torch.save({envelope: weights} if envelope else weights, tmp_path / "latest.tar")
    model = load_published_mosa_transformer(tmp_path / "latest.tar", heads=2)
    assert model.codes.scales == SCALES and model.codes.nb_codes == (13, 15, 18, 20) and not model.training


def test_heads_that_do_not_divide_the_width_refuse(golden_file):
    with pytest.raises(ValueError, match="width of 32 cannot be cut into 3 heads of even size: give heads="):
        load_published_mosa_transformer({"trans": golden_file("mosa_sar")[1]}, heads=3)


@pytest.mark.parametrize("load, other", [(load_published_mosa_tokenizer, "mosa_sar"),
                                         (load_published_mosa_transformer, "mosa_tokenizer")])
def test_the_other_networks_file_refuses(golden_file, load, other):
    with pytest.raises(ValueError, match="the given dictionary is a checkpoint of another network: it has no "):
        load({"net": golden_file(other)[1], "trans": golden_file(other)[1]})


@pytest.mark.parametrize("load", [load_published_mosa_tokenizer, load_published_mosa_transformer])
def test_code_in_a_file_does_not_run(tmp_path, load):
    torch.save({"net": {"x": Code(tmp_path / "ran")}}, tmp_path / "net.tar")
    with pytest.raises(ValueError, match="net.tar is damaged or holds more than tensors"):
        load(tmp_path / "net.tar")
    assert not (tmp_path / "ran").exists()
