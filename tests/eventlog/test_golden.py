"""The log that format 1 wrote, read and written as on its first day."""

import json
from pathlib import Path

import msgspec

from eventlog import EVENT_TYPES, EventLog, SegmentOpened, TornTailClosed

from . import golden_log
from .golden_log import AFTER_THE_CRASH, BEFORE_THE_CRASH, GOLDEN, TORN
from .support import assert_clean, contents, said, segment_files, snapshot


def test_it_verifies() -> None:
    """The golden log is whole and holds every event type, in several segments, with one closed tail."""
    report = assert_clean(GOLDEN)
    assert (report.events, report.segments) == (len(contents(GOLDEN)), len(segment_files(GOLDEN)))
    assert report.segments >= 2
    assert {type(event).__name__ for _, event in contents(GOLDEN)} == set(EVENT_TYPES)


def test_it_reads_as_what_was_written() -> None:
    """Every event of the golden log is read equal to the one that was appended, at its seq."""
    assert [event for _, event in said(GOLDEN)] == BEFORE_THE_CRASH + AFTER_THE_CRASH
    assert [seq for seq, _ in contents(GOLDEN)] == list(range(1, len(contents(GOLDEN)) + 1))
    (gap,) = (event for _, event in contents(GOLDEN) if isinstance(event, TornTailClosed))
    assert (GOLDEN / "log" / gap.segment).read_bytes()[gap.offset :].startswith(TORN)
    assert (gap.length, gap.missing) == (len(TORN), ())
    opened = [event for _, event in contents(GOLDEN) if isinstance(event, SegmentOpened)]
    assert [event.format for event in opened] == [1] * len(segment_files(GOLDEN))


def test_it_reads_as_told_beside_it() -> None:
    """The golden log reads as the JSON that stands beside it says: seq, time, type and every field."""
    expected = json.loads((GOLDEN / "events.json").read_text("utf-8"))
    entries = EventLog.open(GOLDEN, read_only=True).read()
    found = [{"seq": entry.seq, "at": entry.at, "event": entry.event} for entry in entries]
    assert msgspec.json.decode(msgspec.json.encode(found)) == expected


def test_its_lines_are_json() -> None:
    """Any JSON reader sees the same in a line of the golden log; only the line that a crash left is none."""
    expected = json.loads((GOLDEN / "events.json").read_text("utf-8"))
    lines = [line for data in snapshot(GOLDEN).values() for line in data.split(b"\n")[:-1]]
    torn = [line for line in lines if not line.endswith(b"}")]
    assert torn == [TORN + b"\x18"]
    for line, told in zip((line for line in lines if line not in torn), expected, strict=True):
        fields = json.loads(line)
        frame = {key: fields.pop(key) for key in ("crc", "seq", "at")}
        assert (frame["seq"], frame["at"].rstrip("Z")) == (told["seq"], _microseconds(told["at"]))
        assert set(fields) == set(told["event"])


def _microseconds(time: str) -> str:
    time = time.rstrip("Z")
    return time if "." in time else f"{time}.000000"


def test_writing_it_again_gives_the_same_bytes(tmp_path: Path) -> None:
    """The same events at the same times make the same files today, byte by byte, names and seals included."""
    golden_log.write(tmp_path)
    assert snapshot(tmp_path) == snapshot(GOLDEN)
