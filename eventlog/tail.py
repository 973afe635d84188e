"""The end of a growing segment: where it is, and what a crash may have left there."""

from dataclasses import dataclass, field

from eventlog.codec import Entry, decode_line
from eventlog.segments import Line, next_line, read_lines

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
    there; `open_line` that the file does not end in a newline; `gaps` what a crash left and nobody has named yet.
    """

    last_seq: int
    empty: bool = False
    open_line: bool = False
    gaps: list[Gap] = field(default_factory=list)


def is_torn(line: Line) -> bool:
    """Whether a line that is not whole, at the end of a growing segment, is what a crash leaves.

    A write that was cut short leaves the beginning of a line without its newline; a power cut leaves NULs where
    blocks were not written. Neither was acknowledged. Anything else at the end is damage to a line that was: also
    a line that is whole but for its newline's byte.
    """
    if line.terminated:
        return b"\0" in line.data
    return decode_line(line.data[:-1]) is None


def find_tail(descriptor: int, first_seq: int, size: int) -> Tail:
    """Look at the end of a segment of `size` bytes that begins with `first_seq`, reading no more than needed."""
    entry, rest = _last_whole_line(descriptor, size)
    tail = Tail(last_seq=entry.seq if entry else first_seq - 1, empty=entry is None)
    for line in rest:
        _take_broken_line(tail, line)
    return tail


def _take_broken_line(tail: Tail, line: Line) -> None:
    if not line.terminated:
        tail.open_line = True
        entry = decode_line(line.data)
        if entry is not None:  # only the newline is missing: the writer that adds it completes the event
            tail.last_seq, tail.empty = entry.seq, False
        elif is_torn(line):
            tail.gaps.append(Gap(line.offset, len(line.data)))
        else:
            tail.last_seq += 1
        return
    tail.last_seq += 1
    if is_torn(line):
        tail.gaps.append(Gap(line.offset, len(line.data), (tail.last_seq,)))


def _last_whole_line(descriptor: int, size: int) -> tuple[Entry | None, list[Line]]:
    """The last whole line, and the broken ones after it."""
    window = _WINDOW_BYTES
    while True:
        start = max(0, size - window)
        begin = next_line(descriptor, start, size) if start else 0
        lines = list(read_lines(descriptor, begin))
        for index in range(len(lines) - 1, -1, -1):
            entry = decode_line(lines[index].data) if lines[index].terminated else None
            if entry is not None:
                return entry, lines[index + 1 :]
        if start == 0:
            return None, lines
        window *= 8
