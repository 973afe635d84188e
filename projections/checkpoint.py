"""States of folds kept on disk, to start in time proportional to what is new. Disposable, all of it.

A checkpoint is a file `<log>/checkpoints/<fold>`: a line of JSON that says what it is (the fold and its version, the
seq, the checksum of the log's line with that seq, the byte order, and lengths and CRC-32s of what follows), the state
in MessagePack, and its arrays as they are in memory, so that neither saving nor loading needs room for them twice. It
is written beside and renamed, so it is there whole or not at all. One that is absent, damaged, of another version or of
another log is thrown away without a word: the log alone is the truth.
"""

import sys
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, get_origin
from zlib import crc32

import msgspec
from msgspec import Struct

from eventlog import EventLog, EventLogError
from eventlog.files import Files
from projections.fold import Fold, State
from projections.queue import Queue

FOLDER = "checkpoints"

EVERY_EVENTS = 100_000
"""How many events are taken in, at most, before the state is saved again."""

EVERY_SECONDS = 300.0
"""How long it takes, at most, before what is new is saved, if it is not next to nothing."""

WORTH_EVENTS = 1000
"""What is not worth a file: replaying so many events takes a few milliseconds."""

_HEADER_BYTES_MAX = 4096

StateT = TypeVar("StateT", bound=State)


class _Header(Struct, frozen=True):
    fold: str
    version: int
    seq: int
    line: str
    byteorder: str
    length: int
    checksum: int
    columns_checksum: int


class Checkpoints:
    """The checkpoints of one log. Nothing here raises OSError: without them, things only take longer."""

    def __init__(self, log: EventLog, *, read_only: bool = False, files: Files | None = None) -> None:
        self._log = log
        self._folder = Path(log.directory) / FOLDER
        self._read_only = read_only
        self._files = files or Files()
        self._saved_seq = 0
        self._saved_at = time.monotonic()

    def load(self, folds: Sequence[Fold[Any]]) -> tuple[Any, ...]:
        """The folds' states as they were saved; the empty ones where nothing is there that fits."""
        states = tuple(self._load(fold) or fold.initial() for fold in folds)
        self._saved_seq = _least_seq(states)
        return states

    def _load(self, fold: Fold[StateT]) -> StateT | None:
        try:
            with (self._folder / fold.name).open("rb") as file:
                header = msgspec.json.decode(file.readline(_HEADER_BYTES_MAX), type=_Header)
                if (header.fold, header.version, header.byteorder) != (fold.name, fold.version, sys.byteorder):
                    return None
                if not header.line or header.line != self._line(header.seq):
                    return None
                return _read_state(file, header, fold)
        except (OSError, EventLogError, msgspec.MsgspecError, ValueError, TypeError, RecursionError):
            return None

    def save(self, folds: Sequence[Fold[Any]], states: Sequence[Any]) -> bool:
        """Save the folds' states, durably; False if that could not be done."""
        if self._read_only or not states:
            return False
        self._saved_seq, self._saved_at = _least_seq(states), time.monotonic()  # else it is tried again at once
        try:
            return all(self._save(fold, state) for fold, state in zip(folds, states, strict=True))
        except (OSError, EventLogError, OverflowError):
            return False

    def _save(self, fold: Fold[StateT], state: StateT) -> bool:
        line = self._line(state.last_seq)
        if not line:  # there would be nothing to know the log by
            return False
        columns: list[memoryview] = []
        body = msgspec.msgpack.encode(state, enc_hook=partial(_to_plain, columns))
        checksums = crc32(body), _checksum(columns)
        header = _Header(fold.name, fold.version, state.last_seq, line, sys.byteorder, len(body), *checksums)
        self._files.write_file(self._folder / fold.name, msgspec.json.encode(header) + b"\n", body, *columns)
        return True

    def save_if_due(self, folds: Sequence[Fold[Any]], states: Sequence[Any], *, stopping: bool = False) -> None:
        """Save the states if they have gone far enough, or for long enough, since they were saved or loaded."""
        events = _least_seq(states) - self._saved_seq
        late = stopping or time.monotonic() - self._saved_at >= EVERY_SECONDS
        if events >= EVERY_EVENTS or (late and events >= WORTH_EVENTS):
            self.save(folds, states)

    def _line(self, seq: int) -> str:
        """The checksum of the log's line with this seq; empty if there is none."""
        entry = self._log.get(seq) if seq else None
        return entry.line[8:16].decode() if entry else ""


def _least_seq(states: Sequence[Any]) -> int:
    return min((state.last_seq for state in states), default=0)


def _read_state(file: BinaryIO, header: _Header, fold: Fold[StateT]) -> StateT | None:
    """The state that stands behind the header; None if it is not as it was written."""
    body = file.read(header.length)
    if crc32(body) != header.checksum:
        return None
    columns: list[memoryview] = []
    state = msgspec.msgpack.decode(
        body, type=type(fold.initial()), dec_hook=partial(_from_plain, partial(_read_column, file, columns))
    )
    if _checksum(columns) != header.columns_checksum or file.read(1) or state.last_seq != header.seq:
        return None
    return state


def _read_column(file: BinaryIO, columns: list[memoryview], typecode: str, length: int) -> "array[int]":
    column = array(typecode, (0,)) * length
    content = memoryview(column).cast("B")
    if file.readinto(content) != len(content):  # type: ignore[attr-defined]
        raise ValueError("the file is too short")
    columns.append(content)
    return column


def _checksum(columns: Iterable[memoryview]) -> int:
    checksum = 0
    for column in columns:
        checksum = crc32(column, checksum)
    return checksum


def _to_plain(columns: list[memoryview], value: Any) -> Any:
    """What MessagePack can hold of what it cannot; the content of arrays goes behind it, into `columns`."""
    if isinstance(value, array):
        columns.append(memoryview(value).cast("B"))
        return [value.typecode, len(value)]
    if isinstance(value, Queue):
        return list(value)
    raise TypeError(f"a state holds a {type(value).__name__}, which a checkpoint cannot")


def _from_plain(read_column: Callable[[str, int], Any], kind: Any, value: Any) -> Any:
    """The other way; what is in a column is read when its turn comes."""
    origin = get_origin(kind) or kind
    if origin is array:
        return read_column(*value)
    if origin is Queue:
        return Queue(value)
    if origin is Counter:
        return Counter(value)
    raise TypeError(f"a state has a field of the type {kind}, which a checkpoint cannot hold")
