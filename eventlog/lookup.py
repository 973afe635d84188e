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

PLACES_MAX = 32_768
"""So many places are remembered, unless told otherwise; each takes some 300 bytes."""

_KNOWN_NEAR = 8
"""A place that is so many seqs before what is looked for, or fewer, will do."""


class Lookup:
    """Finds events by bisecting segments, some of which it keeps open; `close` it. Not for several threads at once."""

    def __init__(self, folder: Path, *, places_max: int = PLACES_MAX) -> None:
        self._folder = folder
        self._places_max = places_max
        self._segments: list[Segment] = []
        self._descriptors: dict[int, int] = {}  # by the segment's first seq
        self._known: dict[tuple[int, int], int] = {}  # where the line behind one that was found begins, by segment

    def get(self, seq: int) -> Entry | None:
        """The entry with this seq; None if there is none, or its line is damaged.

        Raises LogUnavailable if a file cannot be read, NewerFormat if this version must not.
        """
        try:
            entry = self._find(seq)
            if entry is None and (not self._segments or seq >= self._segments[-1].first_seq):
                self._segments = list_segments(self._folder)[0]  # the last one may have been followed since
                entry = self._find(seq)
            return entry
        except OSError as error:
            raise LogUnavailable(self._folder, error) from error

    def _find(self, seq: int) -> Entry | None:
        """The entry, if a segment that is known has it.

        Whoever asks for many asks for the neighbours of some: behind those it begins to look.
        """
        segment = next((segment for segment in reversed(self._segments) if segment.first_seq <= seq), None)
        if segment is None:
            return None
        descriptor, known, first = self._open(segment), self._known, segment.first_seq
        near = (known.get((first, other)) for other in range(seq, seq - _KNOWN_NEAR, -1))
        offset = next((begin for begin in near if begin is not None), None)
        entry, end = _find(descriptor, seq, find_offset(descriptor, seq) if offset is None else offset)
        if entry is not None:
            known[first, seq + 1] = end
            if len(known) > self._places_max:
                del known[next(iter(known))]
        return entry

    def _open(self, segment: Segment) -> int:
        descriptor = self._descriptors.pop(segment.first_seq, -1)
        if descriptor < 0:
            check_format(segment.path)
            descriptor = open_to_read(segment.path)
        self._descriptors[segment.first_seq] = (
            descriptor  # as the last: the one that was not asked for longest is closed
        )
        if len(self._descriptors) > _OPEN_MAX:
            os.close(self._descriptors.pop(next(iter(self._descriptors))))
        return descriptor

    def close(self) -> None:
        """Close the files."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def __del__(self) -> None:
        self.close()


def _find(descriptor: int, seq: int, offset: int) -> tuple[Entry | None, int]:
    """The entry with this seq at or behind an offset where a line begins, if it is there, and where its line ends."""
    for line in read_lines(descriptor, offset, chunk_bytes=PROBE_BYTES):
        entry = decode_line(line.data) if line.terminated else None
        if entry is None:
            _, entry = split_joined(line) or (line, None)
        if entry is not None and entry.seq >= seq:
            return (entry if entry.seq == seq else None), line.offset + len(line.data) + 1
    return None, offset
