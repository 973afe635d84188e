"""Delivering to one sink until there is nothing left that may be sent now."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from msgspec import Struct

from eventlog import Event, EventLog, SinkPaused, SinkResumed, SyncAttempted, SyncFailed, SyncSucceeded
from projections import DELIVERY, Checkpoints, Delivery, Index, Live, RetryPolicy, SinkState, Try, is_counted
from turnlog.clock import Clock
from turnlog.recorder import INDEX_NAME
from turnlog.sinks.base import Delivered, Outcome, Sink
from turnlog.sync.contents import Contents, Item
from turnlog.sync.lease import worker_name
from turnlog.sync.outcomes import DEATHS_MAX, Answered, after_doubt, pause_after, to_events
from turnlog.sync.planner import Request, plan
from turnlog.sync.sending import check, send, settle, size

OPERATOR = "operator"
"""The kind of a pause that only the operator ends."""

_DIED = "the worker died before it knew the outcome"


class SyncCounts(Struct):
    """What one run did, in turns; `pending` is what is still to be sent, whoever has to wait for what.

    `failed` counts failures that a turn is blamed for and may try again after; an outage is none of them.
    """

    delivered: int = 0
    failed: int = 0
    dead: int = 0
    pending: int = 0
    reconciled: int = 0


class SinkEngine:
    """Delivers the turns that are owed to one sink. Hold its lease.

    `log` must be one that syncs every append: an attempt is durable before its first byte is sent. `on_events` is
    told every event that the engine appends, for progress and tests.
    """

    def __init__(
        self,
        log: EventLog,
        name: str,
        sink: Sink,
        *,
        policy: RetryPolicy,
        clock: Clock,
        on_events: Callable[[Sequence[Event]], None] = lambda _: None,
    ) -> None:
        self.counts = SyncCounts()
        self._log = log
        self._name = name
        self._sink = sink
        self._policy = policy
        self._clock = clock
        self._on_events = on_events
        self._index = Index(log, Path(log.directory) / INDEX_NAME)
        self._contents = Contents(log, self._index)
        self._live = Live(log, DELIVERY, checkpoints=Checkpoints(log))
        self._flying: dict[Future[Sequence[Outcome]], tuple[int, Request]] = {}

    def run_once(self, *, stop: threading.Event | None = None) -> SyncCounts:
        """Probe a paused sink, then send until nothing is eligible or in flight; never wait for a later try.

        `stop` ends it after what is in flight. Raises AppendFailed, LogUnavailable.
        """
        self.counts = SyncCounts()
        self._flying.clear()  # of a run that was broken off: they are settled as those of a worker that died
        self._catch_up()
        if self._name in self._state.sinks and not self._sink_state.retired:
            self._settle()
            self._probe()
            with ThreadPoolExecutor(self._sink.connections, f"sink-{self._name}") as workers:
                while self._send(workers, stop) or self._flying:
                    self._receive()
            self.counts.pending = sum(self._sink_state.totals()[s] for s in ("pending", "attempting", "retrying"))
        return self.counts

    def enrolled_type(self) -> str:
        """The type that the sink was enrolled with; empty if it is not enrolled."""
        self._catch_up()
        return self._sink_state.kind if self._name in self._state.sinks else ""

    def close(self) -> None:
        """Let go of files; the sink is the caller's."""
        self._live.close()
        self._contents.close()
        self._index.close()

    @property
    def _state(self) -> Delivery:
        state: Delivery = self._live.states[0]  # another one after a catch-up that was broken off
        return state

    @property
    def _sink_state(self) -> SinkState:
        return self._state.sinks[self._name]

    def _catch_up(self) -> None:
        if self._live.catch_up():
            with self._index.locked():
                self._index.refresh()

    def _append(self, events: Sequence[Event]) -> range:
        seqs = self._log.append_many(events)
        self._catch_up()
        self._on_events(events)
        return seqs

    def _settle(self) -> None:
        """Find out about the attempts that a worker left open when it died."""
        answered = []
        for attempt, ordinals in sorted(self._sink_state.open_attempts.items()):
            request = tuple(sorted(ordinals))
            deaths = [after_doubt(self._try(o).doubts, _DIED, doubts_max=DEATHS_MAX) for o in request]
            answered.append(self._answered(attempt, request, settle(self._sink, self._load(request), deaths)))
        self._write_down(answered)

    def _probe(self) -> None:
        """Ask a paused sink whether it takes turns again."""
        pause = self._sink_state.pause
        if pause is None or pause.kind == OPERATOR or pause.until is not None:
            return
        refused = check(self._sink)
        if refused is None:
            self._append([SinkResumed(sink=self._name, reason="the check succeeded")])
        elif refused.kind != pause.kind:
            self._append([SinkPaused(sink=self._name, kind=refused.kind, reason=refused.error)])

    def _send(self, workers: ThreadPoolExecutor, stop: threading.Event | None) -> bool:
        """Begin the requests that may begin now; whether there were any."""
        slots = self._sink.connections - len(self._flying)
        if slots <= 0 or (stop is not None and stop.is_set()):
            return False
        attempts = self._attempt(slots)
        for attempt, request in attempts:
            items = self._load(request)
            doubtful = {self._state.turns.seqs[o] for o in request if self._try(o).doubtful}
            self._flying[workers.submit(send, self._sink, items, doubtful)] = (attempt, request)
        return bool(attempts)

    def _attempt(self, slots: int) -> list[tuple[int, Request]]:
        """Plan some requests and write the attempts down, durably; their seqs and turns.

        No turn is recorded between the two, so no request holds a turn whose revision is there already. What an
        operator's decision took away in between is left out.
        """
        requests = self._plan(slots)
        if not requests:
            return []
        with self._index.locked():
            if self._live.catch_up():
                self._index.refresh()
                requests = self._plan(slots)
            events = [
                SyncAttempted(sink=self._name, turns=self._seqs(request), worker=worker_name()) for request in requests
            ]
            attempts = self._log.append_many(events, sync=False)
        self._log.sync()
        self._catch_up()
        self._on_events(events)
        begun = [
            (attempt, tuple(ordinal for ordinal in request if self._try(ordinal).attempt == attempt))
            for attempt, request in zip(attempts, requests, strict=True)
        ]
        return [(attempt, request) for attempt, request in begun if request]

    def _plan(self, slots: int) -> list[Request]:
        return plan(
            self._state,
            self._sink_state,
            now=self._clock.now(),
            policy=self._policy,
            limits=self._sink.limits,
            slots=slots,
            size_of=lambda ordinal: size(self._sink, self._item(ordinal)),
        )

    def _receive(self) -> None:
        """Wait for a request to end, and write down all that have."""
        done = wait(self._flying, return_when=FIRST_COMPLETED).done
        answered = []
        for future in done:
            attempt, request = self._flying.pop(future)
            outcomes = [self._judge(outcome, o) for outcome, o in zip(future.result(), request, strict=True)]
            answered.append(self._answered(attempt, request, outcomes))
        self._write_down(answered)

    def _judge(self, outcome: Outcome, ordinal: int) -> Outcome:
        """What an outcome means; doubt that repeats counts."""
        if isinstance(outcome, Delivered) or outcome.kind != "in_doubt":
            return outcome
        return after_doubt(self._try(ordinal).doubts, outcome.error, doubts_max=1)

    def _answered(self, attempt: int, request: Request, outcomes: Sequence[Outcome]) -> Answered:
        return Answered(attempt, request, self._seqs(request), tuple(outcomes))

    def _write_down(self, answered: Sequence[Answered]) -> None:
        """Append what came of some requests, in one write, and count it."""
        events = [event for request in answered for event in to_events(request, self._sink_state, self._policy)]
        outcomes = [outcome for request in answered for outcome in request.outcomes]
        pause = pause_after(outcomes, self._sink_state, self._clock.now())
        if events:
            self._append([*events, pause] if pause else events)
        for event in events:
            self._count(event)

    def _count(self, event: Event) -> None:
        if isinstance(event, SyncSucceeded):
            self.counts.delivered += len(event.turns)
            self.counts.reconciled += len(event.turns) if event.reconciled else 0
        elif isinstance(event, SyncFailed) and event.final:
            self.counts.dead += len(event.turns)
        elif isinstance(event, SyncFailed) and is_counted(event):
            self.counts.failed += len(event.turns)

    def _try(self, ordinal: int) -> Try:
        """What happened to a turn so far; nothing, if an operator took it away meanwhile."""
        return self._sink_state.tries.get(ordinal, Try())

    def _item(self, ordinal: int) -> Item:
        return self._contents.item(self._state.turns.seqs[ordinal])

    def _load(self, request: Request) -> list[Item]:
        return [self._item(ordinal) for ordinal in request]

    def _seqs(self, request: Request) -> tuple[int, ...]:
        return tuple(self._state.turns.seqs[ordinal] for ordinal in request)
