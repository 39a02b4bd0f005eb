"""How a script ends when its caller made a mistake."""

import sys
from collections.abc import Callable


def run(main: Callable[[], None]) -> None:
    """Call `main`; a caller's mistake becomes one line on stderr, without a traceback, and exit status 2."""
    try:
        main()
    except (ValueError, OSError) as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        sys.exit(2)
