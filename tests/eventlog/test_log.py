"""The log as its callers see it: appending, reading, opening again."""

import os
import stat
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventlog import (
    AppendFailed,
    EventLog,
    EventLogError,
    InvalidEvent,
    LogClosed,
    LogUnavailable,
    Message,
    Part,
    ReadOnlyLog,
    SegmentOpened,
    SinkResumed,
    TurnHeader,
    TurnRecorded,
    UnknownEvent,
)
from eventlog.codec import FORMAT, encode_line
from eventlog.events import Event

from .strategies import events
from .support import (
    START,
    Ticker,
    assert_clean,
    contents,
    fill,
    note,
    open_log,
    said,
    segment_files,
    snapshot,
    turn,
    verify,
)


@settings(max_examples=40)
@given(batches=st.lists(st.lists(events, max_size=4), max_size=5), segment_bytes=st.integers(1, 3000))
def test_what_is_appended_is_read(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[Event]], segment_bytes: int
) -> None:
    """Batches of any events are read back, in order, under the seqs that were returned, and verify."""
    directory = tmp_path_factory.mktemp("log")
    with open_log(directory, segment_bytes=segment_bytes) as log:
        pairs = [pair for batch in batches for pair in zip(log.append_many(batch), batch, strict=True)]
    assert said(directory) == pairs
    assert [seq for seq, _ in contents(directory)] == list(range(1, len(contents(directory)) + 1))
    assert_clean(directory)


def test_seqs_go_on_after_reopening(tmp_path: Path) -> None:
    """The first event has seq 2 behind the segment's header; another handle goes on where the last one stopped."""
    assert fill(tmp_path, [note(1), note(2)]) == [2, 3]
    assert fill(tmp_path, [note(3)]) == [4]
    with open_log(tmp_path) as log:
        assert log.append_many([note(4), note(5)]) == range(5, 7)
        assert log.append_many([]) == range(0)
        assert log.append(note(6)) == 7
    assert [seq for seq, _ in contents(tmp_path)] == [1, 2, 3, 4, 5, 6, 7]


def test_opening_writes_no_event(tmp_path: Path) -> None:
    """A log that was opened and closed holds nothing: the first segment is begun by the first event."""
    open_log(tmp_path).close()
    assert segment_files(tmp_path) == []
    assert contents(tmp_path) == []


def test_entries_carry_the_clocks_time(tmp_path: Path) -> None:
    """Every event is stamped when it is appended; a batch has one time."""
    with open_log(tmp_path, clock=Ticker()) as log:
        log.append(note(1))  # the header took the first look
        log.append_many([note(2), note(3)])
        looks = [(entry.at - START).seconds for entry in log.read()]
    assert looks == [0, 1, 2, 2]


@pytest.fixture(scope="module")
def long_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with 400 events of very different lengths in several segments, none of it small for the bisection."""
    directory = tmp_path_factory.mktemp("long")
    sizes = [(number * 7919) % 900 + (30_000 if number % 50 == 7 else 0) for number in range(400)]
    fill(directory, [note(number, "好" * size) for number, size in enumerate(sizes)], segment_bytes=120_000)
    assert len(segment_files(directory)) > 4
    return directory


@settings(max_examples=60)
@given(gt=st.integers(-2, 420), limit=st.none() | st.integers(0, 30))
def test_reading_begins_anywhere(long_log: Path, gt: int, limit: int | None) -> None:
    """`read` gives exactly the events behind `gt`, at most `limit` of them, wherever they stand."""
    everything = contents(long_log)
    expected = [pair for pair in everything if pair[0] > gt][:limit]
    assert contents(long_log, gt=gt, limit=limit) == expected


@settings(max_examples=60)
@given(seq=st.integers(-2, 420))
def test_get_finds_one_event(long_log: Path, seq: int) -> None:
    """`get` finds an event by its seq, and None where there is none."""
    last = contents(long_log)[-1][0]
    entry = EventLog.open(long_log, read_only=True).get(seq)
    assert (entry.seq if entry else None) == (seq if 1 <= seq <= last else None)


def test_the_last_seq(tmp_path: Path, long_log: Path) -> None:
    """`last_seq` is the seq of the last event, also in a log that is not there, torn, or begins a segment just now."""
    assert EventLog.open(tmp_path, read_only=True).last_seq() == 0
    assert EventLog.open(long_log, read_only=True).last_seq() == contents(long_log)[-1][0]
    with open_log(tmp_path) as log:
        assert log.last_seq() == 0
        for number in range(3):
            assert log.append(note(number)) == log.last_seq()
        with segment_files(tmp_path)[-1].open("ab") as file:
            file.write(b'{"crc":"')
        assert log.last_seq() == 4
        (tmp_path / "log" / f"{5:020d}.jsonl").touch()
        assert log.last_seq() == 4
        (tmp_path / "log" / f"{6:020d}.jsonl").mkdir()
        with pytest.raises(LogUnavailable):
            log.last_seq()


@pytest.mark.parametrize("gt", [0, 5])
def test_reading_tells_no_problems_of_a_whole_log(long_log: Path, gt: int) -> None:
    """A whole log is read without problems, from the beginning or from midway."""
    problems: list[Any] = []
    list(EventLog.open(long_log, read_only=True).read(gt=gt, problems=problems))
    assert problems == []


def test_places_are_found_without_reading_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a segment of eight megabytes an event, or the end, is found by reading a small part of it."""
    with open_log(tmp_path) as log:
        log.append_many([note(number, "x" * 900) for number in range(8000)])
    read, pread = 0, os.pread

    def counted(descriptor: int, length: int, offset: int) -> bytes:
        nonlocal read
        data = pread(descriptor, length, offset)
        read += len(data)
        return data

    monkeypatch.setattr("eventlog.segments.os.pread", counted)
    for seq in (1, 2, 4000, 7654, 8001):
        entry = EventLog.open(tmp_path, read_only=True).get(seq)
        assert entry is not None
        assert entry.seq == seq
    found, read = read, 0
    assert fill(tmp_path, [note(1)]) == [8002]
    assert found < 5 * 800_000
    assert read < 120_000


