"""Ready is who does the daemon's work at the moment; whoever is not says why."""

from datetime import timedelta
from typing import Any, get_args

import pytest
from msgspec.structs import replace

from turnlog.daemon.monitoring.readiness import not_ready
from turnlog.daemon.status import PartStatus, SinkStatus, State, Status

from .support import NOW, WELL

STALLED = 300.0
LONG_AGO, JUST_NOW = NOW - timedelta(hours=1), NOW - timedelta(seconds=1)
WAITS: dict[str, Any] = {"pending": 1, "oldest_undelivered_seconds": 3600.0}


def sink(**fields: Any) -> Status:
    return replace(WELL, sinks=(SinkStatus(**{"sink": "s", "type": "t", "state": "ok", **fields}),))


def part(name: str, **fields: Any) -> Status:
    return replace(WELL, parts=(PartStatus(**{"name": name, "state": "running", "since": NOW, **fields}),))


@pytest.mark.parametrize("state", get_args(State))
def test_only_a_running_daemon_is_ready(state: State) -> None:
    """Not while it starts, drains, was drained or waits; the state is the reason."""
    reasons = not_ready(replace(WELL, state=state), STALLED)
    assert [reason.kind for reason in reasons] == ([] if state == "running" else ["daemon"])
    assert all(state in reason.reason for reason in reasons)


STALLS = {
    "nothing was ever taken": sink(**WAITS),
    "nothing was taken for long": sink(**WAITS, last_success_at=LONG_AGO),
    "away for long": sink(**WAITS, state="paused", paused="unavailable", last_success_at=LONG_AGO),
    "refuses our credentials": sink(state="paused", paused="unauthorized"),
    "not delivered to": sink(trouble="its code broke"),
}


@pytest.mark.parametrize("case", STALLS)
def test_a_stalled_sink_is_named(case: str) -> None:
    """With the reason."""
    (reason,) = not_ready(STALLS[case], STALLED)
    assert (reason.kind, reason.name) == ("sink", "s")
    assert reason.reason


FINE = {
    "all is delivered": sink(last_success_at=LONG_AGO),
    "an old turn is refused while others are taken": sink(**WAITS, retrying=1, last_success_at=JUST_NOW),
    "something waits since a moment ago": sink(pending=1, oldest_undelivered_seconds=299.0),
    "away for a moment": sink(state="paused", paused="unavailable", oldest_undelivered_seconds=10.0),
    "retired": sink(**WAITS, state="retired", paused="unauthorized"),
    "unconfigured": sink(**WAITS, state="unconfigured"),
    "a source that broke": part("source codex", state="restarting"),
    "delivery that runs": part("delivery"),
}


@pytest.mark.parametrize("case", FINE)
def test_what_needs_nobody_is_ready(case: str) -> None:
    """A sink that is away for a moment, one bad turn, what is no longer owed."""
    assert not_ready(FINE[case], STALLED) == []


@pytest.mark.parametrize("fields", [{"state": "restarting"}, {"state": "stuck"}, {"trouble": "no space left"}])
def test_without_delivery_it_is_not_ready(fields: dict[str, Any]) -> None:
    """For it is what the daemon is for."""
    (reason,) = not_ready(part("delivery", **fields), STALLED)
    assert (reason.kind, reason.name) == ("part", "delivery")
