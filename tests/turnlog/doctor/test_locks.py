"""Who holds which lock: real processes, real locks."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from turnlog.doctor import locks
from turnlog.doctor.locks import check_locks, holders, process_state

DEADLINE_SECONDS = 30

_HOLD = """
import sys, time
from pathlib import Path
from eventlog import Lock
lock = Lock(Path(sys.argv[1]))
lock.acquire()
lock.set_label(b"host:1 since then")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(path: Path) -> Iterator[int]:
    """Another process holds the lock; its pid."""
    command = [sys.executable, "-c", _HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process.pid
        finally:
            process.kill()


def test_locks_that_nobody_holds_are_free(tmp_path: Path) -> None:
    """Whatever stands in their files, and also where no folder is."""
    (tmp_path / "sink-team.lock").write_text("host:1 since long ago")
    assert [finding.state for finding in check_locks(tmp_path)] == ["ok"]
    assert [finding.state for finding in check_locks(tmp_path / "nowhere")] == ["ok"]
    assert list(tmp_path.iterdir()) == [tmp_path / "sink-team.lock"]


@pytest.mark.skipif(not locks.LOCKS.exists(), reason="this system does not tell who holds a lock")
def test_the_holder_of_a_lease_is_named(tmp_path: Path) -> None:
    """By the system, not by what the file says; that is told too."""
    with held(tmp_path / "sink-team.lock") as pid:
        (finding,) = check_locks(tmp_path)
        assert holders(tmp_path / "sink-team.lock") == [pid]
    assert finding.state == "ok"
    assert f"sink-team.lock is held by process {pid} (" in finding.sentence
    assert "host:1 since then" in finding.sentence
    assert holders(tmp_path / "sink-team.lock") is None


def test_where_the_system_does_not_tell_a_lock_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Held or not is all that is known then; the lock is free again afterwards."""
    monkeypatch.setattr(locks, "LOCKS", tmp_path / "nothing")
    with held(tmp_path / "sink-team.lock"):
        assert holders(tmp_path / "sink-team.lock") == []
        assert "cannot be seen" in next(iter(check_locks(tmp_path))).sentence
    assert holders(tmp_path / "sink-team.lock") is None
    assert holders(tmp_path / "sink-team.lock") is None


@pytest.mark.parametrize("name", ["log.lock", "index.lock"])
def test_a_lock_that_should_be_held_for_a_moment_and_is_held_on_is_a_warning(tmp_path: Path, name: str) -> None:
    """Nobody can record meanwhile."""
    with held(tmp_path / name):
        (finding,) = check_locks(tmp_path)
    assert finding.state == "warn"
    assert "nobody can record" in finding.sentence


@pytest.mark.skipif(not locks.LOCKS.exists(), reason="this system does not tell who holds a lock")
def test_a_stopped_process_that_holds_a_lock_is_a_warning(tmp_path: Path) -> None:
    """Ctrl-Z leaves it so; the remedy lets it go on."""
    with held(tmp_path / "sink-team.lock") as pid:
        os.kill(pid, signal.SIGSTOP)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while process_state(pid) != "T":
            assert time.monotonic() < deadline
        (finding,) = check_locks(tmp_path)
        assert finding.state == "warn"
        assert finding.remedy.endswith(f"kill -CONT {pid}")
