"""Options: dataclasses to command line to JSON and back."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from options import from_json, opt, parse, to_json
from options.data import Data
from options.models import SAR
from options.training import Training

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Model:
    """A network."""

    width: int = opt(8, "channels")
    dilations: tuple[int, ...] = opt((9, 3, 1), "of the blocks")


@dataclass(frozen=True)
class Script:
    """A script."""

    model: Model = Model()
    text: tuple[str, ...] = opt((), "what happens")
    out: Path = opt(Path("demo_output"), "folder, 100% ours")
    seed: int = opt(0, "of the noise")
    guidance: float | None = opt(None, "how closely the text is followed")
    tae: str = opt("weights", "checkpoint", flag="resume-pth")
    mode: str = opt("pos", "drawn from", choices=("pos", "rot"))
    cache_text: bool = opt(True, "keep the embeddings")


PRESETS = {"full": Script(), "tiny": Script(Model(width=2, dilations=(1,)), guidance=2.0, cache_text=False)}


def test_nothing_typed_gives_the_first_preset():
    assert parse(PRESETS, []) == Script()


def test_precedence():
    """defaults < preset < typed flags, wherever the preset stands"""
    config = parse(PRESETS, ["--width", "3", "--preset", "tiny", "--seed=5"])
    assert config == Script(Model(width=3, dilations=(1,)), seed=5, guidance=2.0, cache_text=False)


def test_options_that_must_fit_one_another_are_changed_at_once():
    assert parse({"small": SAR(latent_dim=320, n_heads=5)}, "--latent-dim 256 --n-heads 4".split()) == SAR(
        latent_dim=256, n_heads=4)


@pytest.mark.parametrize("line, expected", [
    ("--text walk --text run", dict(text=("walk", "run"))),
    ("--text walk run", dict(text=("walk", "run"))),
    ("--resume-pth a_b/c", dict(tae="a_b/c")),
    ("--resume_pth=a_b/c", dict(tae="a_b/c")),
    ("--cache-text --no-cache_text", dict(cache_text=False)),
    ("--guidance 4", dict(guidance=4.0)),
    ("--dilations 4 5", dict(model=Model(dilations=(4, 5)))),
    ("--out x_y", dict(out=Path("x_y"))),
])
def test_flags(line, expected):
    assert parse({"only": Script()}, line.split()) == replace(Script(), **expected)


@pytest.mark.parametrize("line, complaint", [
    ("--widht 3", "--widht"),
    ("--wid 3", "--wid"),
    ("--mode both", "invalid choice: 'both'"),
    ("--width wide", "invalid int value: 'wide'"),
    ("--preset full", "--preset"),
    ("--tae x", "--tae"),
])
def test_mistakes_exit_2_and_are_named(line, complaint, capsys):
    with pytest.raises(SystemExit) as end:
        parse({"only": Script()}, line.split())
    assert end.value.code == 2 and complaint in capsys.readouterr().err


def test_help_shows_the_presets_own_defaults(capsys):
    with pytest.raises(SystemExit):
        parse(PRESETS, ["--preset", "tiny", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "channels (default: 2)" in shown and "folder, 100% ours (default: demo_output)" in shown


def test_the_resolved_config_is_printed_and_dry_run_stops(capsys, monkeypatch):
    with pytest.raises(SystemExit) as end:
        parse(PRESETS, ["--dry_run", "--width", "5"])
    assert not end.value.code
    assert from_json(Script, json.loads(capsys.readouterr().out)) == Script(Model(width=5))
    monkeypatch.setenv("RANK", "1")
    parse(PRESETS, [])
    assert not capsys.readouterr().out


@pytest.mark.parametrize("config", [*PRESETS.values(), Training(Data("mocap_272", Path("x")), lr_scheduler=(4, 5))])
def test_json_round_trip(config):
    assert from_json(type(config), json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.parametrize("values, complaint", [
    (dict(widht=3), "Script has no option 'widht'; expected some of model, text"),
    (dict(model=dict(wide=3)), "Model has no option 'wide'"),
    (dict(seed="3"), "'seed' is '3', expected int"),
    (dict(seed=True), "'seed' is True, expected int"),
    (dict(model=dict(dilations=[1, 2.5])), "'dilations' is 2.5, expected int"),
    (dict(text="walk"), "'text' is 'walk', expected several str"),
    (dict(model=8), "'model' is 8, expected Model"),
])
def test_wrong_json_refuses(values, complaint):
    with pytest.raises(ValueError, match=complaint):
        from_json(Script, values)


def test_json_numbers_and_missing_keys():
    """JSON may write 4.0 as 4, and older files lack newer options."""
    assert from_json(Script, dict(guidance=4)) == Script(guidance=4.0)


@pytest.mark.parametrize("mistake, printed", [
    ("raise ValueError('found 3, expected 4.')", "error: found 3, expected 4."),
    ("open('nowhere')", "error: [Errno 2] No such file or directory: 'nowhere'"),
])
def test_a_script_ends_with_one_line_and_status_2(mistake, printed):
    code = f"from utils.errors import run\ndef main():\n    {mistake}\nrun(main)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                           env=os.environ | dict(PYTHONPATH=str(ROOT)))
    assert ended.returncode == 2 and ended.stderr == printed + "\n"
