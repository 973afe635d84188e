"""The engine: follows the log and delivers to its sinks, until there is nothing left to do or it is told to stop.

One thread reads, plans and writes; each sink's workers do what takes time. A round takes in what the log has got,
writes down what came of requests, plans, writes the attempts, and sends once these are durable. Between rounds it
sleeps until the log grows, a request ends, or something is due. All that it knows is in the log: it may die any time.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

from eventlog import Event, EventLog, EventLogError, Problem, SyncFailed, SyncSucceeded, Waiter
from projections import DELIVERY, Checkpoints, Delivery, Index, Live
from projections.delivery_state import PENDING, RETRYING
from turnlog.clock import Clock
from turnlog.recorder import INDEX_NAME
from turnlog.sinks.base import Sink
from turnlog.sync.contents import Contents
from turnlog.sync.counts import SyncCounts
from turnlog.sync.delivery import SinkDelivery, Terms
from turnlog.sync.planner import Request
from turnlog.sync.workers import Finished

SWEEP_SECONDS = 300.0
GRACE_SECONDS = 10.0

_LIVE_SECONDS, _LIVE_TURNS_MAX = 30.0, 1000
"""What was recorded within so many seconds, and is among so many last turns, goes before the backlog."""

_JOIN_SECONDS = 1.0
"""How often it is tried again to deliver to a sink that somebody else delivers to."""

_TROUBLE_SECONDS = 1.0
"""How long to wait before a log that cannot be written or read is tried again."""

OnEvents = Callable[[Sequence[Event]], None]

OnBroken = Callable[[str, Exception], None]
"""Is told of a sink whose code broke, and that it is delivered to no longer."""

T = TypeVar("T")


class Engine:
    """Delivers the turns that are owed to some sinks, each added with `add`. Hold their leases.

    `log` must be one that syncs every append: an attempt is durable before its first byte is sent. `on_events` is told
    every event that the engine appends, `on_trouble` what keeps it from going on, for a person; `trouble` is the same,
    until it does. Where `on_broken` is set, a sink that has a bug costs the others nothing; else its exception ends the
    run. `stop` and `wake` may be called from any thread, and from a signal's handler.
    """

    def __init__(
        self,
        log: EventLog,
        *,
        clock: Clock,
        on_events: OnEvents = lambda _: None,
        on_trouble: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.sinks: dict[str, SinkDelivery] = {}
        self.sweep_seconds, self.grace_seconds = SWEEP_SECONDS, GRACE_SECONDS
        self.swept_at: datetime | None = None
        self.on_broken: OnBroken | None = None
        self._log = log
        self._clock = clock
        self._on_events = on_events
        self._on_trouble = on_trouble
        self._index = Index(log, Path(log.directory) / INDEX_NAME)
        self.contents = Contents(log, self._index)
        self._live = Live(log, DELIVERY, checkpoints=Checkpoints(log))
        self._waiter = Waiter(log.folder)
        self._finished: SimpleQueue[tuple[str, Finished]] = SimpleQueue()
        self._unwritten: list[Event] = []
        self._recent: deque[tuple[datetime, int]] = deque()
        self._stopping = threading.Event()
        self._running = False
        self._due: datetime | None = None  # when there is something to do, if nothing happens before; None: now
        self._is_complete = False  # there is no sink to wait for
        self._is_behind = False  # something was taken in that no plan knows
        self.trouble: str | None = None  # the log failed: there may be attempts in it that were never sent

    def add(self, name: str, sink: Sink, terms: Terms = Terms()) -> SinkDelivery:  # noqa: B008 - frozen
        """Deliver to this sink too; it stays the caller's. Raises LogUnavailable while the engine runs."""
        delivery = SinkDelivery(
            name,
            sink,
            terms,
            state=lambda: self._live.states[0],
            contents=self.contents,
            clock=self._clock,
            finished=partial(self._note_finished, name),
        )
        if self._running:
            self._due = None
            self._live.catch_up()  # whoever delivered to it before may have written since, or died over an attempt
            delivery.begin_run()
        self.sinks[name] = delivery
        return delivery

    def let_go(self, name: str, *, at_once: bool) -> bool:
        """Begin nothing more at a sink, and deliver to it no longer when what is under way has ended, or `at_once`.

        Whether that is so and written down; only then may its lease be let go. To be called from `join` until it is.
        """
        sink = self.sinks.get(name)
        if sink is not None:
            sink.is_leaving = True
            if sink.under_way and not at_once:
                return False
            self._unwritten += sink.abandon()
            sink.close()
            del self.sinks[name]
        return not self._unwritten

    @property
    def next_at(self) -> datetime | None:
        """When something is looked at by itself, at the latest; None: not by itself."""
        dues = [due for sink in list(self.sinks.values()) if (due := sink.next_due) is not None]
        sweep = self.swept_at + timedelta(seconds=self.sweep_seconds) if self.swept_at is not None else None
        return min([*dues, *([sweep] if sweep else [])], default=None)

    @property
    def state(self) -> Delivery:
        """The state as of the last event that was taken in."""
        state: Delivery = self._live.states[0]  # another one after a catch-up that was broken off
        return state

    @property
    def problems(self) -> list[Problem]:
        """What was passed over in the log, because it is damaged."""
        return self._live.problems

    def catch_up(self) -> Delivery:
        """Take in what the log has got. Raises LogUnavailable, NewerFormat."""
        self._live.catch_up()
        return self.state

    def run_once(self) -> SyncCounts:
        """Probe paused sinks, then send until nothing is eligible or in flight, and flush what was sent.

        Never waits for a later try; `stop` ends it after what is in flight. Returns the counts of all sinks.
        Raises LogUnavailable.
        """
        self._begin_run()
        while True:
            begun = self._round()
            if not begun and not self._is_under_way() and not self._flush_all():
                return self._counts()
            self._wait(None)

    def follow(
        self,
        *,
        sweep_seconds: float | None = None,
        grace_seconds: float | None = None,
        join: Callable[[], bool] = lambda: True,
    ) -> SyncCounts:
        """Deliver in real time until `stop`; then wait for what is in flight, and write down what did not end.

        At least every `sweep_seconds` everything is looked at again, whatever was missed, and sinks that refused their
        credentials are asked anew. A log that cannot be written is waited for. `join` is called now and then until it
        says that there is no sink left to add; it may also let sinks go. Raises LogUnavailable, NewerFormat at the
        start.
        """
        self.sweep_seconds = self.sweep_seconds if sweep_seconds is None else sweep_seconds
        self.grace_seconds = self.grace_seconds if grace_seconds is None else grace_seconds
        self._begin_run()
        self.swept_at, self._is_complete = self._clock.now(), False
        while not self._stopping.is_set():
            now = self._clock.now()
            if (now - self.swept_at).total_seconds() >= self.sweep_seconds or now < self.swept_at:
                self.swept_at = now
                self.ask_again()
            try:
                self._is_complete = self._is_complete or join()
                self._give_up_unsent()
                self._round()
                left = self.sweep_seconds - (now - self.swept_at).total_seconds()
                self._wait(left if self._is_complete else min(left, _JOIN_SECONDS))
            except EventLogError as error:
                self._due, self.trouble = None, f"{error}; trying again"
                self._on_trouble(self.trouble)
                self._waiter.wait(_TROUBLE_SECONDS)
        self._drain(self.grace_seconds)
        return self._counts()

    def ask_again(self) -> None:
        """Look at everything anew, and ask sinks that refused their credentials, with what these are now."""
        self._due = None
        now = self._clock.now()
        self._each(self.sinks.values(), lambda sink: sink.ask_again(now))

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopping.set()
        self.wake()

    def wake(self) -> None:
        """Have `join` called soon."""
        self._waiter.wake()

    def close(self) -> None:
        """Let go of threads and files; sinks are the caller's."""
        for sink in self.sinks.values():
            sink.close()
        self._live.close()
        self.contents.close()
        self._index.close()
        self._waiter.close()

    # A round.

    def _begin_run(self) -> None:
        while not self._finished.empty():  # of a run that was broken off
            self._finished.get()
        self._unwritten.clear()
        self._due, self.trouble = None, None
        self.catch_up()
        self._recent = deque([(self._clock.now(), len(self.state.turns))])
        self._running = True
        for sink in self.sinks.values():
            sink.begin_run()

    def _round(self) -> bool:
        """Write down what has ended and begin what may begin; whether anything was begun."""
        ended, written, later = self._collect(), self._unwritten, False
        if written:
            later = self._has_more()
            self._log.append_many(written, sync=not later)
            self._unwritten = []
        is_new = self._live.catch_up() or ended or written or self._is_behind
        if not is_new and self._due is not None and self._clock.now() < self._due:
            return False  # woken by what the engine itself has written, mostly
        self._is_behind = False
        if written:
            for sink in self._owed():
                sink.note_written(written)
            self._on_events(written)
        before = self._jobs_begun()
        attempted = [] if self._stopping.is_set() else self._begin()
        if attempted or later:
            self._log.sync()
        for sink, attempts, requests in attempted:
            self._each([sink], lambda sink, a=attempts, r=requests: sink.begin(a, r))  # type: ignore[misc]
        if not attempted and not self._is_under_way() and not self._has_more():
            self.contents.forget()
        return bool(attempted) or self._jobs_begun() != before

    def _give_up_unsent(self) -> None:
        """Once the log can be read again, tell of attempts in it that were not durable, so that nothing was sent."""
        if self.trouble is not None:
            self._live.catch_up()
            told = {event.attempt for event in self._unwritten if isinstance(event, SyncSucceeded | SyncFailed)}
            for sink in self._owed():
                self._unwritten += sink.give_up_unsent(told)
            self.trouble = None

    def _begin(self) -> list[tuple[SinkDelivery, range, list[Request]]]:
        """Plan for all sinks and write the attempts down; they are not durable yet.

        No turn is recorded between the two, so no request holds a turn whose revision is there already. What an
        operator's decision took away in between is left out later.
        """
        now = self._clock.now()
        self._each(self._served(), lambda sink: sink.begin_upkeep(now))
        plans = self._plan(now)
        if not plans:
            return []
        with self._index.locked():
            if self._live.catch_up():
                self.contents.refresh_index()
                plans = self._plan(now)
            attempts = [event for sink, requests in plans for event in sink.to_attempts(requests)]
            seqs = self._log.append_many(attempts, sync=False) if attempts else range(0)
        self._is_behind = self._live.catch_up() > len(attempts)  # somebody else was quick
        begun, first = [], seqs.start
        for sink, requests in plans:
            begun.append((sink, range(first, first + len(requests)), requests))
            first += len(requests)
        self._on_events(attempts)
        return begun

    def _has_more(self) -> bool:
        """Whether attempts may follow, so that what is written now can be synced together with them."""
        return any(sink.state.counts[PENDING] or sink.state.counts[RETRYING] for sink in self._owed())

    def _plan(self, now: datetime) -> list[tuple[SinkDelivery, list[Request]]]:
        live_from = self._live_from(now)
        plans = self._each(self._served(), lambda sink: sink.plan(now, live_from))
        self._each([sink for sink, _ in plans], lambda sink: sink.make_room(now))
        return [(sink, requests) for sink, requests in plans if requests and sink.name in self.sinks]

    def _each(self, sinks: Iterable[SinkDelivery], call: Callable[[SinkDelivery], T]) -> list[tuple[SinkDelivery, T]]:
        """What `call` gives for each sink; one that breaks is delivered to no longer, if there is somebody to tell."""
        given = []
        for sink in list(sinks):
            try:
                given.append((sink, call(sink)))
            except EventLogError:  # that is the log's trouble
                raise
            except Exception as error:  # noqa: BLE001 - raised anew if nobody wants to know
                self._give_up(sink, error)
        return given

    def _give_up(self, sink: SinkDelivery, error: Exception) -> None:
        """Go on without a sink that has a bug; whoever adds it again settles what was under way, as after a death."""
        if self.on_broken is None:
            raise error
        del self.sinks[sink.name]
        sink.close()
        self._is_complete = False
        self.on_broken(sink.name, error)

    def _served(self) -> list[SinkDelivery]:
        return [sink for sink in self._owed() if not sink.is_leaving]

    def _owed(self) -> list[SinkDelivery]:
        return [sink for sink in self.sinks.values() if sink.is_owed]

    def _live_from(self, now: datetime) -> int:
        """The first turn that goes before the backlog: none that was there when the run began."""
        recent, count = self._recent, len(self.state.turns)
        while len(recent) > 1 and (now - recent[1][0]).total_seconds() >= _LIVE_SECONDS:
            recent.popleft()
        if (now - recent[-1][0]).total_seconds() >= 1:
            recent.append((now, count))
        return max(recent[0][1], count - _LIVE_TURNS_MAX)

    # What goes on beside.

    def _note_finished(self, name: str, finished: Finished) -> None:
        """In a worker's thread: a job of this sink is over."""
        self._finished.put((name, finished))
        self._waiter.wake()

    def _collect(self) -> int:
        """Turn the results of finished jobs into events; how many jobs these were.

        Raises what a job raised, which is a bug or an interrupt.
        """
        count = 0
        while not self._finished.empty():  # nobody else takes any
            name, finished = self._finished.get()
            sink = self.sinks.get(name)  # None: it was let go, and what was under way is written down
            for _, events in self._each([sink] if sink else [], partial(_result_of, finished)):
                self._unwritten += events
            count += 1
        return count

    def _jobs_begun(self) -> int:
        return sum(sink.under_way for sink in self.sinks.values())

    def _is_under_way(self) -> bool:
        return bool(self._unwritten) or not self._finished.empty() or self._jobs_begun() > 0

    def _flush_all(self) -> bool:
        flushing = [sink.flush_all() for sink in self._owed()] if not self._stopping.is_set() else []
        return any(flushing)

    def _wait(self, seconds_max: float | None) -> None:
        """Until the log grows, a job ends, something is due, or for so long; None: for a job."""
        if not self._finished.empty() or self._is_behind:
            return
        now = self._clock.now()
        if seconds_max is None:
            self._waiter.wait(60.0)
            return
        dues = [due for _, due in self._each(self.sinks.values(), lambda sink: sink.wake_at(now)) if due is not None]
        seconds = min([seconds_max, *((due - now).total_seconds() for due in dues)])
        self._due = now + timedelta(seconds=seconds)
        if self._is_under_way():
            self._waiter.wait(max(0.0, seconds))
        else:
            self._clock.wait(self._waiter.wait, max(0.0, seconds))

    def _drain(self, grace_seconds: float) -> None:
        """Wait for what is in flight, and write down what did not end in time."""
        deadline = time.monotonic() + grace_seconds
        while self._is_under_way() and (left := deadline - time.monotonic()) > 0:
            self._round()
            if self._is_under_way() and self._finished.empty():
                self._waiter.wait(left)
        for sink in self.sinks.values():
            self._unwritten += sink.abandon()
        self._round()

    def _counts(self) -> SyncCounts:
        total = SyncCounts()
        for sink in self.sinks.values():
            totals = sink.state.totals() if sink.is_owed else {}
            sink.counts.pending = sum(totals.get(name, 0) for name in ("pending", "attempting", "retrying"))
            total.add(sink.counts)
        return total


def _result_of(finished: Finished, _: SinkDelivery) -> list[Event]:
    events: list[Event] = finished.then(finished)
    return events
