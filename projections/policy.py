"""When to try again, as pure functions: what a failure means, how long to wait, what may be sent now."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

from msgspec import Struct

from projections.delivery_state import (
    ATTEMPTING,
    BLAMING_KINDS,
    OPEN,
    OPERATOR,
    PENDING,
    RETRYING,
    Delivery,
    SinkState,
    Try,
)

FACTOR = 2
"""By how much the longest wait grows from one counted attempt to the next."""


class RetryPolicy(Struct, frozen=True):
    """How patient to be with a turn: counted attempts, and the backoff between them in seconds."""

    max_attempts: int = 5
    base_seconds: float = 2.0
    max_seconds: float = 300.0


class ProbePolicy(Struct, frozen=True):
    """How often to ask a sink that is away whether it is back, in seconds: at first, and at most after a while."""

    seconds: float = 1.0
    max_seconds: float = 30.0


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


def eligible(
    state: Delivery,
    sink: SinkState,
    now: datetime,
    policy: RetryPolicy,
    *,
    live_from: int | None = None,
    backlog_first: bool = False,
) -> Iterator[Iterator[int]]:
    """What may be sent at `now`: for each lane of the sink, its turns (ordinals) in order from the first open one.

    A lane stops at the first turn that is being sent, held or not due yet, and at a revision of one that is being sent,
    in whatever lane. Lanes that were never attempted or long ago come first; before them, or with `backlog_first` after
    them, those that hold nothing older than the turn `live_from`. Nothing is eligible at a paused sink.
    """
    if not is_open(sink, now):
        return
    live = [] if live_from is None else list(_live_lanes(state, sink, live_from))
    if not backlog_first:
        for lane_id in live:
            yield _due(state, sink, sink.lanes[lane_id], now, policy)
    for lane_id, lane in sink.lanes.items():
        if sink.states[lane[0]] != ATTEMPTING and lane_id not in live:
            yield _due(state, sink, lane, now, policy)
    if backlog_first:
        for lane_id in live:
            yield _due(state, sink, sink.lanes[lane_id], now, policy)


_LIVE_LANES_MAX = 100
"""So many lanes are live at most: beyond that it is a backlog."""


def _live_lanes(state: Delivery, sink: SinkState, live_from: int) -> Iterator[int]:
    """The lanes whose first open turn is pending and no older than `live_from`, the oldest first."""
    ordinal, found = sink.states.find(PENDING, live_from), 0
    while ordinal >= 0 and found < _LIVE_LANES_MAX:
        lane_id = state.turns.lane_id(ordinal)
        if sink.lanes[lane_id][0] == ordinal:
            found += 1
            yield lane_id
        ordinal = sink.states.find(PENDING, ordinal + 1)


def _due(state: Delivery, sink: SinkState, lane: Iterable[int], now: datetime, policy: RetryPolicy) -> Iterator[int]:
    for ordinal in lane:
        older = state.turns.older.get(ordinal)
        if sink.states[ordinal] not in (PENDING, RETRYING) or (older is not None and sink.states[older] == ATTEMPTING):
            return
        attempt = sink.tries.get(ordinal)
        if attempt is not None and (attempt.held or _is_later(due_at(policy, state.turns.seqs[ordinal], attempt), now)):
            return
        yield ordinal


def _is_later(due: datetime | None, now: datetime) -> bool:
    return due is not None and due > now


def next_attempt_at(state: Delivery, sink: SinkState, ordinal: int, policy: RetryPolicy) -> datetime | None:
    """When a turn that failed is due again; None for one that waits for nothing but its lane, or for the operator."""
    attempt = sink.tries.get(ordinal)
    if sink.states[ordinal] != RETRYING or (attempt is not None and attempt.held):
        return None
    due = due_at(policy, state.turns.seqs[ordinal], attempt)
    if due is None and attempt is not None:
        due = attempt.failed_at
    return due


def waits_for(state: Delivery, sink: SinkState, ordinal: int) -> int | None:
    """The seq of the earlier turn that the lane of an open turn waits for; None if it is first, or not open."""
    lane = sink.lanes.get(state.turns.lane_id(ordinal))
    if lane is None or lane[0] == ordinal or sink.states[ordinal] not in OPEN:
        return None
    return state.turns.seqs[lane[0]]


def is_probed(sink: SinkState) -> bool:
    """Whether a sink is paused and only its own check can tell when that ends, which nobody but the sink decides."""
    return sink.pause is not None and sink.pause.kind != OPERATOR and sink.pause.until is None


def next_probe_at(sink: SinkState, policy: ProbePolicy, *, after: datetime) -> datetime | None:
    """When a paused sink is to be asked next, later than `after`; None if its pause does not end that way.

    The waits double up to the longest, all a little shortened by a hash of (sink, pause), so that the log alone tells
    them. A sink that was well and failed again, without a success in between, is asked as one that was away for longer.
    """
    if not is_probed(sink) or sink.pause is None or sink.pause.kind == "unauthorized":
        return None
    drawn = blake2b(f"{sink.name} {sink.pause.since.isoformat()}".encode(), digest_size=1).digest()[0] / 255
    shortened = 1 - drawn / 4
    wait, due = policy.seconds * float(FACTOR) ** min(max(sink.relapses - 1, 0), 32), sink.pause.since
    while wait < policy.max_seconds and due <= after:
        due += timedelta(seconds=wait * shortened)
        wait *= FACTOR
    longest = timedelta(seconds=max(policy.max_seconds * shortened, 0.001))
    if due <= after:
        due += longest * ((after - due) // longest + 1)
    return due
