"""Delivering to one sink until there is nothing left that may be sent now."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

import msgspec
from msgspec import Struct

from eventlog import Event, EventLog, SinkPaused, SinkResumed, SyncAttempted, SyncFailed, SyncSucceeded
from projections import DELIVERY, Delivery, Index, Live, RetryPolicy, SinkState, is_counted, is_open
from turnlog.clock import Clock
from turnlog.recorder import INDEX_NAME
from turnlog.sinks.base import Delivered, FindingSink, Outcome, OutgoingTurn, Refused, Sink
from turnlog.sync.contents import Contents
from turnlog.sync.lease import worker_name
from turnlog.sync.outcomes import DEATHS_MAX, Answered, after_doubt, pause_after, to_events
from turnlog.sync.planner import Request, plan

OPERATOR = "operator"
"""The kind of a pause that only the operator ends."""


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
        self._live = Live(log, DELIVERY)
        self._state: Delivery = self._live.states[0]
        self._flying: dict[Future[Sequence[Outcome]], tuple[int, Request]] = {}

    def run_once(self, *, stop: threading.Event | None = None) -> SyncCounts:
        """Probe a paused sink, then send until nothing is eligible or in flight; never wait for a later try.

        `stop` ends it after what is in flight. Raises AppendFailed, LogUnavailable.
        """
        self._catch_up()
        if self._name in self._state.sinks and not self._sink_state.retired:
            self._settle()
            self._probe()
            with ThreadPoolExecutor(self._sink.connections, f"sink-{self._name}") as workers:
                while self._send(workers, stop) or self._flying:
                    self._receive()
            self.counts.pending = sum(self._sink_state.totals()[s] for s in ("pending", "attempting", "retrying"))
        return self.counts

    def close(self) -> None:
        """Let go of files; the sink is the caller's."""
        self._live.close()
        self._index.close()

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
            turns = self._load(request)
            outcomes = [self._settle_turn(turn, o) for turn, o in zip(turns, request, strict=True)]
            answered.append(self._answered(attempt, request, outcomes))
        self._write_down(answered)

    def _settle_turn(self, turn: OutgoingTurn, ordinal: int) -> Outcome:
        error = "the worker died before it knew the outcome"
        doubts = self._sink_state.tries[ordinal].doubts
        return self._found(turn) or after_doubt(doubts, error, doubts_max=DEATHS_MAX)

    def _found(self, turn: OutgoingTurn) -> Delivered | None:
        """The sink's word for it that it has a turn, if it can tell and does."""
        if not isinstance(self._sink, FindingSink):
            return None
        found = self._sink.find(turn)
        return msgspec.structs.replace(found, reconciled=True) if isinstance(found, Delivered) else None

    def _probe(self) -> None:
        """Ask a paused sink whether it takes turns again."""
        pause = self._sink_state.pause
        if pause is None or pause.kind == OPERATOR or is_open(self._sink_state, self._clock.now()):
            return
        if pause.until is not None:
            return
        refused = self._sink.check()
        if refused is None:
            self._append([SinkResumed(sink=self._name, reason="the check succeeded")])
        elif refused.kind != pause.kind:
            self._append([SinkPaused(sink=self._name, kind=refused.kind, reason=refused.error)])

    def _send(self, workers: ThreadPoolExecutor, stop: threading.Event | None) -> bool:
        """Begin the requests that may begin now; whether there were any."""
        slots = self._sink.connections - len(self._flying)
        if slots <= 0 or (stop is not None and stop.is_set()):
            return False
        requests = plan(
            self._state,
            self._sink_state,
            now=self._clock.now(),
            policy=self._policy,
            limits=self._sink.limits,
            slots=slots,
            size_of=lambda ordinal: self._sink.size(self._turn(ordinal)),
        )
        if not requests:
            return False
        batches = [self._load(request) for request in requests]
        attempts = self._append(
            [SyncAttempted(sink=self._name, turns=self._seqs(request), worker=worker_name()) for request in requests]
        )
        for attempt, request, batch in zip(attempts, requests, batches, strict=True):
            self._flying[workers.submit(self._deliver, batch)] = (attempt, request)
        return True

    def _deliver(self, batch: Sequence[OutgoingTurn]) -> Sequence[Outcome]:
        """Send one request; whatever a sink does, there is an outcome for each turn."""
        try:
            outcomes = list(self._sink.deliver(batch))
        except Exception as error:  # noqa: BLE001 - a broken sink must not take the others' deliveries with it
            return [Refused("failed", f"the sink broke: {type(error).__name__}")] * len(batch)
        if len(outcomes) != len(batch):
            return [Refused("failed", f"the sink told {len(outcomes)} outcomes for {len(batch)} turns")] * len(batch)
        return outcomes

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
        """An outcome in doubt, settled by asking the sink; what repeats counts."""
        if isinstance(outcome, Delivered) or outcome.kind != "in_doubt":
            return outcome
        doubts = self._sink_state.tries[ordinal].doubts
        return self._found(self._turn(ordinal)) or after_doubt(doubts, outcome.error, doubts_max=1)

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

    def _turn(self, ordinal: int) -> OutgoingTurn:
        return self._contents.turn(self._state.turns.seqs[ordinal])

    def _load(self, request: Request) -> list[OutgoingTurn]:
        return [self._turn(ordinal) for ordinal in request]

    def _seqs(self, request: Request) -> tuple[int, ...]:
        return tuple(self._state.turns.seqs[ordinal] for ordinal in request)
