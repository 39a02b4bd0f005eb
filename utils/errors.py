"""How a script ends when its caller made a mistake, or the disk is full, and how it says what is no mistake."""

import errno
import io
import sys
import threading
import warnings
from collections.abc import Callable

_formatted: Callable[..., str] = warnings.formatwarning
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}    # the disk, what one person may use of it, one file


class Note(UserWarning):
    """What a caller should know of an input that is taken as it is: scripts print it in one line."""


def note(text: str) -> None:
    warnings.warn(text, Note, stacklevel=3)


def run(main: Callable[[], None]) -> None:
    """Call `main`; a caller's mistake becomes one line on stderr, without a traceback, and exit status 2.

    What the terminal's encoding has not, as Windows' have no Japanese, is printed as its number.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    threading.excepthook = _of_thread
    warnings.formatwarning = _one_line
    try:
        main()
    except (ValueError, OSError) as mistake:
        said = _no_space(mistake) if isinstance(mistake, OSError) and _is_full(mistake) else mistake
        print(f"error: {said}", file=sys.stderr)
        sys.exit(2)


def _one_line(message: Warning | str, category: type[Warning], *place: object) -> str:
    return f"note: {message}\n" if issubclass(category, Note) else _formatted(message, category, *place)


def _is_full(error: BaseException | None) -> bool:
    return getattr(error, "errno", None) in FULL


def _no_space(error: OSError) -> str:
    return (f"There is no space to write {error.filename or 'a file'} ({error.strerror}); what was written before "
            f"is whole. Make space there and repeat the command.")


def _of_thread(failure: threading.ExceptHookArgs) -> None:
    """A full disk stops TensorBoard's thread, too, but the main thread then raises the same and says it."""
    if not _is_full(failure.exc_value):
        threading.__excepthook__(failure)
