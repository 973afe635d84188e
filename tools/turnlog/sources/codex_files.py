"""Rollouts of Codex as files: plain or compressed, read line by line, the objects on each told apart from damage."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol

import msgspec

from turnlog.config import ImportLimits
from turnlog.sources.files import READ_BYTES, file_stamp, open_regular, refusal
from turnlog.sources.objects import DamagedLines, Piece, objects_on
from turnlog.sources.packed import DAMAGED, check_unpacked, unpacked, unpacking_errors
from turnlog.text import clean

LINE_BYTES_MAX = 64 * 1024 * 1024
"""A longer line is damage; it is set apart in pieces of this size."""

_RESTARTS_MAX = 20  # a line is damaged in a few places; looking on and on would let a hostile one take its time
_RECORD_START = b'{"timestamp":'  # quotes within a JSON text are escaped, so that these bytes begin an object


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


class Rollout:
    """An open rollout. `damage` is empty until compressed data end in something that cannot be unpacked."""

    def __init__(self, path: Path, file: BinaryIO, limits: ImportLimits) -> None:
        self.damage = ""
        self._damaged = DamagedLines()
        self.hasher: _Hash = sha256()
        self._path = path
        self._file = file
        self._stamp = file_stamp(file)
        self._size = self._stamp[1]
        self._limits = limits
        self._lines: IO[bytes] = unpacked(path, file)
        self._is_packed = self._lines is not file
        self._offset = 0

    def skip(self, length: int, digest: str) -> bool:
        """Go to behind the first `length` bytes if those have this digest."""
        self.hasher = self._hash_prefix(length)
        self._offset = length
        return self.hasher.hexdigest() == digest

    def first_line(self, length_max: int) -> bytes:
        """The beginning of the first line; nothing else can be read then."""
        return self._lines.readline(length_max)

    def lines(self) -> Iterator[bytes]:
        """The lines that are left with their ends; the last one may have none, nor has one that is too long."""
        readline = self._lines.readline
        try:
            while not self.damage and (raw := readline(LINE_BYTES_MAX)):
                self._offset += len(raw)
                if self._is_packed:
                    check_unpacked(self._path, self._offset, self._size, self._limits)
                yield raw
        except unpacking_errors() as error:
            self._note_damage(error)

    def damaged_behind(self, raw: bytes) -> bytes:
        """The lines that are to be told together behind a damaged one."""
        self._damaged.note(raw)
        try:
            run = self._damaged.behind(self._lines)
        except unpacking_errors() as error:
            self._note_damage(error)
            return b""
        self._offset += len(run)
        return run

    def _note_damage(self, error: Exception) -> None:
        """What an error means for compressed data; for any other file it is the system's."""
        if not self._is_packed:
            raise error
        self.damage = f"{DAMAGED} ({error})"

    @property
    def position_bytes(self) -> int:
        """How much of the file, as it lies on the disk, has been read at most."""
        return self._file.tell() if self._is_packed else self._offset

    def is_rewritten(self, length: int, digest: str) -> bool:
        """Whether the file was written to since it was opened and no longer begins as it did."""
        if file_stamp(self._file) == self._stamp:
            return False
        self._file.seek(0)
        self._lines = unpacked(self._path, self._file)
        return self._hash_prefix(length).hexdigest() != digest

    def _hash_prefix(self, length: int) -> _Hash:
        hasher = sha256()
        try:
            while length and (data := self._lines.read(min(length, 2**20))):
                hasher.update(data)
                length -= len(data)
        except unpacking_errors():
            return sha256()
        return hasher


@contextmanager
def open_rollout(path: Path, limits: ImportLimits = ImportLimits()) -> Iterator[Rollout]:  # noqa: B008 - frozen
    """The rollout, read only. Raises WrongUsage with a sentence if it cannot be opened or read."""
    with open_regular(path, buffer_bytes=READ_BYTES) as file:
        try:
            yield Rollout(path, file, limits)
        except OSError as error:
            raise refusal(path, error) from error


def whole_record(line: bytes) -> dict[str, Any] | None:
    """The one object on a line; None if there is none, or more, or anything that `records_on` must look at."""
    try:
        record = msgspec.json.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return record if type(record) is dict else None


def records_on(line: bytes) -> Iterator[tuple[Piece, int]]:
    """The objects on a line, and the stretches of damage between them.

    Damage ends where an envelope (`{"timestamp":`) begins, so that of two lines spliced together the whole one is read.
    With each goes how many halves of characters were replaced in it.
    """
    for piece in _pieces_on(line):
        record, replaced = clean(piece.record)
        yield piece._replace(record=record), replaced


def _pieces_on(line: bytes) -> Iterator[Piece]:
    at, following = 0, -1
    if b"{" not in line:
        yield Piece(0, len(line.rstrip(b"\r\n")), {}, "it is not a JSON object")
        return
    for _ in range(_RESTARTS_MAX):
        for piece in objects_on(line[at:]):
            start, end = at + piece.start, at + piece.end
            if piece.damage:
                following = line.find(_RECORD_START, start + 1)
                yield Piece(start, following if following > 0 else end, {}, piece.damage)
                break
            if piece.record:  # an empty one says nothing
                yield Piece(start, end, piece.record)
        else:
            return
        if following < 0:
            return
        at = following
    yield Piece(at, len(line.rstrip(b"\r\n")), {}, "it is damaged in too many places")


def check_readable(path: Path) -> int:
    """The file's size in bytes. Raises WrongUsage if it, or what unpacks it, is not there."""
    with open_regular(path) as file:
        unpacked(path, file)
        return os.fstat(file.fileno()).st_size
