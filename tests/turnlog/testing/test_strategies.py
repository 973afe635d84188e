"""What the strategies make: sound, varied, and as it would be read from a log."""

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from eventlog import EVENT_TYPES, FAILURE_KINDS, Entry, Event, EventLog, SyncFailed, TurnRecorded, UnknownEvent
from projections import STATE_NAMES, RetryPolicy
from projections.delivery import DELIVERY
from turnlog.testing import events, logs, make_entries, policies, turns, wild_logs
from turnlog.testing.clock import START

# Enough, and always the same, to see whether a strategy reaches what it must.
enough = settings(
    max_examples=300, derandomize=True, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)


@dataclass
class Survey:
    """What some drawn logs hold: event types, kinds of failure, states of turns, and what no version writes."""

    types: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    oddities: set[str] = field(default_factory=set)

    def look(self, entries: list[Entry]) -> None:
        self.types.update(entry.type for entry in entries)
        self.kinds.update(entry.event.kind for entry in entries if isinstance(entry.event, SyncFailed))
        state = DELIVERY.initial()
        for entry in entries:
            DELIVERY.apply(state, entry)
            for sink in state.sinks.values():
                self.states.update(sink.totals())
        self.oddities.update("unknown" for entry in entries if entry.type not in EVENT_TYPES)
        known = [entry for entry in entries if entry.type in EVENT_TYPES]
        self.oddities.update("broken" for entry in known if isinstance(entry.event, UnknownEvent))
        self.oddities.update("hole" for before, after in pairwise(entries) if after.seq > before.seq + 1)
        self.oddities.update("back" for before, after in pairwise(entries) if after.at < before.at)


@pytest.fixture(scope="module", params=[logs(), wild_logs()], ids=["logs", "wild logs"])
def surveyed(request: pytest.FixtureRequest) -> Survey:
    """A few hundred logs."""
    survey = Survey()

    @enough
    @given(request.param)
    def look(entries: list[Entry]) -> None:
        survey.look(entries)

    look()
    return survey


@given(st.lists(events(), max_size=5))
def test_events_can_be_recorded_and_read(drawn: list[Event]) -> None:
    """What is drawn survives a log on disk, and a log made without one reads the same."""
    with tempfile.TemporaryDirectory() as name, EventLog.open(Path(name), durability="os") as log:
        log.append_many(drawn)
        assert [entry.event for entry in log.read(gt=1)] == drawn
    entries = make_entries(drawn, first_seq=7)
    assert [(entry.seq, entry.event) for entry in entries] == list(enumerate(drawn, start=7))
    assert [entry.at for entry in entries[:1]] == [START][: len(entries)]


def test_events_are_of_every_type() -> None:
    """No type is left out."""
    seen: set[str] = set()

    @enough
    @given(events())
    def look(event: Event) -> None:
        seen.add(type(event).__name__)

    look()
    assert seen == set(EVENT_TYPES)


@given(turns())
def test_turns_are_first_recordings(turn: TurnRecorded) -> None:
    """Valid turns, of nobody's revision, that JSON holds unchanged."""
    assert (turn.revision, turn.supersedes) == (1, None)
    assert msgspec.json.decode(msgspec.json.encode(turn), type=TurnRecorded) == turn


@given(policies())
def test_policies_are_what_a_configuration_may_say(policy: RetryPolicy) -> None:
    """At least one attempt, and no wait below nothing."""
    assert policy.max_attempts >= 1
    assert min(policy.base_seconds, policy.max_seconds) >= 0


@given(logs())
def test_logs_are_logs(entries: list[Entry]) -> None:
    """Seqs from 1 on without holes, time that never runs back, and no event that cannot be read."""
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    assert all(before.at <= after.at for before, after in pairwise(entries))
    assert entries[0].type == "SegmentOpened"
    assert not any(isinstance(entry.event, UnknownEvent) for entry in entries)


def test_logs_reach_every_state(surveyed: Survey) -> None:
    """All seven states, all kinds of failure and all events that move a delivery occur, none of them once only."""
    assert set(+surveyed.states) == set(STATE_NAMES[1:])
    assert set(surveyed.kinds) >= set(FAILURE_KINDS)
    moving = set(DELIVERY.handlers)
    assert set(surveyed.types) >= moving
    assert min([surveyed.states[name] for name in STATE_NAMES[1:]] + [surveyed.types[name] for name in moving]) > 1


def test_only_wild_logs_hold_what_no_version_writes(surveyed: Survey) -> None:
    """Unknown types, broken events of known types, seqs with holes, clocks that run back: all of it, or none."""
    assert surveyed.oddities in (set(), {"unknown", "broken", "hole", "back"})
    assert bool(surveyed.oddities) == (len(surveyed.types) > len(EVENT_TYPES))
