"""Counters: what happened, by sink, by source, by hour."""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from eventlog import Entry
from projections import views
from projections.fold import Fold

RATE_SECONDS = 60
"""The rate at which a sink takes turns is that of so many last seconds."""

LATENCY_BOUNDS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Requests are counted by how long they took: at most so long, and longer than the bound before."""

SUCCEEDED, RECONCILED = "succeeded", "reconciled"
"""What came of a request that did not fail, at once or when the sink was asked later; else it is the failure's kind."""


@dataclass
class SinkCounts:
    """What was done for one sink: requests made, turns delivered (and of those reconciled), failures by kind.

    `errors` counts the refusals that were written down, `outcomes` all that was, by what it was: a request whose turns
    fared differently has several. The last request ended at `last_at` and took `last_seconds`; `latency` counts them by
    `LATENCY_BOUNDS_SECONDS`, the longer ones last, and `latency_seconds` is their sum, without those in doubt, for
    nobody knows when they ended. `open_since` is when each began whose outcome is not known yet, by the seq of its
    attempt. `recent` counts the turns that were delivered in each of the last seconds before the last success, by Unix
    time.
    """

    requests: int = 0
    delivered: int = 0
    reconciled: int = 0
    errors: int = 0
    last_at: datetime | None = None
    last_seconds: float | None = None
    open_since: dict[int, datetime] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    recent: dict[int, int] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    latency: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS_SECONDS) + 1))
    latency_seconds: float = 0.0

    def note_delivered(self, turns: int, at: datetime) -> None:
        """So many turns were delivered at this time."""
        self.delivered += turns
        second = int(at.timestamp())
        self.recent[second] = self.recent.get(second, 0) + turns
        if len(self.recent) > RATE_SECONDS:
            self.recent = {known: count for known, count in self.recent.items() if known > second - RATE_SECONDS}

    def note_outcome(self, attempt: int, at: datetime, outcome: str) -> None:
        """An outcome of a request was written; the first one is its end."""
        self.outcomes[outcome] += 1
        began = self.open_since.pop(attempt, None)
        if began is None:
            return
        self.last_at, self.last_seconds = at, max(0.0, (at - began).total_seconds())
        if outcome not in (RECONCILED, "in_doubt"):
            self.latency[bisect_left(LATENCY_BOUNDS_SECONDS, self.last_seconds)] += 1
            self.latency_seconds += self.last_seconds

    def rate(self, now: datetime) -> float:
        """Turns delivered a second, over the last `RATE_SECONDS` before `now`."""
        since = now.timestamp() - RATE_SECONDS
        return sum(count for second, count in self.recent.items() if since < second <= now.timestamp()) / RATE_SECONDS


@dataclass
class Statistics:
    """Counts over the whole log.

    `events` counts all lines, by type in `by_type`; `turns` the TurnRecorded events, by source in `by_source`, by
    the hour in which they were recorded (UTC, `2026-11-20T10`) in `by_hour`. `revisions` are those above the first.
    """

    last_seq: int = 0
    last_at: datetime | None = None
    events: int = 0
    turns: int = 0
    revisions: int = 0
    by_type: Counter[str] = field(default_factory=Counter)
    by_source: Counter[str] = field(default_factory=Counter)
    by_hour: Counter[str] = field(default_factory=Counter)
    sinks: dict[str, SinkCounts] = field(default_factory=dict)


def _any_event(state: Statistics, entry: Entry) -> None:
    state.events += 1
    state.last_at = entry.at
    state.by_type[entry.type] += 1


def _turn_recorded(state: Statistics, entry: Entry) -> None:
    turn = entry.view(views.Turn)
    _any_event(state, entry)
    state.turns += 1
    state.revisions += turn.revision > 1
    state.by_source[turn.source] += 1
    state.by_hour[entry.at.strftime("%Y-%m-%dT%H")] += 1


def _sync_attempted(state: Statistics, entry: Entry) -> None:
    event = entry.view(views.TimedAttempt)
    _any_event(state, entry)
    sink = _sink(state, event.sink)
    sink.requests += 1
    sink.open_since[entry.seq] = event.at


def _sync_succeeded(state: Statistics, entry: Entry) -> None:
    event = entry.view(views.Succeeded)
    _any_event(state, entry)
    sink = _sink(state, event.sink)
    sink.note_outcome(event.attempt, event.at, RECONCILED if event.reconciled else SUCCEEDED)
    sink.note_delivered(len(event.turns), event.at)
    sink.reconciled += len(event.turns) if event.reconciled else 0


def _sync_failed(state: Statistics, entry: Entry) -> None:
    event = entry.view(views.Failed)
    _any_event(state, entry)
    sink = _sink(state, event.sink)
    sink.note_outcome(event.attempt, event.at, event.kind)
    sink.errors += 1
    sink.failures[event.kind] += len(event.turns)


def _sink(state: Statistics, name: str) -> SinkCounts:
    return state.sinks.setdefault(name, SinkCounts())


STATISTICS: Fold[Statistics] = Fold(
    name="statistics",
    version=4,
    initial=Statistics,
    handlers={
        "TurnRecorded": _turn_recorded,
        "SyncAttempted": _sync_attempted,
        "SyncSucceeded": _sync_succeeded,
        "SyncFailed": _sync_failed,
    },
    otherwise=_any_event,
    views=(views.Turn, views.TimedAttempt, views.Succeeded, views.Failed),
)
"""The fold from events to `Statistics`."""
