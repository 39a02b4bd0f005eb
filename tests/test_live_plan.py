"""Prompts, settings and links of the live page: read back as they were, or refused."""

import random
from dataclasses import replace

import pytest

from live.plan import MANY, Prompt, Settings, from_link, to_link
from test_pipeline import GUIDED

SETTINGS = Settings(GUIDED)


@pytest.mark.parametrize("bad", [
    dict(text=""), dict(text=" \n"), dict(text="x" * 301), dict(text=None), dict(text="walk", seconds=0.0),
    dict(text="walk", seconds=float("nan")), dict(text="walk", seconds="4"), dict(text="walk", at=-1),
])
def test_bad_prompts_refuse(bad):
    with pytest.raises(ValueError, match="expected|empty"):
        Prompt(settings=SETTINGS, **bad)


@pytest.mark.parametrize("bad", [dict(guidance=1e9), dict(temperature=float("nan")), dict(past=1000)])
def test_settings_out_of_range_refuse(bad):
    with pytest.raises(ValueError, match="expected"):
        Settings(replace(GUIDED, **bad))


def test_links_are_read_back_and_damaged_ones_refused():
    prompts = [Prompt(f"läuft {number} ✓", replace(SETTINGS, seed=number % 3), 1.5, 8 * number) for number in range(30)]
    link = to_link(prompts)
    assert from_link(link) == prompts
    random.seed(1)
    for _ in range(500):
        damaged = list(link[:random.randrange(len(link))])
        for _ in range(random.randrange(4)):
            damaged.insert(random.randrange(len(damaged) + 1), chr(random.randrange(32, 300)))
        try:
            from_link("".join(damaged))
        except ValueError as error:
            assert "cannot be read" in str(error)
    for bad in ("", "A" * 20_000):
        with pytest.raises(ValueError, match="cannot be read"):
            from_link(bad)


def test_what_is_too_long_for_a_link_has_none():
    rng = random.Random(0)
    long = [Prompt("".join(chr(rng.randrange(0x4E00, 0x9FA5)) for _ in range(300)), SETTINGS) for _ in range(30)]
    assert to_link([Prompt("x", at=0)] * (MANY + 1)) == to_link(long) == ""
    assert len(from_link(to_link([Prompt("x" * 300, at=0)] * MANY))) == MANY
