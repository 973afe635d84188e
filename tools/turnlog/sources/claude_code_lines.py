"""The lines of Claude Code's JSONL files: quickly where they are sound, carefully where they are not.

A line is decoded in one go; only where that fails is it taken apart piece by piece. Behind damage the next record is
looked for by how records begin, so that a torn line that another was written onto, a run of NULs, or a bad byte costs
no more than what it hit.
"""

import os
import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, BinaryIO, Self

import msgspec
from msgspec import Struct

from turnlog.sources.base import Unreadable
from turnlog.sources.files import file_stamp
from turnlog.sources.objects import (
    EMPTY_LINES,
    NESTING_MAX,
    TOGETHER,
    DamagedLines,
    is_deeper_than,
    may_be_deep,
    objects_on,
)
from turnlog.text import clean

LINE_BYTES_MAX = 64 * 1024 * 1024
"""A longer line is no record, but damage; it is kept in pieces of this size."""

_SALVAGES_MAX = 32
"""How often a record is looked for behind the damage on one line: each look may cost as much as reading the line."""

_decode = msgspec.json.Decoder().decode
_RECORD_START = re.compile(rb'\{ ?"(?:parentUuid|type|isSidechain|uuid|sessionId|timestamp|userType|cwd|message)" ?:')


class Record(Struct, frozen=True):
    """One object of a file, by the line that it stands on."""

    fields: dict[str, Any]
    kind: str
    """Its type; the oldest records have none, but the role in their message. Empty where there is neither."""

    uuid: str | None
    line: int
    start: int
    """Where its line begins, in bytes from the beginning of the file."""

    size_bytes: int = 0
    is_first: bool = True
    """Whether nothing stands before it on its line."""

    replaced: int = 0
    """How many lone surrogates stood in it."""

    def saying(self, fields: dict[str, Any], *, is_first: bool | None = None) -> Self:
        """The record with other fields."""
        is_first = self.is_first if is_first is None else is_first
        return type(self)(
            fields, type_of(fields), uuid_of(fields), self.line, self.start, self.size_bytes, is_first, self.replaced
        )


def type_of(fields: dict[str, Any]) -> str:
    """A record's type, see `Record.kind`."""
    kind = fields.get("type")
    if kind is None and isinstance(fields.get("message"), dict):
        kind = fields["message"].get("role")
    return kind if isinstance(kind, str) else ""


def uuid_of(fields: dict[str, Any]) -> str | None:
    """A record's id, None where it has none."""
    uuid = fields.get("uuid")
    return uuid if isinstance(uuid, str) and uuid else None


class Lines:
    """Reads a file from a line on, to its end as it is then.

    An unfinished last line is left to the reading that finds it finished, but for whole objects on it, since a closing
    brace cannot be taken back. `offset` and `line` are behind what was read, `digest` is of all bytes up to there.
    Lines that do not hold `holding` are passed over.
    """

    def __init__(
        self, file: BinaryIO, *, offset: int = 0, line: int = 0, digest: Any = None, holding: bytes = b""
    ) -> None:
        self.offset, self.line = offset, line
        self.digest = digest or sha256()
        self._file = file
        self._holding = holding
        self._stamp = file_stamp(file)
        self._last = b""
        self._damaged = DamagedLines()
        file.seek(offset)

    def read(self) -> Iterator[Record | Unreadable]:
        """The records in order, and what is none."""
        while raw := self._file.readline(LINE_BYTES_MAX):
            is_whole = raw.endswith(b"\n") or len(raw) == LINE_BYTES_MAX
            self.line += 1
            fields = None
            if self._holding in raw and not (len(raw) < 5 and raw in EMPTY_LINES):
                fields = _decode_whole(raw)
                if fields is not None:
                    yield self._record(fields, raw)
                else:
                    self._damaged.note(raw)
                    yield from (p for p in self._pieces(raw) if is_whole or isinstance(p, Record))
            if not is_whole:
                return
            self._advance(raw)
            if fields is None and (run := self._damaged.behind(self._file)):
                yield from self._together(run)

    def _record(self, fields: dict[str, Any], raw: bytes, *, is_first: bool = True, replaced: int = 0) -> Record:
        kind, uuid = type_of(fields), uuid_of(fields)
        return Record(fields, kind, uuid, self.line, self.offset, len(raw), is_first, replaced)

    def _advance(self, raw: bytes) -> None:
        self.digest.update(raw)
        self.offset += len(raw)
        self._last = raw

    def _together(self, run: bytes) -> Iterator[Unreadable]:
        """Many damaged lines."""
        first, self.line = self.line + 1, self.line + run.count(b"\n")
        if self._holding in run:
            yield Unreadable(f"lines {first} to {self.line}", TOGETHER, run)
        self._advance(run)

    def is_unchanged(self) -> bool:
        """Whether the file still has what was read of it last, where that stood: it was not rewritten meanwhile."""
        stamp = file_stamp(self._file)
        if stamp == self._stamp:
            return True
        self._stamp = stamp
        start = self.offset - len(self._last)
        return os.pread(self._file.fileno(), len(self._last), start) == self._last

    def _pieces(self, raw: bytes) -> Iterator[Record | Unreadable]:
        if raw.isspace():
            return
        for number, (start, end, found, reason) in enumerate(_salvage(raw.rstrip(b"\r\n")), 1):
            piece = raw[start:end]
            if reason:
                where = f"line {self.line}" if number == 1 else f"line {self.line}, piece {number}"
                yield Unreadable(where, reason, piece)
            else:
                cleaned, replaced = clean(found)
                yield self._record(cleaned, piece, is_first=number == 1, replaced=replaced)


def _decode_whole(raw: bytes) -> dict[str, Any] | None:
    """The one object on a line that is sound."""
    try:
        fields = _decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if type(fields) is not dict:
        return None
    return None if may_be_deep(raw) and is_deeper_than(NESTING_MAX, fields) else fields


def _salvage(line: bytes) -> Iterator[tuple[int, int, dict[str, Any], str]]:
    """What can be told apart on a line, by its bytes: objects, and damage with its reason."""
    at = 0
    looks = _SALVAGES_MAX
    while at < len(line):
        damage = None
        for piece in objects_on(line[at:]):
            if piece.damage:
                damage = (at + piece.start, piece.damage)
            elif piece.record:
                yield at + piece.start, at + piece.end, piece.record, ""
        if damage is None:
            return
        start, reason = damage
        at, looks = _next_record(line, start + 1, looks)
        yield start, at, {}, reason


def _next_record(line: bytes, at: int, looks: int) -> tuple[int, int]:
    """Where the next record begins on a line, its end if none does, and how many looks are left."""
    while looks and (found := _RECORD_START.search(line, at)):
        looks -= 1
        piece = next(objects_on(line[found.start() :]), None)
        if piece is not None and not piece.damage and _is_of_a_session(piece.record):
            return found.start(), looks
        at = found.start() + 1
    return len(line), looks


def _is_of_a_session(record: dict[str, Any]) -> bool:
    """Whether this is a record, and not one of the objects that records are made of."""
    return isinstance(record.get("type"), str) and ("sessionId" in record or "leafUuid" in record)
