"""Where what can be computed again is kept."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """$MOTION_CACHE, else motionstreamer/ in $XDG_CACHE_HOME, else in ~/.cache. It may be removed at any time."""
    if given := os.environ.get("MOTION_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "motionstreamer"
