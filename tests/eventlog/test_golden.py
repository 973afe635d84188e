"""Logs that were written with format 1, one for each set of fields that events have had, read as on their first day."""

import json
from pathlib import Path

import msgspec
import pytest

from eventlog import EVENT_TYPES, EventLog, SegmentOpened, TornTailClosed

from . import golden_log
from .golden_log import GOLDEN_LOGS, TORN, events_in
from .support import assert_clean, contents, said, segment_files, snapshot

every_golden_log = pytest.mark.parametrize("golden", GOLDEN_LOGS, ids=lambda path: path.name)


@every_golden_log
def test_it_verifies(golden: Path) -> None:
    """The golden log is whole and holds every event type there was, in several segments, with one closed tail."""
    report = assert_clean(golden)
    assert (report.events, report.segments) == (len(contents(golden)), len(segment_files(golden)))
    assert report.segments >= 2
    types = {type(event) for event in events_in(golden)} | {SegmentOpened, TornTailClosed}
    assert {type(event) for _, event in contents(golden)} == types <= set(EVENT_TYPES.values())
    assert golden != GOLDEN_LOGS[-1] or types == set(EVENT_TYPES.values())


@every_golden_log
def test_it_reads_as_what_was_written(golden: Path) -> None:
    """Every event of the golden log is read equal to the one that was appended, at its seq."""
    assert [event for _, event in said(golden)] == events_in(golden)
    assert [seq for seq, _ in contents(golden)] == list(range(1, len(contents(golden)) + 1))
    (gap,) = (event for _, event in contents(golden) if isinstance(event, TornTailClosed))
    assert (golden / "log" / gap.segment).read_bytes()[gap.offset :].startswith(TORN)
    assert (gap.length, gap.missing) == (len(TORN), ())
    opened = [event for _, event in contents(golden) if isinstance(event, SegmentOpened)]
    assert [event.format for event in opened] == [1] * len(segment_files(golden))


@every_golden_log
def test_it_reads_as_told_beside_it(golden: Path) -> None:
    """The golden log reads as the JSON that stands beside it says: seq, time, type and every field."""
    expected = json.loads((golden / "events.json").read_text("utf-8"))
    entries = EventLog.open(golden, read_only=True).read()
    found = [{"seq": entry.seq, "at": entry.at, "event": entry.event} for entry in entries]
    for entry, told in zip(msgspec.json.decode(msgspec.json.encode(found)), expected, strict=True):
        later = set(entry["event"]) - set(told["event"])  # fields that came after this log was written
        assert not any(entry["event"].pop(field) for field in later)
        assert entry == told


@every_golden_log
def test_its_lines_are_json(golden: Path) -> None:
    """Any JSON reader sees the same in a line of the golden log; only the line that a crash left is none."""
    expected = json.loads((golden / "events.json").read_text("utf-8"))
    lines = [line for data in snapshot(golden).values() for line in data.split(b"\n")[:-1]]
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
    """The same events at the same times make the newest of them today, byte by byte, names and seals included."""
    golden_log.write(tmp_path)
    assert snapshot(tmp_path) == snapshot(GOLDEN_LOGS[-1])
