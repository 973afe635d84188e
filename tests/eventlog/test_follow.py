"""Following a log: the events as they come, from whoever appends them."""

import os
import queue
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from eventlog import EventLog
from eventlog.wake import Waiter

from .support import assert_clean, contents, fill, note, open_log, python, segment_files, turn

WAIT_SECONDS = 20  # how long a test waits before it fails; nothing here takes a tenth of it

WRITER = """
import sys
from eventlog import EventLog, SinkResumed
with EventLog.open(sys.argv[1], durability="os", segment_bytes=2000) as log:
    print("ready", flush=True)
    for line in sys.stdin:
        log.append(SinkResumed(sink=line.strip()))
"""


class Follower:
    """A thread that follows a log and hands over what it sees."""

    def __init__(self, directory: Path, *, gt: int = 0) -> None:
        self._log = EventLog.open(directory, read_only=True)
        self._gt = gt
        self._stop = threading.Event()
        self._seen: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        for entry in self._log.follow(gt=self._gt, stop=self._stop):
            self._seen.put((entry.seq, entry.type))

    def until(self, seq: int) -> list[tuple[int, str]]:
        """What comes, up to the event with this seq."""
        result = [self._seen.get(timeout=WAIT_SECONDS)]
        while result[-1][0] < seq:
            result.append(self._seen.get(timeout=WAIT_SECONDS))
        return result

    def rest(self) -> list[tuple[int, str]]:
        result = []
        with suppress(queue.Empty):
            while True:
                result.append(self._seen.get_nowait())
        return result

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(WAIT_SECONDS)
        assert not self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()


@contextmanager
def following(directory: Path, *, gt: int = 0) -> Iterator[Follower]:
    follower = Follower(directory, gt=gt)
    follower.start()
    try:
        yield follower
    finally:
        follower.stop()


def test_events_of_another_process_are_seen_across_rotation(tmp_path: Path) -> None:
    """A follower sees every event of another process once and in order, over many segments."""
    with following(tmp_path) as follower, python(WRITER, tmp_path, stdin=-1) as child:
        assert child.stdin is not None
        for number in range(100):
            child.stdin.write(f"s{number}\n")
            child.stdin.flush()
        child.stdin.close()
        child.wait(WAIT_SECONDS)
        last = contents(tmp_path)[-1][0]
        seen = follower.until(last)
    assert [seq for seq, _ in seen] == list(range(1, last + 1))
    assert len(segment_files(tmp_path)) > 4
    assert follower.rest() == []


def test_a_follower_passes_a_torn_tail_that_is_closed(tmp_path: Path) -> None:
    """A follower waits before an unfinished line and goes on when the next writer has closed it."""
    fill(tmp_path, [note(1), note(2)])
    last = segment_files(tmp_path)[-1]
    with following(tmp_path) as follower:
        assert [seq for seq, _ in follower.until(3)] == [1, 2, 3]
        with last.open("ab") as file:
            file.write(b'{"crc":"12345678","type":"SinkRes')
        with open_log(tmp_path) as log:
            log.append(note(3))
        assert follower.until(5) == [(4, "TornTailClosed"), (5, "SinkResumed")]
        with python(WRITER, tmp_path, stdin=-1) as child:
            child.communicate("x\n")
        assert follower.until(6) == [(6, "SinkResumed")]
    assert_clean(tmp_path)


def test_a_line_is_seen_when_its_newline_is_there(tmp_path: Path) -> None:
    """A line that another process is still writing is not seen in pieces, nor taken for damage."""
    fill(tmp_path, [note(1), turn(2)])
    segment = segment_files(tmp_path)[-1]
    data = segment.read_bytes()
    cut = data[: data.index(b"\n") + 1]
    segment.write_bytes(cut)
    log = EventLog.open(tmp_path, read_only=True)
    reader = log.reader()
    assert [entry.seq for entry in reader.read()] == [1]
    with segment.open("ab", buffering=0) as file:
        seen = []
        for byte in data[len(cut) :]:
            file.write(bytes([byte]))
            seen.append([entry.seq for entry in reader.read()])
    assert [seqs for seqs in seen if seqs] == [[2], [3]]
    assert seen[-1] == [3]
    assert reader.problems == []
    reader.close()


def test_following_begins_behind_a_seq(tmp_path: Path) -> None:
    """With `gt` a follower begins there, also before the log has grown so far or is there at all."""
    directory = tmp_path / "later"
    with following(directory, gt=3) as behind, following(directory) as all_of_it:
        fill(directory, [note(number) for number in range(5)])
        assert [seq for seq, _ in behind.until(6)] == [4, 5, 6]
        assert [seq for seq, _ in all_of_it.until(6)] == [1, 2, 3, 4, 5, 6]


def test_a_follower_stops_within_its_backlog(tmp_path: Path) -> None:
    """A follower that is told to stop gives nothing more, however much it has not read yet."""
    fill(tmp_path, [note(number) for number in range(50)])
    stop = threading.Event()
    seen = []
    for entry in EventLog.open(tmp_path, read_only=True).follow(stop=stop):
        seen.append(entry.seq)
        if entry.seq == 7:
            stop.set()
    assert seen == [1, 2, 3, 4, 5, 6, 7]


def test_a_follower_stops_while_it_waits(tmp_path: Path) -> None:
    """A follower with nothing to read notices that it is to stop within moments, with a log and without one."""
    fill(tmp_path / "log", [note(1)])
    for directory in (tmp_path / "log", tmp_path / "none"):
        follower = Follower(directory)
        follower.start()
        began = time.monotonic()
        follower.stop()
        assert time.monotonic() - began < 2
    stopped = threading.Event()
    stopped.set()
    assert list(EventLog.open(tmp_path / "log", read_only=True).follow(stop=stopped)) == []


def test_a_follower_lets_its_descriptors_go(tmp_path: Path) -> None:
    """A follower that is left behind holds no file and no watch."""
    fill(tmp_path, [note(1)])
    log = EventLog.open(tmp_path, read_only=True)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        follower = log.follow()
        next(follower)
        follower.close()  # type: ignore[attr-defined]
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("notified", [True, False])
def test_waiting_ends_when_something_is_appended(
    tmp_path: Path, notified: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A waiter returns at once for what came before it waited, and soon for what comes, with inotify and without."""
    if not notified:
        monkeypatch.setattr("eventlog.wake._inotify_open", lambda: -1)
    with Waiter(tmp_path / "log") as waiter, open_log(tmp_path) as log:
        for number in range(3):
            log.append(note(number))
            began = time.monotonic()
            waiter.wait(WAIT_SECONDS)
            thread = threading.Thread(target=log.append, args=(note(100 + number),))
            thread.start()
            waiter.wait(WAIT_SECONDS)
            thread.join()
            assert time.monotonic() - began < WAIT_SECONDS / 2
            waiter.wait(0)  # the rest of the notifications


def test_following_works_with_many_open_files(tmp_path: Path) -> None:
    """A process that holds more than a thousand descriptors can follow a log."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2000:
        pytest.skip("this machine allows too few open files")
    fill(tmp_path, [note(1)])
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
    try:
        with following(tmp_path) as follower, open_log(tmp_path) as log:
            assert follower.until(2)[-1] == (2, "SinkResumed")
            for number in range(3, 6):
                assert log.append(note(number)) == number
                assert follower.until(number) == [(number, "SinkResumed")]
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
