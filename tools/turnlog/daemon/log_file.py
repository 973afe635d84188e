"""The file that the daemon logs into: whole lines, turned over by size and age, opened again when somebody renamed it.

The standard library has three handlers for that, each for a part: RotatingFileHandler (size), TimedRotatingFileHandler
(hours of the day) and WatchedFileHandler (renamed by others). The first two lose lines when two processes write; none
can be put together with another. So this is one file of its own:

* A line is one write(2) to a file that is open to append: lines of several processes stand one after the other.
* Before each, stat(2) tells whether the name still means the file that is open; if not, it is opened anew. So
  logrotate needs no signal and no copytruncate.
* Turning over is renaming, `daemon.log` to `daemon.log.1` and so on, under a lock that is only tried: whoever does not
  get it writes on, and finds the file renamed at the next line.
"""

import os
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from eventlog.files import CLOSE_ON_EXEC, FILE_MODE
from eventlog.locks import Lock
from turnlog.clock import Clock
from turnlog.daemon.log_lines import decode, time_of

_HEAD_BYTES = 4096


class LogFile:
    """The file at `path`, made 0600 when there is something to write. Not for several threads at once.

    Longer than `bytes_max`, or with a first line that is older than `seconds_max`, it is turned over; 0 means never.
    `backups` are kept.
    """

    def __init__(self, path: Path, *, bytes_max: int, seconds_max: float, backups: int, clock: Clock) -> None:
        self.path = path
        self._bytes_max = bytes_max
        self._seconds_max = seconds_max
        self._backups = backups
        self._clock = clock
        self._descriptor = -1
        self._began = clock.now()
        self._torn = False
        self._lock = Lock(path.with_name(f"{path.name}.lock"))

    def write(self, line: bytes) -> None:
        """Append a line, or several; the last has no newline yet. Raises OSError if they could not be written whole."""
        self._open_current()
        if self._is_due(len(line) + 1):
            self._turn_over()
            self._open_current()
        data = b"\n" + line + b"\n" if self._torn else line + b"\n"
        done = 0
        try:
            while done < len(data):
                done += os.write(self._descriptor, data[done:])
        finally:
            self._torn = (self._torn and not done) or 0 < done < len(data)

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open_current(self) -> None:
        if self._descriptor >= 0 and not _is_at(self.path, self._descriptor):
            self.close()
        if self._descriptor < 0:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | CLOSE_ON_EXEC
            self._descriptor = os.open(self.path, flags, FILE_MODE)
            self._began = _first_time(self._descriptor) or self._clock.now()
            self._torn = _is_torn(self._descriptor)

    def _is_due(self, more: int) -> bool:
        size = os.fstat(self._descriptor).st_size
        if not size:
            return False
        if self._bytes_max and size + more > self._bytes_max:
            return True
        age = self._clock.now() - self._began
        return bool(self._seconds_max) and age > timedelta(seconds=self._seconds_max)

    def _turn_over(self) -> None:
        """Rename the file out of the way, unless somebody else does, or did, or it cannot be done: then write on."""
        with suppress(OSError):
            if not self._lock.acquire(blocking=False):
                return
            try:
                if _is_at(self.path, self._descriptor):
                    self._shift()
            finally:
                self._lock.release()

    def _shift(self) -> None:
        names = [self.path, *(self.path.with_name(f"{self.path.name}.{n}") for n in range(1, self._backups + 1))]
        for older, newer in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
            with suppress(FileNotFoundError):
                newer.replace(older)
        if not self._backups:
            self.path.unlink()


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether a name still means the file that is open."""
    try:
        named = os.stat(path)  # noqa: PTH116 - before every line: half as long as Path's own
    except OSError:
        return False
    opened = os.fstat(descriptor)
    return (named.st_ino, named.st_dev) == (opened.st_ino, opened.st_dev)


def _first_time(descriptor: int) -> datetime | None:
    line, end, _ = os.pread(descriptor, _HEAD_BYTES, 0).partition(b"\n")
    fields = decode(line) if end else None
    return time_of(fields) if fields else None


def _is_torn(descriptor: int) -> bool:
    """Whether the file ends within a line, as after a crash or on a disk that was full."""
    size = os.fstat(descriptor).st_size
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
