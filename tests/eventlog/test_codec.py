"""The frame of a line: what is written, what is read back, and what is refused."""

import json
import re
from datetime import UTC, datetime
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventlog import EVENT_TYPES, SinkResumed, TurnHeader, UnknownEvent
from eventlog.codec import BODY_AT, CRC_AT, TYPE_AT, Entry, decode_line, encode_event, encode_line, frame
from eventlog.events import Event

from .strategies import BY_TYPE, events, json_objects, seqs, times
from .support import START, note, turn

FRAME = re.compile(
    rb'\{"crc":"[0-9a-f]{8}","type":"(\w+)","seq":(\d+),"at":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"[,}]', re.ASCII
)


def decode(line: bytes) -> Entry:
    entry = decode_line(line)
    assert entry is not None
    return entry


@pytest.mark.parametrize("kind", sorted(EVENT_TYPES))
@settings(max_examples=50)
@given(data=st.data(), seq=seqs, at=times)
def test_every_event_survives_its_line(kind: str, data: st.DataObject, seq: int, at: datetime) -> None:
    """What is written of any event, at any seq and time, is read back equal, to the microsecond."""
    event = data.draw(BY_TYPE[kind])
    line = encode_line(event, seq=seq, at=at)
    assert line.endswith(b"}\n")
    entry = decode(line[:-1])
    assert (entry.seq, entry.type, entry.at, entry.event) == (seq, kind, at, event)
    assert entry.at.tzinfo is UTC


@given(event=events, seq=seqs, at=times)
def test_the_frame_stands_at_fixed_offsets(event: Event, seq: int, at: datetime) -> None:
    """A line is one JSON object that begins with crc, type, seq and at; the checksum covers all behind it."""
    line = encode_line(event, seq=seq, at=at)
    match = FRAME.match(line)
    assert match is not None
    assert (match[1].decode(), int(match[2])) == (type(event).__name__, seq)
    assert line.count(b"\n") == 1
    assert line[CRC_AT : CRC_AT + 8] == b"%08x" % crc32(line[BODY_AT:-1])
    assert line[BODY_AT:].startswith(b'"type":"')
    assert line[TYPE_AT:].startswith(type(event).__name__.encode() + b'"')
    assert list(json.loads(line))[:4] == ["crc", "type", "seq", "at"]


def test_the_specified_line() -> None:
    """The bytes of one line, spelled out: a change of the format cannot pass unseen."""
    line = encode_line(note(1, "你好"), seq=2, at=START)
    body = '"type":"SinkResumed","seq":2,"at":"2026-11-20T10:00:00.000000Z","sink":"s1","reason":"你好"}'
    assert line == b'{"crc":"360d71f8",' + body.encode() + b"\n"


@settings(max_examples=10)
@given(event=events)
def test_a_flipped_bit_makes_a_line_unreadable(event: Event) -> None:
    """No single bit of a line can change without the line being refused, the checksum's own digits included."""
    line = encode_line(event, seq=7, at=START)[:-1]
    for bit in range(len(line) * 8):
        touched = bytearray(line)
        touched[bit // 8] ^= 1 << bit % 8
        assert decode_line(bytes(touched)) is None, bit


def test_the_checksum_is_written_in_lower_case_only() -> None:
    """A checksum that differs in the case of a digit is another checksum."""
    lines = (encode_line(note(n), seq=1, at=START)[:-1] for n in range(50))
    for line in lines:
        upper = line[:CRC_AT] + line[CRC_AT:BODY_AT].upper() + line[BODY_AT:]
        assert (decode_line(upper) is None) == (upper != line)


@given(event=events, data=st.data())
def test_a_cut_or_extended_line_is_refused(event: Event, data: st.DataObject) -> None:
    """No proper beginning of a line is whole, nor is a line with something behind it."""
    line = encode_line(event, seq=7, at=START)[:-1]
    assert decode_line(line[: data.draw(st.integers(0, len(line) - 1))]) is None
    assert decode_line(line + data.draw(st.binary(min_size=1, max_size=3))) is None


@given(junk=st.binary(max_size=200))
def test_junk_is_refused_and_never_raises(junk: bytes) -> None:
    """Bytes that are no line decode to None, also where they begin like one."""
    assert decode_line(junk) is None
    assert decode_line(b'{"crc":"00000000",' + junk) is None or crc32(junk) == 0


def checked(body: bytes) -> bytes:
    """A line with a checksum that is right, whatever stands in it."""
    return b'{"crc":"%08x",%b' % (crc32(body), body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'"type":"A","seq":x,"at":"2026-11-20T10:00:00.000000Z"}',
        b'"type":"A","at":"2026-11-20T10:00:00.000000Z","seq":1}',
        b'"type":"\xff","seq":1,"at":"2026-11-20T10:00:00.000000Z"}',
        b'"type":A,"seq":1}',
        b'"type":"A","seq":1}',
        b'"type":"A","nr":1,"at":"2026-11-20T10:00:00.000000Z"}',
    ],
)
def test_a_right_checksum_is_not_enough(body: bytes) -> None:
    """A line that is no event is refused although its checksum is right."""
    assert decode_line(checked(body)) is None


