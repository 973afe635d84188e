"""Turns and what became of them, for people who ask."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from msgspec import Struct

from eventlog import Entry, EventLog, TurnHeader
from projections import (
    STATE_NAMES,
    UNDELIVERED,
    Delivery,
    Failure,
    RetryPolicy,
    SinkState,
    next_attempt_at,
    waits_for,
)


class Filter(Struct, frozen=True):
    """Which turns are meant; a field that is None means any. `turns` are seqs, as text."""

    turns: tuple[str, ...] = ()
    sink: str | None = None
    state: str | None = None
    user: str | None = None
    conversation: str | None = None
    source: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it means all turns of all sinks."""
        return self == Filter()

    def takes(self, seq: int, turn: TurnHeader) -> bool:
        """Whether a turn is meant."""
        if self.turns and str(seq) not in self.turns:
            return False
        pairs = (
            (self.user, turn.user),
            (self.conversation, turn.conversation),
            (self.source, turn.source),
        )
        return all(wanted is None or wanted == value for wanted, value in pairs)


class TurnAtSink(Struct, frozen=True):
    """Where one turn stands at one sink; the fields are those of `turnlog pending --json`.

    `waits_for` is the seq of the earlier turn that its lane waits for; with `held` it waits for the operator.
    """

    seq: int
    turn_id: str
    revision: int
    source: str
    user: str
    conversation: str
    sink: str
    state: str
    attempts: int
    next_attempt_at: datetime | None
    last_error: Failure | None
    waits_for: int | None = None
    held: bool = False


def list_turns(
    log: EventLog,
    state: Delivery,
    chosen: Filter,
    *,
    policy: RetryPolicy,
    states: Iterable[int] = UNDELIVERED,
) -> Iterator[TurnAtSink]:
    """The turns in one of `states` at a sink that is not retired, in the order of the log."""
    wanted = _wanted(state, chosen, set(states))
    if not wanted:
        return
    first, last = state.turns.seqs[min(wanted)], state.turns.seqs[max(wanted)]
    for entry in log.read(gt=first - 1):
        if entry.seq > last:
            return
        ordinal = state.turns.ordinal(entry.seq) if entry.type == "TurnRecorded" else None
        if ordinal is None or ordinal not in wanted:
            continue
        turn = entry.view(TurnHeader)
        if chosen.takes(entry.seq, turn):
            for sink in wanted[ordinal]:
                yield _row(state, sink, ordinal, turn, entry, policy)


def _wanted(state: Delivery, chosen: Filter, states: set[int]) -> dict[int, list[SinkState]]:
    if chosen.state is not None:
        states &= {STATE_NAMES.index(chosen.state)}
    wanted: dict[int, list[SinkState]] = {}
    for sink in state.sinks.values():
        if not sink.retired and chosen.sink in (None, sink.name):
            for ordinal in sink.ordinals(states):
                wanted.setdefault(ordinal, []).append(sink)
    return wanted


def _row(
    state: Delivery, sink: SinkState, ordinal: int, turn: TurnHeader, entry: Entry, policy: RetryPolicy
) -> TurnAtSink:
    attempt = sink.tries.get(ordinal)
    return TurnAtSink(
        seq=entry.seq,
        turn_id=turn.turn_id,
        revision=turn.revision,
        source=turn.source,
        user=turn.user,
        conversation=turn.conversation,
        sink=sink.name,
        state=STATE_NAMES[sink.states[ordinal]],
        attempts=attempt.attempts if attempt else 0,
        next_attempt_at=next_attempt_at(state, sink, ordinal, policy),
        last_error=attempt.error if attempt else None,
        waits_for=waits_for(state, sink, ordinal),
        held=attempt is not None and attempt.held,
    )