def test_reading_gives_what_is_there_now(tmp_path: Path) -> None:
    """A reader that is asked again goes on where it stopped, also after it was closed in between."""
    with open_log(tmp_path, segment_bytes=300) as log:
        reader = log.reader()
        assert list(reader.read()) == []
        log.append_many([note(1), note(2)])
        assert next(reader.read()).seq == 1
        assert [entry.seq for entry in reader.read()] == [2, 3]
        reader.close()
        assert list(reader.read()) == []
        log.append_many([note(3), note(4)])
        reader.close()
        assert [entry.type for entry in reader.read()] == ["SegmentOpened", "SinkResumed", "SinkResumed"]
        assert reader.problems == []
        reader.close()


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(("own", "other")), st.integers(1, 4)), st.tuples(st.just("read"), st.integers(0, 9))
    ),
    max_size=30,
)


@given(steps=_STEPS, segment_bytes=st.sampled_from([300, 2000, 100_000]))
def test_a_reader_beside_its_own_writer(steps: list[tuple[str, int]], segment_bytes: int) -> None:
    """Whoever appends, and wherever the reader leaves off, it gives every event once and in order."""
    with tempfile.TemporaryDirectory() as folder:
        size = {"durability": "os", "segment_bytes": segment_bytes}
        with open_log(Path(folder), **size) as own, open_log(Path(folder), **size) as other:
            reader, seen = own.reader(), list[tuple[int, Any]]()
            for step, count in steps:
                if step == "read":
                    seen += [(entry.seq, entry.event) for entry in islice(reader.read(), count)]
                else:
                    (own if step == "own" else other).append_many([note(number) for number in range(count)])
            seen += [(entry.seq, entry.event) for entry in reader.read()]
            assert (seen, reader.problems) == (contents(Path(folder)), [])
            reader.close()


