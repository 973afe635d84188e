"""The lock between writers, for itself."""

import os
import threading
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from eventlog import Lock

from .support import run

TRY = """
import json, sys
from pathlib import Path
from eventlog import Lock
print(json.dumps(Lock(Path(sys.argv[1])).acquire(blocking=False)))
"""


def test_one_holder_among_handles_and_processes(tmp_path: Path) -> None:
    """Who asks without waiting is refused while anybody holds the lock, and served afterwards."""
    path = tmp_path / "x.lock"
    lock, other = Lock(path), Lock(path)
    with lock:
        assert not lock.acquire(blocking=False)
        assert not other.acquire(blocking=False)
        assert run(TRY, path) is False
    assert run(TRY, path) is True
    assert other.acquire(blocking=False)
    assert not lock.acquire(blocking=False)
    other.release()
    assert path.stat().st_mode & 0o777 == 0o600
    lock.close()
    assert path.exists()


def test_it_is_the_lock_of_filelock(tmp_path: Path) -> None:
    """A `filelock.FileLock` on the same path and this lock keep each other out."""
    path = tmp_path / "x.lock"
    lock, theirs = Lock(path), FileLock(path, timeout=0)
    with lock, pytest.raises(Timeout):
        theirs.acquire()
    with theirs:
        assert not lock.acquire(blocking=False)
    assert lock.acquire(blocking=False)
    lock.release()


def test_threads_take_turns(tmp_path: Path) -> None:
    """What threads do under the lock is never interleaved, through one lock object or through several."""
    path, seen = tmp_path / "x.lock", []
    shared = Lock(path)

    def work(lock: Lock) -> None:
        for _ in range(50):
            with lock:
                seen.append("in")
                seen.append("out")

    locks = [shared, shared, shared, Lock(path), Lock(path)]
    threads = [threading.Thread(target=work, args=(lock,)) for lock in locks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert seen == ["in", "out"] * 250


def test_a_lock_that_cannot_be_opened_can_be_tried_again(tmp_path: Path) -> None:
    """A lock whose folder is not there raises, and is not left taken for the other threads."""
    lock = Lock(tmp_path / "folder" / "x.lock")
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            lock.acquire()
    (tmp_path / "folder").mkdir()
    assert lock.acquire()
    lock.release()


def test_a_lock_that_is_dropped_closes_its_file(tmp_path: Path) -> None:
    """A lock that nobody has any more holds no descriptor, nor anybody else up."""
    before = len(os.listdir("/proc/self/fd"))
    lock = Lock(tmp_path / "x.lock")
    lock.acquire()
    del lock
    assert len(os.listdir("/proc/self/fd")) == before
    assert Lock(tmp_path / "x.lock").acquire(blocking=False)
