"""Those habits of CONTRIBUTING.md that a machine can see: how long things are, which words and names they have."""

import ast
import importlib
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXTS = [Path(name) for name in subprocess.run(
    ["git", "ls-files", "*.py", "*.md", "*.sh", "*.ps1", "*.js", "*.css"], cwd=ROOT, capture_output=True,
    text=True).stdout.split() if not name.startswith("dataset/prepare/phrases/")]
FILES = [path for path in TEXTS if path.suffix == ".py"]
# Words of ours that gave way to the field's.
FORMER = re.compile(r"\b(rebuilt|rebuilds?|rebuilding|anew|lest|mend(ed|s)?|reckon\w*|re-?draws?|tera-?operations|"
                    r"texts? shuffled|unlike any caption|FID halves|recordings?|passe?s? of products?|Draws)\b")
NAMES = {"motion.representation_272": ("pose_to_motion272", "motion272_to_positions", "motion272_to_pose",
                                       "Motion272Decoder", "mirror_pose", "statistics", "FPS", "DIM"),
         "models.causal_tae": ("CausalTAE",), "models.two_forward": ("two_forward_loss",),
         "models.published": ("load_published_tae", "load_published_ar"),
         "models.pipeline": ("MotionStreamer",), "Evaluator_272.published": ("load_published_evaluator",)}

pytestmark = pytest.mark.skipif(not TEXTS, reason="this copy is no git checkout")


def text_of(path: Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def lengths(source: str) -> list[tuple[str, int]]:
    """Each function and its lines, without decorators."""
    return [(node.name, node.end_lineno - node.lineno + 1) for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_functions_and_files_are_short():
    long = [(path, name, lines) for path in FILES for name, lines in lengths(text_of(path)) if lines > 60]
    assert not long and not [path for path in FILES if text_of(path).count("\n") > 500]
    assert lengths("def f():\n    def g():\n        return 1\n    return g") == [("f", 4), ("g", 2)]


def test_models_are_as_short_as_the_papers():
    """Without MoSa's, which are beside them."""
    assert sum(text_of(path).count("\n") for path in FILES if path.parent == Path("models")) <= 1500


@pytest.mark.parametrize("path", TEXTS, ids=str)
def test_words_are_the_fields(path):
    if path != Path("tests/test_habits.py"):
        assert not [line for line in text_of(path).splitlines() if FORMER.search(line)]


@pytest.mark.parametrize("module", NAMES)
def test_programs_find_names_where_they_were(module):
    assert all(hasattr(importlib.import_module(module), name) for name in NAMES[module])