def test_what_was_just_appended_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader of the handle that appends has it in memory."""
    with open_log(tmp_path) as log:
        log.append_many([note(0), note(1)])
        reader = log.reader()
        assert len(list(reader.read())) == 3
        pread, read = os.pread, 0

        def counted(descriptor: int, length: int, offset: int) -> bytes:
            nonlocal read
            data = pread(descriptor, length, offset)
            read += len(data.strip(b"\n"))
            return data

        monkeypatch.setattr("eventlog.segments.os.pread", counted)
        log.append_many([note(number, "x" * 1000) for number in range(50)])
        assert [entry.event for entry in reader.read()] == [note(number, "x" * 1000) for number in range(50)]
        assert read < 10
        reader.close()


def _missing_folders(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "nowhere"
    yield tmp_path / "nowhere" / "deep"
    (tmp_path / "empty").mkdir()
    yield tmp_path / "empty"


def test_reading_creates_nothing(tmp_path: Path) -> None:
    """A log that is not there reads as empty, verifies, and is not created by a reader."""
    for directory in _missing_folders(tmp_path):
        with EventLog.open(directory, read_only=True) as log:
            assert list(log.read()) == []
            assert log.get(1) is None
            report = log.verify()
            assert (report.ok, report.events, report.segments, report.problems) == (True, 0, 0, [])
            with pytest.raises(ReadOnlyLog, match="opened to read"):
                log.append(note(1))
            with pytest.raises(ReadOnlyLog):
                log.append_many([])
            with pytest.raises(ReadOnlyLog):
                log.sync()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["empty"]


def test_reading_changes_no_file(tmp_path: Path) -> None:
    """A reader makes no lock and leaves a torn tail as it is."""
    fill(tmp_path, [note(1)])
    (tmp_path / "log.lock").unlink()
    with segment_files(tmp_path)[-1].open("ab") as file:
        file.write(b'{"crc":"12')
    before = snapshot(tmp_path)
    with EventLog.open(tmp_path, read_only=True) as log:
        assert len(list(log.read())) == 2
        log.verify()
    assert snapshot(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_modes_are_private_whatever_the_umask(tmp_path: Path) -> None:
    """Folders are 0700 and files 0600, also under a umask that hides nothing, in every segment and blob."""
    before = os.umask(0)
    try:
        with open_log(tmp_path / "a" / "data", segment_bytes=200) as log:
            log.append_many([note(1)])
            log.append(note(2))
            log.blobs.put(b"x")
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a").rglob("*")}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
    assert len(modes) == 8  # data, log, two segments, the lock, blobs with a folder and a blob


def test_two_handles_in_one_process(tmp_path: Path) -> None:
    """Two handles on one log take turns, also over a rotation that the other one made."""
    with open_log(tmp_path, segment_bytes=500) as one, open_log(tmp_path, segment_bytes=500) as two:
        seqs = [log.append(note(number)) for number in range(20) for log in (one, two)]
    assert [seq for seq, _ in said(tmp_path)] == seqs
    assert len(segment_files(tmp_path)) > 3
    assert_clean(tmp_path)


@pytest.mark.parametrize("durability", ["FSYNC", "", None, "none"])
def test_durability_is_fsync_or_os(tmp_path: Path, durability: Any) -> None:
    """Another promise than the two cannot be asked for, and nothing is created by asking."""
    with pytest.raises(ValueError, match="durability must be"):
        EventLog.open(tmp_path / "x", durability=durability)
    assert not (tmp_path / "x").exists()


def test_a_closed_log_takes_nothing(tmp_path: Path) -> None:
    """After `close` nothing is appended and nothing synced; closing again does nothing, even if the folder is gone."""
    directory = tmp_path / "data"
    log = open_log(directory)
    log.append(note(1))
    before = len(os.listdir("/proc/self/fd"))
    log.close()
    assert len(os.listdir("/proc/self/fd")) == before - 2  # the segment and the lock
    for use in (lambda: log.append(note(2)), lambda: log.append_many([note(2), note(3)]), log.sync):
        with pytest.raises(LogClosed, match="is closed"):
            use()
    assert len(list(log.read())) == 2
    segment_files(directory)[0].unlink()
    (directory / "log").rmdir()
    (directory / "log.lock").unlink()
    directory.rmdir()
    log.close()
    with pytest.raises(LogClosed):
        log.append(note(2))
    assert not directory.exists()


def test_leaving_the_block_closes(tmp_path: Path) -> None:
    """A log that was used as a context manager is closed behind it, also when the block raised."""
    with pytest.raises(ZeroDivisionError), open_log(tmp_path) as log:
        log.append(note(1 // 0))
    with pytest.raises(LogClosed):
        log.append(note(1))


def test_open_logs_do_not_pile_up_descriptors(tmp_path: Path) -> None:
    """A log that is closed, or that could not be opened, or was read half, holds no descriptor."""
    fill(tmp_path, [note(1), note(2)])
    (tmp_path / "newer" / "log").mkdir(parents=True)
    newer = encode_line(SegmentOpened(format=FORMAT + 1), seq=1, at=START)
    (tmp_path / "newer" / "log" / f"{1:020d}.jsonl").write_bytes(newer)

    def once() -> None:
        fill(tmp_path, [note(3)])
        next(open_log(tmp_path).read())
        next(open_log(tmp_path).reader().read())
        with pytest.raises(EventLogError):
            open_log(tmp_path / "newer")

    once()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        once()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_lookup_keeps_few_files_open(tmp_path: Path) -> None:
    """However many segments there are, and in whatever order events are asked for."""
    fill(tmp_path, [note(number) for number in range(80)], segment_bytes=200)
    assert len(segment_files(tmp_path)) > 30
    before = len(os.listdir("/proc/self/fd"))
    lookup = EventLog.open(tmp_path, read_only=True).lookup()
    last = EventLog.open(tmp_path, read_only=True).last_seq()
    for seq in [*range(1, last + 1), *range(last, 0, -3)]:
        entry = lookup.get(seq)
        assert entry is not None
        assert entry.seq == seq
    assert len(os.listdir("/proc/self/fd")) - before <= 16
    lookup.close()
    assert len(os.listdir("/proc/self/fd")) == before


@given(asked=st.lists(st.integers(-1, 70), max_size=40), segment_bytes=st.sampled_from([300, 2000, 10**6]))
def test_a_lookup_finds_events_in_any_order_while_the_log_grows(asked: list[int], segment_bytes: int) -> None:
    """Neighbours of what was found, events of segments that came later, and nothing where nothing is."""
    with tempfile.TemporaryDirectory() as name, open_log(Path(name), segment_bytes=segment_bytes) as log:
        lookup, number = log.lookup(), 0
        for seq in asked:
            log.append_many([note(number), note(number + 1)])
            number += 2
            entry, expected = lookup.get(seq), {entry.seq: entry.line for entry in log.read()}.get(seq)
            assert (entry and entry.line) == expected
        lookup.close()


def _not_json() -> Iterator[tuple[Any, str]]:
    hello = (Message("user", "x"),)
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    yield SinkResumed(sink="\ud800"), "SinkResumed"
    yield TurnRecorded(turn_id="t", messages=hello, meta={"x": object()}), "TurnRecorded"
    yield TurnRecorded(turn_id="t", messages=hello, meta={"x": deep}), "TurnRecorded"
    yield TurnRecorded(turn_id="t", messages=hello, meta={"x": msgspec.Raw(b"[1,\n2]")}), "line break"
    yield TurnRecorded(turn_id="t", messages=(Message("user", parts=(Part("x", id=5),)),)), "id"  # type: ignore[arg-type]
    yield TurnHeader(turn_id="t"), "messages"
    yield hello[0], "Message is no event"
    yield UnknownEvent("Later", {}), "UnknownEvent is no event"
    yield "text", "str is no event"


@pytest.mark.parametrize(("event", "told"), list(_not_json()), ids=lambda value: None)
def test_what_cannot_be_read_again_is_not_written(tmp_path: Path, event: Any, told: str) -> None:
    """An event that JSON cannot hold, or that would not be read back as what it is, is refused, with its batch."""
    with open_log(tmp_path) as log:
        with pytest.raises(InvalidEvent, match=told):
            log.append(event)
        with pytest.raises(InvalidEvent, match=told):
            log.append_many([note(1), event])
        assert list(log.read()) == []
        assert log.append(note(1)) == 2


class Later(Event, frozen=True, kw_only=True):
    """An event type that this version does not know."""

    what: str


def test_a_later_type_passes_through_the_log(tmp_path: Path) -> None:
    """An event of a type that this version does not know is read as an UnknownEvent and is no problem."""
    assert fill(tmp_path, [note(1), Later(what="新"), note(2)]) == [2, 3, 4]
    assert said(tmp_path)[1] == (3, UnknownEvent("Later", {"what": "新"}))
    assert_clean(tmp_path)


def test_a_large_event(tmp_path: Path) -> None:
    """A turn of ten megabytes is one line like any other, also for whoever opens the log behind it."""
    large = turn(1, "好" * 3_500_000)
    fill(tmp_path, [note(1), large, note(2)])
    assert fill(tmp_path, [large, note(3)], segment_bytes=1 << 30) == [5, 6]
    assert fill(tmp_path, [note(4)]) == [7]
    assert [event for _, event in said(tmp_path)] == [note(1), large, note(2), large, note(3), note(4)]
    log = EventLog.open(tmp_path, read_only=True)
    assert [entry.seq for seq in range(1, 8) if (entry := log.get(seq))] == [1, 2, 3, 4, 5, 6, 7]
    assert_clean(tmp_path)


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    """A folder that cannot be one, or a segment that is none, is told as LogUnavailable, with its path."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(LogUnavailable, match="file"):
        EventLog.open(tmp_path / "file")
    log = EventLog.open(tmp_path / "file", read_only=True)
    with pytest.raises(LogUnavailable, match="Not a directory"):
        list(log.read())
    with pytest.raises(LogUnavailable):
        log.verify()
    (tmp_path / "log" / f"{1:020d}.jsonl").mkdir(parents=True)
    log = EventLog.open(tmp_path, read_only=True)
    for use in (lambda: list(log.read()), log.verify, lambda: EventLog.open(tmp_path)):
        with pytest.raises(LogUnavailable, match="Is a directory"):
            use()


def test_a_folder_that_vanishes(tmp_path: Path) -> None:
    """An append that cannot begin its segment fails as such, and works again when the folder is back."""
    with open_log(tmp_path) as log:
        (tmp_path / "log").rmdir()
        with pytest.raises(AppendFailed, match="1 event was not recorded"):
            log.append(note(1))
        (tmp_path / "log").mkdir()
        assert log.append(note(1)) == 2
    assert verify(tmp_path).ok
