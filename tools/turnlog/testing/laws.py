"""The seven laws of delivery, as checks over a log's entries.

Each takes the entries of a log from its beginning and a policy, and raises AssertionError, naming the law and the
place where it is broken; `check_laws` is all of them. The first six hold for whatever stands in a log. That attempts
keep to their lanes and to the policy's maximum is true of logs that the engine wrote, with that policy.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from eventlog import (
    DeliveryRevoked,
    Entry,
    RetryRequested,
    SinkEnrolled,
    SinkRetired,
    SyncAttempted,
    SyncFailed,
    SyncSucceeded,
    TurnSkipped,
)
from projections import (
    DELIVERY,
    SOURCES,
    STATISTICS,
    Delivery,
    Fold,
    RetryPolicy,
    SinkState,
    delay_seconds,
    due_at,
    eligible,
    fold_all,
)
from projections.delivery_state import ATTEMPTING, DEAD, DELIVERED, NOT_OWED, OPEN, SKIPPED
from projections.policy import FACTOR
from turnlog.testing.strategies import make_entry

Law = Callable[[Sequence[Entry], RetryPolicy], None]

_FOLDS: tuple[Fold[Any], ...] = (DELIVERY, SOURCES, STATISTICS)
_CUTS_MAX = 20
"""At so many places is a long log cut or looked at where each look costs as much as the whole log."""

_LONGEST = timedelta(days=365)
_END_OF_TIME = datetime.max.replace(tzinfo=UTC)
_NO_POLICY = RetryPolicy()


def check_laws(entries: Iterable[Entry], policy: RetryPolicy = _NO_POLICY, *, wild: bool = False) -> None:
    """Check all laws; with `wild` only those that hold for a log whoever wrote it. Raises AssertionError."""
    kept = list(entries)
    for law in LAWS:
        if not wild or law not in _OF_THE_ENGINE:
            law(kept, policy)


def totals_add_up(entries: Sequence[Entry], _: RetryPolicy = _NO_POLICY) -> None:
    """Law 1: after any prefix, every turn in scope is in exactly one state, and what hangs on the states agrees."""
    scopes: dict[str, set[int]] = {}
    for entry, state in _replay(entries):
        _follow_scopes(scopes, entry, state)
        for sink in state.sinks.values():
            where = f"sink {sink.name!r} after seq {entry.seq}"
            recount = Counter(sink.states)
            _require(1, len(sink.states) == len(state.turns), f"{where}: a state for each turn")
            _require(1, list(sink.counts) == [recount[s] for s in range(8)], f"{where}: counts are those of the states")
            owed = {seq for seq, known in zip(state.turns.seqs, sink.states, strict=True) if known != NOT_OWED}
            _require(1, owed == scopes[sink.name], f"{where}: a state for each turn in scope and for no other")
            _require(1, sum(sink.totals().values()) == len(owed), f"{where}: totals add up to the turns in scope")
            _check_lanes(state, sink, where)
            _check_attempts(sink, where)


def cuts_change_nothing(entries: Sequence[Entry], _: RetryPolicy = _NO_POLICY) -> None:
    """Law 2: a fold may stop anywhere, and go on later from a copy of its state."""
    for fold in _FOLDS:
        state, whole = fold.initial(), _picture(fold_all(entries, fold)[0])
        done = 0
        for cut in _spread(range(len(entries) + 1)):
            for entry in entries[done:cut]:
                fold.apply(state, entry)
            done, resumed = cut, deepcopy(state)
            for entry in entries[cut:]:
                fold.apply(resumed, entry)
            _require(
                2, _picture(resumed) == whole, f"{fold.name}: cut before entry {cut} and taken on, it is the whole"
            )


def finished_is_final(entries: Sequence[Entry], policy: RetryPolicy = _NO_POLICY) -> None:
    """Law 3: delivered and skipped turns stay so unless somebody says otherwise; a delivered one is never eligible."""
    before: dict[str, bytes] = {}
    for entry, state in _replay(entries):
        for name, sink in state.sinks.items():
            freed = _freed(entry, name)
            for ordinal, was in enumerate(before.get(name, b"")):
                if was in (DELIVERED, SKIPPED) and sink.states[ordinal] != was:
                    seq = state.turns.seqs[ordinal]
                    _require(3, seq in freed, f"turn {seq} at {name!r} is no longer what it was after seq {entry.seq}")
            before[name] = bytes(sink.states)
            sent = {o for lane in _eligible(state, sink, entry.at + _LONGEST, policy) for o in lane}
            _require(3, all(sink.states[o] in OPEN for o in sent), f"{name!r}: only open turns are eligible")


def repetition_changes_nothing(entries: Sequence[Entry], _: RetryPolicy = _NO_POLICY) -> None:
    """Law 4: an entry taken in again changes nothing; an outcome told again, or without its attempt, no delivery."""
    states = [(fold, fold.initial()) for fold in _FOLDS]
    outcomes = _spread([entry.seq for entry in entries if isinstance(entry.event, SyncSucceeded | SyncFailed)])
    for number, entry in enumerate(entries):
        for fold, state in states:
            fold.apply(state, entry)
            if number in (0, len(entries) // 2, len(entries) - 1):
                _check_again(fold, state, entries[: number + 1])
        if entry.seq in outcomes:
            _check_told_again(states[0][1], entry)
    _check_without_attempts([entry for entry in entries if entry.type != "SyncAttempted"])


def eligibility_is_a_function(entries: Sequence[Entry], policy: RetryPolicy = _NO_POLICY) -> None:
    """Law 5: what may be sent follows from events, time and policy alone, grows with time, and waits within bounds."""
    for cut, state in _samples(entries):
        again = fold_all(entries[:cut], DELIVERY)[0]
        for name, sink in state.sinks.items():
            _check_waits(state, sink, policy)
            views = [_eligible(state, sink, now, policy) for now in _moments(state, sink, entries[:cut], policy)]
            for now, view in zip(_moments(again, again.sinks[name], entries[:cut], policy), views, strict=True):
                same = _eligible(again, again.sinks[name], now, policy)
                _require(5, same == view, f"{name!r} after {cut} entries: a replay finds the same turns eligible")
            for earlier, later in pairwise(views):
                grown = all(any(lane == kept[: len(lane)] for kept in later) for lane in earlier)
                _require(5, grown, f"{name!r} after {cut} entries: what is eligible stays so while time goes on")


def lanes_stay_in_order(entries: Sequence[Entry], policy: RetryPolicy = _NO_POLICY) -> None:
    """Law 6: in a lane, only a run from its first open turn on is eligible, none of it being sent already."""
    for cut, state in _samples(entries):
        for name, sink in state.sinks.items():
            for now in _moments(state, sink, entries[:cut], policy):
                for lane in _eligible(state, sink, now, policy):
                    whole = list(sink.lanes[state.turns.lane_id(lane[0])])
                    _require(6, whole[: len(lane)] == lane, f"{name!r} after {cut} entries: a lane from its first turn")
                    calm = all(sink.states[ordinal] != ATTEMPTING for ordinal in lane)
                    _require(6, calm, f"{name!r} after {cut} entries: nothing is sent that is being sent")


def attempts_stay_in_order(entries: Sequence[Entry], _: RetryPolicy = _NO_POLICY) -> None:
    """Law 6, of what was done: a turn was attempted only with or after all earlier ones of its lane.

    What an operator decided since the engine last wrote an outcome may have come between a plan and its attempt; of
    those turns nothing is asked.
    """
    state = DELIVERY.initial()
    decided: dict[str, set[int]] = {}
    for entry in entries:
        event = entry.event
        if isinstance(event, SyncAttempted) and event.sink in state.sinks:
            left_out, ahead = decided.get(event.sink, set()), set[int]()
            for seq in event.turns:
                if seq not in left_out:
                    what = f"the attempt {entry.seq} of turn {seq} at {event.sink!r}"
                    _check_attempted(state, state.sinks[event.sink], seq, ahead, left_out, what)
        elif isinstance(event, SyncSucceeded | SyncFailed):
            decided.pop(event.sink, None)
        elif isinstance(event, RetryRequested | TurnSkipped):
            decided.setdefault(event.sink, set()).update(ref.seq for ref in event.turns)
        elif isinstance(event, SinkRetired):
            decided[event.sink] = set(state.turns.seqs)
        DELIVERY.apply(state, entry)


def attempts_stay_within_the_maximum(entries: Sequence[Entry], policy: RetryPolicy = _NO_POLICY) -> None:
    """Law 7: no more counted attempts than the policy allows, but by the operator; only an event says what is final."""
    told: Counter[tuple[str, int]] = Counter()
    for entry, state in _replay(entries):
        event = entry.event
        if isinstance(event, SinkEnrolled):  # anew: what it was owed before is forgotten
            told = Counter({key: count for key, count in told.items() if key[0] != event.sink})
        for name, sink in state.sinks.items():
            for seq in _freed(entry, name):
                told.pop((name, seq), None)
            for ordinal, attempt in sink.tries.items():
                where = f"turn {state.turns.seqs[ordinal]} at {name!r} after seq {entry.seq}"
                _require(7, attempt.attempts <= policy.max_attempts, f"{where}: {attempt.attempts} counted attempts")
        if isinstance(event, SyncFailed) and event.kind in ("failed", "rejected") and not event.turns_max:
            told.update((event.sink, seq) for seq in event.turns)
            over = [seq for (_, seq), count in told.items() if count > policy.max_attempts]
            _require(7, not over, f"after seq {entry.seq}: turns {over} were tried too often")


LAWS: tuple[Law, ...] = (
    totals_add_up,
    cuts_change_nothing,
    finished_is_final,
    repetition_changes_nothing,
    eligibility_is_a_function,
    lanes_stay_in_order,
    attempts_stay_in_order,
    attempts_stay_within_the_maximum,
)
"""All laws, in their order; the sixth in two halves."""

_OF_THE_ENGINE = (attempts_stay_in_order, attempts_stay_within_the_maximum)


def _require(law: int, holds: bool, what: str) -> None:  # noqa: FBT001 - it reads as `assert`
    if not holds:
        raise AssertionError(f"law {law} is broken: {what}")


def _replay(entries: Iterable[Entry]) -> Iterator[tuple[Entry, Delivery]]:
    """Each entry with the state after it, which is one that changes."""
    state = DELIVERY.initial()
    for entry in entries:
        DELIVERY.apply(state, entry)
        yield entry, state


def _spread(values: Sequence[int]) -> list[int]:
    """All values, or of many some that are spread over them, the first and the last included."""
    count = len(values)
    if count <= _CUTS_MAX:
        return list(values)
    return [values[i * (count - 1) // (_CUTS_MAX - 1)] for i in range(_CUTS_MAX)]


def _samples(entries: Sequence[Entry]) -> Iterator[tuple[int, Delivery]]:
    """The state after some prefixes, with the prefix's length."""
    chosen = set(_spread(range(1, len(entries) + 1)))
    for cut, (_, state) in enumerate(_replay(entries), start=1):
        if cut in chosen:
            yield cut, state


