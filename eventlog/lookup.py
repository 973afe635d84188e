"""Single events by seq, without reading the log."""

import os
from pathlib import Path

from eventlog.codec import Entry, decode_line
from eventlog.errors import LogUnavailable
from eventlog.segments import (
    PROBE_BYTES,
    Segment,
    check_format,
    find_offset,
    list_segments,
    open_to_read,
    read_lines,
    split_joined,
)

_OPEN_MAX = 16


class Lookup:
    """Finds events by bisecting segments, some of which it keeps open; `close` it. Not for several threads at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._segments: list[Segment] = []
        self._descriptors: dict[Segment, int] = {}

    def get(self, seq: int) -> Entry | None:
        """The entry with this seq; None if there is none, or its line is damaged.

        Raises LogUnavailable if a file cannot be read, NewerFormat if this version must not.
        """
        try:
            segment = self._segment(seq)
            return _find(self._open(segment), seq) if segment else None
        except OSError as error:
            raise LogUnavailable(self._folder, error) from error

    def _segment(self, seq: int) -> Segment | None:
        """The segment that has a seq, if any has."""
        if not self._segments or seq >= self._segments[-1].first_seq:  # the last one may have been followed since
            self._segments = list_segments(self._folder)[0]
        return next((segment for segment in reversed(self._segments) if segment.first_seq <= seq), None)

    def _open(self, segment: Segment) -> int:
        descriptor = self._descriptors.pop(segment, -1)
        if descriptor < 0:
            check_format(segment.path)
            descriptor = open_to_read(segment.path)
        self._descriptors[segment] = descriptor  # as the last: the one that was not asked for longest is closed
        if len(self._descriptors) > _OPEN_MAX:
            os.close(self._descriptors.pop(next(iter(self._descriptors))))
        return descriptor

    def close(self) -> None:
        """Close the files."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def __del__(self) -> None:
        self.close()


def _find(descriptor: int, seq: int) -> Entry | None:
    for line in read_lines(descriptor, find_offset(descriptor, seq), chunk_bytes=PROBE_BYTES):
        entry = decode_line(line.data) if line.terminated else None
        if entry is None:
            _, entry = split_joined(line) or (line, None)
        if entry is not None and entry.seq >= seq:
            return entry if entry.seq == seq else None
    return None
