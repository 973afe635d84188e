"""What the tests of the engine share: a log, a clock and a sink that fails as told, wired together."""

from collections import Counter
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, Self

import msgspec

from eventlog import Event, EventLog, Message, SinkEnrolled, SyncAttempted, SyncFailed, SyncSucceeded
from projections import DELIVERY, Delivery, RetryPolicy, SinkState, Try, replay
from turnlog import Recorder
from turnlog.recorder import Recorded
from turnlog.sync.counts import SyncCounts
from turnlog.sync.delivery import Terms
from turnlog.sync.engine import Engine
from turnlog.testing import FakeClock, FaultySink, check_laws
from turnlog.testing.clock import START

SINK = "alpha"
POLICY = RetryPolicy(max_attempts=3, base_seconds=2.0, max_seconds=60.0)


class Crash(BaseException):
    """The end of a process, as far as the engine can tell."""


class Agenda(FakeClock):
    """A clock that passes at once while an engine waits, and at whose hours things happen."""

    def __init__(self) -> None:
        super().__init__()
        self._due: list[tuple[float, int, Callable[[], object]]] = []

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return (self.now() - START).total_seconds()

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        """Do this so many seconds after the start, before anything else that is planned later."""
        heappush(self._due, (seconds, len(self._due), action))

    def wait(self, wait: Callable[[float], None], seconds: float) -> None:
        """Let time pass until somebody else has something to do."""
        left = self._due[0][0] - self.seconds if self._due else seconds
        super().wait(wait, max(0.0, min(seconds, left)))
        while self._due and self._due[0][0] <= self.seconds:
            heappop(self._due)[2]()


class Bench:
    """A log in a folder, whose clock is the engine's, one enrolled sink, and engines to run."""

    def __init__(
        self,
        directory: Path,
        sink: FaultySink | None = None,
        *,
        policy: RetryPolicy = POLICY,
        clock: FakeClock | None = None,
    ) -> None:
        self.directory = directory
        self.sink = sink or FaultySink()
        self.policy = policy
        self.terms = Terms()
        self.clock = clock or FakeClock()
        self.listen: Callable[[Sequence[Event]], None] = lambda _: None
        self._open()
        self.recorder.append([SinkEnrolled(sink=SINK, kind="faulty")])

    def _open(self) -> None:
        self.recorder = Recorder(self.directory, durability="os")
        self.log = EventLog.open(self.directory, durability="os", clock=self.clock.now)

    def record(self, count: int = 1, *, user: str = "ann", conversation: str = "c", **fields: Any) -> list[int]:
        """Record so many new turns; their seqs."""
        return [
            self.say(f"{user} {conversation} {i}", user=user, conversation=conversation, **fields).seq
            for i in range(count)
        ]

    def say(self, text: str, *, turn_id: str | None = None, **fields: Any) -> Recorded:
        """Record one turn."""
        fields = {"user": "ann", "conversation": "c", **fields}
        return self.recorder.record(messages=[Message("user", text)], turn_id=turn_id, **fields)

    def append(self, *events: Event) -> None:
        """Write events as another process would."""
        self.log.append_many(events)

    def engine(self) -> Engine:
        """An engine with the one sink that tells `listen` what it writes."""
        engine = Engine(self.log, clock=self.clock, on_events=self.listen)
        engine.add(SINK, self.sink, msgspec.structs.replace(self.terms, retries=self.policy))
        return engine

    def run(self) -> SyncCounts:
        """One run of a new engine, as `sync --once` makes it."""
        engine = self.engine()
        try:
            return engine.run_once()
        finally:
            engine.close()

    def crash(self) -> None:
        """One run that ends in the middle of a request."""
        try:
            self.run()
        except Crash:
            return
        raise AssertionError("nothing crashed")

    def reopen(self) -> None:
        """End the processes that have the log open, and start others."""
        self.recorder.close()
        self.log.close()
        self._open()

    def close(self) -> None:
        self.recorder.close()
        self.log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What there is to see.

    @property
    def state(self) -> Delivery:
        (state,) = replay(self.log, DELIVERY)
        assert isinstance(state, Delivery)
        return state

    @property
    def sink_state(self) -> SinkState:
        return self.state.sinks[SINK]

    def states(self) -> dict[int, str]:
        state = self.state
        return {seq: state.turn_state(SINK, seq) for seq in state.turns.seqs}

    def totals(self) -> dict[str, int]:
        """How many turns are in each state, without the states in which there are none."""
        return {name: count for name, count in self.sink_state.totals().items() if count}

    def tried(self, seq: int) -> Try | None:
        state = self.state
        ordinal = state.turns.ordinal(seq)
        return None if ordinal is None else state.sinks[SINK].tries.get(ordinal)

    def types(self, *kinds: str) -> list[str]:
        """The types of all events in the log, or those of them that are among some."""
        return [entry.type for entry in self.log.read() if not kinds or entry.type in kinds]

    def told(self, kind: type[Event]) -> list[Any]:
        """All events of a type, in order."""
        return [entry.event for entry in self.log.read() if isinstance(entry.event, kind)]

    def failures(self) -> Counter[str]:
        """How many turns failed, by kind."""
        failed: list[SyncFailed] = self.told(SyncFailed)
        return Counter(kind for event in failed for kind in [event.kind] * len(event.turns))

    def requests(self) -> list[tuple[int, ...]]:
        """The seqs of each request that the sink got."""
        return [request.seqs for request in self.sink.requests]

    def check(self) -> None:
        """The laws hold for everything that was written."""
        check_laws(self.log.read(), self.policy)
        attempts = {entry.seq: entry.event for entry in self.log.read() if isinstance(entry.event, SyncAttempted)}
        for outcome in [*self.told(SyncSucceeded), *self.told(SyncFailed)]:
            assert set(outcome.turns) <= set(attempts[outcome.attempt].turns)


def poison(*seqs: int) -> Callable[[Sequence[Any]], bool]:
    """Whether a request holds one of these turns."""
    return lambda turns: any(turn.seq in seqs for turn in turns)
