"""kill -9 of a real writer at random moments."""

import random
import signal
from pathlib import Path

import pytest

from eventlog import SinkFlushed

from .support import assert_clean, contents, python, said, segment_files, verify

ROUNDS, MOST = 15, 400

WRITER = """
import os, sys
from eventlog import EventLog, SinkFlushed
directory, durability, name = sys.argv[1:]
with EventLog.open(directory, durability=durability, segment_bytes=4000) as log:
    for number in range(10**9):
        size = 1 + number % 3
        seqs = log.append_many([SinkFlushed(sink="s", user=name, up_to=number)] * size)
        os.write(1, b"%d %d %d\\n" % (seqs[0], seqs[-1], number))
"""


def _killed(directory: Path, durability: str, name: str, after: int) -> list[tuple[int, int, int]]:
    """Run a writer until it has acknowledged some batches, then kill it; returns all that it acknowledged."""
    with python(WRITER, directory, durability, name) as child:
        assert child.stdout is not None
        told = [child.stdout.readline() for _ in range(after)]
        child.kill()
        told += child.stdout.readlines()
        assert child.wait() == -signal.SIGKILL
    return [tuple(map(int, line.split())) for line in told if line.endswith("\n")]  # type: ignore[misc]


@pytest.mark.timeout(60)
def test_nothing_acknowledged_is_lost_to_kill_9(tmp_path: Path) -> None:
    """Fifteen writers one after the other, each killed in full flight: what they acknowledged is there, once.

    Whoever verifies before the next writer came finds an unfinished line at most, and in the end nothing.
    """
    moments = random.Random(20261120)
    acknowledged: list[tuple[str, tuple[int, int, int]]] = []
    for number in range(ROUNDS):
        name = f"w{number}"
        told = _killed(tmp_path, moments.choice(["fsync", "os"]), name, moments.randrange(MOST))
        acknowledged += [(name, batch) for batch in told]
        report = verify(tmp_path)
        assert report.ok
        assert [problem.kind for problem in report.problems] in ([], ["torn_tail"])
    events = dict(said(tmp_path))
    assert len(acknowledged) > ROUNDS * MOST / 10
    for name, (first, last, number) in acknowledged:
        expected = SinkFlushed(sink="s", user=name, up_to=number)
        assert [events[seq] for seq in range(first, last + 1)] == [expected] * (1 + number % 3)
    assert [seq for seq, _ in contents(tmp_path)] == list(range(1, len(contents(tmp_path)) + 1))
    assert len(segment_files(tmp_path)) > 20
    told = _killed(tmp_path, "os", "last", 1)
    assert told[0][0] in dict(contents(tmp_path))


@pytest.mark.timeout(60)
def test_writers_killed_beside_others(tmp_path: Path) -> None:
    """A writer that is killed does not disturb those who go on beside it."""
    moments = random.Random(7)
    with python(WRITER, tmp_path, "os", "steady") as steady:
        assert steady.stdout is not None
        steady.stdout.readline()
        for number in range(3):
            told = _killed(tmp_path, "os", f"w{number}", 1 + moments.randrange(40))
            events = dict(said(tmp_path))
            assert all(events[first].user == f"w{number}" for first, _, _ in told)
            assert verify(tmp_path).ok
        steady.kill()
        lines = steady.stdout.readlines()
    found = {event.up_to for _, event in said(tmp_path) if event.user == "steady"}
    assert {int(line.split()[2]) for line in lines if line.endswith("\n")} <= found
    seqs = [seq for seq, _ in contents(tmp_path)]
    assert seqs == list(range(1, len(seqs) + 1))


def test_a_clean_end_leaves_nothing_to_mend(tmp_path: Path) -> None:
    """A writer that was not killed leaves a log in which nothing is to be closed."""
    script = WRITER.replace("10**9", "20")
    with python(script, tmp_path, "fsync", "w") as child:
        output, _ = child.communicate(timeout=20)
    assert len(output.splitlines()) == 20
    assert_clean(tmp_path)
