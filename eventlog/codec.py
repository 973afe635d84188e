r"""The line format of the log. This docstring is its specification, format 1.

A log is a folder `log/` of segments. A segment is a text file named by the seq of its first event, twenty digits
and `.jsonl`. It holds one event per line: a JSON object in UTF-8, then `\n`::

    {"crc":"9ae0daaf","type":"TurnRecorded","seq":2,"at":"2026-11-20T10:00:00.000000Z",...}

1. `crc`, `type`, `seq`, `at` come first, in this order, without white space; the event's own fields follow.
   So a line is checked and told apart at fixed offsets: the checksum's eight digits at byte 8, the body from
   byte 18 on, the type's name from byte 26 on.
2. `crc` is the CRC-32 (zlib's) of the body: everything from `"type"` to the closing brace, both included, as
   eight lower-case hexadecimal digits.
3. `type` is the event's tag: letters, digits and underscores.
4. `seq` is the event's position in the log: 1, 2, 3 ... without holes, over all segments.
5. `at` is when the log took the event: UTC, microseconds, always 27 characters.
6. A line is *whole* when it has this shape, its checksum is right, and its newline is there.
7. Lines that are empty are no events: a growing segment may be extended ahead with newlines, which the next lines
   are written over; a sealed one ends with the newline of its last line. Readers pass over them. Between lines they
   are what a power cut left where blocks were not written.
8. The first whole line of every segment is a `SegmentOpened`: the format's number and, but for the first segment,
   the name, length and CRC-32 of the segment before it, which will not grow any more.
9. No byte of a whole line changes, and no line disappears. What a crash left unfinished is closed with the byte 0x18
   (CAN, which stands in no JSON) and a newline, then named by a `TornTailClosed`; so it is told from damage even if
   the next crash comes between the two.
10. An unknown type, or a field that a version does not know, is kept and passed over. A segment of a higher format
    number is not read at all.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from typing import Any, TypeVar
from zlib import crc32

import msgspec

from eventlog.errors import InvalidEvent
from eventlog.events import EVENT_TYPES, Event, UnknownEvent, has_free_form, tag_of

FORMAT = 1
"""Part of the format; do not change without a new number."""

CRC_AT, BODY_AT, TYPE_AT = 8, 18, 26
"""Offsets within a line. Part of the format; do not change."""

HEAD, CANCEL = b'{"crc":"', b"\x18"
"""How a line begins, and how an unfinished one was ended. Part of the format; do not change."""

_CRC_END, _SEQ, _AT = b'",', b'","seq":', b',"at":"'
_AT_LENGTH = 27
_FRAME_FIELDS = ("crc", "type", "seq", "at")

ViewT = TypeVar("ViewT")

_encode = msgspec.json.Encoder().encode


class Entry:
    """One whole line of the log: its seq, its type, and on demand its time and its event."""

    __slots__ = ("_at", "_kind", "_view", "line", "seq", "type")

    def __init__(self, seq: int, kind: str, line: bytes, at: int) -> None:
        self.seq = seq
        self.type = kind
        self.line = line
        self._at = at
        self._kind: type[Any] | None = None
        self._view: Any = None

    @property
    def at(self) -> datetime:
        """When the log took the event, in UTC."""
        return datetime.fromisoformat(self.line[self._at : self._at + _AT_LENGTH].decode())

    @property
    def event(self) -> Event | UnknownEvent:
        """The whole event; an `UnknownEvent` where this version cannot make sense of the line."""
        kind = EVENT_TYPES.get(self.type)
        if kind is None:
            return self._unknown("")
        try:
            return self.view(kind)
        except msgspec.MsgspecError as error:
            return self._unknown(str(error))

    def view(self, kind: type[ViewT]) -> ViewT:
        """Decode the fields that the struct `kind` names and no others; the last view is remembered.

        Raises msgspec.MsgspecError when the line does not fit.
        """
        if self._kind is not kind:
            self._view = decode_fields(self.line, kind)
            self._kind = kind
        return self._view  # type: ignore[no-any-return]

    def _unknown(self, error: str) -> UnknownEvent:
        try:
            fields = decode_fields(self.line, dict)
        except msgspec.MsgspecError as cause:
            fields, error = {}, str(cause)
        return UnknownEvent(self.type, {k: v for k, v in fields.items() if k not in _FRAME_FIELDS}, error)

    def __repr__(self) -> str:
        return f"Entry(seq={self.seq}, type={self.type!r}, at={self.at.isoformat()})"


@cache
def _decoder(kind: type[Any]) -> Callable[[bytes], Any]:
    return msgspec.json.Decoder(kind).decode


def decode_fields(line: bytes, kind: type[ViewT]) -> ViewT:
    """A line, or an event's JSON alone, as the struct `kind`.

    Raises msgspec.MsgspecError when it does not fit, or is nested too deeply for the stack.
    """
    try:
        return _decoder(kind)(line)  # type: ignore[no-any-return, arg-type]
    except RecursionError as error:
        raise msgspec.DecodeError("it is nested too deeply") from error


Encoded = tuple[str, bytes]
"""An event before its seq and time are known: its type's tag and its JSON."""