def _picture(state: Any) -> Any:
    """All that a state holds, with the order of lanes, which equality of dicts does not see."""
    return deepcopy(state), [list(sink.lanes) for sink in state.sinks.values()] if isinstance(state, Delivery) else []


def _eligible(state: Delivery, sink: SinkState, now: datetime, policy: RetryPolicy) -> list[list[int]]:
    return [turns for lane in eligible(state, sink, now, policy) if (turns := list(lane))]


def _freed(entry: Entry, sink: str) -> set[int]:
    """The turns that this entry allows to be sent again to the sink."""
    event = entry.event
    if isinstance(event, RetryRequested) and event.sink == sink:
        return {ref.seq for ref in event.turns}
    return set(event.turns) if isinstance(event, DeliveryRevoked) and event.sink == sink else set()


def _follow_scopes(scopes: dict[str, set[int]], entry: Entry, state: Delivery) -> None:
    """Keep the seqs of the turns that each sink answers for; a retired one for those that were finished."""
    event = entry.event
    if entry.type == "TurnRecorded" and state.turns.ordinal(entry.seq) is not None:
        for sink in state.sinks.values():
            if not sink.retired and sink.since_seq <= entry.seq:
                scopes[sink.name].add(entry.seq)
    elif isinstance(event, SinkEnrolled):
        sink = state.sinks[event.sink]
        since = [seq for seq in state.turns.seqs if seq >= sink.since_seq]
        scopes.setdefault(sink.name, set()).update(since)
    elif isinstance(event, SinkRetired) and event.sink in scopes:
        sink = state.sinks[event.sink]
        scopes[sink.name] = {seq for seq in scopes[sink.name] if state.turn_state(sink.name, seq) != "not_owed"}
        _require(1, not sink.lanes, f"sink {sink.name!r} after seq {entry.seq}: nothing is owed to a retired sink")


