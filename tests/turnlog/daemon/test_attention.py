"""What needs attention is one sentence and one command: the gravest first, and nothing where all is well."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from turnlog.config import Config, LogConfig, SinkConfig, SourceConfig, SyncConfig
from turnlog.daemon.attention import attention
from turnlog.daemon.changes import changes
from turnlog.daemon.status import PartStatus, SinkStatus, Status

NOW = datetime(2026, 11, 20, tzinfo=UTC)
WELL = Status(state="running", at=NOW, directory="/d", version="1", running=True)
LONG_AGO = NOW - timedelta(hours=1)
PAUSED: dict[str, Any] = {"state": "paused", "paused_since": NOW, "reason": "no"}


def sink(**fields: Any) -> Status:
    return replace(WELL, sinks=(SinkStatus(**{"sink": "s", "type": "t", "state": "ok", **fields}),))


def part(**fields: Any) -> Status:
    return replace(WELL, parts=(PartStatus("p", **{"state": "running", "since": NOW, **fields}),))


CASES = {
    "turnlog daemon start": replace(WELL, state="not running"),
    "turnlog daemon reload": replace(WELL, state="drained"),
    "turnlog doctor": replace(WELL, problems=("the folder has gone",)),
    "turnlog daemon restart": part(state="stuck"),
    "turnlog doctor ": part(trouble="no space"),
    "turnlog daemon logs --errors": part(state="restarting", error="broke"),
    "turnlog config check": replace(WELL, reload_error="no TOML"),
    "turnlog doctor  ": sink(trouble="its code broke"),
    "turnlog sinks resume s": sink(**PAUSED, paused="unauthorized"),
    "turnlog sinks resume s ": sink(**PAUSED, paused="operator"),
    "turnlog sinks retire s": sink(state="unconfigured", pending=3),
    "turnlog doctor   ": sink(**{**PAUSED, "paused_since": LONG_AGO}, paused="unavailable"),
    "turnlog pending --sink s --state dead": sink(dead=2),
}


@pytest.mark.parametrize("command", CASES)
def test_each_trouble_has_its_command(command: str) -> None:
    """And a sentence."""
    found = attention(CASES[command])
    assert found is not None
    assert found.command == command.strip()
    assert found.sentence


@pytest.mark.parametrize(
    "status",
    [
        WELL,
        sink(pending=10, retrying=2, in_flight=1),
        sink(**PAUSED, paused="unavailable"),
        sink(state="retired", dead=3),
        sink(state="unconfigured"),
        part(state="starting"),
    ],
)
def test_what_goes_right_by_itself_needs_nobody(status: Status) -> None:
    """Work, an outage that has just begun, and sinks that were given up."""
    assert attention(status) is None


def test_the_gravest_comes_first() -> None:
    """A daemon that does not run before all else; dead turns last."""
    both = replace(sink(dead=2), parts=part(state="stuck").parts)
    assert attention(both) == attention(part(state="stuck"))
    assert attention(replace(both, state="not running")) == attention(replace(sink(dead=2), state="not running"))


def test_differences_are_told_without_values_that_may_be_secret() -> None:
    """Numbers and paths of the plain sections are told; of a sink only which of its options differ."""
    secret = {"url": "http://user:canary@x", "token": "canary"}
    old = Config(
        sinks=(SinkConfig("a", "batch", options={"url": "http://a"}), SinkConfig("b", "batch")),
        sources=(SourceConfig("codex"),),
    )
    new = Config(
        log=LogConfig(dir="/other"),
        sync=SyncConfig(max_attempts=9),
        sinks=(SinkConfig("a", "batch", options=secret), SinkConfig("c", "memory")),
        sources=(SourceConfig("codex", {"path": "/x"}),),
    )
    told = changes(old, new)
    assert told == [
        "[sync] max_attempts: 5 -> 9",
        "[log] dir: None -> /other; it needs a restart",
        "the sink 'c' is new",
        "the sink 'b' is gone; what it is owed stays known",
        "the sink 'a' is another: token, url",
        "the source 'codex' is new",
        "the source 'codex' is gone",
    ]
    assert "canary" not in str(told)
    assert changes(old, old) == []
