"""Zip files of other programs, looked into safely: one way for all sources.

Nothing is unpacked by its name: the name of an entry only tells what it is, and is never a path. A zip in a zip is
spooled into an unnamed temporary file. What nobody would pack by accident is refused before it is read: more entries,
more bytes, or a higher ratio of unpacked to packed than `ImportLimits` allow. Zips overlap their entries to claim more
than they hold (David Fifield, "A better zip bomb", 2019); the ratio of the whole archive finds those too.
"""

import stat
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from lzma import LZMAError
from pathlib import Path
from tempfile import SpooledTemporaryFile, TemporaryFile
from typing import IO, BinaryIO, NamedTuple, Protocol
from zipfile import BadZipFile, ZipFile, ZipInfo

from turnlog.config import ImportLimits
from turnlog.errors import WrongUsage
from turnlog.sources.files import open_regular, path_text
from turnlog.sources.objects import CannotRead

_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
"""How a zip begins, with an entry or without any (APPNOTE.TXT 4.3.7, 4.3.16)."""

_ENCRYPTED = 0x1
_COPY_BYTES = 1024 * 1024
_PIECE_BYTES = 64 * 1024
_MEMORY_BYTES = 8 * 1024 * 1024
_RATIO_MATTERS_BYTES = 16 * 1024 * 1024
_ERRORS = (BadZipFile, zlib.error, LZMAError, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)
"""What `zipfile` raises for an archive that is damaged, or packed in a way that it does not know."""


class Readable(Protocol):
    """All that is asked of an open member."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to so many bytes, fewer only at the end. Raises CannotRead."""


class Member(NamedTuple):
    """A file in an archive: its name, size, its share of the archive's bytes, and a way to read it."""

    name: str
    size_bytes: int
    packed_bytes: int
    open: Callable[[], Readable]


class Problem(NamedTuple):
    """An entry that cannot be read, and why."""

    name: str
    reason: str


def is_archive(file: BinaryIO) -> bool:
    """Whether an open file begins as a zip does; its position is then at its beginning."""
    magic = file.read(4)
    file.seek(0)
    return magic in _MAGIC


