"""Frozen dataclasses as options: one declaration gives the command line, the printed and the stored config.

    @dataclass(frozen=True)
    class TAE:
        width: int = opt(1024, "channels of every hidden layer")

    config = parse({"full": TrainTAE(), "tiny": TrainTAE(TAE(width=32))})

A field whose type is a dataclass is flattened: `config.model.width` is `--width`. Precedence: defaults <
preset < typed flags. Field types: bool (`--x`, `--no-x`), int, float, str, Path, `T | None`, and
`tuple[T, ...]`, whose flag takes several values and may be repeated.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

Config = TypeVar("Config")


def opt(default: Any, help: str, flag: str | None = None, choices: tuple | None = None) -> Any:
    """A dataclass field with its help; `flag` ("resume-pth", or several: "mask -msec") replaces the field's name."""
    return field(default=default, metadata=dict(help=help, flag=flag, choices=choices))


def parse(presets: dict[str, Config], argv: list[str] | None = None, show: bool = True) -> Config:
    """Read the command line over a preset, print the resolved config as JSON and return it.

    presets   name -> config, all of one class; the first is the default, `--preset` is there for several
    argv      the command line without the script's name, by default the process's own
    show      False: print the config only with `--verbose`, which is then there, or `--dry-run`
    Hyphens and underscores are the same in a flag's name. `--dry-run` stops after printing, with status 0.
    """
    argv = [_hyphenate(word) for word in (sys.argv[1:] if argv is None else argv)]
    which = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    which.add_argument("--dry-run", action="store_true", help="print the resolved config and stop")
    if not show:
        which.add_argument("--verbose", action="store_true", help="print the resolved config first")
    if len(presets) > 1:
        which.add_argument("--preset", choices=list(presets), default=next(iter(presets)),
                           help="where the defaults come from (default: %(default)s)")
    chosen = which.parse_known_args(argv)[0]
    config = presets[getattr(chosen, "preset", next(iter(presets)))]

    parser = argparse.ArgumentParser(description=type(config).__doc__, parents=[which], allow_abbrev=False,
                                     argument_default=argparse.SUPPRESS)
    for path, hint, value, metadata in _leaves(config):
        _add_flag(parser, path, hint, value, **metadata)
    typed = vars(parser.parse_args(argv))
    config = _replaced(config, typed)
    shown = show or chosen.verbose or chosen.dry_run
    if shown and os.environ.get("RANK", "0") == "0":  # under torchrun one process speaks for all
        print(json.dumps(to_json(config), indent=2), flush=True)
    if chosen.dry_run:
        sys.exit(0)
    return config


def to_json(config: Any) -> dict[str, Any]:
    """The config as a dict that `json.dump` writes and `from_json` reads back."""
    return json.loads(json.dumps(asdict(config), default=str))  # tuples become lists, paths strings


def from_json(cls: type[Config], values: dict[str, Any]) -> Config:
    """Inverse of `to_json`; a key that is left out takes its default.

    Raises ValueError for a key that `cls` does not have and for a value of another type.
    """
    hints = get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ValueError(f"{cls.__name__} has no option {', '.join(map(repr, unknown))}; "
                         f"expected some of {', '.join(hints)}.")
    return cls(**{name: _value_from_json(hints[name], value, name) for name, value in values.items()})


def _leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any, dict]]:
    """(dotted path, type, value, metadata) of every option, nested dataclasses walked through."""
    hints = get_type_hints(type(config))
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value):
            yield from _leaves(value, f"{prefix}{item.name}.")
        else:
            yield prefix + item.name, hints[item.name], value, dict(item.metadata)


def _add_flag(parser: argparse.ArgumentParser, path: str, hint: Any, value: Any,
              help: str = "", flag: str | None = None, choices: tuple | None = None) -> None:
    kind, several = _kind(hint)
    shown = (" ".join(map(str, value)) or "none") if several and value is not None else value
    keywords: dict[str, Any] = dict(dest=path, help=f"{help} (default: {shown})".replace("%", "%%"))
    if kind is bool:
        keywords.update(action=argparse.BooleanOptionalAction)
    else:
        keywords.update(type=kind, choices=choices, metavar=None if choices else kind.__name__.upper())
        if several:
            keywords.update(nargs="+", action="extend")
    names = (flag or path.split(".")[-1]).replace("_", "-").split()
    parser.add_argument(*(name if name.startswith("-") else f"--{name}" for name in names), **keywords)


def _kind(hint: Any) -> tuple[type, bool]:
    """The type of one value, and whether there may be several: `tuple[int, ...] | None` gives (int, True)."""
    if type(None) in get_args(hint):
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
    return (get_args(hint)[0], True) if get_origin(hint) is tuple else (hint, False)


def _replaced(config: Any, typed: Mapping[str, Any], before: str = "") -> Any:
    """`config` with the options of these paths changed, all at once, since some must fit one another."""
    changes = {}
    for item in fields(config):
        path, value = before + item.name, getattr(config, item.name)
        if path in typed:
            changes[item.name] = tuple(typed[path]) if isinstance(typed[path], list) else typed[path]
        elif any(name.startswith(f"{path}.") for name in typed):
            changes[item.name] = _replaced(value, typed, f"{path}.")
    return replace(config, **changes)


def _value_from_json(hint: Any, value: Any, name: str) -> Any:
    kind, several = _kind(hint)
    if value is None and type(None) in get_args(hint):
        return None
    if is_dataclass(kind) and isinstance(value, dict):
        return from_json(kind, value)
    if several and isinstance(value, list):
        return tuple(_value_from_json(kind, one, name) for one in value)
    accepted = {float: (float, int), Path: str}.get(kind, kind)
    if several or not isinstance(value, accepted) or isinstance(value, bool) != (kind is bool):
        raise ValueError(f"The option {name!r} is {value!r}, expected {'several ' * several}{kind.__name__}.")
    return kind(value)    # pyright: ignore[reportCallIssue]  it is no dataclass here


def _hyphenate(word: str) -> str:
    """--latent_dir=a_b -> --latent-dir=a_b"""
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if word.startswith("--") else word
