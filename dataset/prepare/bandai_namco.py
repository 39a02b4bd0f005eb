"""Bandai-Namco-Research-Motiondataset 1 and 2 (arXiv 2306.08861): files and captions.

A file's name is all we know of it, `dataset-N_{content}_{style}_{id}.bvh`. What each content shows was
measured on the motion: raised hands come down again; turns start and end walking, 90 degrees in between;
set 1's walk-left and walk-right face ahead and move diagonally; bye waves the right hand, byebye both;
guide points with the right hand, respond raises the left; kicks spin. Hands rise high above the head in
most styles, to the head in the elderly one, to the chin in the feminine one, and the captions say no more
than that.
"""

import re
from functools import partial
from pathlib import Path

from dataset.captions import swap_left_right
from dataset.prepare.folder import Trial, split_by_strata
from dataset.prepare.grammar import STYLES, free_sentences, phrase_table, sentences

NAME = re.compile(r"dataset-([12])_([a-z-]+)_([a-z-]+)_(\d+)")
LOW, MIDDLE = ("feminine", "elderly"), ("normal",)     # how high set 2's hands rise; the others go overhead
# Set 2's turns whose motion is not their name's: the heading says so. None: another turn follows; left out.
CORRECTED = {"dataset-2_walk-turn-left_masculine_006": "walk-turn-right",
             "dataset-2_walk-turn-left_masculine_007": "walk-turn-right",
             "dataset-2_walk-turn-right_masculine_007": "walk-turn-left",
             "dataset-2_walk-turn-right_normal_004": "walk-turn-left",
             "dataset-2_walk-turn-right_normal_032": "walk-turn-left",
             "dataset-2_walk-turn-right_masculine_006": None, "dataset-2_walk-turn-right_normal_033": None,
             "dataset-2_walk-turn-left_normal_031": None, "dataset-2_walk-turn-left_normal_032": None,
             "dataset-2_walk-turn-left_normal_033": None}
SLOW = ("elderly", "old", "exhausted", "tired", "sad", "not-confident")


def content_phrases(content: str, style: str) -> list[str]:
    """All verb phrases that are true of a content in a style.

    raises   ValueError for a content or style that the two sets do not have
    """
    if style not in STYLES:
        raise ValueError(f"found the style {style!r}, expected one of {', '.join(STYLES)}")
    if "right" in content:
        return [swap_left_right(phrase) for phrase in content_phrases(swap_left_right(content), style)]
    table = phrase_table("bandai_namco")
    content = {"dance-short": "dance", "dance-long": "dance"}.get(content, content)
    if content not in table:
        known = [name for name in table if not name.endswith(("-high", "-low", "-brisk", "-fast"))]
        raise ValueError(f"found the content {content!r}, expected one of {', '.join(known)}")
    phrases, quick = table[content], style not in SLOW
    match content:
        case "walk":
            return phrases + quick * table["walk-brisk"] + 2 * list(STYLES[style].walks)
        case "run":
            return phrases + quick * table["run-fast"] + 2 * list(STYLES[style].runs)
        case "dash":
            return phrases + table["run-fast"] + table["run"][:4]
    height = "low" if style in LOW else "high" if style not in MIDDLE else ""
    return phrases + table.get(f"{content}-{height}", [])


def captions(content: str, style: str, clip_id: str) -> list[str]:
    """About ten sentences for one clip. Most of the grammar's say its style; plain ones also come from styled clips.

    The free ones let hands rise high, so that clips in which they do not have none.
    """
    hands = content.startswith(("raise", "wave"))
    styled = 0.15 if style == "normal" else 0.9 if hands and style in LOW else 0.65
    gait = content in ("run", "dash") or content.startswith("walk")
    told = sentences(clip_id, content_phrases(content, style), STYLES[style], styled, gait)
    if hands and style in LOW + MIDDLE:
        return told
    return told + free_sentences(clip_id, content.removesuffix("-short"), STYLES[style])


def trials(source: Path) -> tuple[list[Trial], list[str]]:
    """List the files of both sets below `source`, each with its split, and what is no file of theirs."""
    labels, skipped = {}, []
    for path in sorted(source.rglob("*.bvh")):
        match = NAME.fullmatch(path.stem)
        if match is None:
            skipped.append(f"{path.name}: found another name than dataset-N_content_style_id.bvh")
            continue
        number, content, style, _ = match.groups()
        content = CORRECTED.get(path.stem, content)
        try:
            if content is None:
                raise ValueError("the heading turns on after the turn of its name")
            content_phrases(content, style)
        except ValueError as error:
            skipped.append(f"{path.name}: {error}")
            continue
        labels[path] = number, content, style
    # Set 1 has one file of most contents and styles: there the styles share a stratum.
    splits = split_by_strata({path.stem: f"{number} {content} {style if number == '2' else ''}"
                              for path, (number, content, style) in labels.items()}, val=0.04, test=0.06)
    return [Trial(path.stem, path, "bandai_namco", splits[path.stem], content.removesuffix("-short"),
                  partial(captions, content, style), shortest=150, phrases=tuple(content_phrases(content, style)),
                  style=style, up="y")
            for path, (_, content, style) in labels.items()], skipped
