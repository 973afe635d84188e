"""Writers that start together: threads of this process, or processes."""

import multiprocessing
import queue
import threading
import time
from array import array
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

Put = Callable[[], object]
"""Appends one row, or one batch; returns when it is as durable as promised."""

Open = Callable[[], AbstractContextManager[Callable[[], Put]]]
"""Opens a backend; what it gives makes a `Put` for each writer. It can be pickled."""

_PATIENCE_SECONDS = 120
_REASON_SECONDS = 1  # until what a writer raised has come through

_spawn = multiprocessing.get_context("spawn")


@dataclass
class Run:
    """One writer's part of a round: when it began and ended (monotonic, the same clock in all processes), its waits."""

    begin: float
    end: float
    waits: "array[float]"


@dataclass
class Signals:
    """How a team's members and its owner talk."""

    start: Any
    stop: Any
    runs: Any


class Team:
    """Writers who open their backend, warm up, and then append the same number of times in every round.

    Between rounds they wait at a barrier, so a round's time goes from there to the end of the last of them.
    """

    def __init__(self, open_backend: Open, *, puts: int, warm_up: int, threads: int = 0, processes: int = 0) -> None:
        self._members = threads or processes
        self._stack: AbstractContextManager[Any] | None = None
        if processes:
            self._signals = Signals(_spawn.Barrier(processes + 1), _spawn.Event(), _spawn.Queue())
            target, argument, kind = _open_and_work, open_backend, _spawn.Process
        else:
            self._signals = Signals(threading.Barrier(threads + 1), threading.Event(), queue.Queue())
            self._stack = open_backend()
            target, argument, kind = _work, self._stack.__enter__(), threading.Thread  # type: ignore[assignment]
        arguments = (argument, self._signals, puts, warm_up)
        self._workers = [kind(target=target, args=arguments, daemon=True) for _ in range(self._members)]
        for worker in self._workers:
            worker.start()
        self._wait()  # until all are warm

    def measure(self) -> list[Run]:
        """One round. Raises what a writer raised."""
        self._wait()
        return [self._next_run() for _ in range(self._members)]

    def close(self) -> None:
        """End the writers and close their backend."""
        self._signals.stop.set()
        self._wait()
        for worker in self._workers:
            worker.join(_PATIENCE_SECONDS)
        if self._stack is not None:
            self._stack.__exit__(None, None, None)

    def _wait(self) -> None:
        try:
            self._signals.start.wait(_PATIENCE_SECONDS)
        except threading.BrokenBarrierError:
            with suppress(queue.Empty):
                while True:
                    self._next_run(_REASON_SECONDS)
            raise

    def _next_run(self, patience_seconds: float = _PATIENCE_SECONDS) -> Run:
        run = self._signals.runs.get(timeout=patience_seconds)
        if isinstance(run, Exception):
            raise run
        return run  # type: ignore[no-any-return]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._signals.start.abort()


def seconds(runs: list[Run]) -> float:
    """How long a round took: from the first writer's beginning to the last one's end."""
    return max(run.end for run in runs) - min(run.begin for run in runs)


def _open_and_work(open_backend: Open, signals: Signals, puts: int, warm_up: int) -> None:
    try:
        with open_backend() as new_writer:
            _work(new_writer, signals, puts, warm_up)
    except Exception as error:  # noqa: BLE001 - the owner raises it
        _fail(signals, error)


def _work(new_writer: Callable[[], Put], signals: Signals, puts: int, warm_up: int) -> None:
    try:
        put = new_writer()
        for _ in range(warm_up):
            put()
        signals.start.wait(_PATIENCE_SECONDS)
        while True:
            signals.start.wait(None)
            if signals.stop.is_set():
                return
            signals.runs.put(_put_all(put, puts))
    except threading.BrokenBarrierError:
        return
    except Exception as error:  # noqa: BLE001 - the owner raises it
        _fail(signals, error)


def _fail(signals: Signals, error: Exception) -> None:
    signals.runs.put(RuntimeError(f"a writer ended with {error!r}"))
    signals.start.abort()


def _put_all(put: Put, puts: int) -> Run:
    waits = array("d")
    begin = before = time.monotonic()
    for _ in range(puts):
        put()
        now = time.monotonic()
        waits.append(now - before)
        before = now
    return Run(begin, before, waits)
