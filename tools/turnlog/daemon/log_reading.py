"""Reading the daemon's log: the last lines of all its files, and those that come, whoever renames what meanwhile.

The files are `daemon.log` and whatever stands beside it under that name with something behind: `.1`, `.2.gz`,
`-20261120`, as we and logrotate call them. What their order is, their first lines tell.
"""

import gzip
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

from msgspec import Struct

from turnlog.daemon.log_lines import ERRORS, decode, time_of

_BLOCK_BYTES = 256 * 1024

_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error)

_NOT_LOGS = (".lock", ".tmp", ".err")


class Line(Struct, frozen=True):
    """A line as it stands in the file, and its fields; None where it is not whole."""

    raw: bytes
    fields: dict[str, Any] | None


Wanted = Callable[[Line], bool]


def wanted_lines(*, errors: bool, since: datetime | None) -> Wanted:
    """What chooses the lines of errors, or those since a time, or both."""

    def wanted(line: Line) -> bool:
        if line.fields is None:
            return not errors and since is None
        if errors and line.fields.get("level") not in ERRORS:
            return False
        at = time_of(line.fields)
        return since is None or (at is not None and at >= since)

    return wanted


class LogReader:
    """Reads the log at `path`; close it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: list[_Growing] = []  # the file that lines are written to, and the one before, for late ones
        self._old: set[tuple[int, int]] = set()  # what had been turned over when there was no file to follow yet

    def last(self, count: int | None, wanted: Wanted, *, since: datetime | None = None) -> list[Line]:
        """The last `count` lines that are wanted, oldest first; all of them if that is None. Raises OSError.

        Files that end before `since` are not read. `news` goes on where this stopped.
        """
        older = self._older()
        self._old = {_identity(path) for path in older}
        found = deque(filter(wanted, self.news()), maxlen=count)
        for path in reversed(older):
            if len(found) == count or (since is not None and _changed_at(path) < since):
                break
            with suppress(FileNotFoundError):  # renamed meanwhile
                missing = None if count is None else count - len(found)
                found = deque([*deque(filter(wanted, _read(path)), maxlen=missing), *found], maxlen=count)
        return list(found)

    def news(self) -> Iterator[Line]:
        """The lines written since the last call, also to files that were renamed meanwhile. Raises OSError."""
        for file in self._open:
            yield from file.lines()
        while (following := self._following()) is not None:
            for closed in self._open[1:]:
                closed.close()
            self._open = [following, *self._open[:1]]
            yield from following.lines()

    def close(self) -> None:
        """Close the files."""
        while self._open:
            self._open.pop().close()

    def _following(self) -> "_Growing | None":
        """The file after the one that is open: that of the log's name, or one that was renamed before it was seen."""
        try:
            newest = _Growing(self._path)
        except FileNotFoundError:
            return None
        if self._open and newest.same(self._open[0]):
            newest.close()
            return None
        missed = self._missed()
        if missed is None:
            return newest
        newest.close()
        return missed

    def _missed(self) -> "_Growing | None":
        """The file that came right after the one that is open, or first of all, if that has been renamed as well."""
        paths = self._older()
        following = [after for path, after in pairwise(paths) if self._open and self._open[0].is_at(path)]
        first = [path for path in paths if not self._open and _identity(path) not in self._old]
        for path in (*following, *first):
            if path.suffix != ".gz":
                with suppress(FileNotFoundError):
                    return _Growing(path)
        return None

    def _older(self) -> list[Path]:
        """The files that were turned over, oldest first."""
        name = self._path.name
        try:
            names = [each for each in os.listdir(self._path.parent) if each.startswith((f"{name}.", f"{name}-"))]
        except FileNotFoundError:
            return []
        paths = [self._path.with_name(each) for each in names if not each.endswith(_NOT_LOGS)]
        return sorted(paths, key=_began_at)


class _Growing:
    """A file that is being written to, from its beginning on, whole lines at a time."""

    def __init__(self, path: Path) -> None:
        self._file: IO[bytes] = path.open("rb", buffering=0)
        self._rest = b""

    def lines(self) -> Iterator[Line]:
        """What was written since the last call. One that was cut off (copytruncate) begins anew."""
        if os.fstat(self._file.fileno()).st_size < self._file.tell():
            self._file.seek(0)
            self._rest = b""
        while block := self._file.read(_BLOCK_BYTES):
            *whole, self._rest = (self._rest + block).split(b"\n")
            yield from map(_line, filter(None, whole))

    def same(self, other: "_Growing") -> bool:
        """Whether both are one file."""
        return os.path.sameopenfile(self._file.fileno(), other._file.fileno())

    def is_at(self, path: Path) -> bool:
        """Whether the name means this file."""
        with suppress(OSError):
            return os.path.samestat(path.stat(), os.fstat(self._file.fileno()))
        return False

    def close(self) -> None:
        """Close it."""
        self._file.close()


def _identity(path: Path) -> tuple[int, int]:
    with suppress(FileNotFoundError):
        status = path.stat()
        return status.st_dev, status.st_ino
    return 0, 0


def _line(raw: bytes) -> Line:
    return Line(raw, decode(raw))


def _read(path: Path) -> Iterable[Line]:
    """The lines of a file that is written to no longer; a damaged archive ends where it is damaged."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file, suppress(*_DAMAGED):
        for raw in file:
            if raw.strip():
                yield _line(raw.rstrip(b"\n"))


def _began_at(path: Path) -> tuple[datetime, datetime]:
    """The time of a file's first line; the time of its last change where that does not say."""
    changed = _changed_at(path)
    with suppress(OSError):
        for line in _read(path):
            return (time_of(line.fields or {}) or changed), changed
    return changed, changed


def _changed_at(path: Path) -> datetime:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except FileNotFoundError:
        return datetime.min.replace(tzinfo=UTC)
