"""How a script ends when its caller made a mistake, or the disk is full."""

import errno
import sys
import threading
from collections.abc import Callable

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}    # the disk, what one person may use of it, one file


def run(main: Callable[[], None]) -> None:
    """Call `main`; a caller's mistake becomes one line on stderr, without a traceback, and exit status 2."""
    threading.excepthook = _of_thread
    try:
        main()
    except (ValueError, OSError) as mistake:
        said = _no_space(mistake) if isinstance(mistake, OSError) and _is_full(mistake) else mistake
        print(f"error: {said}", file=sys.stderr)
        sys.exit(2)


def _is_full(error: BaseException | None) -> bool:
    return getattr(error, "errno", None) in FULL


def _no_space(error: OSError) -> str:
    return (f"There is no space to write {error.filename or 'a file'} ({error.strerror}); what was written before "
            f"is whole. Make space there and repeat the command.")


def _of_thread(failure: threading.ExceptHookArgs) -> None:
    """A full disk stops TensorBoard's thread, too, but the main thread then raises the same and says it."""
    if not _is_full(failure.exc_value):
        threading.__excepthook__(failure)
