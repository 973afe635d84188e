"""When the operating system refuses: a full disk, an error of the disk, a limit, an interrupt."""

import errno
import os
import pickle
import sys
import threading
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventlog import (
    AppendFailed,
    EventLog,
    EventLogError,
    InvalidEvent,
    Lock,
    LogClosed,
    LogUnavailable,
    NewerFormat,
    ReadOnlyLog,
    SegmentOpened,
)
from eventlog.segments import without_blanks
from turnlog.testing.disks import RefusingFiles, os_error

from .support import (
    assert_clean,
    contents,
    fill,
    lines_of,
    note,
    open_log,
    run,
    said,
    segment_files,
    snapshot,
    verify,
)


def _opened(directory: Path, files: RefusingFiles, **options: Any) -> EventLog:
    return open_log(directory, files=files, durability="fsync", **options)


def _headers(directory: Path) -> list[SegmentOpened]:
    return [event for _, event in contents(directory) if isinstance(event, SegmentOpened)]


@pytest.mark.parametrize("chunk", [1, 7])
def test_short_writes_are_gone_on_with(tmp_path: Path, chunk: int) -> None:
    """A system that takes one byte at a time gets all of them in the end, in every segment."""
    files = RefusingFiles()
    files.chunk = chunk
    with _opened(tmp_path, files, segment_bytes=300) as log:
        seqs = [log.append(note(1)), *log.append_many([note(2), note(3)]), log.append(note(4))]
    assert [seq for seq, _ in said(tmp_path)] == seqs
    assert len(_headers(tmp_path)) == 2
    assert_clean(tmp_path)


@pytest.mark.parametrize("events", [1, 3])
def test_a_full_disk_at_every_byte(tmp_path: Path, events: int) -> None:
    """ENOSPC anywhere in a line or a batch names the file and the count, loses nothing, and passes with its cause.

    What was acknowledged stays; a beginning of the batch may stay too; the next append works and explains the gap.
    """
    fill(tmp_path / "probe", [note(0)])
    fill(tmp_path / "probe", [note(number) for number in range(events)])
    size = sum(map(len, lines_of(next(iter(snapshot(tmp_path / "probe").values())))[-events:]))
    for room in range(size):
        directory, files = tmp_path / str(room), RefusingFiles()
        with _opened(directory, files) as log:
            log.append(note(0))
            before = snapshot(directory)
            files.room = room
            with pytest.raises(AppendFailed, match="No space left on device") as caught:
                log.append_many([note(number) for number in range(events)])
            segment = segment_files(directory)[-1]
            assert (caught.value.path, caught.value.events) == (segment, events)
            assert str(segment) in str(caught.value)
            assert verify(directory).ok
            files.room = None
            seq = log.append(note(9))
        found = said(directory)
        assert found[0] == (2, note(0))
        assert found[-1] == (seq, note(9))
        assert [event for _, event in found[1:-1]] == [note(number) for number in range(len(found) - 2)]
        assert all(snapshot(directory)[name].startswith(data) for name, data in before.items())
        assert_clean(directory)


@settings(max_examples=100)
@given(
    rooms=st.lists(st.none() | st.integers(0, 400), max_size=12),
    segment_bytes=st.sampled_from([250, 600, 10_000]),
    batch=st.integers(1, 3),
)
def test_a_disk_that_is_full_again_and_again(
    tmp_path_factory: pytest.TempPathFactory, rooms: list[int | None], segment_bytes: int, batch: int
) -> None:
    """However often the disk is full, and wherever: also in a header, or while the last gap is being closed."""
    directory, files, kept = tmp_path_factory.mktemp("log"), RefusingFiles(), []
    with _opened(directory, files, segment_bytes=segment_bytes) as log:
        for number, room in enumerate([*rooms, None]):
            files.room = room
            events = [note(10 * number + i) for i in range(batch)]
            try:
                kept += list(zip(log.append_many(events), events, strict=True))
            except AppendFailed as error:
                assert error.cause.args[0] == errno.ENOSPC
            assert verify(directory).ok
    found = said(directory)
    assert [pair for pair in found if pair in kept] == kept
    assert len({seq for seq, _ in found}) == len(found)
    assert_clean(directory)


@pytest.mark.parametrize("call", ["write", "open", "sync_folder", "sync"])
@pytest.mark.parametrize("segment_bytes", [10, 200, 10_000])
def test_an_error_of_the_disk(tmp_path: Path, call: str, segment_bytes: int) -> None:
    """EIO in any call reaches the caller as AppendFailed, and the log goes on when it has passed."""
    files = RefusingFiles()
    with _opened(tmp_path, files, segment_bytes=segment_bytes) as log:
        kept = [log.append(note(1))]
        for _ in range(3):
            files.refuse = {call: errno.EIO}
            try:
                kept.append(log.append(note(2)))
                assert call not in files.calls[-4:]
            except AppendFailed as error:
                assert "Input/output error" in str(error)
            files.refuse = {}
            kept.append(log.append(note(3)))
    seqs = [seq for seq, _ in said(tmp_path)]
    assert [seq for seq in seqs if seq in kept] == kept
    assert_clean(tmp_path)


