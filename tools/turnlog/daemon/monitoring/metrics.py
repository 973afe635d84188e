"""The status in the words of Prometheus; docs/monitoring.md says what each metric means.

A collector makes them from a status when they are asked for, so nothing is counted twice: counters come from the log
and survive a restart, but for `turnlog_part_restarts_total`. Names follow https://prometheus.io/docs/practices/naming/.
"""

import platform
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from operator import add
from typing import get_args

from msgspec import Struct
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from eventlog import FAILURE_KINDS
from projections.statistics import LATENCY_BOUNDS_SECONDS, RECONCILED, SUCCEEDED
from turnlog.daemon.status import SinkStatus, State, Status

NAMES_MAX, NAME_CHARACTERS_MAX = 100, 64
"""So many sources and sinks have series of their own, with names of this length; the rest are summed up as `other`."""

OTHER = "other"
OUTCOMES = (SUCCEEDED, RECONCILED, *FAILURE_KINDS)
PAUSES = ("unavailable", "throttled", "unauthorized", "operator")

Sample = tuple[tuple[str, ...], float]
"""The values of the labels, and the value."""


class _Family(Struct, frozen=True):
    """One metric: its kind, its name without `_total`, what it says, its labels, and its samples in a status."""

    kind: type[CounterMetricFamily] | type[GaugeMetricFamily]
    name: str
    says: str
    labels: tuple[str, ...]
    samples: Callable[[Status], Iterable[Sample]]


def exposition(status: Status, accept: str) -> tuple[bytes, str]:
    """All metrics in the format that an Accept header asks for, and its Content-Type."""
    registry = CollectorRegistry()
    registry.register(StatusCollector(status))
    ProcessCollector(registry=registry)
    encode, kind = choose_encoder(accept)
    return encode(registry), kind


