"""The operator's decisions about turns, as events."""

from collections.abc import Sequence

from eventlog import Event, EventLog, RetryRequested, TurnRef, TurnSkipped
from projections import Delivery, RetryPolicy
from projections.delivery_state import DEAD, DELIVERED, PENDING, RETRYING, SKIPPED
from turnlog.sync.listing import Filter, TurnAtSink, list_turns

RETRY_BY_NAME = (RETRYING, DEAD, SKIPPED, DELIVERED)
"""What `retry` takes when a turn is named."""

RETRY_BY_FILTER = (RETRYING, DEAD)
"""What it takes when turns are only described: nobody sends everything again by a filter without saying so."""

SKIP = (PENDING, RETRYING, DEAD)


def choose_retries(log: EventLog, state: Delivery, chosen: Filter, *, policy: RetryPolicy) -> list[TurnAtSink]:
    """The turns that a retry would take; finished ones only if they are named or their state is."""
    states = RETRY_BY_NAME if chosen.turns or chosen.state else RETRY_BY_FILTER
    return list(list_turns(log, state, chosen, policy=policy, states=states))


def choose_skips(log: EventLog, state: Delivery, chosen: Filter, *, policy: RetryPolicy) -> list[TurnAtSink]:
    """The turns that a skip would take."""
    return list(list_turns(log, state, chosen, policy=policy, states=SKIP))


def to_decisions(
    kind: type[RetryRequested] | type[TurnSkipped], turns: Sequence[TurnAtSink], reason: str
) -> list[Event]:
    """One event for each sink that the turns are at."""
    by_sink: dict[str, list[TurnRef]] = {}
    for turn in turns:
        ref = TurnRef(seq=turn.seq, user=turn.user, conversation=turn.conversation)
        by_sink.setdefault(turn.sink, []).append(ref)
    return [kind(sink=sink, turns=tuple(refs), reason=reason) for sink, refs in by_sink.items()]
