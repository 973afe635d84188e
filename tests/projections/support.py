"""What the tests of the folds share: short events and their state."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from eventlog import (
    Entry,
    Event,
    Message,
    RetryRequested,
    SinkEnrolled,
    SyncAttempted,
    SyncFailed,
    SyncSucceeded,
    TurnRecorded,
    TurnRef,
    TurnSkipped,
)
from projections import DELIVERY, Delivery, RetryPolicy, eligible, fold_all
from turnlog.testing import make_entries
from turnlog.testing.clock import START

SINK = "alpha"
POLICY = RetryPolicy(max_attempts=3, base_seconds=2.0, max_seconds=60.0)


def turn(turn_id: str, *, text: str = "hi", **fields: Any) -> TurnRecorded:
    return TurnRecorded(turn_id=turn_id, messages=(Message("user", text),), **fields)


def enrolled(sink: str = SINK, since_seq: int = 1) -> SinkEnrolled:
    return SinkEnrolled(sink=sink, since_seq=since_seq)


def attempted(*turns: int) -> SyncAttempted:
    return SyncAttempted(sink=SINK, turns=turns)


def succeeded(attempt: int, *turns: int, **fields: Any) -> SyncSucceeded:
    return SyncSucceeded(sink=SINK, attempt=attempt, turns=turns, **fields)


def failed(attempt: int, *turns: int, kind: str = "failed", **fields: Any) -> SyncFailed:
    return SyncFailed(sink=SINK, attempt=attempt, turns=turns, kind=kind, **fields)


def retry(*turns: int) -> RetryRequested:
    return RetryRequested(sink=SINK, turns=tuple(TurnRef(seq=seq) for seq in turns))


def skip(*turns: int) -> TurnSkipped:
    return TurnSkipped(sink=SINK, turns=tuple(TurnRef(seq=seq) for seq in turns))


def delivery(*events: Event) -> Delivery:
    """The state after some events, whose seqs count from 1 and which came a second apart."""
    return of(make_entries(events))


def of(entries: Sequence[Entry]) -> Delivery:
    (state,) = fold_all(entries, DELIVERY)
    assert isinstance(state, Delivery)
    return state


def states(state: Delivery, sink: str = SINK) -> dict[int, str]:
    """The state of every turn by its seq."""
    return {seq: state.turn_state(sink, seq) for seq in state.turns.seqs}


def sendable(state: Delivery, *, after: float = 0.0, sink: str = SINK) -> list[list[int]]:
    """The seqs that may be sent so many seconds after the beginning, lane by lane."""
    return sendable_at(state, START + timedelta(seconds=after), sink=sink)


def sendable_at(state: Delivery, now: datetime, *, sink: str = SINK) -> list[list[int]]:
    lanes = [[state.turns.seqs[o] for o in lane] for lane in eligible(state, state.sinks[sink], now, POLICY)]
    return [lane for lane in lanes if lane]
