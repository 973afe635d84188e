"""From a sink's answers to events: what is written down after a request."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from eventlog import Event, SinkPaused, SyncFailed, SyncSucceeded
from projections import RetryPolicy, SinkState, Try, decide
from projections.delivery_state import SINK_KINDS
from turnlog.sinks.base import Delivered, Outcome, Refused

THROTTLED_SECONDS = 5.0
"""How long a sink that asks for patience without saying how much gets."""

THROTTLED_SECONDS_MIN, THROTTLED_SECONDS_MAX = 1.0, 86_400.0
"""It gets no less than this, or a run would not end, and no more."""

DEATHS_MAX = 2
"""So often may a worker die over a turn before the turn is suspected."""


class Answered(Struct, frozen=True):
    """A request that is over: its attempt, and for each turn its ordinal, its seq and what came of it.

    `held` are the ordinals of the turns in doubt about which the operator is to decide, `redacted` counts what was
    taken out of the request by kind.
    """

    attempt: int
    ordinals: tuple[int, ...]
    seqs: tuple[int, ...]
    outcomes: tuple[Outcome, ...]
    held: frozenset[int] = frozenset()
    redacted: dict[str, int] = {}


def to_events(answered: Answered, sink: SinkState, policy: RetryPolicy) -> list[Event]:
    """The events that say what came of a request, decisions included; turns that share a verdict share an event."""
    delivered: dict[bool, dict[int, Delivered]] = {}
    failed: dict[_Verdict, list[int]] = {}
    for ordinal, seq, outcome in zip(answered.ordinals, answered.seqs, answered.outcomes, strict=True):
        if isinstance(outcome, Delivered):
            delivered.setdefault(outcome.reconciled, {})[seq] = outcome
        else:
            failed.setdefault(_verdict(outcome, ordinal, answered, sink, policy), []).append(seq)
    successes = [
        SyncSucceeded(
            attempt=answered.attempt,
            sink=sink.name,
            turns=tuple(turns),
            receipt=_receipt({seq: outcome.receipt for seq, outcome in turns.items()}),
            reconciled=reconciled,
            buffered=sum(outcome.buffered for outcome in turns.values()),
            redacted=answered.redacted,
        )
        for reconciled, turns in delivered.items()
    ]
    failures = [
        SyncFailed(attempt=answered.attempt, sink=sink.name, turns=tuple(seqs), **msgspec.structs.asdict(verdict))
        for verdict, seqs in failed.items()
    ]
    return [*successes, *failures]


class _Verdict(Struct, frozen=True):
    """The fields that the failures of several turns may share."""

    kind: str
    error: str
    status: int | None
    retry_after: float | None
    final: bool
    turns_max: int
    hold: bool


def _verdict(outcome: Refused, ordinal: int, answered: Answered, sink: SinkState, policy: RetryPolicy) -> _Verdict:
    turns = len(answered.ordinals)
    decision = decide(
        policy,
        outcome.kind,
        alone=outcome.alone or turns == 1,
        turns=turns,
        attempts=sink.tries.get(ordinal, Try()).attempts,  # an operator may have taken it away meanwhile
    )
    # Throttling is waited for by the sink's pause; a turn that had to wait too would hold up its lane afterwards.
    retry_after = None if outcome.kind in SINK_KINDS else outcome.retry_after
    hold = outcome.kind == "in_doubt" and ordinal in answered.held
    return _Verdict(outcome.kind, outcome.error, outcome.status, retry_after, decision.final, decision.turns_max, hold)


def _receipt(delivered: dict[int, Any]) -> Any:
    """The receipt of the request where all turns share it, else by seq."""
    receipts = list(delivered.values())
    if all(receipt == receipts[0] for receipt in receipts):
        return receipts[0]
    return {str(seq): receipt for seq, receipt in delivered.items()}


def pause_after(
    outcomes: Sequence[object], sink: SinkState, now: datetime, *, told: SinkPaused | None = None
) -> SinkPaused | None:
    """The pause that some outcomes call for, unless the sink is paused for that already.

    `told` is the pause that requests which ended with this one have called for, and that the state does not know yet.
    """
    refusal = next((o for o in outcomes if isinstance(o, Refused) and o.kind in SINK_KINDS), None)
    pause = told or sink.pause
    if refusal is None or (pause is not None and pause.until is None):
        return None
    until = None
    if refusal.kind == "throttled":
        wait = THROTTLED_SECONDS if refusal.retry_after is None else refusal.retry_after
        until = now + timedelta(seconds=min(max(wait, THROTTLED_SECONDS_MIN), THROTTLED_SECONDS_MAX))
        if pause is not None and pause.until is not None and pause.until >= until:
            return None
    return SinkPaused(sink=sink.name, kind=refusal.kind, reason=refusal.error, until=until)


def after_doubt(doubts: int, error: str, *, doubts_max: int) -> Refused:
    """What an unknown outcome means for a turn with `doubts` in a row before: nobody's fault until it repeats."""
    return Refused("in_doubt" if doubts < doubts_max else "failed", error)
