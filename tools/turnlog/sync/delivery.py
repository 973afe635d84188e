"""One sink's deliveries: what is under way, what may begin, and what is written down of it.

Nothing here waits and nothing appends: the engine does both, for all its sinks together. What takes time (a request, a
check, a question, a flush) is a job for the sink's workers; what it comes to is a list of events.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from heapq import heappop, heappush
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from eventlog import Event, SinkPaused, SyncAttempted, SyncFailed, SyncSucceeded, TurnRecorded
from projections import Delivery, Place, ProbePolicy, RetryPolicy, SinkState, Try, due_at, is_open
from projections.delivery_state import DELIVERED, OPEN, SUPERSEDED
from turnlog.clock import Clock
from turnlog.errors import TurnlogError
from turnlog.sinks.base import Delivered, Lost, Outcome, OutgoingTurn, Refused, Sink
from turnlog.sync.contents import Content, Contents
from turnlog.sync.counts import Latencies, SyncCounts
from turnlog.sync.lease import worker_name
from turnlog.sync.outcomes import DEATHS_MAX, Answered, after_doubt, pause_after, to_events
from turnlog.sync.planner import Request, Urgency, Weight, plan
from turnlog.sync.sending import MISSING, Item, send, settle, size
from turnlog.sync.upkeep import Flushing, Probing
from turnlog.sync.workers import Finished, Workers

Redact = Callable[[TurnRecorded], tuple[TurnRecorded, dict[str, int]]]
"""Takes secrets out of a turn, and counts them by kind."""

_DIED = "the worker died before it knew the outcome"
_STOPPED = "the worker was stopped before it knew the outcome"
_UNSENT = Refused("unavailable", "it was not sent, because the log could not be written")
_NOWHERE: Mapping[int, Place] = {}
_BACKLOG_EVERY = 4
"""Every so many requests the backlog goes first, so that it does not starve."""


class Terms(Struct, frozen=True):
    """How a sink is delivered to: patience with turns and with the sink, and what the configuration says.

    `on_doubt` is for sinks that cannot tell: `retry` or `hold`. `redact` takes secrets out of a turn. `reopen` makes
    the sink anew, for credentials that may be others by now.
    """

    retries: RetryPolicy = RetryPolicy()
    probes: ProbePolicy = ProbePolicy()
    on_doubt: str = "retry"
    redact: Redact | None = None
    reopen: Callable[[], Sink] | None = None


class Flight(Struct, frozen=True):
    """A request that is under way: its turns, what was taken out of them, and how often a turn may be in doubt."""

    request: Request
    recorded_at: tuple[datetime | None, ...]
    redacted: dict[str, int]
    doubts_max: int = 1


class SinkDelivery:
    """What happens with one sink, whose lease the caller holds; `finished` is told when a job of it is over."""

    def __init__(
        self,
        name: str,
        sink: Sink,
        terms: Terms,
        *,
        state: Callable[[], Delivery],
        contents: Contents,
        clock: Clock,
        finished: Callable[[Finished], None],
    ) -> None:
        self.name = name
        self.sink = sink
        self.counts = SyncCounts()
        self.latencies = Latencies()
        self.is_leaving = False  # nothing more is to be begun
        self._terms = terms
        self._now_state = state
        self._contents = contents
        self._clock = clock
        self._workers = Workers(f"sink-{name}", sink.connections, finished)
        self._flying: dict[int, Flight] = {}  # by attempt
        self._other_jobs = 0
        self._run = 0
        self._busy: set[str] = set()
        self._full: set[str] = set()  # users whose buffer is to be flushed before they get anything more
        self._probing = Probing(terms.probes, lambda: self.state)
        self._flushing = Flushing(lambda: self.state, self._busy, self._has_delivered, self._pause_after)
        self._reopened = False
        self._planned: dict[int, tuple[Content | None, TurnRecorded | None, dict[str, int]]] = {}
        self._begun = 0
        self._dues: list[datetime] = []
        self._lingers_until: datetime | None = None
        self._paused: SinkPaused | None = None  # since what was written last

    # What there is.

    @property
    def _state(self) -> Delivery:
        return self._now_state()

    @property
    def state(self) -> SinkState:
        """The sink's state as of the last event that was taken in."""
        return self._state.sinks[self.name]

    @property
    def is_owed(self) -> bool:
        """Whether the sink is enrolled."""
        return self.name in self._state.sinks and not self.state.retired

    @property
    def under_way(self) -> int:
        """How many jobs are not over."""
        return len(self._flying) + self._other_jobs

    def wake_at(self, now: datetime) -> datetime | None:
        """When something may begin that may not begin now, if nothing happens before."""
        while self._dues and self._dues[0] <= now:
            heappop(self._dues)
        if not self.is_owed or self.is_leaving or self._slots <= 0:
            return None
        flush_at = self._flushing.due_at(self.sink, now) if self._flush_slots > 0 else None
        times = [*self._dues[:1], self._lingers_until, flush_at]
        if self.state.pause is not None and not is_open(self.state, now):
            times = [self.state.pause.until, self._probing.due_at()]
        return min((time for time in times if time is not None), default=None)

    @property
    def next_due(self) -> datetime | None:
        """When the next turn is tried again, or was to be; for any thread."""
        return min(self._dues[:1], default=None)

    def change_terms(self, terms: Terms) -> None:
        """Be as patient as that from now on."""
        self._terms = terms
        self._probing.policy = terms.probes

    # What begins.

    def begin_run(self) -> None:
        """Find out about the attempts that a worker left open when it died, and probe a paused sink."""
        self.counts = SyncCounts()
        self._flying.clear()  # of a run that was broken off: they are settled as those of a worker that died
        self._busy.clear()
        self._full.clear()
        self._other_jobs, self._paused = 0, None
        self._flushing.begin_run()
        self._run += 1
        if not self.is_owed:
            return
        self._probing.ask_at_once()
        for ordinal, tried in self.state.tries.items():
            self._note_due(ordinal, tried)
        for attempt, ordinals in sorted(self.state.open_attempts.items()):
            request = tuple(sorted(ordinals))
            items = self._load(request, attempt)
            self._fly(attempt, request, partial(settle, self.sink, items, _DIED), doubts_max=DEATHS_MAX)
        self._planned.clear()

    def begin_upkeep(self, now: datetime) -> None:
        """Ask a sink that is away whether it is back, and flush who was quiet."""
        self._probing.begin(self.sink, now, self._submit)
        self._flushing.begin(self.sink, now, self._flush_slots, self._submit)

    def flush_all(self) -> bool:
        """Flush everybody, as if they had been quiet for long; whether there was anybody."""
        return self._flushing.begin_all(self.sink, self._clock.now(), self._submit)

    def ask_again(self, now: datetime) -> None:
        """A sink that refused the credentials is asked anew, with what they are now; as is one of a time to come."""
        pause = self.state.pause if self.is_owed else None
        if pause is not None and pause.kind == "unauthorized":
            if self._terms.reopen is not None and not self.under_way:
                with suppress(TurnlogError):  # they cannot be read: then it is asked with those that were
                    sink, before = self._terms.reopen(), self.sink
                    self.sink, self._reopened = sink, True
                    before.close()
            self._probing.ask_at_once()
        elif pause is not None and self._probing.is_from_the_future(now):
            self._probing.ask_at_once()

    def plan(self, now: datetime, live_from: int) -> list[Request]:
        """What may be sent now, but for users whose buffer has no room for it, see `make_room`."""
        self._planned.clear()
        self._lingers_until = None
        self._full = {user for user in self._full if user in self._busy or self._flushing.is_waiting(user, now)}
        if self._slots <= 0:
            return []
        planned = plan(
            self._state,
            self.state,
            now=now,
            policy=self._terms.retries,
            limits=self.sink.limits,
            slots=self._slots,
            weigh=self._weigh,
            urgency=Urgency(live_from, backlog_first=self._begun % _BACKLOG_EVERY == _BACKLOG_EVERY - 1),
            busy_users=self._busy | self._full,
        )
        self._lingers_until = planned.wait_until
        return [request for request in planned.requests if self._has_room(request)]

    def make_room(self, now: datetime) -> None:
        """Flush the users whose buffers the last plan found to be too full, unless that has just failed."""
        for user in self._full - self._busy:
            self._flushing.flush(self.sink, user, now, self._submit, quiet=False)

    def to_attempts(self, requests: Sequence[Request]) -> list[Event]:
        """The events that say that these requests are being sent."""
        return [SyncAttempted(sink=self.name, turns=self._seqs(r), worker=worker_name()) for r in requests]

    def begin(self, attempts: Sequence[int], requests: Sequence[Request]) -> None:
        """Send requests whose attempts are in the log; what was taken away in between is left out."""
        tries, seqs = self.state.tries, self._state.turns.seqs
        for attempt, request in zip(attempts, requests, strict=True):
            taken = tuple([o for o in request if (tried := tries.get(o)) is not None and tried.attempt == attempt])
            if taken:
                items = self._load(taken, attempt)
                doubtful = {seqs[o] for o in taken if tries[o].doubtful}
                gone = {seqs[o] for o in taken if tries[o].doubtful and tries[o].then == SUPERSEDED}
                self._fly(attempt, taken, partial(send, self.sink, items, doubtful, holds=self._holds, superseded=gone))
        self._begun += len(requests)
        self._planned.clear()

    @property
    def _holds(self) -> bool:
        """Whether the operator decides about turns that the sink may have already."""
        return self._terms.on_doubt == "hold" and not self.sink.idempotent

    @property
    def _slots(self) -> int:
        """How many jobs may begin. A sink that was away gets one request until that is known to have arrived."""
        connections = 1 if self.state.relapses else self.sink.connections
        return connections - self.under_way

    @property
    def _flush_slots(self) -> int:
        """How many flushes of the quiet may begin: one may take long, and turns must not wait for it."""
        return max(self._slots - 1, 0 if self.under_way else 1)

    def _fly(self, attempt: int, request: Request, job: Callable[[], list[Outcome]], *, doubts_max: int = 1) -> None:
        contents = [self._planned[ordinal] for ordinal in request]
        redacted: dict[str, int] = {}
        for _, _, kinds in contents:
            for kind, count in kinds.items():
                redacted[kind] = redacted.get(kind, 0) + count
        times = tuple(content.recorded_at if content else None for content, _, _ in contents)
        self._flying[attempt] = Flight(request, times, redacted, doubts_max)
        self._busy |= self._users(request)
        self._workers.submit(job, partial(self._of_run, self._run, partial(self._landed, attempt)))

    def _submit(self, job: Callable[[], Any], then: Callable[[Any], list[Event]]) -> None:
        self._other_jobs += 1
        self._workers.submit(job, partial(self._of_run, self._run, partial(self._over, then)))

    def _has_room(self, request: Request) -> bool:
        """Whether the user's buffer has room for a request; notes if it has not."""
        user, room = self._user(request[0]), self.sink.limits.buffered
        buffer = self.state.buffers.get(user)
        if not room or buffer is None or buffer.amount + sum(self._weigh(o).size for o in request) <= room:
            return True
        self._full.add(user)
        return False

    # What comes of it.

    def abandon(self) -> list[Event]:
        """What is to be written of the requests that nobody waits for any longer: as if their worker had died."""
        doubt = Refused("in_doubt", _STOPPED)
        self._flying = {a: replace(flight, doubts_max=DEATHS_MAX) for a, flight in self._flying.items()}
        return [event for a in list(self._flying) for event in self._landed(a, [doubt] * len(self._flying[a].request))]

    def give_up_unsent(self, told: Collection[int]) -> list[Event]:
        """What is to be written of attempts that could not be made durable, so that nothing was sent.

        Of those in `told` what came of them is known, and waits to be written.
        """
        events: list[Event] = []
        for attempt, ordinals in self.state.open_attempts.items():
            if attempt not in self._flying and attempt not in told:
                request = tuple(sorted(ordinals))
                answered = Answered(attempt, request, self._seqs(request), (_UNSENT,) * len(request))
                events += to_events(answered, self.state, self._terms.retries)
        return events

    def note_written(self, events: Sequence[Event]) -> None:
        """Take what was written about this sink, and is in the state by now, into the counts and the times to wake."""
        self._paused = None
        for event in events:
            if isinstance(event, SyncSucceeded | SyncFailed) and event.sink == self.name:
                self.counts.take(event)
                for seq in event.turns if isinstance(event, SyncFailed) else ():
                    ordinal = self._state.turns.ordinal(seq)
                    if ordinal is not None and (tried := self.state.tries.get(ordinal)):
                        self._note_due(ordinal, tried)

    def _landed(self, attempt: int, outcomes: Sequence[Outcome]) -> list[Event]:
        """A request is over; nothing is to be written if it was abandoned, or an operator retired the sink."""
        flight = self._flying.pop(attempt, None)
        if flight is None:
            return []
        request, now = flight.request, self._clock.now()
        self._busy -= self._users(request)
        judged = tuple(
            [
                self._judge(outcome, ordinal, flight) if isinstance(outcome, Refused) else outcome
                for outcome, ordinal in zip(outcomes, request, strict=True)
            ]
        )
        unknown = (
            [o for o, outcome in zip(request, outcomes, strict=True) if _is_unknown(outcome)] if self._holds else ()
        )
        answered = Answered(attempt, request, self._seqs(request), judged, frozenset(unknown), flight.redacted)
        for outcome, recorded_at in zip(outcomes, flight.recorded_at, strict=True):
            if isinstance(outcome, Delivered) and recorded_at is not None:
                self.latencies.note((now - recorded_at).total_seconds())
        return [*to_events(answered, self.state, self._terms.retries), *self._pause_after(judged, now)]

    def _pause_after(self, outcomes: Sequence[object], now: datetime) -> list[Event]:
        """The pause that some outcomes call for: one, however many requests end at once."""
        pause = pause_after(outcomes, self.state, now, told=self._paused)
        self._paused = pause or self._paused
        return [pause] if pause else []

    def _judge(self, outcome: Refused, ordinal: int, flight: Flight) -> Refused:
        """What a refusal means; doubt that repeats counts, unless the operator is to decide."""
        if outcome.kind not in ("in_doubt", MISSING) or (self._holds and _is_unknown(outcome)):
            return outcome
        return after_doubt(self._try(ordinal).doubts, outcome.error, doubts_max=flight.doubts_max)

    def _of_run(self, run: int, then: Callable[[Any], list[Event]], finished: Finished) -> list[Event]:
        """What a job comes to, unless it is one of a run that was broken off."""
        if run != self._run:
            return []
        if finished.error is not None:
            raise finished.error
        return then(finished.result)

    def _over(self, then: Callable[[Any], list[Event]], result: Any) -> list[Event]:
        self._other_jobs -= 1
        return then(result)

    def _note_due(self, ordinal: int, tried: Try) -> None:
        due = due_at(self._terms.retries, self._state.turns.seqs[ordinal], tried)
        if due is not None:
            heappush(self._dues, due)

    # Turns on their way.

    def _try(self, ordinal: int) -> Try:
        """What happened to a turn so far; nothing, if an operator took it away meanwhile."""
        return self.state.tries.get(ordinal, Try())

    def _has_delivered(self, one: Lost) -> bool:
        """Whether this very delivery of a turn is the one that counts."""
        ordinal = self._state.turns.ordinal(one.seq)
        if ordinal is None or self.state.states[ordinal] != DELIVERED:
            return False
        return one.delivery == 1 + self.state.again.get(ordinal, 0)

    def _user(self, ordinal: int) -> str:
        turns = self._state.turns
        return turns.lanes[turns.lane_id(ordinal)][1]

    def _users(self, request: Request) -> set[str]:
        turns = self._state.turns
        return {turns.lanes[lane_id][1] for lane_id in set(map(turns.lane_id, request))}

    def _seqs(self, request: Request) -> tuple[int, ...]:
        seqs = self._state.turns.seqs
        return tuple([seqs[ordinal] for ordinal in request])

    def _load(self, request: Request, attempt: int) -> list[Item]:
        """Turns as the sink gets them."""
        places = self._contents.places(self._seqs(request)) if self.sink.places else {}
        return [self._item(ordinal, attempt, places) for ordinal in request]

    def _weigh(self, ordinal: int) -> Weight:
        item = self._item(ordinal)
        return Weight(size(self.sink, item), item.recorded_at if isinstance(item, OutgoingTurn) else self._clock.now())

    def _item(self, ordinal: int, attempt: int = 0, places: Mapping[int, Place] = _NOWHERE) -> Item:
        """A turn as the sink gets it, or why it cannot be sent."""
        planned, state = self._planned.get(ordinal), self._state
        content, older, _ = planned or self._planned.setdefault(ordinal, self._content(ordinal))
        seq, sink = state.turns.seqs[ordinal], state.sinks[self.name]
        if content is None:
            unreadable = f"the turn at seq {seq} cannot be read from the log; `turnlog verify` tells more"
            return Refused("rejected", unreadable, alone=True)
        tried = sink.tries.get(ordinal)
        return OutgoingTurn(
            seq,
            content.recorded_at,
            content.event,
            content.line_bytes,
            attempt=attempt,
            tries=max(0, tried.requests - 1) if tried else 0,
            delivery=1 + sink.again.get(ordinal, 0),
            older=older,
            place=places.get(seq),
        )

    def _content(self, ordinal: int) -> tuple[Content | None, TurnRecorded | None, dict[str, int]]:
        """What is sent of a turn, the revision that the sink has, and what was taken out of it."""
        content = self._contents.content(self._state.turns.seqs[ordinal])
        redacted: dict[str, int] = {}
        older = self._older(ordinal)
        if content is not None and self._terms.redact is not None:
            event, redacted = self._terms.redact(content.event)
            content = replace(content, event=event)
            older = self._terms.redact(older)[0] if older else None
        return content, older, redacted

    def _older(self, ordinal: int) -> TurnRecorded | None:
        """The newest older revision of a turn that the sink has, or gets before this one, where it wants to know."""
        if self.sink.revisions == "upsert":
            return None
        older = self._state.turns.older.get(ordinal)
        while older is not None and self.state.states[older] not in (DELIVERED, *OPEN):
            older = self._state.turns.older.get(older)
        content = self._contents.content(self._state.turns.seqs[older]) if older is not None else None
        return content.event if content else None

    def close(self) -> None:
        """Let the workers go, whatever they are at; the sink is the caller's, but for one that was opened here."""
        self._run += 1
        self._workers.close()
        if self._reopened:
            self.sink.close()


def _is_unknown(outcome: Outcome) -> bool:
    return isinstance(outcome, Refused) and outcome.kind == "in_doubt"
