"""Reading: from any seq on, around damage, without locks, while others append.

Reading ends in one of three ways. A clean end. A torn tail: the last line of the growing segment is not whole, be it
that a crash left it or that somebody is writing it just now; it is passed over and never judged. Corruption:
anything else that is not a whole line with the next seq; it is kept as a `Problem`, and reading goes on behind it.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from eventlog.codec import CANCEL, Entry, are_whole, decode_line, decode_whole
from eventlog.errors import LogUnavailable
from eventlog.events import TornTailClosed
from eventlog.seals import SealChecks
from eventlog.segments import (
    Line,
    Segment,
    Written,
    check_format,
    find_offset,
    list_segments,
    open_to_read,
    read_lines,
    split_joined,
)
from eventlog.tail import torn_lines

ItemT = TypeVar("ItemT")

BLOCK_BYTES = 64 * 1024
"""How many bytes come in a block; 64 KiB were faster than 1 MiB or 4 MiB in a trial."""

_NEW_BYTES = 8 * 1024
"""How many bytes are read at first where only what has just been appended is expected."""


class Problem(Struct, frozen=True):
    """Something in a log that is not as it was written.

    `kind` is one of `checksum` (a damaged line), `hole` (seqs are missing), `order` (a seq came again or too late),
    `event` (a whole line whose event breaks its own rules), `seal` (a sealed segment is not what it was), `header`
    (a segment does not begin as one), `name` (a segment's name is not its first seq), `foreign` (a file that does
    not belong), `torn_tail` (the unfinished last line that a crash leaves: no damage, the next writer closes it).
    `seq` and `offset` (bytes) say where, as far as that can be told.
    """

    kind: str
    segment: str
    seq: int | None
    offset: int | None
    detail: str


def torn_tail(segment: str, line: Line) -> Problem:
    """The problem that is none: an unfinished line."""
    detail = f"{len(line.data)} bytes of a line that was never finished nor acknowledged; the next writer closes it"
    return Problem("torn_tail", segment, None, line.offset, detail)


class LineChecker:
    """Follows the seqs over lines that may be damaged, and keeps the problems that it meets."""

    def __init__(self, gt: int, problems: list[Problem]) -> None:
        self._gt = gt
        self._last: int | None = None if gt else 0  # of the last whole line; unknown when reading begins midway
        self._lost = 0  # damaged lines since then; an estimate of their seqs, for a newline may be what is damaged
        self._problems = problems
        self._broken: list[Line] = []

    @property
    def broken(self) -> list[Line]:
        """The lines since the last whole one, which are not judged yet."""
        return self._broken

    def take(self, segment: str, line: Line, *, growing: bool = False) -> Entry | None:
        """The entry of a line if it is whole and new; `segment` is the name of the file that it stands in.

        In a `growing` one, blocks that a power cut left unwritten are gaps that the next writer closes.
        """
        entry = decode_line(line.data) if line.terminated else None
        if entry is None:
            front, entry = split_joined(line) or (line, None)
            self._broken.append(front)
        if entry is None:
            return None
        if entry.type == "TornTailClosed":
            self._explain(segment, entry)
        torn = torn_lines(self._broken, line) if growing else []
        self.judge(segment, torn)
        if self._last is not None and entry.seq <= self._last:
            self._note("order", segment, entry.seq, line.offset, f"seq {entry.seq} again, after {self._last}")
            return None
        expected = (self._gt if self._last is None else self._last + self._lost) + 1
        if entry.seq > expected:
            unwritten = growing and (bool(torn) or line.blank > 0)
            self._note_hole(segment, expected, entry.seq - 1, line.offset, "torn_tail" if unwritten else "hole")
        self._last, self._lost = entry.seq, 0
        return entry if entry.seq > self._gt else None

    def accept(self, seqs: Sequence[int]) -> bool:
        """Take these seqs of whole lines if they are those that come next."""
        if self._last is None or self._broken or self._lost or self._last < self._gt:
            return False
        if list(seqs) != list(range(self._last + 1, self._last + 1 + len(seqs))):
            return False
        self._last = seqs[-1]
        return True

    def judge(self, segment: str, torn: Sequence[Line] = ()) -> None:
        """Whatever is not whole up to here and not `torn` is damage: something whole came after it."""
        for line in self._broken:
            if line in torn or line.data.endswith(CANCEL):  # its closing says so, though nobody has named it yet
                self._problems.append(torn_tail(segment, line))
                continue
            self._lost += 1
            seq = None if self._last is None else self._last + self._lost
            self._note("checksum", segment, seq, line.offset, f"{len(line.data)} bytes are no whole line")
        self._broken.clear()

    def _explain(self, segment: str, entry: Entry) -> None:
        """Forget what a later writer has named as the work of a crash."""
        closed = entry.event
        if not isinstance(closed, TornTailClosed):
            return
        gap = range(closed.offset, closed.offset + closed.length)
        if closed.segment == segment:
            self._broken[:] = [line for line in self._broken if line.offset not in gap]
            self._lost += len([seq for seq in closed.missing if seq > (self._last or 0)])
        self._problems[:] = [
            problem
            for problem in self._problems
            if problem.segment != closed.segment or not (problem.offset in gap or problem.seq in closed.missing)
        ]

    def _note_hole(self, segment: str, first: int, last: int, offset: int, kind: str) -> None:
        which = f"seq {first} is" if first == last else f"seqs {first} to {last} are"
        self._note(kind, segment, first, offset, f"{which} missing before this line")

    def _note(self, kind: str, segment: str, seq: int | None, offset: int, detail: str) -> None:
        if seq is None or seq > self._gt:
            self._problems.append(Problem(kind, segment, seq, offset, detail))


class Block:
    """Lines whose checksums were found right, each one's or that of their sealed segment: to be decoded at once."""

    __slots__ = ("_checker", "_offset", "_segment", "lines")

    def __init__(self, checker: LineChecker, segment: str, offset: int, lines: bytes) -> None:
        self.lines = lines
        self._checker = checker
        self._segment = segment
        self._offset = offset

    def accept(self, seqs: Sequence[int]) -> bool:
        """Whether these, in this order, are the seqs that must come here; then the block is done with."""
        return self._checker.accept(seqs)

    def entries(self) -> Iterator[Entry]:
        """The same one by one."""
        entries = decode_whole(self.lines)
        if entries and self.accept([entry.seq for entry in entries]):
            yield from entries
        else:
            yield from self._entries_around_damage()

    def _entries_around_damage(self) -> Iterator[Entry]:
        offset = self._offset
        for data in self.lines.split(b"\n"):
            entry = self._checker.take(self._segment, Line(offset, data, terminated=True)) if data else None
            offset += len(data) + 1
            if entry is not None:
                yield entry


