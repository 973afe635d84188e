"""The laws as checks: each holds for an honest log, and each can be broken."""

import random
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given

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
)
from projections import DELIVERY, Delivery, Fold, RetryPolicy, SinkState, eligible
from projections.delivery_state import DELIVERED, PENDING
from turnlog.testing import LAWS, check_laws, logs, make_entries
from turnlog.testing import laws as module
from turnlog.testing.clock import START

POLICY = RetryPolicy(max_attempts=2)


def turn(turn_id: str) -> Event:
    return TurnRecorded(turn_id=turn_id, messages=(Message("user", "hi"),))


def attempt(*turns: int) -> Event:
    return SyncAttempted(sink="s", turns=turns)


def failure(of: int, *turns: int, **fields: Any) -> Event:
    return SyncFailed(sink="s", attempt=of, turns=turns, kind="failed", **fields)


def success(of: int, *turns: int) -> Event:
    return SyncSucceeded(sink="s", attempt=of, turns=turns)


# An enrolled sink at seq 1, two turns of one lane at 2 and 3; the first fails, then both are delivered.
HONEST = [SinkEnrolled(sink="s"), turn("a"), turn("b"), attempt(2), failure(4, 2), attempt(2, 3), success(6, 2, 3)]


def broken_law(entries: Sequence[Entry], **options: Any) -> str:
    with pytest.raises(AssertionError) as caught:
        check_laws(entries, POLICY, **options)
    return str(caught.value)


def test_an_honest_log_keeps_all_laws() -> None:
    """The example that the other tests spoil, at every length; and a log in which nothing is."""
    for length in range(len(HONEST) + 1):
        check_laws(make_entries(HONEST[:length]), POLICY)


def test_there_are_eight_checks_of_seven_laws() -> None:
    """Each says in its first words which law it is; the sixth has two halves."""
    numbers = [(law.__doc__ or "").split()[1].strip(":,") for law in LAWS]
    assert numbers == ["1", "2", "3", "4", "5", "6", "6", "7"]


# Logs that an engine must not write.


@pytest.mark.parametrize(
    ("events", "number"),
    [
        ([*HONEST[:3], attempt(3)], 6),
        ([*HONEST[:3], attempt(3, 2)], 6),
        ([*HONEST[:5], attempt(3)], 6),
        ([*HONEST[:4], attempt(3)], 6),
        ([*HONEST[:4], attempt(2)], 6),
        ([*HONEST, attempt(2)], 6),
        ([*HONEST[:3], attempt(99)], 6),
        ([*HONEST[:5], attempt(2), failure(6, 2), attempt(2), failure(8, 2)], 7),
    ],
    ids=[
        "second first",
        "wrong order",
        "past a retry",
        "past an attempt",
        "twice",
        "delivered",
        "none",
        "too often",
    ],
)
def test_an_attempt_that_breaks_a_law_is_found(events: list[Event], number: int) -> None:
    """Out of order, of what is under way or done, too often: the check names the law; a wild log may have it."""
    entries = make_entries(events)
    assert broken_law(entries).startswith(f"law {number} is broken: ")
    check_laws(entries, POLICY, wild=True)


def test_the_operator_may_ask_for_more() -> None:
    """After a RetryRequested the attempts count from nothing."""
    again = RetryRequested(sink="s", turns=(TurnRef(seq=2),))
    events = [*HONEST[:5], attempt(2), failure(6, 2), again, attempt(2), failure(9, 2)]
    check_laws(make_entries(events), POLICY)


# Folds and policies with a bug.


def with_bug(monkeypatch: pytest.MonkeyPatch, kind: str, bug: Callable[[Delivery, Entry], None]) -> None:
    """The laws see a fold whose handler for this type does something else."""
    fold = Fold("delivery", 1, Delivery, {**DELIVERY.handlers, kind: bug})
    monkeypatch.setattr(module, "DELIVERY", fold)
    monkeypatch.setattr(module, "_FOLDS", (fold,))


def forget_to_count(state: Delivery, entry: Entry) -> None:
    DELIVERY.handlers["SyncSucceeded"](state, entry)
    state.sinks["s"].counts[DELIVERED] = 0


def forget_a_lane(state: Delivery, entry: Entry) -> None:
    DELIVERY.handlers["SyncAttempted"](state, entry)
    state.sinks["s"].lanes.clear()


def leave_attempts_open(state: Delivery, entry: Entry) -> None:
    attempts = deepcopy(state.sinks["s"].open_attempts)
    DELIVERY.handlers["SyncFailed"](state, entry)
    state.sinks["s"].open_attempts = attempts


def pass_a_turn_over(state: Delivery, entry: Entry) -> None:
    DELIVERY.handlers["TurnRecorded"](state, entry)
    if entry.seq == 3:
        state.sinks["s"].finish(1, 0, 0)