class Archive:
    """A zip file, open to be read: `members` are its files and those of zips in it, `problems` what is none.

    Raises WrongUsage if it is no whole zip, or is beyond the limits. Close it at the end.
    """

    def __init__(self, path: Path, limits: ImportLimits) -> None:
        self.members: list[Member] = []
        self.problems: list[Problem] = []
        self._name = path_text(path)
        self._limits = limits
        self._entries = self._total_bytes = 0
        with ExitStack() as stack:
            file = stack.enter_context(open_regular(path))
            size_bytes = file.seek(0, 2)
            try:
                self._add(stack, file, "", size_bytes, size_bytes, nesting=0)
            except CannotRead as error:
                raise WrongUsage(f"{self._name} is no whole zip file: {error}; get it anew and try again") from error
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Let go of the files."""
        self._stack.close()

    def _add(
        self, stack: ExitStack, file: IO[bytes], prefix: str, size_bytes: int, packed_bytes: int, *, nesting: int
    ) -> None:
        """List the entries of one zip; `packed_bytes` is its share of the outermost one."""
        try:
            archive = stack.enter_context(ZipFile(file))
        except _ERRORS as error:
            raise CannotRead(_reason(error)) from error
        entries = [entry for entry in archive.infolist() if not entry.is_dir() and not _is_link(entry)]
        self._check(entries, size_bytes)
        share = packed_bytes / max(1, size_bytes)
        for entry in entries:
            name, packed = prefix + entry.filename, int(entry.compress_size * share)
            try:
                is_nested = entry.filename.lower().endswith(".zip") and self._open_nested(
                    stack, archive, entry, name, packed, nesting=nesting + 1
                )
            except CannotRead as error:
                self.problems.append(Problem(name, str(error)))
                is_nested = False
            if not is_nested:
                self.members.append(Member(name, entry.file_size, packed, _opener(archive, entry)))

    def _open_nested(
        self, stack: ExitStack, archive: ZipFile, entry: ZipInfo, name: str, packed: int, *, nesting: int
    ) -> bool:
        if nesting > self._limits.nesting_max:
            raise CannotRead(f"it is a zip in a zip, more than {self._limits.nesting_max} deep")
        inner, spool = _opener(archive, entry)(), TemporaryFile()  # noqa: SIM115 - the stack closes it
        stack.enter_context(spool)
        while data := inner.read(_COPY_BYTES):
            spool.write(data)
        self._add(stack, spool, f"{name}/", entry.file_size, packed, nesting=nesting)
        return True

    def _check(self, entries: list[ZipInfo], size_bytes: int) -> None:
        """Refuse what is beyond the limits, by what the directory says; no more is ever read than that."""
        self._entries += len(entries)
        unpacked = sum(entry.file_size for entry in entries)
        self._total_bytes += unpacked
        limits = self._limits
        largest = max((entry.file_size for entry in entries), default=0)
        for found, most, what in (
            (self._entries, limits.entries_max, "holds more than {} files; entries_max"),
            (largest, limits.entry_bytes_max, "holds a file of more than {} bytes; entry_bytes_max"),
            (self._total_bytes, limits.total_bytes_max, "would unpack to more than {} bytes; total_bytes_max"),
        ):
            if found > most:
                raise WrongUsage(f"{self._name} {what.format(most)} in [import] says how many it may be")
        for large, small in (*((entry.file_size, entry.compress_size) for entry in entries), (unpacked, size_bytes)):
            check_ratio(self._name, large, small, limits)


def check_ratio(name: str, unpacked_bytes: int, packed_bytes: int, limits: ImportLimits) -> None:
    """Raise WrongUsage for what unpacks to many times its size."""
    if unpacked_bytes > max(_RATIO_MATTERS_BYTES, packed_bytes * limits.ratio_max):
        raise WrongUsage(
            f"{name} would unpack to more than {limits.ratio_max} times its size, as zip bombs do; "
            "if you trust it, raise ratio_max in [import]"
        )


def spooled(member: Member) -> tuple[IO[bytes], str]:
    """A member's bytes as a file that can be read anywhere, and why it ends too early if it does. Close it."""
    file, opened = SpooledTemporaryFile(max_size=_MEMORY_BYTES), member.open()  # noqa: SIM115 - the caller closes it
    reason = ""
    try:
        while data := opened.read(_COPY_BYTES):
            file.write(data)
    except CannotRead as error:
        reason = str(error)
    file.seek(0)
    return file, reason


def _is_link(entry: ZipInfo) -> bool:
    return stat.S_ISLNK(entry.external_attr >> 16)


def _opener(archive: ZipFile, entry: ZipInfo) -> Callable[[], Readable]:
    return lambda: _Entry(archive, entry)


class _Entry:
    """An entry, open to be read; what is wrong with it is told when it is read, and all before it is given."""

    def __init__(self, archive: ZipFile, entry: ZipInfo) -> None:
        self._archive = archive
        self._entry = entry
        self._file: IO[bytes] | None = None
        self._left = entry.file_size
        self._error: CannotRead | None = None

    def read(self, size: int = -1, /) -> bytes:
        pieces: list[bytes] = []
        left = self._left if size < 0 else min(size, self._left)
        while left and self._error is None:
            # The last byte comes with the checksum, and would take the others with it where that is wrong.
            piece = self._read(min(left, _PIECE_BYTES, max(1, self._left - 1)))
            pieces.append(piece)
            left -= len(piece)
            self._left -= len(piece)
        if self._error is not None and not any(pieces):
            raise self._error
        return b"".join(pieces)

    def _read(self, size: int) -> bytes:
        try:
            if self._file is None:
                self._file = self._archive.open(self._entry)
            if data := self._file.read(size):
                return data
            self._error = CannotRead("it ends too early")
        except _ERRORS as error:
            encrypted = self._entry.flag_bits & _ENCRYPTED
            reason = "it is encrypted; unpack it with its password" if encrypted else _reason(error)
            self._error = CannotRead(reason)
        return b""


def _reason(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__
