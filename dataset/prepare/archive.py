"""A source that is an archive, as a folder."""

import lzma
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from utils.errors import FULL

UNPACKED = 10 ** 9    # bytes that any archive may hold
UNPACKING = (OSError, ValueError, EOFError, RuntimeError, NotImplementedError, struct.error, lzma.LZMAError, zlib.error,
             tarfile.TarError, zipfile.BadZipFile)    # what damaged archives raise


@contextmanager
def unpacked(source: str | Path) -> Iterator[Path]:
    """Yield `source` as a folder: itself, or for the time being what the archive (.tar, .tar.xz, .zip) holds.

    raises   FileNotFoundError, ValueError for a file that is no archive
    """
    source = Path(source)
    if source.is_dir():
        yield source
        return
    if not source.is_file():
        raise FileNotFoundError(f"found nothing at {source}, expected an archive or a folder of captures")
    with tempfile.TemporaryDirectory() as temporary:
        print(f"unpacking {source}", flush=True)
        try:
            if zipfile.is_zipfile(source):
                with zipfile.ZipFile(source) as archive:
                    check_size(source, sum(member.file_size for member in archive.infolist()))
                    archive.extractall(temporary)
            else:
                with tarfile.open(source) as archive:
                    size = 0
                    for member in archive:
                        size += member.size
                        check_size(source, size)
                        archive.extract(member, temporary, filter="data")
        except UNPACKING as error:
            if getattr(error, "errno", None) in FULL:
                raise
            said = str(error).split("\n")[0].strip(":") or type(error).__name__
            raise ValueError(f"{source} cannot be unpacked ({said}): expected a whole .tar, .tar.xz or "
                             ".zip") from None
        yield Path(temporary)


def check_size(source: Path, size: int) -> None:
    """ValueError if an archive holds so many bytes as no captures do: it would fill the disk."""
    if size > max(UNPACKED, 200 * source.stat().st_size):
        raise ValueError(f"its {source.stat().st_size} bytes hold more than {size:.3g}, as no captures do: unpack it "
                         "yourself and give the folder")
