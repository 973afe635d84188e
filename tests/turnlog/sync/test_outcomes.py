"""From a sink's answers to events."""

from collections import defaultdict
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog import FAILURE_KINDS, SinkPaused, SyncFailed, SyncSucceeded
from projections import Pause, RetryPolicy, SinkState, Try, decide
from turnlog.sinks.base import Delivered, Outcome, Refused
from turnlog.sync.outcomes import (
    SINK_KINDS,
    THROTTLED_SECONDS,
    THROTTLED_SECONDS_MAX,
    THROTTLED_SECONDS_MIN,
    Answered,
    after_doubt,
    pause_after,
    to_events,
)
from turnlog.testing import policies
from turnlog.testing.clock import START

delivered = st.builds(Delivered, st.sampled_from([None, {"id": 1}, "r"]), st.booleans())
refused = st.builds(
    Refused,
    st.sampled_from(FAILURE_KINDS),
    st.sampled_from(["one", "two"]),
    st.sampled_from([None, 500]),
    st.sampled_from([None, 3.0]),
    st.booleans(),
)
outcomes = st.lists(st.tuples(delivered | refused, st.integers(0, 5)), min_size=1, max_size=6)


def answer(told: list[Outcome]) -> Answered:
    return Answered(99, tuple(range(len(told))), tuple(range(10, 10 + len(told))), tuple(told))


def sink_with(attempts: list[int]) -> SinkState:
    return SinkState("s", tries={ordinal: Try(attempts=count) for ordinal, count in enumerate(attempts)})


@given(outcomes, policies())
def test_every_turn_is_told_once_with_what_was_decided(told: list[tuple[Outcome, int]], policy: RetryPolicy) -> None:
    """One event names each turn of the request, with its outcome, the policy's decision, and its receipt."""
    answered = answer([outcome for outcome, _ in told])
    events = to_events(answered, sink_with([count for _, count in told]), policy)
    seen = defaultdict(list)
    for event in events:
        assert isinstance(event, SyncSucceeded | SyncFailed)
        assert (event.attempt, event.sink) == (99, "s")
        for seq in event.turns:
            seen[seq].append(event)
    assert sorted(seen) == list(answered.seqs)
    for (outcome, attempts), (seq, (event,)) in zip(told, sorted(seen.items()), strict=True):
        if isinstance(outcome, Delivered):
            assert isinstance(event, SyncSucceeded)
            assert event.reconciled == outcome.reconciled
            assert _receipt(event, seq) == outcome.receipt
        else:
            assert isinstance(event, SyncFailed)
            _check_failure(event, outcome, decide_for(policy, outcome, len(told), attempts))


def decide_for(policy: RetryPolicy, outcome: Refused, turns: int, attempts: int) -> tuple[bool, int]:
    alone = outcome.alone or turns == 1
    decision = decide(policy, outcome.kind, alone=alone, turns=turns, attempts=attempts)
    return decision.final, decision.turns_max


def _check_failure(event: SyncFailed, outcome: Refused, decided: tuple[bool, int]) -> None:
    assert (event.kind, event.error, event.status) == (outcome.kind, outcome.error, outcome.status)
    assert (event.final, event.turns_max) == decided
    assert event.retry_after == (None if outcome.kind in SINK_KINDS else outcome.retry_after)


def _receipt(event: SyncSucceeded, seq: int) -> object:
    by_seq = isinstance(event.receipt, dict) and all(key.isdecimal() for key in event.receipt)
    return event.receipt[str(seq)] if by_seq else event.receipt


def test_turns_that_share_a_verdict_share_an_event() -> None:
    """A request with one answer makes one event, however many turns it holds."""
    sink = sink_with([0] * 50)
    assert len(to_events(answer([Delivered("r")] * 50), sink, RetryPolicy())) == 1
    assert len(to_events(answer([Refused("failed", "e")] * 50), sink, RetryPolicy())) == 1
    (event,) = to_events(answer([Delivered("r")] * 50), sink, RetryPolicy())
    assert isinstance(event, SyncSucceeded)
    assert event.receipt == "r"


def test_a_turn_that_was_taken_away_is_told_all_the_same() -> None:
    """If an operator retired the sink meanwhile, nothing is known of the turn, and its failure is its first."""
    (event,) = to_events(answer([Refused("failed", "e")]), SinkState("s"), RetryPolicy(max_attempts=2))
    assert isinstance(event, SyncFailed)
    assert not event.final


@pytest.mark.parametrize("kind", FAILURE_KINDS)
def test_only_the_sink_s_own_failures_pause_it(kind: str) -> None:
    """Being away, asking for patience, refusing the token; everything else leaves it open."""
    pause = pause_after([Delivered(), Refused(kind, "why")], SinkState("s"), START)
    assert (pause is not None) == (kind in SINK_KINDS)
    if pause is not None:
        assert (pause.kind, pause.reason, pause.sink) == (kind, "why", "s")
        assert (pause.until is not None) == (kind == "throttled")


def test_a_pause_is_told_once() -> None:
    """A sink that is paused already is not paused again, but one whose pause ends by itself is."""
    for kind in SINK_KINDS:
        paused = SinkState("s", pause=Pause("operator", "", START))
        assert pause_after([Refused(kind, "")], paused, START) is None
        throttled = SinkState("s", pause=Pause("throttled", "", START, START))
        assert isinstance(pause_after([Refused(kind, "")], throttled, START), SinkPaused)


def test_a_pause_is_told_once_by_requests_that_end_together() -> None:
    """The state does not know yet what the first of them has called for; only a longer wait is told on top."""
    sink, away = SinkState("s"), [Refused("unavailable", "")]
    short, longer = ([Refused("throttled", "", 429, wait)] for wait in (60, 70))
    assert pause_after(away, sink, START, told=pause_after(away, sink, START)) is None
    assert pause_after(short, sink, START, told=pause_after(away, sink, START)) is None
    assert pause_after(short, sink, START, told=pause_after(short, sink, START)) is None
    assert pause_after(longer, sink, START, told=pause_after(short, sink, START)) is not None


@given(st.none() | st.floats(allow_nan=False))
def test_patience_is_as_told_within_bounds(wait: float | None) -> None:
    """The wait that the sink asked for, a default where it named none, never less than a second nor more than a day."""
    pause = pause_after([Refused("throttled", "", 429, wait)], SinkState("s"), START)
    assert pause is not None
    assert pause.until is not None
    expected = THROTTLED_SECONDS if wait is None else min(max(wait, THROTTLED_SECONDS_MIN), THROTTLED_SECONDS_MAX)
    assert pause.until - START == timedelta(seconds=expected)


@given(st.integers(0, 9), st.integers(0, 5))
def test_doubt_counts_when_it_repeats(doubts: int, doubts_max: int) -> None:
    """Up to `doubts_max` in a row it is nobody's fault, then it is a failure with the same sentence."""
    refusal = after_doubt(doubts, "why", doubts_max=doubts_max)
    assert refusal == Refused("in_doubt" if doubts < doubts_max else "failed", "why")
