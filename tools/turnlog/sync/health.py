"""How each sink is, as far as the log can tell."""

from datetime import datetime

from msgspec import Struct

from eventlog import EventLog
from projections import Delivery, Pause, SinkCounts, SinkState, Statistics, is_open, next_probe_at
from projections.delivery_state import ATTEMPTING, OPEN
from turnlog.clock import age_seconds
from turnlog.config import Config, SinkConfig


class SinkHealth(Struct, frozen=True):
    """One sink; the fields are those of `turnlog sinks --json`.

    `state`: `new` (configured, enrolled by the next command that writes), `ok`, `idle` (nothing to send), `paused`,
    `retired`, `unconfigured` (enrolled, but nobody can deliver to it). `lag_seconds` is the age of the oldest turn
    that is not delivered, dead ones aside; None if there is none. `in_flight` turns are being sent, or were when their
    worker died; `rate` turns a second were delivered over the last minute. `next_probe_at` is when a paused sink is
    asked whether it is back, or tried again; None if it waits for the operator, or for a credential.
    """

    sink: str
    type: str
    state: str
    lag_seconds: float | None
    counts: dict[str, int]
    pause: Pause | None
    last_success_at: datetime | None
    in_flight: int = 0
    rate: float = 0.0
    next_probe_at: datetime | None = None


def sink_health(
    log: EventLog, state: Delivery, statistics: Statistics, config: Config, now: datetime
) -> list[SinkHealth]:
    """The sinks of the log, of which `state` and `statistics` tell, then those that only the configuration knows.

    The states may be those of an engine at work: they are read in steps that each see a state as it is.
    """
    configured = {sink.name for sink in config.sinks}
    known = []
    for name, sink in list(state.sinks.items()):
        oldest = _oldest(log, state, sink)
        known.append(
            SinkHealth(
                sink=name,
                type=sink.kind,
                state=_state(sink, now, configured=name in configured, idle=oldest is None),
                lag_seconds=age_seconds(oldest, now) if oldest else None,
                counts=sink.totals(),
                pause=sink.pause,
                last_success_at=sink.last_success_at,
                in_flight=sink.counts[ATTEMPTING],
                rate=statistics.sinks.get(name, SinkCounts()).rate(now),
                next_probe_at=_next_probe_at(sink, config, now),
            )
        )
    return [*known, *(_unborn(sink) for sink in config.sinks if sink.name not in state.sinks)]


def _oldest(log: EventLog, state: Delivery, sink: SinkState) -> datetime | None:
    """When the oldest turn was recorded that the sink has not got."""
    found = [ordinal for code in OPEN if (ordinal := sink.states.find(code)) >= 0]  # of millions in a fraction of a ms
    oldest = min(found, default=None)
    entry = log.get(state.turns.seqs[oldest]) if oldest is not None else None
    return entry.at if entry else None


def _next_probe_at(sink: SinkState, config: Config, now: datetime) -> datetime | None:
    if sink.pause is None or is_open(sink, now):
        return None
    return sink.pause.until or next_probe_at(sink, config.sync.probing(), after=now)


def _state(sink: SinkState, now: datetime, *, configured: bool, idle: bool) -> str:
    if sink.retired:
        return "retired"
    if not configured:
        return "unconfigured"
    if not is_open(sink, now):
        return "paused"
    return "idle" if idle else "ok"


def _unborn(sink: SinkConfig) -> SinkHealth:
    return SinkHealth(sink.name, sink.type, "new", None, SinkState(sink.name).totals(), None, None)
