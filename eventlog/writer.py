"""Appending: the one place that writes log files."""

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from eventlog.codec import FORMAT, Encoded, encode_event, frame, prepare
from eventlog.commit import Batch, GroupCommit
from eventlog.errors import AppendFailed, EventLogError, LogClosed, LogUnavailable
from eventlog.events import Event, SegmentOpened, TornTailClosed
from eventlog.files import Files
from eventlog.growing import OpenSegment
from eventlog.locks import Lock, restart_in_child
from eventlog.segments import Segment, Written, check_format, list_segments, segment_checksum, segment_path
from eventlog.tail import find_tail

WRITTEN_BYTES_MAX = 4 * 1024 * 1024
"""Of what was written last, no more is kept in memory."""

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The time that events are stamped with."""
    return datetime.now(UTC)


class Writer:
    """Appends events for one handle on a log; any number of writers, threads and processes work on one log."""

    def __init__(self, directory: Path, *, durability: str, segment_bytes: int, clock: Clock, files: Files) -> None:
        self.directory = directory
        self.folder = directory / "log"
        self.durability = durability
        self.segment_bytes = segment_bytes
        self._clock = clock
        self._files = files
        self.written: Written | None = None
        """What was appended last."""
        self._open: OpenSegment | None = None
        self._path = self.folder  # of what was to be written last, for errors to name
        self._distrusted: Segment | None = None  # it could not be synced
        self._appended = False
        self._closed = False
        self._commits = GroupCommit()
        try:
            files.make_folder(self.folder)
            self._lock = Lock(directory / "log.lock")
            with self._lock:
                self._catch_up()
        except OSError as error:
            raise LogUnavailable(directory, error) from error
        restart_in_child(self)

    def restart(self) -> None:
        """In a forked child: forget the parent's segment, and whoever was committing."""
        self._open = None
        self._appended = False
        self._commits.restart()

    def append(self, events: Sequence[Event | Encoded], *, sync: bool) -> range:
        """Append events, see `EventLog.append_many`."""
        encoded = [event if isinstance(event, tuple) else prepare(event) for event in events]
        batch = Batch(encoded, sync=sync and self.durability == "fsync")
        self._commits.submit(batch, self._commit)
        return batch.seqs

    def sync(self) -> None:
        """Return when everything in the log up to now is as durable as this handle promises."""
        self._commits.submit(Batch((), sync=self.durability == "fsync"), self._commit)

    def close(self) -> None:
        """Let go of the files; appending raises LogClosed from here on.

        If this handle extended the segment ahead, what is still blank is cut off, wherever others have got to.
        """
        if self._closed:
            return
        with self._lock:
            with suppress(OSError, EventLogError):  # blanks do no harm
                if self._open is not None and self._open.padded:
                    current = self._catch_up()
                    if current is not None and current.padded:
                        current.cut()
            self._closed, self._open = True, None
        self._lock.close()

    def _commit(self, group: Sequence[Batch]) -> None:
        """Write some batches, and sync if one of them asks for it; one thread at a time does this."""
        try:
            current = self._write_group(group)
            for batch in group:
                if batch.sync and current is not None:
                    current.sync()
                    break
        except OSError as error:
            self._fail(group, error)
        except EventLogError as error:
            for batch in group:
                batch.error = error
        except BaseException:
            self._lock.recover()
            self._fail(group, InterruptedError(errno.EINTR, os.strerror(errno.EINTR)))
            raise

    def _fail(self, group: Iterable[Batch], cause: OSError) -> None:
        for batch in group:
            batch.error = AppendFailed(self._path, len(batch.events), cause)
            batch.error.__cause__ = cause

    def _write_group(self, group: Sequence[Batch]) -> OpenSegment | None:
        """Write some batches in one go; returns the segment that has them, None in a log that is empty still.

        A full segment's checksum is computed between two looks at the log: the lock is not held for it.
        """
        events = group[0].events if len(group) == 1 else [event for batch in group for event in batch.events]
        full: OpenSegment | None = None
        while True:
            if full is not None:
                full.sum_up()
            with self._lock:
                current = self._catch_up()
                if not events:
                    return current
                if current is None or current.sync_error is not None:
                    current = self._next_segment(current)
                elif current.end >= self.segment_bytes:
                    if not current.summed_up:
                        full = current
                        continue
                    current = self._next_segment(current)
                self._write_batches(current, group, events)
                return current

    # Everything below runs under the lock.

    def _write_batches(self, current: OpenSegment, group: Iterable[Batch], events: Sequence[Encoded]) -> None:
        seq, offset = current.last_seq + 1, current.end
        lines = frame(events, seq, self._clock())
        current.write(lines, len(events), pad=self._appended)
        self._appended = True
        self.written = Written(current.segment.path, offset, lines) if len(lines) <= WRITTEN_BYTES_MAX else None
        for batch in group:
            batch.seqs = range(seq, seq := seq + len(batch.events))

    def _write(self, current: OpenSegment, events: Sequence[Event]) -> None:
        """Write what the log says of itself."""
        encoded = [encode_event(event) for event in events]
        current.write(frame(encoded, current.last_seq + 1, self._clock()), len(encoded), pad=False)

    def _next_segment(self, current: OpenSegment | None) -> OpenSegment:
        """The segment that follows one which is full, or could not be synced; the first one where there is none."""
        if current is None:
            return self._start_segment(1, SegmentOpened(format=FORMAT))
        current.cut()  # others see by the missing blanks that a segment may be sealed
        if current.sync_error is None:
            current.sync()
            seal = current.sum_up()
            header = SegmentOpened(
                format=FORMAT,
                segment=current.segment.name,
                length=seal.length,
                checksum=seal.digits,
                whole=seal.whole,
            )
        else:
            current.rescue()
            self._distrusted = current.segment
            header = SegmentOpened(format=FORMAT, segment=current.segment.name)
        return self._start_segment(current.last_seq + 1, header)

    def _start_segment(self, first_seq: int, header: SegmentOpened) -> OpenSegment:
        current = self._opened(Segment(first_seq, segment_path(self.folder, first_seq)))
        self._open = current  # also if it cannot be synced, which this handle must remember
        self._write_header(current, header)
        self._lock.set_label(self._files.boot_id())  # nothing in it is older than this boot
        return current

    def _write_header(self, current: OpenSegment, header: SegmentOpened) -> None:
        """Write the first line and sync it, when the names of the file and, of a new log, of its folders are durable.

        That is done here, for whoever made them may have died before he could.
        """
        current.known = False  # until it has one
        if header.segment is None:
            for folder in self.directory.absolute().parents:
                self._sync_folder_above(folder)
            self._files.sync_folder(self.directory)
        self._files.sync_folder(self.folder)
        self._write(current, [header])
        current.sync()  # a power cut may spare a line and take the one before, but a segment without a header is none

    def _sync_folder_above(self, folder: Path) -> None:
        try:
            self._files.sync_folder(folder)
        except OSError as error:  # one that is not ours, or not on a disk
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENOTSUP, errno.EROFS):
                raise

    def _header_after_crash(self, segment: Segment) -> SegmentOpened:
        """The header of a segment that was made and got no whole line."""
        earlier = [s for s in list_segments(self.folder)[0] if s < segment]
        if not earlier:
            return SegmentOpened(format=FORMAT)
        length, checksum = (None, None) if earlier[-1] == self._distrusted else segment_checksum(earlier[-1].path)
        return SegmentOpened(format=FORMAT, segment=earlier[-1].name, length=length, checksum=checksum)

    def _opened(self, segment: Segment) -> OpenSegment:
        self._path = segment.path
        return OpenSegment(segment, self._files, segment_bytes=self.segment_bytes)

    def _catch_up(self) -> OpenSegment | None:
        """The growing segment, known up to its end; None in an empty log. Closes what a crash left."""
        if self._closed:
            raise LogClosed(self.directory)
        if self._open is None:
            segments = list_segments(self.folder)[0]
            if not segments:
                return None
            check_format(segments[-1].path)
            self._open = self._opened(segments[-1])
        while True:
            current = self._open
            if not current.read_on():
                self._recover(current)
            if current.blank_ahead:  # whoever seals a segment cuts its blanks off first
                return current
            following = segment_path(self.folder, current.last_seq + 1)
            if following == current.segment.path or not following.exists():
                return current
            header = check_format(following)
            self._open = self._opened(Segment(current.last_seq + 1, following))
            if current.in_doubt and header is not None and header.checksum is None:
                current.sync()  # somebody could not; whoever asks now must be told if this handle cannot either

    def _recover(self, current: OpenSegment) -> None:
        """Find the end, and close and name what a crash left there."""
        boot_id = self._files.boot_id()
        rebooted = boot_id != self._lock.label()
        tail = find_tail(current.descriptor, current.segment, self._files.size(current.descriptor), whole=rebooted)
        header = self._header_after_crash(current.segment) if tail.empty else None
        self._files.write_all(current.descriptor, tail.closing, tail.end)
        current.place_end(tail.end + len(tail.closing), tail.last_seq)
        if header is not None:
            self._write_header(current, header)
        closings = [
            TornTailClosed(segment=current.segment.name, offset=gap.offset, length=gap.length, missing=gap.missing)
            for gap in tail.gaps
        ]
        if closings:
            self._write(current, closings)
        if rebooted:
            self._lock.set_label(boot_id)