class StatusCollector(Collector):
    """The metrics of one status."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        for family in _FAMILIES:
            metric = family.kind(family.name, family.says, labels=family.labels)
            for labels, value in _bounded(
                family.samples(self._status), max if family.name.endswith("_seconds") else add
            ):
                metric.add_metric(labels, value)
            yield metric
        yield self._latency()

    def _latency(self) -> Metric:
        metric = HistogramMetricFamily(
            "turnlog_sync_latency_seconds", "How long requests to a sink took that were answered.", labels=("sink",)
        )
        bounds = (*map(str, LATENCY_BOUNDS_SECONDS), "+Inf")
        for sink in self._status.sinks[:NAMES_MAX]:
            counts = accumulate(sink.latency.counts or (0,) * len(bounds))
            metric.add_metric((sink.sink,), list(zip(bounds, counts, strict=True)), sink.latency.seconds)
        return metric


def _bounded(samples: Iterable[Sample], join: Callable[[float, float], float]) -> Iterable[Sample]:
    """Each series once, and the names that are too many or too long as one; `join` makes one value of two."""
    known: set[str] = set()
    values: dict[tuple[str, ...], float] = {}
    for labels, value in samples:
        fits = not labels or labels[0] in known or (len(known) < NAMES_MAX and len(labels[0]) <= NAME_CHARACTERS_MAX)
        series = labels if fits else (OTHER, *labels[1:])
        known.update(series[:1])
        values[series] = join(values[series], value) if series in values else value
    return values.items()


def _one(value: float | None) -> Iterator[Sample]:
    if value is not None:
        yield (), value


def _build(status: Status) -> Iterator[Sample]:
    yield (status.version, platform.python_version()), 1


def _states(status: Status) -> Iterator[Sample]:
    return (((state,), float(status.state == state)) for state in get_args(State))


def _each_sink(value: Callable[[SinkStatus], float | None]) -> Callable[[Status], Iterator[Sample]]:
    def samples(status: Status) -> Iterator[Sample]:
        for sink in status.sinks:
            if (found := value(sink)) is not None:
                yield (sink.sink,), found

    return samples


def _attempts(status: Status) -> Iterator[Sample]:
    return (sample for sink in status.sinks for sample in _by_kind(sink.sink, sink.outcomes, OUTCOMES))


def _failures(status: Status) -> Iterator[Sample]:
    return (sample for sink in status.sinks for sample in _by_kind(sink.sink, sink.failures, FAILURE_KINDS))


def _by_kind(sink: str, counts: dict[str, int], kinds: tuple[str, ...]) -> Iterator[Sample]:
    """A series for each kind, from the beginning; what a newer version wrote may have others."""
    yield from (((sink, kind), 0) for kind in kinds)
    yield from (((sink, kind if kind in kinds else OTHER), count) for kind, count in counts.items())


def _paused(status: Status) -> Iterator[Sample]:
    for sink in status.sinks:
        kind = sink.paused if sink.state == "paused" else None
        yield from (((sink.sink, known), float(known == kind)) for known in PAUSES)
        if kind is not None and kind not in PAUSES:
            yield (sink.sink, OTHER), 1


def _part_restarts(status: Status) -> Iterator[Sample]:
    return (((part.name,), part.restarts) for part in status.parts)


def _parts_running(status: Status) -> Iterator[Sample]:
    return (((part.name,), float(part.state == "running" and part.trouble is None)) for part in status.parts)


_C, _G = CounterMetricFamily, GaugeMetricFamily
_SINK, _SOURCE, _PART = ("sink",), ("source",), ("part",)

_FAMILIES = (
    _Family(_G, "turnlog_build_info", "The versions, as labels.", ("version", "python_version"), _build),
    _Family(_G, "turnlog_daemon_state", "1 for the state that the daemon is in.", ("state",), _states),
    _Family(
        _G,
        "turnlog_daemon_attention",
        "Whether something needs a person, as `turnlog daemon status` tells.",
        (),
        lambda status: _one(float(status.attention is not None)),
    ),
    _Family(
        _G,
        "turnlog_config_generation",
        "How many configurations were applied since the start.",
        (),
        lambda status: _one(status.generation),
    ),
    _Family(
        _G,
        "turnlog_config_last_reload_successful",
        "Whether the newest configuration was taken.",
        (),
        lambda status: _one(float(status.reload_error is None)),
    ),
    _Family(_G, "turnlog_log_last_seq", "The seq of the log's last event.", (), lambda status: _one(status.last_seq)),
    _Family(
        _C,
        "turnlog_turns_recorded",
        "Turns in the log, with their revisions.",
        _SOURCE,
        lambda status: (((source.source,), source.turns) for source in status.sources),
    ),
    _Family(
        _C,
        "turnlog_source_quarantined",
        "Pieces of a source that could not be read and were kept.",
        _SOURCE,
        lambda status: (((source.source,), source.quarantined) for source in status.sources),
    ),
    _Family(
        _G,
        "turnlog_source_lag_seconds",
        "How long the oldest thing that was seen in a source waits to be recorded.",
        _SOURCE,
        lambda status: (((s.source,), s.lag_seconds) for s in status.sources if s.lag_seconds is not None),
    ),
    _Family(
        _G,
        "turnlog_source_last_look_timestamp_seconds",
        "When the files of a source were looked at last.",
        _SOURCE,
        lambda status: (((s.source,), s.looked_at.timestamp()) for s in status.sources if s.looked_at is not None),
    ),
    _Family(_C, "turnlog_sync_requests", "Requests begun.", _SINK, _each_sink(lambda sink: sink.requests)),
    _Family(_C, "turnlog_sync_attempts", "What came of requests.", ("sink", "outcome"), _attempts),
    _Family(_C, "turnlog_turn_failures", "Turns in requests that failed.", ("sink", "kind"), _failures),
    _Family(
        _G,
        "turnlog_oldest_undelivered_seconds",
        "The age of the oldest turn that a sink has not got, dead ones aside; 0 if there is none.",
        _SINK,
        _each_sink(lambda sink: sink.oldest_undelivered_seconds or 0.0),
    ),
    _Family(_G, "turnlog_turns_pending", "Turns not tried yet.", _SINK, _each_sink(lambda sink: sink.pending)),
    _Family(_G, "turnlog_turns_in_flight", "Turns being sent.", _SINK, _each_sink(lambda sink: sink.in_flight)),
    _Family(_G, "turnlog_turns_retrying", "Turns to be tried again.", _SINK, _each_sink(lambda sink: sink.retrying)),
    _Family(_G, "turnlog_turns_dead", "Turns given up.", _SINK, _each_sink(lambda sink: sink.dead)),
    _Family(_G, "turnlog_turns_delivered", "Turns that a sink has.", _SINK, _each_sink(lambda sink: sink.delivered)),
    _Family(_G, "turnlog_sink_paused", "1 for what a sink is paused for.", ("sink", "kind"), _paused),
    _Family(
        _G,
        "turnlog_sink_working",
        "0 if the daemon does not deliver to a sink at all: its code broke, or another process does.",
        _SINK,
        _each_sink(lambda sink: float(sink.trouble is None)),
    ),
    _Family(
        _G,
        "turnlog_sink_last_success_timestamp_seconds",
        "When a sink took a turn last.",
        _SINK,
        _each_sink(lambda sink: sink.last_success_at.timestamp() if sink.last_success_at else None),
    ),
    _Family(_C, "turnlog_part_restarts", "Restarts since the daemon's start.", _PART, _part_restarts),
    _Family(_G, "turnlog_part_running", "Whether a part of the daemon runs.", _PART, _parts_running),
)
