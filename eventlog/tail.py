"""The end of a growing segment: where it is, and what a crash may have left there."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from eventlog.codec import CANCEL, Entry, decode_line
from eventlog.events import TornTailClosed
from eventlog.segments import Line, Segment, next_line, read_lines, split_joined

_WINDOW_BYTES = 64 * 1024


@dataclass
class Gap:
    """Bytes that a crash left without an event in them, and the seqs lost with them."""

    offset: int
    length: int
    missing: tuple[int, ...] = ()


@dataclass
class Tail:
    """What stands at the end of a segment.

    `last_seq` is the highest seq that is taken, be its line whole or damaged; `empty` says that no whole line is
    there; `closing` is what the last line needs to be ended; `gaps` what a crash left and nobody has named yet.
    """

    last_seq: int
    empty: bool = False
    closing: bytes = b""
    gaps: list[Gap] = field(default_factory=list)


def is_torn(line: Line) -> bool:
    """Whether a line that is not whole, at the end of a growing segment, is what a crash leaves.

    A write that was cut short leaves the beginning of a line without its newline; a power cut leaves NULs where
    blocks were not written. Neither was acknowledged; nor was a line that an earlier writer cancelled. Anything else
    at the end is damage to a line that was: also a single NUL (a flipped bit makes one of a space), and a line that is
    whole but for its newline's byte.
    """
    if line.terminated:
        return line.data.endswith(CANCEL) or b"\0\0" in line.data
    return decode_line(line.data[:-1]) is None


def find_tail(descriptor: int, segment: Segment, size: int) -> Tail:
    """Look at the end of a segment of `size` bytes, reading no more than needed."""
    window = _WINDOW_BYTES
    while True:
        start = max(0, size - window)
        begin = next_line(descriptor, start, size) if start else 0
        before = None if start else Tail(segment.first_seq - 1, empty=True)
        tail = _take_lines(segment, read_lines(descriptor, begin), before)
        if tail is not None:
            return tail
        window *= 8


def _take_lines(segment: Segment, lines: Iterable[Line], tail: Tail | None) -> Tail | None:
    """What the lines come to, behind `tail`; None if that is not known and they alone do not tell."""
    broken: list[Line] = []
    for line in lines:
        entry = decode_line(line.data) if line.terminated else None
        if entry is None:
            front, entry = split_joined(line) or (line, None)
            broken.append(front)
        if entry is None:
            continue
        torn = [line for line in broken if is_torn(line)]
        if torn and tail is None:
            return None
        tail = Tail(entry.seq, gaps=_gaps_before(segment, entry, torn, tail))
        broken.clear()
    if tail is not None:
        for line in broken:
            _take_broken_line(tail, line)
    return tail


def _gaps_before(segment: Segment, entry: Entry, torn: list[Line], tail: Tail | None) -> list[Gap]:
    """The gaps that nobody has named up to this entry; a line stands behind one when a power cut spared it."""
    gaps = tail.gaps if tail else []
    for line in torn:
        _add_gap(gaps, Gap(line.offset, len(line.data)))
    if torn and tail:
        gaps[-1].missing += tuple(range(tail.last_seq + 1, entry.seq))
    closed = entry.event if entry.type == "TornTailClosed" else None
    if not isinstance(closed, TornTailClosed) or closed.segment != segment.name:
        return gaps
    return [gap for gap in gaps if gap.offset not in range(closed.offset, closed.offset + closed.length)]


def _take_broken_line(tail: Tail, line: Line) -> None:
    entry = None if line.terminated else decode_line(line.data)
    if entry is not None:  # only the newline is missing: the writer that adds it completes the event
        tail.last_seq, tail.empty, tail.closing = entry.seq, False, b"\n"
        return
    torn = is_torn(line)
    if not line.terminated:
        tail.closing = CANCEL + b"\n" if torn else b"\n"
    # A line with its newline had a seq. Where no line is whole yet, it was the header's, which will be written again.
    had_seq = line.terminated and not line.data.endswith(CANCEL) and not tail.empty
    if had_seq or not torn:
        tail.last_seq += 1
    if torn:
        _add_gap(tail.gaps, Gap(line.offset, len(line.data), (tail.last_seq,) if had_seq else ()))


def _add_gap(gaps: list[Gap], gap: Gap) -> None:
    """Add a gap, as one with the last if nothing is between: one event names them, which is written or is not."""
    if gaps and gaps[-1].offset + gaps[-1].length + 1 == gap.offset:
        last = gaps.pop()
        gap = Gap(last.offset, last.length + 1 + gap.length, last.missing + gap.missing)
    gaps.append(gap)
