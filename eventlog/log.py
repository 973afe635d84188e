"""The log: everything that was ever said to it, in order, for ever."""

import os
import threading
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from eventlog.blobs import Blobs
from eventlog.codec import Encoded, Entry
from eventlog.errors import LogUnavailable, ReadOnlyLog
from eventlog.events import Event
from eventlog.files import Files
from eventlog.lookup import PLACES_MAX, Lookup
from eventlog.reader import Problem, Reader
from eventlog.segments import SEGMENT_BYTES, Written, check_format, list_segments
from eventlog.tail import find_tail
from eventlog.verify import Report, glance, verify
from eventlog.wake import Waiter
from eventlog.writer import Clock, Writer, utc_now

Durability = Literal["fsync", "os"]

_STOP_CHECK_SECONDS = 0.1


class EventLog:
    """An append-only log of events in a folder; open it with `EventLog.open`.

    Any number of threads and processes may append to and read the same log.
    """

    def __init__(self, directory: Path, writer: Writer | None) -> None:
        self.directory = directory
        self.folder = directory / "log"
        self._writer = writer

    @classmethod
    def open(
        cls,
        directory: str | PathLike[str],
        *,
        durability: Durability = "fsync",
        read_only: bool = False,
        segment_bytes: int = SEGMENT_BYTES,
        clock: Clock = utc_now,
        files: Files | None = None,
    ) -> Self:
        """Open the log in `directory`, creating it (0700) unless `read_only`.

        `durability` is what `append` promises: `fsync` (on disk) or `os` (handed to the operating system). A
        segment longer than `segment_bytes` is sealed. `clock` stamps the events (UTC). `files` stands for the
        operating system in tests.

        A read-only log never writes, locks or creates anything; a folder that does not exist reads as empty.
        Raises LogUnavailable, NewerFormat; ValueError for an unknown durability.
        """
        if durability not in ("fsync", "os"):
            raise ValueError(f"durability must be 'fsync' or 'os', not {durability!r}")
        path = Path(directory)
        if read_only:
            return cls(path, None)
        writer = Writer(path, durability=durability, segment_bytes=segment_bytes, clock=clock, files=files or Files())
        return cls(path, writer)

    @property
    def blobs(self) -> Blobs:
        """The payloads beside the log."""
        return Blobs(self.directory / "blobs")

    def append(self, event: Event) -> int:
        """Append one event; returns its seq when it is as durable as asked.

        1. The event is encoded, and checked, before any lock is taken. Threads that append at the same time are one
           group from here on: one of them writes and syncs for all.
        2. flock(2) on `log.lock`, whose descriptor is held: one writer at a time, among processes.
        3. pread(2) at the known end: what other writers appended since is read. Where a crash left something, the end
           is looked for from behind, pwrite(2) closes it, and a TornTailClosed names it; the first writer after a
           reboot (/proc/sys/kernel/random/boot_id, kept in the lock's file) looks through the whole segment for gaps.
        4. If the segment is full: ftruncate(2) cuts off its blanks; fdatasync(2) makes it durable; open(2) makes the
           next file and fsync(2) of the folder its name; pwrite(2) writes its first line, the SegmentOpened that
           seals the full one, and fdatasync(2) makes that durable before there is another. The checksum was computed
           before, without the lock.
        5. pwrite(2) of the line at the end, in one call; from here on readers see it, and it survives the end of the
           process. Then, from a handle's second append on and where no blanks are left, pwrite(2) of up to 512 KiB of
           newlines behind it: syncs need not write the file's length then. The lock is let go.
        6. With `fsync`, fdatasync(2) of the segment, without the lock: on return the line and everything before it
           survive a power cut, for earlier segments were synced at step 4. With `os` this step is left out.

        Raises AppendFailed when the system refuses (nothing is acknowledged; the same log appends on when the cause
        is gone), InvalidEvent for what JSON cannot hold, ReadOnlyLog, LogClosed.
        """
        return self._writing().append((event,), sync=True)[0]

    def append_many(self, events: Sequence[Event | Encoded], *, sync: bool = True) -> range:
        """Append events with consecutive seqs in one write and one sync; returns the seqs. See `append`.

        Those that `prepare` has encoded are written as they are.

        After an AppendFailed a beginning of the batch may be in the log, unacknowledged. With `sync=False` the
        events are only handed to the operating system, until `sync` is called.
        """
        writer = self._writing()
        return writer.append(events, sync=sync) if events else range(0)

    def sync(self) -> None:
        """Return when everything in the log, whoever appended it, is as durable as asked. Raises AppendFailed."""
        self._writing().sync()

    def reader(self, *, gt: int = 0) -> Reader:
        """A reader that remembers where it stopped: what follows a log, or folds it step by step, holds one."""
        return Reader(self.folder, gt=gt, written=self._written)

    def read(self, *, gt: int = 0, limit: int | None = None, problems: list[Problem] | None = None) -> Iterator[Entry]:
        """The entries with a seq greater than `gt`, at most `limit`, up to what is there now.

        What is damaged is passed over and, when reading is done, told in `problems`.
        Raises LogUnavailable, NewerFormat.
        """
        reader = self.reader(gt=gt)
        try:
            for count, entry in enumerate(reader.read() if limit != 0 else (), start=1):
                yield entry
                if count == limit:
                    break
        finally:
            reader.close()
            if problems is not None:
                problems.extend(reader.problems)

    def get(self, seq: int) -> Entry | None:
        """The entry with this seq, found by bisection; None if there is none. Raises LogUnavailable, NewerFormat."""
        lookup = self.lookup()
        try:
            return lookup.get(seq)
        finally:
            lookup.close()

    def lookup(self, *, places_max: int = PLACES_MAX) -> Lookup:
        """What finds many events by seq: it keeps the files open, and remembers so many places in them."""
        return Lookup(self.folder, places_max=places_max)

    def last_seq(self) -> int:
        """The seq of the last event, found from the end of the last segment; 0 in an empty log.

        Raises LogUnavailable, NewerFormat.
        """
        segments = list_segments(self.folder)[0]
        if not segments:
            return 0
        last = segments[-1]
        try:
            check_format(last.path)
            with last.path.open("rb", buffering=0) as file:
                return find_tail(file.fileno(), last, os.fstat(file.fileno()).st_size).last_seq
        except OSError as error:
            raise LogUnavailable(last.path, error) from error

    def follow(self, *, gt: int = 0, stop: threading.Event | None = None) -> Iterator[Entry]:
        """The same as `read`, and then every event as it comes, until `stop` is set (noticed within 0.1 s)."""
        reader = self.reader(gt=gt)
        with Waiter(self.folder) as waiter:
            try:
                while not (stop and stop.is_set()):
                    for entry in reader.read():
                        yield entry
                        if stop and stop.is_set():
                            return
                    waiter.wait(_STOP_CHECK_SECONDS)
            finally:
                reader.close()

    def verify(self) -> Report:
        """Check every byte; see `eventlog.verify`."""
        return verify(self.folder)

    def glance(self) -> Report:
        """Check what is quick to check; see `eventlog.verify.glance`."""
        return glance(self.folder)

    def close(self) -> None:
        """Let go of the files. Closing again does nothing."""
        if self._writer is not None:
            self._writer.close()

    def _written(self) -> Written | None:
        return self._writer.written if self._writer is not None else None

    def _writing(self) -> Writer:
        if self._writer is None:
            raise ReadOnlyLog(self.directory)
        return self._writer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
