"""When to try again, as pure functions: what a failure means, how long to wait, what may be sent now."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

from msgspec import Struct

from projections.delivery import ATTEMPTING, BLAMING_KINDS, PENDING, RETRYING, Delivery, SinkState, Try

FACTOR = 2
"""By how much the longest wait grows from one counted attempt to the next."""


class RetryPolicy(Struct, frozen=True):
    """How patient to be with a turn: counted attempts, and the backoff between them in seconds."""

    max_attempts: int = 5
    base_seconds: float = 2.0
    max_seconds: float = 300.0


class RetryDecision(Struct, frozen=True):
    """What a failure leads to, to be written into its event.

    `final`: no more tries. `turns_max` above 0: nobody is blamed, the next request holds at most so many turns.
    """

    final: bool = False
    turns_max: int = 0


def decide(policy: RetryPolicy, kind: str, *, alone: bool, turns: int, attempts: int) -> RetryDecision:
    """What follows for a turn whose request of `turns` turns failed.

    `alone`: the failure is this turn's own, be it that it was sent alone or that the sink named it. `attempts` are
    the counted ones before this. A failed request of several turns blames none of them: it is halved until the
    culprit stands alone.
    """
    if kind not in BLAMING_KINDS:
        return RetryDecision()
    if not alone:
        return RetryDecision(turns_max=max(1, turns // 2))
    return RetryDecision(final=kind == "rejected" or attempts + 1 >= policy.max_attempts)


def delay_seconds(policy: RetryPolicy, turn: int, attempts: int) -> float:
    """How long to wait after a turn's counted attempt number `attempts`, in seconds.

    Exponential with full jitter: a uniform part of the longest wait, drawn from a hash of (turn, attempt), so that
    the same log always waits the same.
    """
    if attempts < 1:
        return 0.0
    longest = min(policy.max_seconds, policy.base_seconds * float(FACTOR) ** min(attempts - 1, 64))
    drawn = int.from_bytes(blake2b(b"%d:%d" % (turn, attempts), digest_size=8).digest(), "big")
    return longest * (drawn / 2**64)


def due_at(policy: RetryPolicy, turn: int, attempt: Try | None) -> datetime | None:
    """When a turn may be tried again; None: at once."""
    if attempt is None or attempt.failed_at is None:
        return None
    backoff = delay_seconds(policy, turn, attempt.attempts) if attempt.counted else 0.0
    wait = max(backoff, attempt.retry_after)
    if not wait:
        return None
    try:
        return attempt.failed_at + timedelta(seconds=wait)
    except OverflowError:  # what a sink asks for may be beyond all time
        return datetime.max.replace(tzinfo=UTC)


def is_open(sink: SinkState, now: datetime) -> bool:
    """Whether a sink takes turns at `now`: enrolled and not paused, or its pause has ended by itself."""
    if sink.retired:
        return False
    return sink.pause is None or (sink.pause.until is not None and sink.pause.until <= now)


def eligible(state: Delivery, sink: SinkState, now: datetime, policy: RetryPolicy) -> Iterator[Iterator[int]]:
    """What may be sent at `now`: for each lane of the sink, its turns (ordinals) in order from the first open one.

    A lane stops at the first turn that is being sent or not due yet, and at a revision of one that is being sent,
    in whatever lane. Lanes that were never attempted or long ago come first. Nothing is eligible at a paused sink.
    """
    if not is_open(sink, now):
        return
    for lane in sink.lanes.values():
        if sink.states[lane[0]] != ATTEMPTING:
            yield _due(state, sink, lane, now, policy)


def _due(state: Delivery, sink: SinkState, lane: Iterable[int], now: datetime, policy: RetryPolicy) -> Iterator[int]:
    for ordinal in lane:
        older = state.turns.older.get(ordinal)
        if sink.states[ordinal] not in (PENDING, RETRYING) or (older is not None and sink.states[older] == ATTEMPTING):
            return
        due = due_at(policy, state.turns.seqs[ordinal], sink.tries.get(ordinal))
        if due is not None and due > now:
            return
        yield ordinal


def next_attempt_at(state: Delivery, sink: SinkState, ordinal: int, policy: RetryPolicy) -> datetime | None:
    """When a turn that failed is due again; None for a turn that waits for nothing but its lane, or for nobody."""
    if sink.states[ordinal] != RETRYING:
        return None
    attempt = sink.tries.get(ordinal)
    due = due_at(policy, state.turns.seqs[ordinal], attempt)
    if due is None and attempt is not None:
        due = attempt.failed_at
    return due
