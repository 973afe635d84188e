"""Whether sealed segments are what they were when they were sealed, found out while something else is done."""

import os
import threading
from contextlib import suppress

from eventlog.codec import decode_line
from eventlog.events import SegmentOpened
from eventlog.segments import Segment, open_to_read, read_lines, segment_checksum


def is_sealed(segment: Segment, following: Segment) -> bool:
    """Whether every line of a segment is right, as the header of the one that follows says, and as they were then."""
    descriptor = open_to_read(following.path)
    try:
        first = next(read_lines(descriptor, 0, chunk_bytes=4096), None)
    finally:
        os.close(descriptor)
    entry = decode_line(first.data) if first else None
    header = entry.event if entry else None
    if not isinstance(header, SegmentOpened) or header.segment != segment.name or not header.whole:
        return False
    return segment_checksum(segment.path) == (header.length, header.checksum)


class SealChecks:
    """Checks segments in order, the next one on a thread: reading and CRC-32 leave the interpreter to others."""

    def __init__(self) -> None:
        self._ahead: _Check | None = None

    def check(self, segment: Segment, following: Segment, after: Segment | None = None, *_: Segment) -> bool:
        """Whether a segment is as the header of the following one says; that one is then checked against `after`."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead.segment == segment:
            ahead.join()
            sealed = ahead.sealed
        else:
            sealed = is_sealed(segment, following)
        if after is not None:
            check = _Check(following, after)
            with suppress(RuntimeError):  # no thread can be had
                check.start()
                self._ahead = check
        return sealed


class _Check(threading.Thread):
    def __init__(self, segment: Segment, following: Segment) -> None:
        super().__init__(name="turnlog-seal", daemon=True)
        self.segment = segment
        self.sealed = False
        self._following = following

    def run(self) -> None:
        try:
            self.sealed = is_sealed(self.segment, self._following)
        except OSError:  # whoever reads the segment will be told
            self.sealed = False
