"""Imports point one way: a file knows only what is below it in the README's list, and no two files know each other."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALIAS = "models/pipeline.py"    # an old name of generation/pipeline.py
TREE = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Repository layout")[2].partition("\n## ")[0]
PACKAGES = re.findall(r"^(\w+)/ ", TREE, re.MULTILINE)
LAYERS = PACKAGES[:PACKAGES.index("options") + 1]                 # what is lowest comes last
ON_TOP = (*LAYERS, "", "scripts", "benchmarks", "tests")          # "": the scripts beside them, which know all of it
FILES = sorted(path.relative_to(ROOT).as_posix() for package in ON_TOP
               for path in (ROOT / package).glob("**/*.py" if package else "*.py"))


def layer_of(name: str) -> str:
    """The package of a file, or of a module, of ours; "" for a script beside them."""
    first = re.split(r"[/.]", name)[0]
    return first if first in ON_TOP else ""


def imported(source: str) -> Iterator[str]:
    """The full names of all that a Python file imports, wherever it does."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level and node.module, "expected imports by full names, from the repository's root"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files_of(source: str) -> set[str]:
    """Those of our files that a Python file imports."""
    found = set()
    for name in imported(source):
        parts = name.split(".")
        paths = ["/".join(some) + end for some in (parts, parts[:-1]) for end in (".py", "/__init__.py")]
        found.update([path for path in paths if path in KNOWN][:1])
    return found


KNOWN = set(FILES)
USES = {name: files_of((ROOT / name).read_text(encoding="utf-8")) for name in FILES}


def too_high(name: str, uses: set[str]) -> list[str]:
    """Those of the files that `name` uses and that are no lower than its package."""
    layer = layer_of(name)
    if layer == "tests":
        return []
    below = LAYERS[LAYERS.index(layer):] if layer in LAYERS else [*LAYERS, layer, ""]
    return sorted(other for other in uses if layer_of(other) not in below)


def test_the_layers_are_those_of_the_readme():
    assert LAYERS == ["live", "Evaluator_272", "generation", "dataset", "models", "motion", "utils", "options"]
    assert {path.parent.name for path in ROOT.glob("[!.]*/*.py")} <= set(PACKAGES)


@pytest.mark.parametrize("layer", [*LAYERS, "", "scripts", "benchmarks"])
def test_imports_point_downward(layer):
    found = {name: high for name in FILES if layer_of(name) == layer and (high := too_high(name, USES[name]))}
    assert found == ({ALIAS: ["generation/pipeline.py"]} if layer == "models" else {})


def test_the_one_exception_is_an_alias():
    """It defines nothing, and none of ours but tests uses it."""
    body = ast.parse((ROOT / ALIAS).read_text(encoding="utf-8")).body
    assert all(isinstance(node, (ast.Expr, ast.ImportFrom, ast.Assign)) for node in body)
    assert not [name for name, uses in USES.items() if ALIAS in uses and layer_of(name) != "tests"]


def test_no_files_import_each_other():
    """What nothing known imports is taken away until nothing is left."""
    uses = {name: others - {name} for name, others in USES.items()}
    while free := [name for name in uses if not any(name in others for others in uses.values())]:
        for name in free:
            del uses[name]
    assert not uses, f"in a circle, or used by one: {sorted(uses)}"


@pytest.mark.parametrize("name, source", [
    ("models/head.py", "from generation.fast import accelerate"), ("models/head.py", "import dataset.clips"),
    ("utils/log.py", "def late():\n    from motion import rotation"), ("motion/render.py", "from models import head"),
    ("generation/streams.py", "import Evaluator_272.metrics"), ("options/sampling.py", "from utils import log"),
    ("dataset/clips.py", "from generation import pipeline"), ("generation/pipeline.py", "import train_t2m"),
    ("train_t2m.py", "from benchmarks import geometry"), ("scripts/release.py", "import benchmarks.geometry"),
])
def test_an_import_of_what_is_above_is_seen(name, source):
    assert name in FILES and too_high(name, files_of(source))
