"""The segments of a log: their names, their lines, and where a seq stands in them."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from msgspec import Struct

from eventlog.codec import FORMAT, HEAD, Entry, are_whole, decode_line
from eventlog.errors import LogUnavailable, NewerFormat
from eventlog.events import SegmentOpened
from eventlog.files import CLOSE_ON_EXEC

SEGMENT_BYTES = 64 * 1024 * 1024
"""A segment that is longer than this grows no more."""

CHUNK_BYTES = 256 * 1024
"""How much is read at once when a segment is read through."""

PROBE_BYTES = 16 * 1024
"""How much is read at once when a place in a segment is looked for."""

_SUM_BYTES = 4 * 1024 * 1024  # large: a thread that sums up waits for the interpreter after every piece

_BLANKS = tuple(b"\n" * length for length in (32768, 2048, 128, 8, 1))

_NAME = re.compile(r"(\d{20})\.jsonl", re.ASCII)


@dataclass(frozen=True, order=True)
class Segment:
    """One file of the log, named by the seq of its first event."""

    first_seq: int
    path: Path

    @property
    def name(self) -> str:
        """The file's name without its folder, as events tell it."""
        return self.path.name


class Line(NamedTuple):
    """Some bytes between two newlines, which may or may not be an event; `blank` is how many newlines too many
    stand before it: writers leave none between lines, a power cut does.
    """

    offset: int
    data: bytes
    terminated: bool
    blank: int = 0


class Written(Struct, frozen=True, gc=False):
    """Whole lines with their newlines, which a handle on the log has just written at an offset of a segment."""

    path: Path
    offset: int
    lines: bytes


def segment_path(folder: Path, first_seq: int) -> Path:
    """Where the segment stands that begins with this seq."""
    return folder / f"{first_seq:020d}.jsonl"


def list_segments(folder: Path) -> tuple[list[Segment], list[str]]:
    """The segments of a log folder in order, and the names of files that are none.

    A folder that does not exist is an empty log. Raises LogUnavailable if it cannot be read.
    """
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return [], []
    except OSError as error:
        raise LogUnavailable(folder, error) from error
    matches = [(name, _NAME.fullmatch(name)) for name in sorted(names)]
    segments = [Segment(int(match[1]), folder / name) for name, match in matches if match]
    return segments, [name for name, match in matches if not match]


def open_to_read(path: Path) -> int:
    """A descriptor that reads and is not inherited by other programs."""
    return os.open(path, os.O_RDONLY | CLOSE_ON_EXEC)


def read_lines(
    descriptor: int, offset: int, *, chunk_bytes: int = CHUNK_BYTES, past_blanks: bool = True
) -> Iterator[Line]:
    """The lines from `offset`, which begins a line, to the end of the file; empty ones are passed over.

    The last one is not terminated when the file does not end in a newline. Without `past_blanks` it ends at blanks
    behind which nothing was found before: a segment is extended ahead by far more than is ever appended to it.
    """
    end = start = offset  # of the last line, and of the next one or of `pieces`
    pieces: list[bytes] = []  # what came before of a line that is longer than a chunk
    while chunk := os.pread(descriptor, chunk_bytes, offset):
        offset += len(chunk)
        if b"\n" not in chunk:
            pieces.append(chunk)
            continue
        data = b"".join((*pieces, chunk))
        text = without_blanks(data)  # a segment may be extended ahead: not to be split newline by newline
        lines = text.split(b"\n")
        pieces = [lines.pop()] if len(text) == len(data) else []
        for line in lines:
            if line:
                yield Line(start, line, terminated=True, blank=start - end)
                end = start + len(line) + 1
            start += len(line) + 1
        start = offset - len(pieces[0]) if pieces else offset
        if not past_blanks and len(text) + 1 < len(data):
            return
        chunk_bytes = min(2 * chunk_bytes, CHUNK_BYTES)
    if pieces:
        yield Line(start, b"".join(pieces), terminated=False, blank=start - end)


def without_blanks(data: bytes) -> bytes:
    """The bytes up to the last one that is no newline; `rstrip` looks at every single one (0.6 ms for 256 KiB)."""
    end = len(data)
    for blanks in _BLANKS:
        while data.endswith(blanks, 0, end):
            end -= len(blanks)
    return data[:end]


