"""README and docs: short enough, every link leads somewhere, every command is one that the scripts take."""

import importlib
import re
import shlex
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands() -> list[str]:
    """All commands that begin with python or bash, in blocks and in the text, in one line each."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        found += [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
        found += re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    lines = [" ".join(command.split()).split(" #")[0] for command in found]
    return sorted({line for line in lines if re.match(r"python (-m )?[\w.]+|bash scripts/", line)
                   and "..." not in line})


def test_commands_are_found():
    assert len(commands()) > 40 and 'bash scripts/quickstart.sh "an old person' in " ".join(commands())


@pytest.mark.parametrize("command", commands())
def test_scripts_take_the_command(command, monkeypatch, capsys):
    """Each script reads its options and stops; a launcher has to be there."""
    words = shlex.split(command)
    if words[0] == "bash":
        assert (ROOT / words[1]).is_file()
        return
    module, options = (words[2], words[3:]) if words[1] == "-m" else (words[1].removesuffix(".py"), words[2:])
    if module == "dataset.prepare":
        monkeypatch.setattr(sys, "argv", [module, *options])
        if "--source" in options:
            importlib.import_module("dataset.prepare.__main__").parse_arguments()
        return
    monkeypatch.setattr(sys, "argv", [module, *options, "--dry-run"])
    with pytest.raises(SystemExit) as stop:
        importlib.import_module(module).main()
    assert not stop.value.code, capsys.readouterr().err


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith("http")]
    for link in links:
        path, _, anchor = link.partition("#")
        assert (page.parent / path).exists(), link
        assert not anchor or anchor in anchors(page.parent / path if path else page), link


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_of_docs_is_linked_from_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"docs/{page.name}" in text for page in (ROOT / "docs").glob("*.md"))


def test_readme_is_short():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200 and len(text.encode()) <= 12_500


def test_python_of_the_readme_imports_what_exists():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    imports = re.findall(r"^from ([\w.]+) import (\w+)$", text, re.MULTILINE)
    assert imports and all(hasattr(importlib.import_module(module), name) for module, name in imports)
