"""Members of a zip that somebody downloaded: copied out one at a time, none larger than it says or than it may be."""

import zipfile
import zlib
from collections.abc import Callable, Iterator
from tempfile import SpooledTemporaryFile
from typing import IO, NamedTuple

from turnlog.sources.objects import CannotRead

ENTRIES_MAX = 200_000
MEMBER_BYTES_MAX = 2 * 1024**3
TOTAL_BYTES_MAX = 8 * 1024**3
RATIO_MAX = 200
"""Of a member's size to what it takes in the archive; text is below 50. Small members may exceed it."""

_HEADS_MAX = 200
_RATIO_FREE_BYTES = 1024 * 1024
_BLOCK_BYTES = 1024 * 1024
_MEMORY_BYTES = 8 * 1024 * 1024

_DAMAGE = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError,
    OSError, OverflowError,
)  # fmt: skip


class Member(NamedTuple):
    """A file in the archive: its name there, and a copy of its content, or why there is none."""

    name: str
    file: IO[bytes] | None
    reason: str = ""


def is_zip(head: bytes) -> bool:
    """Whether a file that begins like this may be a zip."""
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def heads_of(file: IO[bytes], wanted: Callable[[str], bool], size_bytes: int) -> Iterator[bytes]:
    """How each of the wanted files begins. Nothing for what is no zip."""
    try:
        archive, entries = _open(file, wanted)
    except CannotRead:
        return
    for entry in entries[:_HEADS_MAX]:
        try:
            with archive.open(entry) as packed:
                yield packed.read(size_bytes)
        except _DAMAGE:
            continue


def members_of(file: IO[bytes], wanted: Callable[[str], bool]) -> Iterator[Member]:
    """The wanted files by name; each copy is closed when the next is asked for.

    Names are told, and used for nothing else. Raises CannotRead for what is no zip or has too many entries.
    """
    archive, entries = _open(file, wanted)
    total_bytes = 0
    for entry in entries:
        total_bytes += entry.file_size
        with SpooledTemporaryFile(max_size=_MEMORY_BYTES) as copy:
            try:
                _copy(archive, entry, copy, total_bytes)
                reason = ""
            except CannotRead as error:
                reason = str(error)
            except _DAMAGE as error:
                reason = f"it cannot be unpacked: {error}"
            copy.seek(0)
            yield Member(entry.filename, None if reason else copy, reason)


def _open(file: IO[bytes], wanted: Callable[[str], bool]) -> tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]:
    try:
        archive = zipfile.ZipFile(file)
        entries = archive.infolist()
    except _DAMAGE as error:
        raise CannotRead(f"it is no whole zip file: {error}") from error
    if len(entries) > ENTRIES_MAX:
        raise CannotRead(f"it has {len(entries)} entries; {ENTRIES_MAX} are the most")
    chosen = [entry for entry in entries if not entry.is_dir() and wanted(entry.filename)]
    return archive, sorted(chosen, key=lambda entry: entry.filename)


def _copy(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, copy: IO[bytes], total_bytes: int) -> None:
    if entry.file_size > MEMBER_BYTES_MAX or total_bytes > TOTAL_BYTES_MAX:
        raise CannotRead(f"it would be {entry.file_size} bytes, which is more than is unpacked")
    if entry.file_size > max(_RATIO_FREE_BYTES, RATIO_MAX * entry.compress_size):
        raise CannotRead(f"{entry.compress_size} bytes would become {entry.file_size}, as no text does")
    with archive.open(entry) as packed:
        left = entry.file_size
        while block := packed.read(min(_BLOCK_BYTES, left + 1)):
            left -= len(block)
            if left < 0:
                raise CannotRead("it is larger than it says")
            copy.write(block)
