"""Arrays on disk that are written row after row."""

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from zipfile import BadZipFile

import numpy as np

from utils.checkpoint import write_whole

# What np.load raises for damaged files and headers that announce more than there is memory for.
UNREADABLE = (ValueError, TypeError, KeyError, OSError, EOFError, NotImplementedError, MemoryError, OverflowError,
              SyntaxError, RecursionError, TokenError, BadZipFile, zlib.error)


@contextmanager
def write_rows(path: str | Path, channels: int, dtype: type) -> Iterator[Callable[[np.ndarray], None]]:
    """Write an array (N, channels) whole, byte for byte as `np.save` would, but never hold it.

    Yields `put(rows)`, which adds rows (n, channels). Errors as of `write_whole`.
    """
    def header() -> None:    # as long for any number of rows, since numpy leaves room for more
        np.lib.format.write_array_header_1_0(file, dict(
            descr=np.lib.format.dtype_to_descr(np.dtype(dtype)), fortran_order=False, shape=(count, channels)))

    def put(rows: np.ndarray) -> None:
        nonlocal count
        assert rows.shape[1:] == (channels,), f"rows of {rows.shape[1:]} for an array of {channels} channels"
        file.write(np.ascontiguousarray(rows, dtype).data)
        count += len(rows)

    count = 0
    with write_whole(path) as temporary, temporary.open("wb") as file:
        header()
        yield put
        file.seek(0)
        header()
