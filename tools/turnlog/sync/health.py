"""How each sink is, as far as the log can tell."""

from collections.abc import Sequence
from datetime import datetime
from itertools import chain

from msgspec import Struct

from eventlog import EventLog
from projections import Delivery, Pause, SinkState
from turnlog.clock import age_seconds
from turnlog.config import SinkConfig


class SinkHealth(Struct, frozen=True):
    """One sink; the fields are those of `turnlog sinks --json`.

    `state`: `new` (configured, enrolled by the next command that writes), `ok`, `idle` (nothing to send), `paused`,
    `retired`, `unconfigured` (enrolled, but nobody can deliver to it). `lag_seconds` is the age of the oldest turn
    that is not delivered, dead ones aside; None if there is none.
    """

    sink: str
    type: str
    state: str
    lag_seconds: float | None
    counts: dict[str, int]
    pause: Pause | None
    last_success_at: datetime | None


def sink_health(log: EventLog, state: Delivery, configured: Sequence[SinkConfig], now: datetime) -> list[SinkHealth]:
    """The sinks of the log, whose state is `state`, then those that only the configuration knows."""
    names = {sink.name for sink in configured}
    known = [_health(log, state.turns.seqs, sink, sink.name in names, now) for sink in state.sinks.values()]
    new = [_unborn(sink) for sink in configured if sink.name not in state.sinks]
    return [*known, *new]


def _health(log: EventLog, seqs: Sequence[int], sink: SinkState, configured: bool, now: datetime) -> SinkHealth:  # noqa: FBT001 - one of two facts
    oldest = min(chain.from_iterable(sink.lanes.values()), default=None)
    entry = log.get(seqs[oldest]) if oldest is not None else None
    return SinkHealth(
        sink=sink.name,
        type=sink.kind,
        state=_state(sink, now, configured=configured, idle=oldest is None),
        lag_seconds=age_seconds(entry.at, now) if entry else None,
        counts=sink.totals(),
        pause=sink.pause,
        last_success_at=sink.last_success_at,
    )


def _state(sink: SinkState, now: datetime, *, configured: bool, idle: bool) -> str:
    if sink.retired:
        return "retired"
    if not configured:
        return "unconfigured"
    if sink.pause is not None and (sink.pause.until is None or sink.pause.until > now):
        return "paused"
    return "idle" if idle else "ok"


def _unborn(sink: SinkConfig) -> SinkHealth:
    return SinkHealth(sink.name, sink.type, "new", None, SinkState(sink.name).totals(), None, None)
