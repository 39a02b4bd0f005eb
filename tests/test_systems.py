"""What Windows and macOS have otherwise: modules that are missing, links that became text files."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from utils.checkpoint import load_torch
from utils.errors import run

ROOT = Path(__file__).resolve().parents[1]


def test_scripts_import_without_modules_of_posix():
    """None of these is on Windows."""
    names = [path.stem for path in sorted(ROOT.glob("*.py"))]
    names += ["dataset.prepare.__main__", "live.files", "live.visits"]
    code = f"""import sys, importlib
sys.modules.update(dict.fromkeys(["fcntl", "resource", "termios", "pwd", "grp"]))
for name in {names!r}:
    importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                          env=os.environ | dict(PYTHONPATH=str(ROOT)))
    assert done.returncode == 0, done.stderr[-500:]


def test_the_repository_has_no_links():
    listed = subprocess.run(["git", "ls-files", "-s"], cwd=ROOT, capture_output=True, text=True).stdout
    assert not [line for line in listed.splitlines() if line.startswith("120000")]


COMMANDS = r"demo_\w+\.py|--(?:text|constraint)|npy,\w+,mp4|train,figures|an old person[\w ]+|requirements.lock|[.]venv"


@pytest.mark.parametrize("name", ["setup", "quickstart"])
def test_scripts_for_windows_do_what_those_for_bash_do(name):
    """The same files, flags and sentence; in ASCII, for PowerShell 5.1; lists in quotes, without which they split."""
    bash, windows = ((ROOT / "scripts" / f"{name}.{kind}").read_text(encoding="utf-8") for kind in ("sh", "ps1"))
    assert windows.isascii() and not re.search(r"--\w+ \w+,", windows)
    found = set(re.findall(COMMANDS, bash))
    assert len(found) > 3 and not [said for said in found if said not in windows]


def test_a_terminal_that_has_not_all_letters_prints_what_it_can(monkeypatch):
    shown = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", shown)
    run(lambda: print("左足 -> Hüfte"))
    shown.flush()
    assert shown.buffer.getvalue().decode("cp1252").strip() == r"\u5de6\u8db3 -> Hüfte"


def test_a_link_that_became_a_text_file_is_named(tmp_path):
    (tmp_path / "tae").write_text("../mocap_small/tae")
    with pytest.raises(ValueError, match="tae is a text file that names ../mocap_small/tae: git .* link"):
        load_torch(tmp_path / "tae")


def test_shards_are_made_without_locks(tmp_path, monkeypatch):
    from dataset.clips import load_clips
    from options.data import Data
    from test_clips import MOTION, make_folder
    for module in ("fcntl", "msvcrt"):
        monkeypatch.setitem(sys.modules, module, None)
    make_folder(tmp_path, {"a": MOTION})
    assert len(load_clips(Data("mocap_272", tmp_path))) == 1
