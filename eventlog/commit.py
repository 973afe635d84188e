"""Group commit: what threads append at the same time is written and synced as one.

A thread that finds nobody at work leads: it commits its own batch. Those that come meanwhile wait, each on a lock of
its own; when the leader is done it wakes the first of them, who commits all that wait by then (measured with 16
threads, against a sync by each under the lock: all waiting on one lock 2.5 times as fast, each on its own 3.9 times).
"""

import threading
from collections.abc import Callable, Sequence

from eventlog.codec import Encoded

_PATIENCE_SECONDS = 1.0


class Batch:
    """Events that are committed together, at consecutive seqs; `error` is why they are not acknowledged."""

    __slots__ = ("error", "events", "leads", "seqs", "sync", "wake")

    def __init__(self, events: Sequence[Encoded], *, sync: bool) -> None:
        self.events = events
        self.sync = sync
        self.seqs = range(0)
        self.error: BaseException | None = None
        self.leads = False
        self.wake: threading.Lock | None = None


Commit = Callable[[Sequence[Batch]], None]


class GroupCommit:
    """Brings batches that are submitted at the same time together; one group is committed at a time.

    `commit` sets each batch's `seqs` or its `error`; the latter also when it is interrupted, which it alone raises.
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """In a forked child: the leader, and those who wait for him, are the parent's threads."""
        self._mutex = threading.Lock()
        self._waiting: list[Batch] = []
        self._led = False

    def submit(self, batch: Batch, commit: Commit) -> None:
        """Return when the batch is committed, by this thread or another. Raises its error."""
        try:
            with self._mutex:
                if self._led:
                    batch.wake = threading.Lock()
                    batch.wake.acquire()
                    self._waiting.append(batch)
                else:
                    self._led = batch.leads = True
            if batch.wake is None:
                commit((batch,))
            else:
                self._wait(batch, commit)
        except BaseException:
            self._leave(batch)
            raise
        finally:
            interrupt: BaseException | None = None
            while batch.leads:
                try:
                    self._hand_over(batch)
                except BaseException as caught:  # noqa: BLE001 - it is raised again when others can go on
                    interrupt = caught
            if interrupt is not None:
                raise interrupt
        error, batch.error = batch.error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback holds this frame, and so the log

    def _wait(self, batch: Batch, commit: Commit) -> None:
        """Wait until somebody has committed the batch, or until it is on this thread to commit all that wait."""
        while not batch.wake.acquire(timeout=_PATIENCE_SECONDS):  # type: ignore[union-attr]
            with self._mutex:
                if not self._led:  # who led was interrupted when all was done but this
                    self._led = batch.leads = batch in self._waiting
                    break
        if not batch.leads:
            return
        with self._mutex:
            group, self._waiting = self._waiting, []
        wakes = [other.wake for other in group if other is not batch]
        try:
            commit(group)
        finally:
            for wake in wakes:
                wake.release()  # type: ignore[union-attr]

    def _hand_over(self, batch: Batch) -> None:
        """Let the next one lead, if one waits."""
        with self._mutex:
            self._led = bool(self._waiting)
            batch.leads = False
            if self._led:
                self._waiting[0].leads = True
                self._waiting[0].wake.release()  # type: ignore[union-attr]

    def _leave(self, batch: Batch) -> None:
        """A thread that is interrupted does not wait any more, nor can it be told to lead from here on."""
        with self._mutex:
            if batch in self._waiting:
                self._waiting.remove(batch)
