"""The end of a growing segment: where it is, and what a crash may have left there."""

from dataclasses import dataclass, field

from eventlog.codec import CANCEL, Entry, decode_line
from eventlog.segments import Line, next_line, read_lines, split_joined

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


def find_tail(descriptor: int, first_seq: int, size: int) -> Tail:
    """Look at the end of a segment of `size` bytes that begins with `first_seq`, reading no more than needed."""
    entry, rest = _last_whole_line(descriptor, size)
    tail = Tail(last_seq=entry.seq if entry else first_seq - 1, empty=entry is None)
    for line in rest:
        _take_broken_line(tail, line)
    return tail


def _take_broken_line(tail: Tail, line: Line) -> None:
    entry = None if line.terminated else decode_line(line.data)
    if entry is not None:  # only the newline is missing: the writer that adds it completes the event
        tail.last_seq, tail.empty, tail.closing = entry.seq, False, b"\n"
        return
    torn = is_torn(line)
    if not line.terminated:
        tail.closing = CANCEL + b"\n" if torn else b"\n"
    had_seq = line.terminated and not line.data.endswith(CANCEL)
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


def _last_whole_line(descriptor: int, size: int) -> tuple[Entry | None, list[Line]]:
    """The last whole line, and the broken ones after it."""
    window = _WINDOW_BYTES
    while True:
        start = max(0, size - window)
        begin = next_line(descriptor, start, size) if start else 0
        lines = list(read_lines(descriptor, begin))
        for index in range(len(lines) - 1, -1, -1):
            joined = split_joined(lines[index])
            line = joined[1] if joined else lines[index]
            entry = decode_line(line.data) if line.terminated else None
            if entry is not None:
                return entry, lines[index + 1 :]
        if start == 0:
            return None, lines
        window *= 8