def test_a_segment_is_not_trusted_after_a_sync_error(tmp_path: Path) -> None:
    """A failed sync reaches the caller; the next append begins a segment whose header vouches for nothing."""
    files = RefusingFiles()
    with _opened(tmp_path, files) as log:
        log.append(note(1))
        files.refuse = {"sync": errno.EIO}
        with pytest.raises(AppendFailed, match="1 event was not recorded"):
            log.append(note(2))
        files.refuse = {}
        with pytest.raises(AppendFailed):
            log.sync()
        assert log.append(note(3)) == 5
        log.sync()
    assert [path.name for path in segment_files(tmp_path)] == [f"{1:020d}.jsonl", f"{4:020d}.jsonl"]
    assert _headers(tmp_path)[-1] == SegmentOpened(format=1, segment=f"{1:020d}.jsonl", length=None, checksum=None)
    assert_clean(tmp_path)


class DroppingFiles(RefusingFiles):
    """As a kernel: a sync that fails drops what it should have written, and tells each descriptor once."""

    def __init__(self) -> None:
        super().__init__()
        self.failing = False
        self.dropped: set[tuple[int, int]] = set()  # stretches of the one segment that are not on the disk
        self.unsynced: list[tuple[int, int]] = []

    def write(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
        written = super().write(descriptor, data, offset)
        self.unsynced.append((offset, offset + written))
        self.dropped -= {gap for gap in self.dropped if offset <= gap[0] and gap[1] <= offset + written}
        return written

    def sync(self, descriptor: int) -> None:
        if self.failing:
            self.dropped |= set(self.unsynced)
            self.unsynced = []
            self.failing = False
            raise os_error(errno.EIO)
        self.unsynced = []


def test_what_a_failed_sync_dropped_is_written_again(tmp_path: Path) -> None:
    """Before a segment is left behind its lines are made durable, also those that others were not told of."""
    files = DroppingFiles()
    with _opened(tmp_path, files) as log:
        log.append(note(1))
        kept = log.append_many([note(2)], sync=False)
        files.failing = True
        with pytest.raises(AppendFailed, match="1 event was not recorded"):
            log.append(note(3))
        assert files.dropped
        before = without_blanks(snapshot(tmp_path)[f"{1:020d}.jsonl"])
        log.append(note(4))
        log.sync()
        assert without_blanks(snapshot(tmp_path)[f"{1:020d}.jsonl"]) == before
        ends = [offset + len(line) for offset, line in zip(*_offsets(before), strict=True)]
        assert not [gap for gap in files.dropped if gap[0] < ends[kept[0] - 1]]
    assert _headers(tmp_path)[-1].checksum is None
    assert_clean(tmp_path)


def _offsets(text: bytes) -> tuple[list[int], list[bytes]]:
    lines = lines_of(text)
    return [sum(map(len, lines[:index])) for index in range(len(lines))], lines


def test_another_handle_learns_of_the_segment_that_was_left(tmp_path: Path) -> None:
    """What it had appended and not synced is not taken for durable because the next segment is."""
    files, others = RefusingFiles(), RefusingFiles()
    with _opened(tmp_path, files) as log, _opened(tmp_path, others) as other:
        log.append(note(1))
        other.append_many([note(2)], sync=False)
        files.refuse = {"sync": errno.EIO}
        with pytest.raises(AppendFailed):
            log.append(note(3))
        files.refuse = {}
        log.append(note(4))
        others.refuse = {"sync": errno.EIO}
        with pytest.raises(AppendFailed, match="may not be on disk"):
            other.sync()
        others.refuse = {}
        assert other.append(note(5)) == 7
    assert_clean(tmp_path)


def test_a_distrusted_segment_is_never_gone_on_with(tmp_path: Path) -> None:
    """If the new segment cannot be made after a sync error, the old one does not get the next event instead."""
    files = RefusingFiles()
    with _opened(tmp_path, files) as log:
        log.append(note(1))
        files.refuse = {"sync": errno.EIO}
        with pytest.raises(AppendFailed):
            log.append(note(2))
        before = snapshot(tmp_path)
        files.refuse = {"open": errno.EMFILE}
        with pytest.raises(AppendFailed, match="Too many open files"):
            log.append(note(3))
        files.refuse = {}
        log.append(note(4))
    assert {name: snapshot(tmp_path)[name] for name in before} == {
        n: without_blanks(d) + b"\n" for n, d in before.items()
    }
    assert _headers(tmp_path)[-1].checksum is None
    assert_clean(tmp_path)


def test_a_sync_error_before_a_rotation(tmp_path: Path) -> None:
    """A segment that cannot be synced is not sealed; the append that would have sealed it fails."""
    files = RefusingFiles()
    with _opened(tmp_path, files, segment_bytes=300) as log:
        log.append_many([note(1), note(2)], sync=False)
        files.refuse = {"sync": errno.EIO}
        with pytest.raises(AppendFailed):
            log.append(note(3))
        assert len(segment_files(tmp_path)) == 1
        files.refuse = {}
        assert log.append(note(4)) == 5
    assert _headers(tmp_path)[-1].checksum is None
    assert_clean(tmp_path)


def test_all_who_wait_for_a_failed_sync_are_told(tmp_path: Path) -> None:
    """No thread whose event was in the file when its sync failed takes it for durable."""
    files, outcomes = RefusingFiles(), []
    with _opened(tmp_path, files) as log:
        log.append(note(0))
        files.refuse = {"sync": errno.EIO}

        def write(number: int) -> None:
            try:
                log.append(note(number))
            except AppendFailed:
                outcomes.append(number)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert sorted(outcomes) == list(range(1, 9))
        files.refuse = {}
        log.append(note(9))
    assert_clean(tmp_path)


def test_a_new_segments_name_is_durable_before_its_first_event(tmp_path: Path) -> None:
    """If the folder could not be synced when a segment was made, that is done again before anything is written."""
    files = RefusingFiles()
    with _opened(tmp_path, files, segment_bytes=200) as log:
        log.append(note(1))
        files.refuse = {"sync_folder": errno.EIO}
        for number in range(2):
            with pytest.raises(AppendFailed, match="Input/output error"):
                log.append(note(number))
        assert segment_files(tmp_path)[-1].stat().st_size == 0
        assert verify(tmp_path).ok
        files.refuse, files.calls = {}, []
        log.append(note(3))
    assert files.calls.index("sync_folder") < files.calls.index("write") < files.calls.index("sync")
    assert_clean(tmp_path)


def test_another_handle_begins_the_segment_that_was_made_in_vain(tmp_path: Path) -> None:
    """An empty segment that a dead writer left is begun by whoever comes next, its name made durable by him."""
    files = RefusingFiles()
    with _opened(tmp_path, files, segment_bytes=200) as dead:
        dead.append(note(1))
        files.refuse = {"sync_folder": errno.EIO}
        with pytest.raises(AppendFailed):
            dead.append(note(2))
        others = RefusingFiles()
        with _opened(tmp_path, others) as log:
            log.append(note(3))
        assert "sync_folder" in others.calls
        files.refuse = {}
        assert dead.append(note(4)) > 4
    assert_clean(tmp_path)


def test_order_of_the_calls_of_an_append(tmp_path: Path) -> None:
    """What `append` promises: one write, then one sync; at a rotation first the old segment, then the new name.

    A header is synced before there is a line behind it, which a power cut could spare while it takes the header.
    The last write extends the new segment ahead.
    """
    files = RefusingFiles()
    with _opened(tmp_path, files, segment_bytes=300) as log:
        files.calls = []
        log.append(note(1))
        first = [name for name, _ in groupby(files.calls)]  # the names of all folders above are synced, too
        assert first == ["open", "sync_folder", "write", "sync", "write", "sync"]
        files.calls = []
        log.append_many([note(2), note(3)], sync=False)
        assert files.calls == ["write"]
        files.calls = []
        log.append(note(4))
        assert files.calls == ["sync", "open", "sync_folder", "write", "sync", "write", "write", "sync"]


def test_os_durability_syncs_only_at_rotations(tmp_path: Path) -> None:
    """With `os` an append is not synced, nor is `sync`; a segment's header is, and the whole before it is sealed."""
    files = RefusingFiles()
    with open_log(tmp_path, files=files, segment_bytes=300) as log:
        log.append_many([note(1), note(2)])
        log.sync()
        assert files.calls.count("sync") == 1
        log.append(note(3))
    assert files.calls.count("sync") == 3


def test_sync_covers_what_others_appended(tmp_path: Path) -> None:
    """`sync` makes durable whatever is in the log by then, be it appended unsynced or by somebody else."""
    files = RefusingFiles()
    with _opened(tmp_path, files) as log:
        log.sync()
        assert "sync" not in files.calls
        log.append_many([note(1)], sync=False)
        log.sync()  # the other was the header's
        assert files.calls.count("sync") == 2
        log.sync()
        assert files.calls.count("sync") == 2
        fill(tmp_path, [note(2)])
        log.sync()
        assert files.calls.count("sync") == 3


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """Opening fails as LogUnavailable when the system refuses to make the folder."""
    files = RefusingFiles()
    files.refuse = {"make_folder": errno.EROFS}
    with pytest.raises(LogUnavailable, match="Read-only file system"):
        _opened(tmp_path / "x", files)
    assert not (tmp_path / "x").exists()


LIMITED = """
import json, resource, signal, sys
from pathlib import Path
from eventlog import AppendFailed, EventLog, SinkResumed
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
kept, failed = [], []
with EventLog.open(sys.argv[1], durability="os") as log:
    kept.append(log.append(SinkResumed(sink="first")))
    for room in (50, 20, 600, 30, 5, 600, 600, 1, 40, 2, 600):
        limit = sum(path.stat().st_size for path in Path(sys.argv[1], "log").iterdir()) + room
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            kept.append(log.append(SinkResumed(sink=f"s{room}", reason="x" * 300)))
        except AppendFailed as error:
            failed.append(str(error))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    kept.append(log.append(SinkResumed(sink="last")))
print(json.dumps({"kept": kept, "failed": failed}))
"""


def test_a_real_short_write(tmp_path: Path) -> None:
    """The kernel itself cuts writes short at a limit, again and again: nothing acknowledged is lost."""
    result = run(LIMITED, tmp_path)
    assert len(result["kept"]) > 4
    assert len(result["failed"]) > 3
    assert all("File too large" in told and str(tmp_path / "log") in told for told in result["failed"])
    seqs = [seq for seq, _ in said(tmp_path)]
    assert [seq for seq in seqs if seq in result["kept"]] == result["kept"]
    assert_clean(tmp_path)


def test_an_interrupt_anywhere_in_a_write(tmp_path: Path) -> None:
    """Ctrl-C at any line of the code that writes leaves a log that goes on, with the right seqs.

    Python raises KeyboardInterrupt between two instructions of the main thread; here a trace function does.
    """
    names = {"_write_batches", "_write", "write", "_extend", "_catch_up", "_recover", "_next_segment"}
    names |= {"read_on", "_take_lines", "place_end", "cut", "sum_up", "_start_segment", "_write_header", "__exit__"}
    names |= {"_write_group", "__enter__"}
    counted = _interrupted(tmp_path / "count", names, at=-1)
    assert counted > 30
    for at in range(counted):
        directory = tmp_path / str(at)
        _interrupted(directory, names, at=at)
        assert_clean(directory)


def _interrupted(directory: Path, names: set[str], *, at: int) -> int:
    """Append while an interrupt comes at the line with this number; returns how many lines were run."""
    lines = 0

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal lines
        if frame.f_code.co_name not in names or "eventlog" not in frame.f_code.co_filename:
            return None
        if event == "line":
            lines += 1
            if lines - 1 == at:
                raise KeyboardInterrupt
        return trace

    fill(directory, [note(0)])
    with segment_files(directory)[0].open("ab") as file:
        file.write(b'{"crc":"torn')
    kept: list[Any] = []
    open_log(directory.parent / "other").close()  # what the first use imports is not counted
    before, log = sys.gettrace(), None
    for number in range(5):
        sys.settrace(trace)
        try:
            log = log or open_log(directory, segment_bytes=420)
            kept.append((log.append(note(number)), note(number)))
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        other = Lock(directory / "log.lock")
        assert other.acquire(blocking=False), "the lock was let go"
        other.close()
    assert log is not None
    kept.append((log.append(note(9)), note(9)))
    log.close()
    assert [pair for pair in said(directory) if pair in kept] == kept
    return lines


_X, _CAUSE = Path("/x"), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            AppendFailed(Path("/x/1"), 2, _CAUSE),
            "2 events were not recorded in /x/1: No space left on device",
        ),
        (AppendFailed(Path("/x/1.jsonl"), 1, OSError("odd")), "1 event was not recorded in /x/1.jsonl: odd"),
        (
            AppendFailed(Path("/x"), 0, _CAUSE),
            "what was appended last to /x may not be on disk: No space left on device",
        ),
        (LogUnavailable(Path("/x"), _CAUSE), "the log at /x cannot be used: No space left on device"),
        (LogClosed(Path("/x")), "the log in /x is closed; open it again to append"),
        (ReadOnlyLog(Path("/x")), "the log in /x was opened to read; open it without read_only to append"),
        (
            NewerFormat(Path("/x"), 3, 1),
            "/x is written in log format 3, this version reads up to 1; upgrade turnlog to read it",
        ),
        (InvalidEvent("no"), "no"),
    ],
)
def test_errors_say_what_happened_also_when_pickled(error: EventLogError, told: str) -> None:
    """An error is one sentence, and the same one with the same fields after it crossed a process boundary."""
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert str(again) == str(error) == told
    assert type(again) is type(error)
    assert {name: str(value) for name, value in vars(again).items()} == {
        name: str(value) for name, value in vars(error).items()
    }
