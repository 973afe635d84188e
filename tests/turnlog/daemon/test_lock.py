"""The lock decides whether a daemon runs; what stands in it is compared before it is believed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from turnlog.daemon.lock import NAME, DaemonLock, Holder, holder_of, is_locked
from turnlog.daemon.process import is_same, memory_bytes, send, start_of

from ..waiting import until


def test_there_is_one_holder(tmp_path: Path) -> None:
    """A second one is refused; asking takes nothing away; the file stays when it is let go."""
    first, second = DaemonLock(tmp_path), DaemonLock(tmp_path)
    assert not is_locked(tmp_path)
    assert first.acquire()
    first.tell(Holder(os.getpid(), start_of(os.getpid()) or "", "/run/x"))
    assert not second.acquire()
    assert is_locked(tmp_path)
    assert holder_of(tmp_path) == Holder(os.getpid(), start_of(os.getpid()) or "", "/run/x")
    first.release()
    assert holder_of(tmp_path) is None
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600
    assert second.acquire()
    second.release()


def test_what_the_file_says_is_believed_of_a_living_process_alone(tmp_path: Path) -> None:
    """Another start time, nonsense, or nothing yet: somebody holds the lock, and nobody knows who."""
    lock = DaemonLock(tmp_path)
    assert lock.acquire()
    for said in (b"", b"nonsense", b'{"pid": "x"}', b'{"pid": 1, "started": "never"}', b"\xff" * 10_000):
        (tmp_path / NAME).write_bytes(said)
        assert holder_of(tmp_path) == Holder(0, "")
    lock.release()
    (tmp_path / NAME).write_bytes(b"nonsense")
    assert holder_of(tmp_path) is None


def test_a_lock_whose_file_is_another_one_is_not_there(tmp_path: Path) -> None:
    """It was removed, or the whole folder was; then it can be taken anew."""
    lock = DaemonLock(tmp_path)
    assert lock.acquire()
    assert lock.is_there
    (tmp_path / NAME).unlink()
    assert not lock.is_there
    (tmp_path / NAME).touch()
    assert not lock.is_there
    assert lock.acquire()
    assert lock.is_there
    lock.release()


def test_a_process_is_its_number_and_its_start() -> None:
    """Signals reach that process, and no other that has its number; one that has ended is no process."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        started = until(lambda: start_of(process.pid))
        assert is_same(process.pid, started)
        assert not send(process.pid, "another start", signal.SIGKILL)
        assert process.poll() is None
        assert send(process.pid, started, signal.SIGKILL)
        until(lambda: start_of(process.pid) is None)  # it is a zombie now, which is over
        assert not send(process.pid, started, signal.SIGKILL)
    assert not is_same(process.pid, started)
    assert start_of(2**22 + 1) is None
    assert not send(0, "", signal.SIGTERM)
    assert (memory_bytes() or 0) > 1_000_000
