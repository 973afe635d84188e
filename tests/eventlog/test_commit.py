"""Group commit: who leads, who waits, and what becomes of them when the leader fails or is interrupted."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from eventlog import EventLog
from eventlog.commit import Batch, GroupCommit
from turnlog.testing.disks import RefusingFiles

from .support import assert_clean, note, open_log, said, segment_files

WAIT_SECONDS = 20


class Committer:
    """Commits groups, the first one not before it is let go; remembers who was in which."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.reached, self.opened = threading.Event(), threading.Event()
        self.failing: BaseException | None = None

    def __call__(self, group: Sequence[Batch]) -> None:
        self.groups.append([batch.events[0] for batch in group])  # type: ignore[misc]
        if len(self.groups) == 1:
            self.reached.set()
            assert self.opened.wait(WAIT_SECONDS)
        if self.failing is not None:
            for batch in group:
                batch.error = ValueError("refused")
            raise self.failing


def submitted(commits: GroupCommit, commit: Committer, number: int, told: list[object]) -> threading.Thread:
    def submit() -> None:
        try:
            commits.submit(Batch([number], sync=True), commit)  # type: ignore[list-item]
            told.append(number)
        except BaseException as error:  # noqa: BLE001 - it is what is looked at
            told.append(str(error))

    thread = threading.Thread(target=submit)
    thread.start()
    return thread


class Queue(list[Batch]):
    """Those who wait for a leader; says when one has come."""

    def __init__(self) -> None:
        super().__init__()
        self._come = threading.Semaphore(0)

    def append(self, batch: Batch) -> None:
        super().append(batch)
        self._come.release()

    def wait_for(self, count: int) -> None:
        for _ in range(count):
            assert self._come.acquire(timeout=WAIT_SECONDS)


def watched(commits: GroupCommit) -> Queue:
    queue = commits._waiting = Queue()
    return queue


def test_who_waits_is_committed_by_the_next_leader_with_all_others() -> None:
    """One commits alone; all who came meanwhile are one group, in the order in which they came."""
    commits, commit, told = GroupCommit(), Committer(), []  # type: ignore[var-annotated]
    queue = watched(commits)
    threads = [submitted(commits, commit, 0, told)]
    assert commit.reached.wait(WAIT_SECONDS)
    for number in range(1, 6):
        threads.append(submitted(commits, commit, number, told))
        queue.wait_for(1)
    commit.opened.set()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert commit.groups == [[0], [1, 2, 3, 4, 5]]
    assert sorted(told) == list(range(6))  # type: ignore[type-var]


def test_all_of_a_group_are_told_and_the_next_one_goes_on() -> None:
    """A leader that is interrupted leaves nobody waiting, and nobody who leads."""
    commits, commit, told = GroupCommit(), Committer(), []  # type: ignore[var-annotated]
    queue = watched(commits)
    threads = [submitted(commits, commit, 0, told)]
    assert commit.reached.wait(WAIT_SECONDS)
    threads += [submitted(commits, commit, number, told) for number in (1, 2, 3)]
    queue.wait_for(3)
    commit.failing = KeyboardInterrupt("ctrl-c")
    commit.opened.set()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert sorted(map(str, told)) == ["ctrl-c", "ctrl-c", "refused", "refused"]
    commit.failing = None
    commits.submit(Batch([9], sync=True), commit)  # type: ignore[list-item]
    assert commit.groups[-1] == [9]


def test_one_that_leaves_does_not_keep_the_others() -> None:
    """A thread that is interrupted while it waits takes its batch with it; if it was to lead, the next one does."""
    commits, commit, told = GroupCommit(), Committer(), []  # type: ignore[var-annotated]
    queue = watched(commits)
    threads = [submitted(commits, commit, 0, told)]
    assert commit.reached.wait(WAIT_SECONDS)
    leaving = Batch([7], sync=True)  # type: ignore[list-item]
    leaving.wake = threading.Lock()
    with commits._mutex:
        commits._waiting.append(leaving)
    threads.append(submitted(commits, commit, 1, told))
    queue.wait_for(2)
    commits._leave(leaving)
    commit.opened.set()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert commit.groups == [[0], [1]]
    assert sorted(told) == [0, 1]


def test_threads_share_writes_and_syncs(tmp_path: Path) -> None:
    """While one syncs, seven others queue: they take one write and one sync for all of them."""
    reached, opened = threading.Event(), threading.Event()

    class Slow(RefusingFiles):
        def sync(self, descriptor: int) -> None:
            super().sync(descriptor)
            if self.calls.count("sync") == 2 and not reached.is_set():  # the first is the header's
                reached.set()
                assert opened.wait(WAIT_SECONDS)

    files = Slow()
    with EventLog.open(tmp_path, files=files) as log:
        queue = watched(log._writer._commits)  # type: ignore[union-attr]
        threads = [threading.Thread(target=log.append, args=(note(0),))]
        threads[0].start()
        assert reached.wait(WAIT_SECONDS)
        files.calls = []
        threads += [threading.Thread(target=log.append, args=(note(number),)) for number in range(1, 8)]
        for thread in threads[1:]:
            thread.start()
        queue.wait_for(7)
        opened.set()
        for thread in threads:
            thread.join(WAIT_SECONDS)
        assert files.calls == ["write", "write", "sync"]  # the lines, the blanks behind them, and one sync
    assert [seq for seq, _ in said(tmp_path)] == list(range(2, 10))
    assert_clean(tmp_path)


def test_others_append_while_a_checksum_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writers' lock is free while a full segment, which another handle has written, is summed up."""
    monkeypatch.setattr("eventlog.growing._SUM_BYTES", 100)
    reached, opened = threading.Event(), threading.Event()
    other = open_log(tmp_path, segment_bytes=1 << 20)
    with open_log(tmp_path, segment_bytes=2000) as log:
        other.append_many([note(number, "x" * 100) for number in range(12)])
        from eventlog import growing

        seal_on = growing.seal_on

        def slow(*arguments: Any) -> Any:
            if not reached.is_set():
                reached.set()
                assert opened.wait(WAIT_SECONDS)
            return seal_on(*arguments)

        monkeypatch.setattr("eventlog.growing.seal_on", slow)
        sealing = threading.Thread(target=log.append, args=(note(50),))
        sealing.start()
        assert reached.wait(WAIT_SECONDS)
        assert other.append(note(51)) == 14
        opened.set()
        sealing.join(WAIT_SECONDS)
    other.close()
    assert len(segment_files(tmp_path)) == 2
    assert_clean(tmp_path)