@pytest.mark.parametrize(
    ("kind", "bug"),
    [
        ("SyncSucceeded", forget_to_count),
        ("SyncAttempted", forget_a_lane),
        ("SyncFailed", leave_attempts_open),
        ("TurnRecorded", pass_a_turn_over),
    ],
)
def test_law_1_finds_a_state_that_does_not_add_up(
    monkeypatch: pytest.MonkeyPatch, kind: str, bug: Callable[[Delivery, Entry], None]
) -> None:
    """Counts, lanes, open attempts, scope: each is held against the states."""
    with_bug(monkeypatch, kind, bug)
    assert broken_law(make_entries(HONEST)).startswith("law 1 ")


def test_law_2_finds_a_memory_outside_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fold that remembers anything elsewhere does not survive a cut."""
    seen: list[int] = []

    def remember(state: Delivery, entry: Entry) -> None:
        seen.append(entry.seq)
        DELIVERY.handlers["SyncFailed"](state, entry)
        state.anomalies["seen"] = len(seen)

    with_bug(monkeypatch, "SyncFailed", remember)
    assert broken_law(make_entries(HONEST)).startswith("law 2 ")


def test_law_3_finds_a_delivery_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A late failure must not take back what was delivered."""

    def undo(state: Delivery, entry: Entry) -> None:
        DELIVERY.handlers["SyncFailed"](state, entry)
        if state.sinks["s"].states[0] == DELIVERED:
            state.sinks["s"].reopen(0, 0)

    with_bug(monkeypatch, "SyncFailed", undo)
    assert broken_law(make_entries([*HONEST, failure(4, 2)])).startswith("law 3 ")


def test_law_4_finds_an_entry_taken_in_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fold without the guard counts the same entry again."""

    class Twice(Fold[Delivery]):
        def apply(self, state: Delivery, entry: Entry) -> None:
            handler = self.handlers.get(entry.type)
            if handler is not None and (entry.type == "SyncFailed" or entry.seq > state.last_seq):
                handler(state, entry)
            state.last_seq = max(state.last_seq, entry.seq)

    fold = Twice("delivery", 1, Delivery, DELIVERY.handlers)
    monkeypatch.setattr(module, "_FOLDS", (fold,))
    assert broken_law(make_entries(HONEST)).startswith("law 4 ")


def test_law_4_finds_an_outcome_taken_at_its_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """A success whose attempt nobody made delivers nothing, and is an anomaly."""

    def believe(state: Delivery, entry: Entry) -> None:
        sink = state.sinks["s"]
        for seq in entry.view(SyncSucceeded).turns:
            ordinal = state.turns.ordinal(seq)
            if ordinal is not None and sink.states[ordinal] != DELIVERED:
                sink.open_attempts.clear()
                sink.finish(ordinal, DELIVERED, 0)

    with_bug(monkeypatch, "SyncSucceeded", believe)
    assert broken_law(make_entries(HONEST)).startswith("law 4 ")


def lane_by_lane(pick: Callable[[list[int]], list[int]]) -> Any:
    """`eligible`, with what each lane yields changed."""

    def changed(state: Delivery, sink: SinkState, now: Any, policy: RetryPolicy) -> Iterator[Iterator[int]]:
        return (iter(pick(list(lane))) for lane in eligible(state, sink, now, policy))

    return changed


def test_law_5_finds_what_depends_on_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eligibility that is drawn is not a function of events, time and policy."""
    chance = random.Random(7)
    monkeypatch.setattr(module, "eligible", lane_by_lane(lambda lane: lane[: chance.randint(0, 2)]))
    assert broken_law(make_entries(HONEST[:3])).startswith("law 5 ")


def test_law_5_finds_a_chance_that_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was eligible a moment ago must not stop being so because time went on."""

    def ever_less(state: Delivery, sink: SinkState, now: datetime, policy: RetryPolicy) -> Iterator[Iterator[int]]:
        return eligible(state, sink, now, policy) if now < START + timedelta(seconds=2) else iter(())

    monkeypatch.setattr(module, "eligible", ever_less)
    assert broken_law(make_entries(HONEST[:3])).startswith("law 5 ")


def test_law_5_finds_a_backoff_out_of_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait longer than base, factor and maximum allow."""
    monkeypatch.setattr(module, "delay_seconds", lambda *_: 2.1)
    assert broken_law(make_entries(HONEST[:5])).startswith("law 5 ")


def test_law_6_finds_a_lane_that_is_overtaken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planner that is offered the second turn first."""
    monkeypatch.setattr(module, "eligible", lane_by_lane(lambda lane: lane[1:]))
    assert broken_law(make_entries(HONEST[:3])).startswith("law 6 ")


def test_law_7_finds_attempts_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fold that counts an attempt several times exceeds the maximum."""

    def count_more(state: Delivery, entry: Entry) -> None:
        DELIVERY.handlers["SyncFailed"](state, entry)
        for attempt in state.sinks["s"].tries.values():
            attempt.attempts = 3

    with_bug(monkeypatch, "SyncFailed", count_more)
    assert broken_law(make_entries(HONEST)).startswith("law 7 ")


@given(logs(POLICY))
def test_a_check_leaves_the_log_alone(entries: list[Entry]) -> None:
    """The same entries may be checked again, with any policy that allows as much."""
    lines = [entry.line for entry in entries]
    check_laws(iter(entries), POLICY)
    assert [entry.line for entry in entries] == lines
    assert PENDING == 1