def _check_lanes(state: Delivery, sink: SinkState, where: str) -> None:
    waiting = sorted(ordinal for lane in sink.lanes.values() for ordinal in lane)
    _require(1, waiting == list(sink.ordinals(OPEN)), f"{where}: the lanes hold every open turn once and no other")
    for lane_id, lane in sink.lanes.items():
        own = all(state.turns.lane_id(ordinal) == lane_id for ordinal in lane)
        _require(1, bool(lane) and own, f"{where}: a lane holds its own turns")


def _check_attempts(sink: SinkState, where: str) -> None:
    flying = sorted(ordinal for turns in sink.open_attempts.values() for ordinal in turns)
    _require(1, flying == list(sink.ordinals([ATTEMPTING])), f"{where}: what is attempting is so in one open attempt")
    own = all(sink.tries[o].attempt == attempt for attempt, turns in sink.open_attempts.items() for o in turns)
    _require(1, own, f"{where}: an open attempt is the last one of its turns")
    unfinished = all(sink.states[ordinal] in (*OPEN, DEAD) for ordinal in sink.tries)
    _require(1, unfinished, f"{where}: only what is unfinished or dead is remembered in detail")


def _check_again(fold: Fold[Any], state: Any, entries: Sequence[Entry]) -> None:
    before = _picture(state)
    for entry in entries:
        fold.apply(state, entry)
    _require(4, _picture(state) == before, f"{fold.name}: entries up to {state.last_seq} taken in again change nothing")