def encode_event(event: Event) -> Encoded:
    """Encode an event's own fields.

    Raises UnicodeEncodeError for text that is no valid Unicode, TypeError for values that JSON cannot hold.
    """
    return tag_of(type(event)), _encode(event)


def prepare(event: Event) -> Encoded:
    """Encode an event that is to be appended, which may be done anywhere and long before.

    Raises InvalidEvent for what is no event, and for one that could not be read again as it is.
    """
    kind = type(event)
    if not isinstance(event, Event):
        raise InvalidEvent(f"{kind.__name__} is no event")
    try:
        encoded = encode_event(event)
        if has_free_form(event):
            _check_free_form(*encoded)
    except (UnicodeEncodeError, TypeError, ValueError, RecursionError) as error:
        raise InvalidEvent(f"{kind.__name__} cannot be written as JSON and read again: {error}") from error
    return encoded


def _check_free_form(tag: str, json: bytes) -> None:
    """Raise ValueError for what would not be read again; the types of all other fields were checked before."""
    decode_fields(json, EVENT_TYPES.get(tag, dict))
    if b"\n" in json:  # of a msgspec.Raw, which is written as it stands
        raise ValueError("it has a line break between its values")


@cache
def _beginning(tag: str) -> tuple[bytes, int]:
    """How the bodies of an event type's lines begin, and how much of its JSON that stands for."""
    kind = b'"type":"%b"' % tag.encode()
    return kind + b',"seq":', len(kind) + 1


def frame(events: Sequence[Encoded], first_seq: int, at: datetime) -> bytes:
    """The lines, newlines included, of events with consecutive seqs; `at` is in UTC.

    One buffer for all of them: a write(2) for each would cost more than the rest.
    """
    stamp = b',"at":' + _stamp(at)
    pieces: list[bytes] = []
    for seq, (tag, json) in enumerate(events, first_seq):
        kind, length = _beginning(tag)
        head, behind = b"%b%d%b" % (kind, seq, stamp), json[length:]
        pieces += (b'{"crc":"%08x",' % crc32(behind, crc32(head)), head, behind, b"\n")
    return b"".join(pieces)


def _stamp(at: datetime) -> bytes:
    stamp = _encode(at)  # a fifth of what isoformat costs, but without microseconds where there are none
    return stamp if len(stamp) == _AT_LENGTH + 2 else b'"%bZ"' % at.isoformat(timespec="microseconds")[:26].encode()


def encode_line(event: Event, *, seq: int, at: datetime) -> bytes:
    """The whole line of an event, newline included."""
    return frame((encode_event(event),), seq, at)


def are_whole(lines: bytes) -> bool:
    """Whether the checksums of some lines, each with its newline, are right."""
    return all(
        line[:CRC_AT] == HEAD and line[CRC_AT : CRC_AT + 8] == b"%08x" % crc32(line[BODY_AT:])
        for line in lines[:-1].split(b"\n")
    )


def decode_line(line: bytes) -> Entry | None:
    """The entry of a line (without its newline), or None where the line is not whole."""
    if line[:CRC_AT] != HEAD or line[CRC_AT + 8 : BODY_AT] != _CRC_END:
        return None
    if b"%08x" % crc32(memoryview(line)[BODY_AT:]) != line[CRC_AT : CRC_AT + 8]:
        return None
    return _decode_frame(line)


def decode_whole(lines: bytes) -> list[Entry] | None:
    """The entries of some lines, each with its newline, whose checksums were found right; None if one is no entry."""
    entries = [_decode_frame(line) for line in lines[:-1].split(b"\n")]
    return None if None in entries else entries  # type: ignore[return-value]


def _decode_frame(line: bytes) -> Entry | None:
    """The entry of a line whose checksum is right."""
    type_end = line.find(b'"', TYPE_AT)
    seq_at = type_end + len(_SEQ)
    seq_end = line.find(b",", seq_at)
    if line[type_end:seq_at] != _SEQ or line[seq_end : seq_end + len(_AT)] != _AT:
        return None
    try:
        return Entry(int(line[seq_at:seq_end]), line[TYPE_AT:type_end].decode(), line, seq_end + len(_AT))
    except ValueError:
        return None
