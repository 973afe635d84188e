"""Files that are compressed one by one, with gzip or Zstandard: known by how they begin, unpacked within limits."""

import gzip
import io
import os
import zlib
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, BinaryIO, NamedTuple, cast

from turnlog.config import ImportLimits
from turnlog.errors import WrongUsage
from turnlog.sources.archives import check_ratio
from turnlog.sources.files import READ_BYTES, open_regular, path_text, refusal

ENDINGS = (".gz", ".zst")
"""What compressed files are called behind the name that they had."""

DAMAGED = "the compressed data are damaged or end too soon"

_ZSTD, _GZIP = b"\x28\xb5\x2f\xfd", b"\x1f\x8b"
_WINDOW_BYTES_MAX = 2**27
_COPY_BYTES = 64 * 1024


class Unpacked(NamedTuple):
    """A file as it was before it was compressed, if it is; why it ends too early, if it does; its size."""

    file: BinaryIO
    damage: str
    size_bytes: int


def plain_path(path: Path) -> Path:
    """What the file was called before it was compressed."""
    return path.with_suffix("") if path.suffix in ENDINGS else path


def open_unpacked(path: Path, limits: ImportLimits) -> Unpacked:
    """The regular file, unpacked into an unnamed one if it is compressed. Close it. Raises WrongUsage."""
    file = open_regular(path, buffer_bytes=READ_BYTES)
    try:
        packed_bytes = os.fstat(file.fileno()).st_size
        content = unpacked(path, file)
        if content is file:
            return Unpacked(file, "", packed_bytes)
        with file:
            return _spool(content, path, packed_bytes, limits)
    except OSError as error:
        file.close()
        raise refusal(path, error) from error
    except WrongUsage:
        file.close()
        raise


def _spool(content: IO[bytes], path: Path, packed_bytes: int, limits: ImportLimits) -> Unpacked:
    spool, size_bytes, damage = TemporaryFile(), 0, ""  # noqa: SIM115 - who gets it closes it
    try:
        read = cast("io.BufferedReader", content).read1  # which gives what comes before damage, as `read` would not
        while data := read(_COPY_BYTES):
            size_bytes += len(data)
            check_unpacked(path, size_bytes, packed_bytes, limits)
            spool.write(data)
    except unpacking_errors() as error:
        damage = f"{DAMAGED} ({error})"
    except BaseException:
        spool.close()
        raise
    spool.seek(0)
    return Unpacked(spool, damage, size_bytes)


def check_unpacked(path: Path, size_bytes: int, packed_bytes: int, limits: ImportLimits) -> None:
    """Raise WrongUsage for a file that unpacks to more than it may."""
    if size_bytes > limits.entry_bytes_max:
        raise WrongUsage(
            f"{path_text(path)} would unpack to more than {limits.entry_bytes_max} bytes; "
            "entry_bytes_max in [import] says how many it may be"
        )
    check_ratio(path_text(path), size_bytes, packed_bytes, limits)


def unpacked(path: Path, file: BinaryIO) -> IO[bytes]:
    """What is in the file, to be read from its beginning; the file itself if it is not compressed.

    Raises WrongUsage if what unpacks it is not installed.
    """
    magic = file.read(4)
    file.seek(0)
    if magic.startswith(_GZIP):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=file))
    if magic != _ZSTD:
        return file
    try:
        import zstandard
    except ImportError as error:
        raise WrongUsage(
            f"{path_text(path)} is compressed with zstd, which needs the package zstandard; "
            "pip install 'turnlog[sources]'"
        ) from error
    reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES_MAX).stream_reader(
        file, read_across_frames=True, closefd=False
    )
    return io.BufferedReader(reader)


def unpacking_errors() -> tuple[type[Exception], ...]:
    """What is raised for compressed data that are damaged."""
    known = (OSError, EOFError, zlib.error)
    try:
        import zstandard
    except ImportError:
        return known
    return (*known, zstandard.ZstdError)