def _check_told_again(state: Delivery, outcome: Entry) -> None:
    repeated = deepcopy(state)
    event: Any = outcome.event
    DELIVERY.apply(repeated, make_entry(event, seq=outcome.seq + 1, at=outcome.at))
    for name, sink in state.sinks.items():
        same = repeated.sinks[name]
        _require(4, sink == same, f"the outcome at seq {outcome.seq} told twice is told once")
    turns = len(event.turns)
    counted = repeated.anomalies.total() - state.anomalies.total()
    _require(4, counted in (1, turns), f"the outcome at seq {outcome.seq} told twice is an anomaly")


def _check_without_attempts(entries: Sequence[Entry]) -> None:
    state, seen = DELIVERY.initial(), 0
    for entry in entries:
        DELIVERY.apply(state, entry)
        if isinstance(entry.event, SyncSucceeded | SyncFailed):
            _require(4, state.anomalies.total() > seen, f"the outcome at seq {entry.seq} has no attempt: an anomaly")
        seen = state.anomalies.total()
        for sink in state.sinks.values():
            calm = not any(sink.totals()[name] for name in ("attempting", "retrying", "dead"))
            _require(4, calm and not sink.tries, f"nothing was attempted up to seq {entry.seq}, so nothing came of it")


def _moments(state: Delivery, sink: SinkState, entries: Sequence[Entry], policy: RetryPolicy) -> list[datetime]:
    """Times at which something may change, and just before and after, in order."""
    times = {entries[-1].at, entries[-1].at + _LONGEST}
    times |= {sink.pause.until} if sink.pause and sink.pause.until else set()
    times |= {due for o, attempt in sink.tries.items() if (due := due_at(policy, state.turns.seqs[o], attempt))}
    near = {time + timedelta(microseconds=d) for time in times if time < _END_OF_TIME for d in (-1, 0, 1)}
    return sorted({*near, _END_OF_TIME})


def _check_waits(state: Delivery, sink: SinkState, policy: RetryPolicy) -> None:
    for ordinal, attempt in sink.tries.items():
        seq = state.turns.seqs[ordinal]
        due = due_at(policy, seq, attempt)
        if attempt.failed_at is None or due is None:
            continue
        longest = 0.0
        if attempt.counted:
            drawn = delay_seconds(policy, seq, attempt.attempts)
            longest = min(policy.max_seconds, policy.base_seconds * FACTOR ** (attempt.attempts - 1))
            _require(5, 0 <= drawn <= longest, f"turn {seq} at {sink.name!r}: a backoff within its bounds")
        waits = (due - attempt.failed_at).total_seconds()
        bound = max(longest, attempt.retry_after) + 1e-6
        _require(5, 0 <= waits <= bound, f"turn {seq} at {sink.name!r} waits no longer than it must")


def _check_attempted(
    state: Delivery, sink: SinkState, seq: int, ahead: set[int], left_out: set[int], what: str
) -> None:
    ordinal = state.turns.ordinal(seq)
    owed = ordinal is not None and sink.states[ordinal] in OPEN and sink.states[ordinal] != ATTEMPTING
    _require(6, owed, f"{what}: it was to be sent")
    if ordinal is not None:
        lane = [state.turns.seqs[other] for other in sink.lanes[state.turns.lane_id(ordinal)]]
        before = set(lane[: lane.index(seq)]) - left_out
        _require(6, before <= ahead, f"{what}: all before it in its lane went ahead")
        ahead.add(seq)
