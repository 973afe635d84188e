"""Children made by fork(): each is a writer of its own, whatever its parent was doing at that moment."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from eventlog import EventLog, Lock, SinkFlushed
from eventlog.files import Files

from .support import assert_clean, note, open_log, python, said

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # that is what is tested here

WAIT_SECONDS = 20


def forked(work: Callable[[], object]) -> int:
    """Run `work` in a child that dies by SIGALRM if it hangs; returns its pid."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        signal.alarm(WAIT_SECONDS)
        work()
        status = 0
    finally:
        os._exit(status)


def assert_ended_well(pid: int) -> None:
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _append(log: EventLog, name: str, count: int) -> None:
    for number in range(count):
        log.append(SinkFlushed(sink="s", user=name, up_to=number))


def test_a_child_appends_beside_its_parent(tmp_path: Path) -> None:
    """Children that were forked while threads of the parent append go on with the same log object, all at once."""
    with open_log(tmp_path, segment_bytes=5000) as log:
        threads = [threading.Thread(target=_append, args=(log, f"t{number}", 200)) for number in range(3)]
        for thread in threads:
            thread.start()
        children = [forked(lambda name=f"c{number}": _append(log, name, 50)) for number in range(5)]  # type: ignore[misc]
        for thread in threads:
            thread.join(WAIT_SECONDS)
        for child in children:
            assert_ended_well(child)
        log.append(note(1))
    found = [event for _, event in said(tmp_path)]
    for name, count in [(f"t{number}", 200) for number in range(3)] + [(f"c{number}", 50) for number in range(5)]:
        assert [event.up_to for event in found if getattr(event, "user", "") == name] == list(range(count))
    assert_clean(tmp_path)


class Gate(Files):
    """Stops in the middle of a write until it is let go."""

    def __init__(self) -> None:
        self.armed = False
        self.reached, self.opened = threading.Event(), threading.Event()

    def write(self, descriptor: int, data: bytes, offset: int) -> int:
        if self.armed:
            self.armed = False
            half = super().write(descriptor, data[:50], offset)
            self.reached.set()
            assert self.opened.wait(WAIT_SECONDS)
            return half
        return super().write(descriptor, data, offset)


def test_a_child_waits_for_a_parent_that_holds_the_lock(tmp_path: Path) -> None:
    """Forked while a thread of the parent is half through a write, a child neither hangs nor writes in between."""
    gate = Gate()
    with open_log(tmp_path, files=gate) as log:
        log.append(note(0))
        gate.armed = True
        thread = threading.Thread(target=log.append, args=(note(1),))
        thread.start()
        assert gate.reached.wait(WAIT_SECONDS)
        reading, writing = os.pipe()

        def child() -> None:
            os.write(writing, b"x")
            log.append(note(2))

        pid = forked(child)
        os.read(reading, 1)  # it is about to append; it must not end before the parent is done
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)
        gate.opened.set()
        thread.join(WAIT_SECONDS)
        assert_ended_well(pid)
        os.close(reading)
        os.close(writing)
        assert log.append(note(3)) == 5
    assert said(tmp_path) == [(seq, note(seq - 2)) for seq in range(2, 6)]
    assert_clean(tmp_path)


def test_a_child_may_close_the_log(tmp_path: Path) -> None:
    """A child that closes its copy of the log takes nothing from its parent."""
    with open_log(tmp_path) as log:
        log.append(note(0))
        assert_ended_well(forked(log.close))
        assert log.append(note(1)) == 3
    assert_clean(tmp_path)


def test_a_child_of_a_parent_that_syncs(tmp_path: Path) -> None:
    """A child forked while a thread of the parent waits for its sync has its own sync to wait for."""

    class SlowSync(Files):
        reached, opened, slow = threading.Event(), threading.Event(), False

        def sync(self, descriptor: int) -> None:
            if self.slow:
                self.slow = False
                self.reached.set()
                assert self.opened.wait(WAIT_SECONDS)

    files = SlowSync()
    with EventLog.open(tmp_path, files=files) as log:
        log.append(note(0))
        files.slow = True
        thread = threading.Thread(target=log.append, args=(note(1),))
        thread.start()
        assert files.reached.wait(WAIT_SECONDS)
        assert_ended_well(forked(lambda: log.append(note(2))))
        files.opened.set()
        thread.join(WAIT_SECONDS)
        assert log.append(note(3)) == 5
    assert_clean(tmp_path)


def test_a_child_forked_under_a_lock_does_not_hold_it(tmp_path: Path) -> None:
    """A child made by the very thread that holds a lock leaves the block without a word, and takes the lock in turn."""
    lock = Lock(tmp_path / "x.lock")
    with lock:
        pid = os.fork()
        if pid == 0:
            os._exit(_leave_and_take(lock))
        assert not Lock(tmp_path / "x.lock").acquire(blocking=False)
    assert_ended_well(pid)
    with lock:
        pass


def _leave_and_take(lock: Lock) -> int:
    signal.alarm(WAIT_SECONDS)
    lock.release()
    with lock:
        return 0


ORPHAN = """
import os, signal, sys
from eventlog import EventLog, SinkResumed
log = EventLog.open(sys.argv[1], durability="os")
log.append(SinkResumed(sink="s0"))
log._writer._lock.acquire()
if os.fork():
    os.kill(os.getpid(), signal.SIGKILL)
sys.stdin.read()
"""


def test_a_dead_parents_lock_is_free(tmp_path: Path) -> None:
    """A parent that was killed while it held the lock leaves it to others, though its child lives on."""
    with python(ORPHAN, tmp_path, stdin=-1) as parent:
        assert parent.wait(WAIT_SECONDS) == -signal.SIGKILL
        assert_ended_well(forked(lambda: open_log(tmp_path).append(note(1))))
        assert parent.stdin is not None
        parent.stdin.close()
    assert said(tmp_path) == [(2, note(0)), (3, note(1))]