def text_end(descriptor: int, size: int) -> int:
    """Where the text ends in a file of `size` bytes: behind its last byte that is no newline."""
    length = PROBE_BYTES  # there are no blanks to pass, or many
    while size:
        begin, length = max(0, size - length), CHUNK_BYTES
        text = without_blanks(os.pread(descriptor, size - begin, begin))
        if text:
            return begin + len(text)
        size = begin
    return 0


def split_joined(line: Line) -> tuple[Line, Entry] | None:
    """Of a line that is not whole, the front and the whole line that ends it: the newline between was damaged.

    None if there is none, or if blocks that a power cut left unwritten stand before it.
    """
    at = line.data.find(HEAD, 1) if line.terminated else -1
    while at > 0:
        front, entry = line.data[:at], decode_line(line.data[at:])
        if entry is not None and b"\0\0" not in front:
            return Line(line.offset, front, terminated=True, blank=line.blank), entry
        at = line.data.find(HEAD, at + 1)
    return None


def find_offset(descriptor: int, seq: int) -> int:
    """An offset where a line begins, at or before the line with this seq and near it.

    Bisects by byte offset: a dozen small reads in a file of 64 MiB. Damaged lines are passed over.
    """
    low, high = 0, text_end(descriptor, os.fstat(descriptor).st_size)
    while high - low > PROBE_BYTES:
        middle = (low + high) // 2
        found = _next_entry(descriptor, middle, high)
        if found is None or found[1].seq > seq:
            high = middle
        else:
            low = found[0]
            if found[1].seq == seq:
                break
    return low


def _next_entry(descriptor: int, offset: int, high: int) -> tuple[int, Entry] | None:
    """The first whole line that begins after `offset` and before `high`."""
    begin = next_line(descriptor, offset, high)
    for line in read_lines(descriptor, begin, chunk_bytes=PROBE_BYTES):
        if line.offset >= high:
            return None
        entry = decode_line(line.data)
        if entry is not None:
            return line.offset, entry
    return None


def next_line(descriptor: int, offset: int, high: int) -> int:
    """Where the first line begins after the newline at or after `offset`; `high` if there is none before."""
    while offset < high:
        chunk = os.pread(descriptor, PROBE_BYTES, offset)
        found = chunk.find(b"\n")
        if found >= 0:
            return min(offset + found + 1, high)
        if not chunk:
            break
        offset += len(chunk)
    return high


class Seal(Struct, frozen=True, gc=False):
    """What is known of a segment up to `length` bytes: the CRC-32 of those, and whether all lines in them are whole."""

    length: int = 0
    checksum: int = 0
    whole: bool = True

    @property
    def digits(self) -> str:
        """The checksum as headers tell it: eight hexadecimal digits."""
        return f"{self.checksum:08x}"


def segment_checksum(path: Path) -> tuple[int, str]:
    """The length in bytes and the CRC-32 (eight hexadecimal digits) of a segment that grows no more."""
    descriptor, length, checksum = open_to_read(path), 0, 0
    try:
        while chunk := os.pread(descriptor, _SUM_BYTES, length):
            length, checksum = length + len(chunk), crc32(chunk, checksum)
    finally:
        os.close(descriptor)
    return length, f"{checksum:08x}"


def seal_on(descriptor: int, seal: Seal, end: int) -> Seal:
    """Go on with a seal up to `end`, where a line ends."""
    length, checksum, whole = seal.length, seal.checksum, seal.whole
    rest = b""
    while length < end and (chunk := os.pread(descriptor, min(CHUNK_BYTES, end - length), length)):
        length, checksum = length + len(chunk), crc32(chunk, checksum)
        lines = rest + chunk
        cut = lines.rfind(b"\n") + 1
        rest = lines[cut:]
        whole = whole and (not cut or are_whole(lines[:cut]))
    return Seal(length, checksum, whole and not rest)


def first_entry(path: Path) -> Entry | None:
    """The first whole line of a segment."""
    descriptor = open_to_read(path)
    try:
        entries = (decode_line(line.data) for line in read_lines(descriptor, 0, chunk_bytes=4096))
        return next((entry for entry in entries if entry), None)
    finally:
        os.close(descriptor)


def check_format(path: Path) -> SegmentOpened | None:
    """The header of a segment, its first whole line; raises NewerFormat when this version cannot read what follows."""
    first = first_entry(path)
    event = first.event if first else None
    if not isinstance(event, SegmentOpened):
        return None
    if event.format > FORMAT:
        raise NewerFormat(path, event.format, FORMAT)
    return event
