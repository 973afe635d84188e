"""The metrics say what the status says, in words that Prometheus understands, whatever anything is called."""

import shutil
import subprocess
from collections.abc import Iterable

import pytest
from hypothesis import given
from msgspec.structs import replace
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from turnlog.daemon.monitoring.metrics import NAMES_MAX, exposition
from turnlog.daemon.status import SinkStatus, SourceStatus, Status

from .support import STATUSES, WELL

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def families(status: Status) -> dict[str, Metric]:
    body, _ = exposition(status, "")
    return {family.name: family for family in parse_text(body.decode())}


def values(family: Metric, *labels: str) -> dict[tuple[str, ...], float]:
    return {tuple(sample.labels[name] for name in labels): sample.value for sample in family.samples}


def bounded(named: Iterable[tuple[str, float]]) -> dict[tuple[str, ...], float]:
    """Values by name, those whose names are too long together."""
    totals: dict[tuple[str, ...], float] = {}
    for name, value in named:
        key = (name if len(name) <= 64 else "other",)
        totals[key] = totals.get(key, 0.0) + value
    return totals


@given(STATUSES)
def test_the_figures_are_those_of_the_status(status: Status) -> None:
    """By source and by sink, whatever these are called."""
    found = families(status)
    recorded = values(found["turnlog_turns_recorded"], "source")
    assert recorded == bounded((source.source, source.turns) for source in status.sources)
    for name in ("pending", "in_flight", "retrying", "dead", "delivered"):
        told = values(found[f"turnlog_turns_{name}"], "sink")
        assert told == bounded((sink.sink, getattr(sink, name)) for sink in status.sinks)
    assert sum(values(found["turnlog_sync_attempts"], "sink", "outcome").values()) == pytest.approx(
        sum(sum(sink.outcomes.values()) for sink in status.sinks)
    )
    assert found["turnlog_log_last_seq"].samples[0].value == status.last_seq
    states = values(found["turnlog_daemon_state"], "state")
    assert [state for (state,), value in states.items() if value] == [status.state]


@given(STATUSES)
def test_the_histogram_is_one(status: Status) -> None:
    """Its buckets grow, and the last one is the count."""
    samples = families(status)["turnlog_sync_latency_seconds"].samples
    for sink in status.sinks:
        own = [
            sample for sample in samples if sample.labels["sink"] == (sink.sink if len(sink.sink) <= 64 else "other")
        ]
        buckets = [sample.value for sample in own if sample.name.endswith("_bucket")]
        (count,) = [sample.value for sample in own if sample.name.endswith("_count")]
        assert buckets == sorted(buckets)
        assert buckets[-1] == count


@given(STATUSES)
def test_openmetrics_is_valid_too(status: Status) -> None:
    """And has the same families."""
    body, kind = exposition(status, OPENMETRICS)
    assert kind.startswith("application/openmetrics-text")
    assert {family.name for family in parse_openmetrics(body.decode())} >= set(families(status))


def test_names_without_end_are_one_series() -> None:
    """The first hundred have their own, so that none of these ever ends; the sum stays right."""
    sources = tuple(SourceStatus(f"s{number}", turns=1) for number in range(1000))
    recorded = values(families(replace(WELL, sources=sources))["turnlog_turns_recorded"], "source")
    assert len(recorded) == NAMES_MAX + 1
    assert sum(recorded.values()) == 1000
    assert recorded["s0",] == recorded["s99",] == 1
    assert recorded["other",] == 900


def test_a_sink_is_paused_for_one_reason() -> None:
    """A series for each kind, so that an alert sees it end."""
    status = replace(WELL, sinks=(SinkStatus("s", "t", "paused", paused="unauthorized"),))
    paused = values(families(status)["turnlog_sink_paused"], "sink", "kind")
    assert paused == {
        ("s", kind): float(kind == "unauthorized") for kind in ("unavailable", "throttled", "unauthorized", "operator")
    }
    resumed = replace(WELL, sinks=(SinkStatus("s", "t", "ok"),))
    assert set(values(families(resumed)["turnlog_sink_paused"], "sink", "kind").values()) == {0.0}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian package prometheus)")
def test_promtool_is_content() -> None:
    """It lints names, units and help texts."""
    sinks = SinkStatus("s", "t", "paused", paused="throttled"), SinkStatus("other", "t", "ok")
    status = replace(WELL, sinks=sinks, sources=(SourceStatus("codex", turns=3, lag_seconds=1.0),))
    body, _ = exposition(status, "")
    done = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
