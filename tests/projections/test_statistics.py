"""Counters over the whole log."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from eventlog import Entry, Event, SyncAttempted, SyncFailed, SyncSucceeded, TurnHeader, UnknownEvent
from projections import STATISTICS, SinkCounts, Statistics, fold_all
from projections.statistics import LATENCY_BOUNDS_SECONDS, RATE_SECONDS
from turnlog.testing import logs, make_entries, wild_logs

from .support import attempted, failed, succeeded, turn


def statistics(entries: list[Entry]) -> Statistics:
    (state,) = fold_all(entries, STATISTICS)
    assert isinstance(state, Statistics)
    return state


@given(logs() | wild_logs())
def test_every_line_is_counted_by_its_type(entries: list[Entry]) -> None:
    """Also those of unknown types and those that break their own rules: `events` is what `verify` counts."""
    state = statistics(entries)
    assert state.events == len(entries) == state.by_type.total()
    assert state.by_type == Counter(entry.type for entry in entries)
    assert state.last_at == (entries[-1].at if entries else None)


@given(logs())
def test_turns_are_counted_by_source_and_hour(entries: list[Entry]) -> None:
    """Each TurnRecorded once in each of the three counts, revisions among them."""
    state = statistics(entries)
    turns = [(entry, entry.event) for entry in entries if isinstance(entry.event, TurnHeader)]
    assert state.turns == len(turns)
    assert state.revisions == sum(turn.revision > 1 for _, turn in turns)
    assert state.by_source == Counter(turn.source for _, turn in turns)
    assert state.by_hour == Counter(f"{entry.at:%Y-%m-%dT%H}" for entry, _ in turns)


@given(logs())
def test_what_was_done_is_counted_by_sink(entries: list[Entry]) -> None:
    """Requests, turns delivered and reconciled, failures by kind, as the events of that sink say."""
    state = statistics(entries)
    for name, counts in state.sinks.items():
        events = [entry.event for entry in entries if getattr(entry.event, "sink", None) == name]
        successes = [event for event in events if isinstance(event, SyncSucceeded)]
        assert counts.requests == sum(isinstance(event, SyncAttempted) for event in events)
        assert counts.delivered == sum(len(event.turns) for event in successes)
        assert counts.reconciled == sum(len(event.turns) for event in successes if event.reconciled)
        failures = [(event.kind, len(event.turns)) for event in events if isinstance(event, SyncFailed)]
        assert counts.failures.total() == sum(count for _, count in failures)
        assert set(counts.failures) == {kind for kind, _ in failures}
        assert counts.errors == len(failures)


def test_an_example() -> None:
    """One request of two turns, one of them reconciled, one failed."""
    events: list[Event] = [turn("a"), turn("b", revision=2), attempted(1, 2), succeeded(3, 1, reconciled=True)]
    state = statistics(make_entries([*events, failed(3, 2, kind="rejected")]))
    assert (state.events, state.turns, state.revisions) == (5, 2, 1)
    counts = state.sinks["alpha"]
    assert (counts.requests, counts.delivered, counts.reconciled) == (1, 1, 1)
    assert counts.failures == Counter(rejected=1)


@given(logs() | wild_logs())
def test_the_last_request_is_as_long_as_the_log_says(entries: list[Entry]) -> None:
    """From its attempt to its first outcome; what is remembered of others are those that have none yet."""
    for name, counts in statistics(entries).sinks.items():
        began: dict[int, Entry] = {}
        last: tuple[Entry, Entry] | None = None
        for entry in entries:
            if isinstance(event := entry.event, SyncAttempted) and event.sink == name:
                began[entry.seq] = entry
            elif isinstance(event, SyncSucceeded | SyncFailed) and event.sink == name and event.attempt in began:
                last = began.pop(event.attempt), entry
        assert set(counts.open_since) == set(began)
        assert counts.last_at == (last[1].at if last else None)
        assert counts.last_seconds == (max(0.0, (last[1].at - last[0].at).total_seconds()) if last else None)


@given(logs() | wild_logs())
def test_every_outcome_is_counted_by_what_it_was(entries: list[Entry]) -> None:
    """Every success and every failure, with an attempt in the log or without."""
    for name, counts in statistics(entries).sinks.items():
        events = [entry.event for entry in entries if getattr(entry.event, "sink", None) == name]
        failures = Counter(event.kind for event in events if isinstance(event, SyncFailed))
        successes = Counter(
            "reconciled" if event.reconciled else "succeeded" for event in events if isinstance(event, SyncSucceeded)
        )
        assert counts.outcomes == failures + successes


@given(logs() | wild_logs())
def test_requests_are_counted_by_how_long_they_took(entries: list[Entry]) -> None:
    """From the attempt to the first outcome, each once; not those of which nobody knows when they ended."""
    for name, counts in statistics(entries).sinks.items():
        began: dict[int, datetime] = {}
        lasted: list[float] = []
        for entry in entries:
            event = entry.event
            if getattr(event, "sink", None) != name:
                continue
            if isinstance(event, SyncAttempted):
                began[entry.seq] = entry.at
            elif isinstance(event, SyncSucceeded | SyncFailed) and event.attempt in began:
                seconds = max(0.0, (entry.at - began.pop(event.attempt)).total_seconds())
                unknown = event.reconciled if isinstance(event, SyncSucceeded) else event.kind == "in_doubt"
                lasted += [] if unknown else [seconds]
        at_most = [sum(seconds <= bound for seconds in lasted) for bound in LATENCY_BOUNDS_SECONDS]
        assert list(accumulate(counts.latency)) == [*at_most, len(lasted)]
        assert counts.latency_seconds == sum(lasted)


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 40)), max_size=30), st.integers(0, 100))
def test_the_rate_is_that_of_the_last_minute(deliveries: list[tuple[int, int]], later: int) -> None:
    """Turns delivered in it, a second, whenever one asks; what is remembered for that does not grow with the log."""
    counts, now, told = SinkCounts(), datetime(2026, 11, 20, tzinfo=UTC), []
    for turns, seconds in deliveries:
        now += timedelta(seconds=seconds)
        counts.note_delivered(turns, now)
        told.append((turns, now))
    now += timedelta(seconds=later)
    recent = sum(turns for turns, at in told if now - at < timedelta(seconds=RATE_SECONDS))
    assert counts.rate(now) == recent / RATE_SECONDS
    assert counts.delivered == sum(turns for turns, _ in told)
    assert len(counts.recent) <= RATE_SECONDS + 1


def test_a_broken_turn_is_a_line_and_no_turn() -> None:
    """A TurnRecorded without an id is counted among the lines, and not as a turn."""

    class Broken(Event, frozen=True, tag="TurnRecorded", kw_only=True):
        turn_id: str = ""

    entries = make_entries([Broken()])
    assert isinstance(entries[0].event, UnknownEvent)
    state = statistics(entries)
    assert (state.events, state.turns) == (1, 0)