@given(fields=json_objects)
def test_an_unknown_type_survives_a_read(fields: dict[str, object]) -> None:
    """An event of a type that a later version made is kept with all its fields, and is no error."""
    for name in ("crc", "type", "seq", "at"):
        fields.pop(name, None)
    head = b'"type":"Later_2","seq":9,"at":"2026-11-20T10:00:00.000000Z"'
    rest = json.dumps(fields).encode()[1:]
    entry = decode(checked(head + (b"," if fields else b"") + rest))
    assert (entry.seq, entry.type) == (9, "Later_2")
    assert entry.event == UnknownEvent("Later_2", fields)


@given(event=events)
def test_an_unknown_field_is_passed_over(event: Event) -> None:
    """A field that a later version added does not change how the others are read."""
    tag, json = encode_event(event)
    entry = decode(frame(((tag, json[:-1] + b',"later":{"a":[1]}}'),), 3, START)[:-1])
    assert entry.event == event
    assert b'"later"' in entry.line


def test_a_known_type_that_breaks_its_rules_is_kept() -> None:
    """A whole line whose event is not valid is told as an UnknownEvent with the reason, never raised."""
    body = b'"type":"TurnRecorded","seq":9,"at":"2026-11-20T10:00:00.000000Z","turn_id":"t","messages":[]}'
    event = decode(checked(body)).event
    assert isinstance(event, UnknownEvent)
    assert event.fields == {"turn_id": "t", "messages": []}
    assert "$.messages" in event.error


@pytest.mark.parametrize("rest", [b"", b',"a":}', b',"a":' + b"[" * 5000 + b"]" * 5000 + b"}"])
def test_a_whole_line_that_is_no_json_is_kept(rest: bytes) -> None:
    """A line that somebody else wrote, right in its checksum only or nested beyond measure, does not raise."""
    for kind in (b"SinkResumed", b"Later"):
        body = b'"type":"%b","seq":9,"at":"2026-11-20T10:00:00.000000Z","sink":"s"%b' % (kind, rest)
        event = decode(checked(body)).event
        assert isinstance(event, UnknownEvent)
        assert (event.type, event.fields) == (kind.decode(), {})
        assert event.error


def test_a_header_is_read_without_the_content() -> None:
    """A view decodes the fields that it names; the same line can be seen through several."""
    entry = decode(encode_line(turn(1), seq=4, at=START)[:-1])
    assert entry.view(TurnHeader) == TurnHeader(turn_id="t1")
    assert entry.event == turn(1)
    assert entry.view(TurnHeader).turn_id == "t1"
    assert repr(entry) == "Entry(seq=4, type='TurnRecorded', at=2026-11-20T10:00:00+00:00)"


def test_the_encoding_is_compact() -> None:
    """There is no white space between the tokens of a line, and text is not escaped where it need not be."""
    line = encode_line(SinkResumed(sink="模型", reason='"\n\x00'), seq=1, at=START)
    assert '"sink":"模型","reason":"\\"\\n\\u0000"}\n'.encode() in line
