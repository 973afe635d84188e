"""When to try again: what a failure means, how long to wait, what may be sent."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog import FAILURE_KINDS, SinkPaused, SinkRetired
from projections import RetryDecision, RetryPolicy, Try, decide, delay_seconds, due_at, is_open, next_attempt_at
from turnlog.testing import policies
from turnlog.testing.clock import START

from .support import POLICY, SINK, attempted, delivery, enrolled, failed, turn

END_OF_TIME = datetime.max.replace(tzinfo=UTC)
seqs = st.integers(1, 2**40)
attempts = st.integers(1, 200)
DRAWN = [0.0, 1.840418, 3.556538, 254.105739, 0.0, 0.625969, 3.99149, 138.654371]


@given(policies(), seqs, attempts)
def test_a_backoff_is_drawn_within_its_bounds(policy: RetryPolicy, seq: int, attempt: int) -> None:
    """Never less than nothing, never more than the doubled base or the maximum, and always the same."""
    delay = delay_seconds(policy, seq, attempt)
    assert 0 <= delay <= min(policy.max_seconds, policy.base_seconds * 2.0 ** (attempt - 1))
    assert delay == delay_seconds(policy, seq, attempt)


def test_backoffs_are_what_they_always_were() -> None:
    """The draw is part of what a log means: a replay by a later version waits the same."""
    policy = RetryPolicy(max_attempts=5, base_seconds=2, max_seconds=300)
    drawn = [round(delay_seconds(policy, seq, attempt), 6) for seq in (2, 3) for attempt in (0, 1, 2, 9)]
    assert drawn == DRAWN


def test_backoffs_are_spread_over_the_whole_wait() -> None:
    """Full jitter: over many turns the draws fill each tenth of the wait about evenly, and another attempt differs."""
    policy = RetryPolicy(base_seconds=10, max_seconds=10)
    drawn = [delay_seconds(policy, seq, 1) for seq in range(1000)]
    tenths = [sum(tenth <= delay < tenth + 1 for delay in drawn) for tenth in range(10)]
    assert all(70 <= count <= 130 for count in tenths)
    assert drawn != [delay_seconds(policy, seq, 2) for seq in range(1000)]


def test_nothing_is_waited_for_before_the_first_counted_attempt() -> None:
    """No attempt, no backoff."""
    assert delay_seconds(POLICY, 7, 0) == 0
    assert due_at(POLICY, 7, None) is None
    assert due_at(POLICY, 7, Try(failed_at=START)) is None


@given(st.floats(0, allow_nan=False, allow_infinity=False), st.booleans())
def test_a_sink_may_ask_for_any_wait(retry_after: float, counted: bool) -> None:
    """The longer of backoff and what the sink asked for is waited, up to the end of time, and nothing overflows."""
    attempt = Try(attempts=1, counted=counted, failed_at=START, retry_after=retry_after)
    wait = max(retry_after, delay_seconds(POLICY, 7, 1) if counted else 0)
    due = due_at(POLICY, 7, attempt)
    if due is None:
        assert wait == 0
    elif due == END_OF_TIME:
        assert wait > (END_OF_TIME - START).total_seconds() - 1
    else:
        assert due - START == timedelta(seconds=wait)


@pytest.mark.parametrize("kind", FAILURE_KINDS)
@given(alone=st.booleans(), turns=st.integers(1, 500), before=st.integers(0, 9), policy=policies())
def test_decide_says_what_follows(kind: str, alone: bool, turns: int, before: int, policy: RetryPolicy) -> None:
    """The sink's own failures blame nobody; a blamed request is halved; alone, a refusal or the last try is final."""
    decision = decide(policy, kind, alone=alone, turns=turns, attempts=before)
    if kind not in ("failed", "rejected"):
        assert decision == RetryDecision()
    elif not alone:
        assert decision == RetryDecision(turns_max=max(1, turns // 2))
    else:
        assert decision == RetryDecision(final=kind == "rejected" or before + 1 >= policy.max_attempts)


@given(st.integers(1, 10_000))
def test_halving_ends_with_one(turns: int) -> None:
    """A request that fails again and again is down to single turns after at most log2 tries."""
    tries = 0
    while turns > 1:
        turns = decide(POLICY, "rejected", alone=False, turns=turns, attempts=0).turns_max
        tries += 1
    assert turns == 1
    assert tries <= 14


def test_a_sink_is_open_unless_it_is_paused_or_retired() -> None:
    """A pause without end closes it; one with an end until then, that moment excluded; retiring for good."""
    sink = delivery(enrolled()).sinks[SINK]
    assert is_open(sink, START)
    assert not is_open(delivery(enrolled(), SinkPaused(sink=SINK, kind="operator")).sinks[SINK], END_OF_TIME)
    until = START + timedelta(seconds=9)
    throttled = delivery(enrolled(), SinkPaused(sink=SINK, kind="throttled", until=until)).sinks[SINK]
    assert not is_open(throttled, until - timedelta(microseconds=1))
    assert is_open(throttled, until)
    assert not is_open(delivery(enrolled(), SinkRetired(sink=SINK)).sinks[SINK], START)


def test_next_attempt_at_is_told_for_retrying_turns_only() -> None:
    """A pending turn waits for nothing but its lane; one that is retried at once is due since it failed."""
    state = delivery(enrolled(), turn("a"), turn("b"), attempted(2), failed(4, 2))
    sink = state.sinks[SINK]
    assert next_attempt_at(state, sink, 1, POLICY) is None
    away = delivery(enrolled(), turn("a"), attempted(2), failed(3, 2, kind="unavailable"))
    assert next_attempt_at(away, away.sinks[SINK], 0, POLICY) is None
    due = next_attempt_at(state, sink, 0, POLICY)
    assert due is not None
    assert timedelta(0) < due - (START + timedelta(seconds=4)) <= timedelta(seconds=2)
    state = delivery(enrolled(), turn("a"), attempted(2), failed(3, 2, kind="in_doubt"))
    assert next_attempt_at(state, state.sinks[SINK], 0, POLICY) == START + timedelta(seconds=3)
