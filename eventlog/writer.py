"""Appending: the one place that writes log files."""

import os
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from zlib import crc32

from eventlog.codec import FORMAT, decode_fields, decode_line, encode_event, frame
from eventlog.errors import AppendFailed, InvalidEvent, LogClosed, LogUnavailable, NewerFormat
from eventlog.events import EVENT_TYPES, Event, SegmentOpened, TornTailClosed, tag_of
from eventlog.files import Files
from eventlog.locks import Lock, restart_in_child
from eventlog.segments import CHUNK_BYTES, Segment, list_segments, read_lines, segment_path
from eventlog.tail import find_tail

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The time that events are stamped with."""
    return datetime.now(UTC)


class OpenSegment:
    """The segment that grows, as one process knows it: how far it has read it, and how far it is durable."""

    def __init__(self, segment: Segment, files: Files) -> None:
        self.segment = segment
        self.files = files
        self.descriptor = files.open_to_append(segment.path)
        self.end = 0
        self.last_seq = segment.first_seq - 1
        self.empty = True
        self.synced_seq = 0
        self.sync_error: OSError | None = None
        self._syncing = threading.Lock()

    def sync(self, seq: int) -> None:
        """Return when the line with this seq is durable; one sync serves all threads that wait for one.

        Raises OSError. After an error nobody knows what the kernel dropped, so this segment is never trusted again
        (fsync(2) reports a lost write once and then forgets it): every later call raises the same error.
        """
        if self.synced_seq >= seq:
            return
        with self._syncing:
            if self.synced_seq >= seq:
                return
            if self.sync_error is not None:
                raise self.sync_error
            covered = self.last_seq
            try:
                self.files.sync(self.descriptor)
            except OSError as error:
                self.sync_error = error
                raise
            self.synced_seq = covered

    def __del__(self) -> None:
        # The last thread that still syncs it closes it: a descriptor number must not be reused under its hands.
        if "descriptor" in self.__dict__:
            self.files.close(self.descriptor)


class Writer:
    """Appends events for one handle on a log; any number of writers, threads and processes work on one log."""

    def __init__(self, directory: Path, *, durability: str, segment_bytes: int, clock: Clock, files: Files) -> None:
        self.directory = directory
        self.folder = directory / "log"
        self.durability = durability
        self.segment_bytes = segment_bytes
        self._clock = clock
        self._files = files
        self._open: OpenSegment | None = None
        self._closed = False
        try:
            files.make_folder(self.folder)
            self._lock = Lock(directory / "log.lock")
            with self._lock:
                self._catch_up()
        except OSError as error:
            raise LogUnavailable(directory, error) from error
        restart_in_child(self)

    def restart(self) -> None:
        """In a forked child: forget the parent's segment and whoever was syncing it."""
        self._open = None

    def append(self, events: Sequence[Event], *, sync: bool) -> range:
        """Append events, see `EventLog.append_many`."""
        encoded = [(_encoded(event), tag_of(type(event))) for event in events]
        self._check_open()
        path = self.folder
        try:
            with self._lock:
                current = self._segment_with_room()
                path = current.segment.path
                seqs = self._write(current, encoded)
            if sync and seqs:
                self._sync(current, seqs[-1])
        except OSError as error:
            raise AppendFailed(path, len(events), error) from error
        return seqs

    def sync(self) -> None:
        """Return when everything in the log up to now is as durable as this handle promises."""
        self._check_open()
        try:
            with self._lock:
                current = self._catch_up()
            if current is not None:
                self._sync(current, current.last_seq)
        except OSError as error:
            raise AppendFailed(self.folder, 0, error) from error

    def close(self) -> None:
        """Let go of the files; appending raises LogClosed from here on."""
        if self._closed:
            return
        with self._lock:
            self._closed, self._open = True, None
        self._lock.close()

    def _check_open(self) -> None:
        if self._closed:
            raise LogClosed(self.directory)

    def _sync(self, current: OpenSegment, seq: int) -> None:
        if self.durability == "fsync":
            current.sync(seq)

    # Everything below runs under the lock.

    def _write(self, current: OpenSegment, encoded: Sequence[tuple[bytes, str]]) -> range:
        """Write lines with the next seqs in one go; after an error the next append looks at the tail anew."""
        first, at = current.last_seq + 1, self._clock()
        data = b"".join(frame(fields, tag, first + i, at) for i, (fields, tag) in enumerate(encoded))
        try:
            self._files.write_all(current.descriptor, data)
            current.last_seq += len(encoded)
            current.end += len(data)
            current.empty = False
        except BaseException:
            self._open = None
            raise
        return range(first, first + len(encoded))

    def _segment_with_room(self) -> OpenSegment:
        """The segment to append to, with its header, caught up with other writers, sealed and followed if full."""
        current = self._catch_up()
        if current is None:
            current = self._start_segment(1, None)
        elif current.empty:  # a crash came between making the file and writing its first line
            self._write_header(current, self._segment_before(current.segment))
        if current.sync_error is not None:
            current = self._start_segment(current.last_seq + 1, current.segment, trusted=False)
        elif current.end >= self.segment_bytes:
            current.sync(current.last_seq)
            current = self._start_segment(current.last_seq + 1, current.segment)
        return current

    def _start_segment(self, first_seq: int, before: Segment | None, *, trusted: bool = True) -> OpenSegment:
        current = OpenSegment(Segment(first_seq, segment_path(self.folder, first_seq)), self._files)
        self._open = None
        self._write_header(current, before, trusted=trusted)
        self._open = current
        return current

    def _write_header(self, current: OpenSegment, before: Segment | None, *, trusted: bool = True) -> None:
        self._files.sync_folder(self.folder)  # here, for whoever made the file may have died before he could
        length, checksum = segment_checksum(before.path) if before and trusted else (None, None)
        header = SegmentOpened(format=FORMAT, segment=before.name if before else None, length=length, checksum=checksum)
        self._write(current, [(encode_event(header), tag_of(SegmentOpened))])

    def _segment_before(self, segment: Segment) -> Segment | None:
        earlier = [s for s in list_segments(self.folder)[0] if s < segment]
        return earlier[-1] if earlier else None

    def _catch_up(self) -> OpenSegment | None:
        """The growing segment, known up to its end; None in an empty log. Closes what a crash left."""
        self._check_open()
        if self._open is None:
            segments = list_segments(self.folder)[0]
            if not segments:
                return None
            self._open = self._open_segment(segments[-1])
        while True:
            try:
                self._read_on(self._open)
            except BaseException:
                self._open = None
                raise
            following = segment_path(self.folder, self._open.last_seq + 1)
            if not following.exists() or following == self._open.segment.path:
                return self._open
            self._open = self._open_segment(Segment(self._open.last_seq + 1, following))

    def _open_segment(self, segment: Segment) -> OpenSegment:
        check_format(segment.path)
        return OpenSegment(segment, self._files)

    def _read_on(self, current: OpenSegment) -> None:
        """Take in what other writers appended since; anything but whole lines is looked at from the end."""
        size = self._files.size(current.descriptor)
        if size == current.end:
            return
        seq = current.last_seq
        if current.end == 0 or size < current.end or not (seq := self._seq_after(current)):
            self._recover(current, size)
            return
        current.end, current.last_seq = size, seq

    def _seq_after(self, current: OpenSegment) -> int:
        """The last seq after the new lines; 0 if they are not all whole and in order."""
        seq = current.last_seq
        for line in read_lines(current.descriptor, current.end):
            entry = decode_line(line.data) if line.terminated else None
            if entry is None or entry.seq != seq + 1:
                return 0
            seq = entry.seq
        return seq

    def _recover(self, current: OpenSegment, size: int) -> None:
        """Find the end, and close and name what a crash left there."""
        tail = find_tail(current.descriptor, current.segment, size)
        self._files.write_all(current.descriptor, tail.closing)
        current.end, current.empty = size + len(tail.closing), tail.empty
        current.last_seq = max(current.last_seq, tail.last_seq)  # if lines were taken away, their seqs stay taken
        if tail.empty:
            self._write_header(current, self._segment_before(current.segment))
        closings = [
            TornTailClosed(segment=current.segment.name, offset=gap.offset, length=gap.length, missing=gap.missing)
            for gap in tail.gaps
        ]
        if closings:
            self._write(current, [(encode_event(event), tag_of(TornTailClosed)) for event in closings])


def _encoded(event: Event) -> bytes:
    kind = type(event)
    if not isinstance(event, Event):
        raise InvalidEvent(f"{kind.__name__} is no event")
    try:
        encoded = encode_event(event)
        decode_fields(encoded, EVENT_TYPES.get(tag_of(kind), kind))
    except (UnicodeEncodeError, TypeError, ValueError, RecursionError) as error:
        raise InvalidEvent(f"{kind.__name__} cannot be written as JSON and read again: {error}") from error
    return encoded


def segment_checksum(path: Path) -> tuple[int, str]:
    """The length in bytes and the CRC-32 (eight hexadecimal digits) of a segment that grows no more."""
    length = checksum = 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            length += len(chunk)
            checksum = crc32(chunk, checksum)
    return length, f"{checksum:08x}"


def check_format(path: Path) -> None:
    """Raise NewerFormat when a segment's first whole line says that this version cannot read it."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        entries = (decode_line(line.data) for line in read_lines(descriptor, 0, chunk_bytes=4096))
        first = next((entry for entry in entries if entry), None)
    finally:
        os.close(descriptor)
    event = first.event if first else None
    if isinstance(event, SegmentOpened) and event.format > FORMAT:
        raise NewerFormat(path, event.format, FORMAT)
