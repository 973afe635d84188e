"""One turn's life, told from its events alone."""

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from eventlog import Entry, EventLog, TurnHeader, TurnRecorded
from projections import DELIVERY, STATE_NAMES, Delivery, Failure, RetryPolicy, fold_all, next_attempt_at, waits_for
from turnlog.errors import TurnlogError


class LifeEvent(Struct, frozen=True):
    """Something that happened to the turn: the event's seq, time, type and own fields (no other turn's)."""

    seq: int
    at: datetime
    type: str
    fields: dict[str, Any]


class AtSink(Struct, frozen=True):
    """Where the turn stands at a sink.

    `waits_for` is the seq of the earlier turn that its lane waits for; with `held` it waits for the operator.
    """

    state: str
    attempts: int
    next_attempt_at: datetime | None
    last_error: Failure | None
    waits_for: int | None
    receipt: Any
    held: bool = False


class Life(Struct, frozen=True):
    """A turn, where it stands, and everything that happened to it, oldest first."""

    seq: int
    turn_id: str
    revision: int
    recorded_at: datetime
    turn: TurnRecorded
    sinks: dict[str, AtSink]
    events: list[LifeEvent]


def find_turns(log: EventLog, name: str) -> list[int]:
    """The seqs of the turns that a person means: a seq or, if no turn has that, a turn id with all its revisions."""
    found = []
    for entry in log.read():
        turn = _header(entry)
        if turn is not None and name == str(entry.seq):
            return [entry.seq]
        if turn is not None and name == turn.turn_id:
            found.append(entry.seq)
    return found


def _header(entry: Entry) -> TurnHeader | None:
    """The turn that an entry records; None if it is something else, or no turn by its own rules."""
    if entry.type == "TurnRecorded":
        with suppress(msgspec.MsgspecError):
            return entry.view(TurnHeader)
    return None


def tell_life(log: EventLog, seq: int, *, policy: RetryPolicy) -> Life:
    """The life of the turn recorded at `seq`, which must be one. Raises TurnlogError if its line cannot be read."""
    events: list[LifeEvent] = []
    recorded: list[Entry] = []

    def noting(entries: Iterable[Entry]) -> Iterable[Entry]:
        for entry in entries:
            if entry.seq == seq:
                recorded.append(entry)
            elif (event := _about(entry, seq)) is not None:
                events.append(event)
            yield entry

    (state,) = fold_all(noting(log.read()), DELIVERY)
    turn = recorded[0].event
    if not isinstance(turn, TurnRecorded):
        raise TurnlogError(f"the turn at seq {seq} cannot be read from the log; `turnlog verify` tells more")
    sinks = {
        name: _at_sink(state, name, seq, policy, events)
        for name, sink in state.sinks.items()
        if state.turn_state(name, seq) != STATE_NAMES[0]
    }
    return Life(seq, turn.turn_id, turn.revision, recorded[0].at, turn, sinks, events)


def _about(entry: Entry, seq: int) -> LifeEvent | None:
    """The event if it is about this turn, with what it says of other turns left out."""
    if header := _header(entry):
        if header.supersedes != seq:
            return None
        return LifeEvent(entry.seq, entry.at, "superseded", {"by": entry.seq, "revision": header.revision})
    fields = msgspec.to_builtins(entry.event)
    turns = fields.get("turns") if isinstance(fields, dict) else None
    if not isinstance(turns, list | tuple) or seq not in [t.get("seq") if isinstance(t, dict) else t for t in turns]:
        return None
    own = {key: value for key, value in fields.items() if key not in ("turns", "type")}
    receipt = own.get("receipt")
    if isinstance(receipt, dict) and str(seq) in receipt:
        own["receipt"] = receipt[str(seq)]
    return LifeEvent(entry.seq, entry.at, entry.type, {**own, "turns_in_request": len(turns)})


def _at_sink(state: Delivery, name: str, seq: int, policy: RetryPolicy, events: list[LifeEvent]) -> AtSink:
    sink, ordinal = state.sinks[name], state.turns.ordinal(seq)
    assert ordinal is not None  # noqa: S101 - it has a state there
    attempt = sink.tries.get(ordinal)
    receipts = [e.fields.get("receipt") for e in events if e.type == "SyncSucceeded" and e.fields["sink"] == name]
    return AtSink(
        state=state.turn_state(name, seq),
        attempts=attempt.attempts if attempt else 0,
        next_attempt_at=next_attempt_at(state, sink, ordinal, policy),
        last_error=attempt.error if attempt else None,
        waits_for=waits_for(state, sink, ordinal),
        held=attempt is not None and attempt.held,
        receipt=receipts[-1] if receipts else None,
    )