class Reader:
    """Reads a log from behind `gt` on, as often as asked, always from where it stopped.

    `problems` is what it passed over so far. `written` tells what this process has appended last, which is not read
    again where it follows. Holds one file open; `close` it.
    """

    def __init__(self, folder: Path, *, gt: int = 0, written: Callable[[], Written | None] = lambda: None) -> None:
        self._folder = folder
        self._written = written
        self._gt = gt
        self.problems: list[Problem] = []
        self._checker = LineChecker(gt, self.problems)
        self._seals = SealChecks()
        self._segment: Segment | None = None
        self._descriptor = -1
        self._been_to_end = False  # of the segment, as it was when it was opened
        self._offset = 0

    def read(self) -> Iterator[Entry]:
        """The entries that are there now and were not read yet.

        Raises LogUnavailable if a file cannot be read, NewerFormat if this version must not.
        """
        return self._read(self._read_segment)

    def read_blocks(self) -> Iterator[Entry | Block]:
        """The same, but long stretches come in blocks of many lines; each must be accepted or gone through."""
        return self._read(self._read_in_blocks)

    def _read(self, read_segment: Callable[[Sequence[Segment]], Iterator[ItemT]]) -> Iterator[ItemT]:
        try:
            while True:
                if self._been_to_end and self._descriptor >= 0:
                    if not self._is_blank_ahead():
                        yield from read_segment(())
                    if self._is_blank_ahead():  # it will grow: what is sealed has none
                        return
                segments = list_segments(self._folder)[0]
                if self._segment is None and not self._start(segments):
                    return
                if self._descriptor < 0:
                    self._move_to(self._current, self._offset)
                behind = [segment for segment in segments if segment > self._current]
                yield from read_segment(behind)
                if not behind:
                    return
                self._move_to(behind[0], 0)
        except OSError as error:
            raise LogUnavailable(self._folder, error) from error

    def _is_blank_ahead(self) -> bool:
        """Whether the growing segment was extended ahead, and nothing was written there yet."""
        return os.pread(self._descriptor, 1, self._offset) == b"\n"

    @property
    def _current(self) -> Segment:
        assert self._segment is not None  # noqa: S101 - `read` sees to it
        return self._segment

    def _start(self, segments: list[Segment]) -> bool:
        if not segments:
            return False
        segment = [s for s in segments if s.first_seq <= self._gt + 1 or s is segments[0]][-1]
        self._move_to(segment, None)
        return True

    def _move_to(self, segment: Segment, offset: int | None) -> None:
        check_format(segment.path)
        self.close()
        self._segment = segment
        self._descriptor = open_to_read(segment.path)
        self._offset = find_offset(self._descriptor, self._gt + 1) if offset is None else offset
        self._been_to_end = False

    def _read_segment(self, behind: Sequence[Segment]) -> Iterator[Entry]:
        """The entries of the segment; with none `behind` it may be growing.

        Somebody may be writing while this reads: then a line may be seen behind another that is not there yet. What
        stands before a line that was seen is there at a second look, so nothing is judged before that.
        """
        final = not behind
        if final and self._been_to_end:
            yield from self._just_written()
        looked_twice = 0 if final else sys.maxsize  # up to here
        restart = True
        while restart:
            restart = False
            for line in self._lines(growing=final):
                if line.offset > looked_twice and (line.blank or self._checker.broken):
                    looked_twice, restart = line.offset, True
                    self._checker.broken.clear()
                    break
                entry = self._checker.take(self._current.name, line, growing=final)
                if not self._checker.broken:  # everything up to here is settled
                    self._offset = line.offset + len(line.data) + 1
                if entry is not None:
                    yield entry
        if final:
            self._been_to_end = True
            self._checker.broken.clear()  # looked at again when more has come
        else:
            self._checker.judge(self._current.name)

    def _just_written(self) -> Iterator[Entry]:
        """The entries that were appended here, if they are the next ones."""
        written = self._written()
        if written is None or written.offset != self._offset or written.path != self._current.path:
            return
        for entry in decode_whole(written.lines) or ():
            if not self._checker.accept([entry.seq]):
                return
            self._offset += len(entry.line) + 1
            yield entry

    def _lines(self, *, growing: bool) -> Iterator[Line]:
        """What was not read yet; a little at a time of a growing segment whose end was seen before."""
        if growing and self._been_to_end:
            return read_lines(self._descriptor, self._offset, chunk_bytes=_NEW_BYTES, past_blanks=False)
        return read_lines(self._descriptor, self._offset)

    def _read_in_blocks(self, behind: Sequence[Segment]) -> Iterator[Entry | Block]:
        """A sealed segment in blocks if it is what the next one's header says, another while its lines are whole."""
        sealed = bool(behind) and not self._offset and self._seals.check(self._current, *behind)
        length = BLOCK_BYTES
        while (not self._been_to_end and len(chunk := os.pread(self._descriptor, length, self._offset)) == length) or (
            sealed and chunk
        ):
            lines = chunk[: chunk.rfind(b"\n") + 1]
            if not lines and len(chunk) == length:  # of a longer line
                length *= 2
                continue
            if not lines or not (sealed or (not lines.endswith(b"\n\n") and are_whole(lines))):
                break
            offset, length = self._offset, BLOCK_BYTES
            self._offset += len(lines)
            yield Block(self._checker, self._current.name, offset, lines)
        yield from self._read_segment(behind)

    def close(self) -> None:
        """Close the file; the reader is done."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def __del__(self) -> None:
        self.close()
