"""AMASS: npz files of SMPL parameters, in one folder per data set and subject."""

from pathlib import Path
from typing import Any

from dataset.prepare.folder import Trial, described_by, split_by_strata
from dataset.prepare.ids import captures_below, clip_id_of, words_of


def trials(source: Path, texts: Path | None, **reading: Any) -> tuple[list[Trial], list[str]]:
    """List the npz files below `source`, split by folder, which is AMASS' subject.

    texts     a folder of captions: NAME.txt, where NAME is the file's path with / as _; or None
    reading   up, fps, unit, as in `Trial`
    Without its file, a clip's caption is the name of its folder.
    raises    FileNotFoundError if `texts` is no folder
    """
    if texts is not None and not texts.is_dir():
        raise FileNotFoundError(f"found no folder {texts}, expected one of captions NAME.txt: check --texts")
    files = {path.relative_to(source): path for path in captures_below(source, ".npz")
             if path.name != "shape.npz"}    # a subject's body, no motion
    subjects = {name.parent.as_posix() for name in files}
    splits = split_by_strata(dict.fromkeys(sorted(subjects), "subject"), val=0.04, test=0.06)
    found, skipped = [], []
    for name, path in files.items():
        clip_id = clip_id_of(name)
        words = words_of(name.parent.name or path.stem)
        try:
            captions = described_by((texts or path.parent) / f"{clip_id}.txt", words)
        except ValueError as error:
            skipped.append(f"{path.name}: {error}")
            continue
        found.append(Trial(clip_id, path, "smpl", splits[name.parent.as_posix()], words, captions, **reading))
    return found, skipped
