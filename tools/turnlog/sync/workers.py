"""The threads that wait for a sink, so that the engine need not."""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from msgspec import Struct


class Finished(Struct, frozen=True):
    """A job that is over: whom to tell, and its result, or what it raised."""

    then: Callable[["Finished"], Any]
    result: Any = None
    error: BaseException | None = None


class Workers:
    """At most `count` threads that do jobs in the order in which they are given; `finished` is told of each.

    They are daemons: a request that never ends keeps no process alive.
    """

    def __init__(self, name: str, count: int, finished: Callable[[Finished], None]) -> None:
        self._name = name
        self._count = count
        self._finished = finished
        self._jobs: SimpleQueue[tuple[Callable[[], Any], Callable[[Finished], Any]] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._idle = threading.Semaphore(0)

    def submit(self, job: Callable[[], Any], then: Callable[[Finished], Any]) -> None:
        """Have `job` done by the next thread that is free."""
        if not self._idle.acquire(blocking=False) and len(self._threads) < self._count:
            thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads) + 1}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._jobs.put((job, then))

    def close(self) -> None:
        """Have the threads end when they have done what they were given; nobody waits for them."""
        for _ in self._threads:
            self._jobs.put(None)

    def _work(self) -> None:
        while (given := self._jobs.get()) is not None:
            job, then = given
            try:
                finished = Finished(then, job())
            except BaseException as error:  # noqa: BLE001 - it is raised where it can be dealt with
                finished = Finished(then, error=error)
            self._idle.release()
            self._finished(finished)
