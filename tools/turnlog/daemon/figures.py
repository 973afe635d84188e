"""What is counted for the status: folds over the log, kept up to date as long as the daemon runs."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

import projections
from eventlog import EventLog, EventLogError
from projections import (
    DELIVERY,
    NOTICES,
    SOURCES,
    STATISTICS,
    Checkpoints,
    Delivery,
    Live,
    SinkCounts,
    Statistics,
    open_notices,
    replay,
)
from projections.sources import SourceState
from turnlog.config import Config
from turnlog.daemon.status import Latency, Notice, SinkStatus, SourceStatus, SyncStatus
from turnlog.sync.health import SinkHealth, sink_health

_PATIENCE_SECONDS = 0.1
"""Who asks while the log is being read gets what was known before."""


class Counted(Struct, frozen=True):
    """What the log says, in the words of the status."""

    last_seq: int = 0
    events: int = 0
    turns: int = 0
    sync: SyncStatus = SyncStatus()
    sources: tuple[SourceStatus, ...] = ()
    sinks: tuple[SinkStatus, ...] = ()
    notices: tuple[Notice, ...] = ()


class Figures:
    """The counters of a log. What is known of deliveries is the engine's: it is in memory once."""

    def __init__(self, directory: Path) -> None:
        self._log = EventLog.open(directory, read_only=True)
        self._live = Live(self._log, STATISTICS, SOURCES, NOTICES, checkpoints=Checkpoints(self._log))
        self._lock = threading.Lock()
        self._known = Counted()

    def take(self, delivery: Delivery | None, config: Config, now: datetime) -> Counted:
        """The counters now; those of before while the log cannot be read, or is being read for the first time."""
        if self._lock.acquire(timeout=_PATIENCE_SECONDS):
            try:
                with suppress(EventLogError, OSError):
                    self._live.catch_up()
                    counted = count(self._log, delivery or Delivery(), self._live.states, config, now)
                    # Between two engines nobody knows more of the sinks than before.
                    self._known = replace(counted, sinks=self._known.sinks) if delivery is None else counted
            finally:
                self._lock.release()
        return self._known

    def close(self) -> None:
        """Keep them for the next start."""
        with self._lock:
            self._live.close()


def from_log(directory: Path, config: Config, now: datetime) -> Counted:
    """The same from the log alone, where no daemon runs. Raises LogUnavailable, NewerFormat."""
    log = EventLog.open(directory, read_only=True)
    checkpoints = Checkpoints(log, read_only=True)
    delivery, *others = replay(log, DELIVERY, STATISTICS, SOURCES, NOTICES, checkpoints=checkpoints)
    return count(log, delivery, others, config, now)


def count(log: EventLog, delivery: Delivery, others: Sequence[Any], config: Config, now: datetime) -> Counted:
    """What the states of a log come to; `others` are those of STATISTICS, SOURCES and NOTICES."""
    statistics, sources, notices = others
    sinks = [
        _sink(health, statistics.sinks.get(health.sink, SinkCounts()))
        for health in sink_health(log, delivery, statistics, config, now)
    ]
    return Counted(
        statistics.last_seq,
        statistics.events,
        statistics.turns,
        _sync(statistics, sinks),
        tuple(_source(name, state) for name, state in sources.sources.items()),
        tuple(sinks),
        tuple(_notice(notice) for notice in open_notices(notices, now)),
    )


def _notice(found: projections.Notice) -> Notice:
    return Notice(found.source, found.kind, found.program, found.title, found.link, found.raised_at, found.expires_at)


def _sync(statistics: Statistics, sinks: list[SinkStatus]) -> SyncStatus:
    counts = statistics.sinks.values()
    ended = [(known.last_at, known.last_seconds) for known in counts if known.last_at is not None]
    last_at, last_seconds = max(ended, key=lambda one: one[0], default=(None, None))
    return SyncStatus(
        done=sum(known.requests for known in counts),
        errors=sum(known.errors for known in counts),
        last_at=last_at,
        last_seconds=last_seconds,
        next_at=min((sink.next_probe_at for sink in sinks if sink.next_probe_at is not None), default=None),
    )


def _source(name: str, state: SourceState) -> SourceStatus:
    advanced = [stream.advanced_at for stream in state.streams.values() if stream.advanced_at is not None]
    return SourceStatus(
        name,
        turns=state.turns,
        quarantined=state.quarantined,
        streams=len(state.streams),
        read_at=max(advanced, default=None),
        last_turn_at=state.last_turn_at,
    )


def _sink(health: SinkHealth, counts: SinkCounts) -> SinkStatus:
    pause = health.pause
    return SinkStatus(
        health.sink,
        health.type,
        health.state,
        oldest_undelivered_seconds=health.lag_seconds,
        pending=health.counts["pending"],
        in_flight=health.in_flight,
        retrying=health.counts["retrying"],
        delivered=health.counts["delivered"],
        dead=health.counts["dead"],
        rate=health.rate,
        paused=pause.kind if pause else None,
        paused_since=pause.since if pause else None,
        reason=pause.reason if pause else None,
        next_probe_at=health.next_probe_at,
        last_success_at=health.last_success_at,
        last_seconds=counts.last_seconds,
        requests=counts.requests,
        errors=counts.errors,
        failures=dict(counts.failures),
        outcomes=dict(counts.outcomes),
        latency=Latency(tuple(counts.latency), counts.latency_seconds),
    )
