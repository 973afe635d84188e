"""The end of a growing segment: where it is, and what a crash may have left there."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from eventlog.codec import CANCEL, HEAD, Entry, decode_line
from eventlog.events import TornTailClosed
from eventlog.segments import Line, Segment, next_line, read_lines, split_joined, text_end

_WINDOW_BYTES = 64 * 1024
_BLOCK_BYTES = 512  # no disk writes less at once, and a killed write(2) ends with a page
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+("?)', re.DOTALL)  # also one that does not end: nothing is tried twice


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
    there; the text ends at `end`, where `closing` is to be written if the last line needs to be ended; `gaps` is what
    a crash left and nobody has named yet.
    """

    last_seq: int
    empty: bool = False
    end: int = 0
    closing: bytes = b""
    gaps: list[Gap] = field(default_factory=list)


def is_torn(line: Line, *, blank_after: bool) -> bool:
    """Whether a line that is not whole, in a growing segment, is what a crash leaves.

    A write that was cut short leaves the beginning of a line, without its newline or, in a segment that was extended
    ahead, with blanks behind it; a power cut leaves NULs or blanks where blocks were not written. Neither was
    acknowledged; nor was a line that an earlier writer cancelled. Anything else is damage to a line that was: also a
    single NUL (a flipped bit makes one of a space), and a line that is whole but for its last byte or its newline's.
    """
    if not line.terminated:
        return decode_line(line.data[:-1]) is None
    if line.data.endswith(CANCEL) or b"\0\0" in line.data or line.blank:
        return True
    return blank_after and is_beginning(line)


def is_beginning(line: Line) -> bool:
    """Whether a line was cut short: it begins as one, and what it opened is not closed again."""
    data = line.data
    if not data.startswith(HEAD[: len(data)]) or data.endswith(CANCEL):
        return False
    if data.endswith(b"}"):
        if not all(text[1] for text in _STRING.finditer(data)):  # one was cut, where blocks end, or a quote is damaged
            return (line.offset + len(data)) % _BLOCK_BYTES == 0
        rest = _STRING.sub(b"", data)
        return rest.count(b"{") > rest.count(b"}")
    return decode_line(data[:-1] + b"}") is None and decode_line(data[:-1]) is None  # one damaged byte at the end


def torn_lines(lines: list[Line], after: Line) -> list[Line]:
    """Of lines that are not whole those that a crash left, `after` being the whole one that follows them."""
    behind = [*lines[1:], after]
    return [line for line, then in zip(lines, behind, strict=False) if is_torn(line, blank_after=then.blank > 0)]


def torn_at_end(lines: list[Line], *, padded: bool) -> list[Line]:
    """The same for lines that nothing follows but, in a segment that is `padded`, blanks."""
    blanks = [then.blank > 0 for then in lines[1:]] + [padded]
    return [line for line, blank_after in zip(lines, blanks, strict=False) if is_torn(line, blank_after=blank_after)]


def find_tail(descriptor: int, segment: Segment, size: int, *, whole: bool = False) -> Tail:
    """Look at the end of a segment of `size` bytes, reading no more than needed; with `whole`, at all of it."""
    end = text_end(descriptor, size)
    window = end if whole else _WINDOW_BYTES
    while True:
        start = max(0, end - window)
        begin = next_line(descriptor, start, end) if start else 0
        before = None if start else Tail(segment.first_seq - 1, empty=True)
        tail = _take_lines(segment, read_lines(descriptor, begin), before, padded=end + 1 < size)
        if tail is not None:
            tail.end = min(size, end + 1) if not tail.closing else end
            return tail
        window *= 8


def _take_lines(segment: Segment, lines: Iterable[Line], tail: Tail | None, *, padded: bool) -> Tail | None:
    """What the lines come to, behind `tail`; None if that is not known and they alone do not tell."""
    broken: list[Line] = []
    for line in lines:
        entry = decode_line(line.data) if line.terminated else None
        if entry is None:
            front, entry = split_joined(line) or (line, None)
            broken.append(front)
        if entry is None:
            continue
        if tail is None and (line.blank or torn_lines(broken, line)):
            return None
        tail = Tail(entry.seq, gaps=_gaps_before(segment, entry, line, broken, tail))
        broken.clear()
    if tail is not None:
        torn = torn_at_end(broken, padded=padded)
        for line in broken:
            _take_broken_line(tail, line, torn=line in torn)
    return tail


def _gaps_before(segment: Segment, entry: Entry, line: Line, broken: list[Line], tail: Tail | None) -> list[Gap]:
    """The gaps that nobody has named up to this entry; a line stands behind one when a power cut spared it."""
    gaps = tail.gaps if tail else []
    torn = [Gap(each.offset, len(each.data)) for each in torn_lines(broken, line)]
    if line.blank and not broken and tail and entry.seq > tail.last_seq + 1:
        torn.append(Gap(line.offset - line.blank, line.blank))
    for gap in torn:
        _add_gap(gaps, gap)
    if torn and tail:
        gaps[-1].missing += tuple(range(tail.last_seq + 1, entry.seq))
    closed = entry.event if entry.type == "TornTailClosed" else None
    if not isinstance(closed, TornTailClosed) or closed.segment != segment.name:
        return gaps
    return [gap for gap in gaps if gap.offset not in range(closed.offset, closed.offset + closed.length)]


def _take_broken_line(tail: Tail, line: Line, *, torn: bool) -> None:
    entry = None if line.terminated else decode_line(line.data)
    if entry is not None:  # only the newline is missing: the writer that adds it completes the event
        tail.last_seq, tail.empty, tail.closing = entry.seq, False, b"\n"
        return
    cut = torn and (not line.terminated or (is_beginning(line) and b"\0\0" not in line.data))
    if not line.terminated or cut:
        tail.closing = CANCEL + b"\n" if torn else b"\n"
    else:
        tail.closing = b""
    # A line with its newline had a seq. Where no line is whole yet, it was the header's, which will be written again.
    had_seq = not cut and line.terminated and not line.data.endswith(CANCEL) and not tail.empty
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
