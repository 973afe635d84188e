"""Many writers at once: threads, handles and processes on one log, while it rotates and is read."""

import subprocess
import threading
from collections import defaultdict
from pathlib import Path

from eventlog import EventLog, SinkFlushed

from .support import contents, open_log, python, segment_files, verify

EVENTS, SEGMENT_BYTES, WAIT_SECONDS = 2000, 100_000, 60

WRITER = """
import sys
from pathlib import Path
from eventlog import EventLog, SinkFlushed
directory, name, count, segment_bytes, start = sys.argv[1:]
with EventLog.open(directory, durability="os", segment_bytes=int(segment_bytes)) as log:
    print("ready", flush=True)
    sys.stdin.readline()
    numbers = list(range(int(count)))
    while numbers:
        take = 1 + numbers[0] % 4
        log.append_many([SinkFlushed(sink="s", user=name, up_to=number) for number in numbers[:take]])
        del numbers[:take]
"""


def _write(log: EventLog, name: str, count: int, seqs: dict[str, list[int]]) -> None:
    for number in range(count):
        seqs[name].append(log.append(SinkFlushed(sink="s", user=name, up_to=number)))


def _start(directory: Path, name: str, count: int) -> "subprocess.Popen[str]":
    child = python(WRITER, directory, name, count, SEGMENT_BYTES, "", stdin=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def _go(child: "subprocess.Popen[str]") -> None:
    assert child.stdin is not None
    child.stdin.write("go\n")
    child.stdin.flush()


def test_threads_and_processes_append_together(tmp_path: Path) -> None:
    """Eight threads and four processes: no seq is missing or given twice, no event lost, no writer's order changed.

    Meanwhile the log rotates, a follower sees every event once, and whoever verifies finds nothing.
    """
    children = [_start(tmp_path, f"p{number}", EVENTS) for number in range(4)]
    returned: dict[str, list[int]] = {f"t{number}": [] for number in range(8)}
    total, stop, followed = 12 * EVENTS, threading.Event(), []
    with open_log(tmp_path, segment_bytes=SEGMENT_BYTES) as log:
        threads = [threading.Thread(target=_write, args=(log, name, EVENTS, returned)) for name in returned]
        for child in children:
            _go(child)
        for thread in threads:
            thread.start()
        for entry in EventLog.open(tmp_path, read_only=True).follow(stop=stop):
            followed.append(entry.seq)
            total -= entry.type == "SinkFlushed"
            if entry.seq % 5000 == 0:
                report = log.verify()
                assert report.ok
                assert {problem.kind for problem in report.problems} <= {"torn_tail"}
            if total == 0:
                stop.set()
        for thread in threads:
            thread.join(WAIT_SECONDS)
    for child in children:
        with child:
            assert child.wait(WAIT_SECONDS) == 0
    _check(tmp_path, followed, returned)


def _check(directory: Path, followed: list[int], returned: dict[str, list[int]]) -> None:
    everything = contents(directory)
    assert [seq for seq, _ in everything] == list(range(1, len(everything) + 1)) == followed
    by_writer: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for seq, event in everything:
        if isinstance(event, SinkFlushed):
            by_writer[event.user].append((seq, event.up_to))
    assert len(by_writer) == 12
    for name, found in by_writer.items():
        assert [number for _, number in found] == list(range(EVENTS)), name
        assert [seq for seq, _ in found] == returned.get(name, [seq for seq, _ in found])
    report = verify(directory)
    assert (report.ok, report.problems, report.events) == (True, [], len(everything))
    assert len(segment_files(directory)) > 10


def test_batches_are_not_mixed(tmp_path: Path) -> None:
    """The events of one batch stand together in one segment, whoever else appends."""
    with open_log(tmp_path, segment_bytes=3000) as one, open_log(tmp_path, segment_bytes=2000) as two:
        seqs: list[range] = []

        def write(log: EventLog, name: str) -> None:
            for number in range(60):
                batch = [SinkFlushed(sink="s", user=name, up_to=number)] * (1 + number % 9)
                seqs.append(log.append_many(batch))

        threads = [threading.Thread(target=write, args=pair) for pair in ((one, "a"), (two, "b"), (one, "c"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_SECONDS)
    events = dict(contents(tmp_path))
    begins = [int(path.name[:20]) for path in segment_files(tmp_path)]
    assert len(begins) > 10
    for batch in seqs:
        assert len({(events[seq].user, events[seq].up_to) for seq in batch}) == 1
        assert not any(batch[0] < begin <= batch[-1] for begin in begins)
    assert verify(tmp_path).problems == []


def test_durable_threads_share_syncs(tmp_path: Path) -> None:
    """Threads that append durably all return, each with its own seq, though they share one sync."""
    with EventLog.open(tmp_path, segment_bytes=4000) as log:
        returned: dict[str, list[int]] = {f"t{number}": [] for number in range(8)}
        threads = [threading.Thread(target=_write, args=(log, name, 20, returned)) for name in returned]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_SECONDS)
    assert len({seq for seqs in returned.values() for seq in seqs}) == 160
    assert verify(tmp_path).problems == []


def test_closing_while_others_append(tmp_path: Path) -> None:
    """A log that is closed under its threads refuses from then on, and what was acknowledged is there."""
    log = open_log(tmp_path, segment_bytes=2000)
    returned: dict[str, list[int]] = {f"t{number}": [] for number in range(4)}
    refused = []

    def write(name: str) -> None:
        try:
            _write(log, name, 100_000, returned)
        except Exception as error:  # noqa: BLE001 - the test looks at what it is
            refused.append(type(error).__name__)

    threads = [threading.Thread(target=write, args=(name,)) for name in returned]
    for thread in threads:
        thread.start()
    for _, entry in zip(range(50), EventLog.open(tmp_path, read_only=True).follow(), strict=False):
        assert entry.seq
    log.close()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert refused == ["LogClosed"] * 4
    seqs = {seq for seq, _ in contents(tmp_path)}
    assert {seq for some in returned.values() for seq in some} <= seqs
    assert verify(tmp_path).problems == []
