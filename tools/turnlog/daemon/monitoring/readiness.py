"""Whether the daemon does its work at the moment, and if not, why."""

from collections.abc import Iterator
from datetime import datetime

from msgspec import Struct

from turnlog.daemon.delivery import NAME as DELIVERY
from turnlog.daemon.status import SinkStatus, Status


class Reason(Struct, frozen=True):
    """Why it is not ready: `kind` is `daemon`, `part` or `sink`, `name` which one."""

    kind: str
    name: str
    reason: str


def not_ready(status: Status, stalled_seconds: float) -> list[Reason]:
    """All reasons; an empty list if it is ready."""
    return [*_daemon(status), *_delivery(status), *_sinks(status, stalled_seconds)]


def _daemon(status: Status) -> Iterator[Reason]:
    if status.state != "running":
        yield Reason("daemon", "daemon", f"it is {status.state}")


def _delivery(status: Status) -> Iterator[Reason]:
    for part in status.parts:
        if part.name == DELIVERY and status.state == "running" and (part.state != "running" or part.trouble):
            yield Reason("part", part.name, part.trouble or f"it is {part.state}")


def _sinks(status: Status, stalled_seconds: float) -> Iterator[Reason]:
    for sink in status.sinks:
        if sink.state in ("retired", "unconfigured"):
            continue
        if sink.trouble is not None:
            yield Reason("sink", sink.sink, sink.trouble)
        elif sink.state == "paused" and sink.paused == "unauthorized":
            yield Reason("sink", sink.sink, "it is paused: it refuses our credentials")
        elif _is_stalled(sink, status.at, stalled_seconds):
            state = f"paused ({sink.paused})" if sink.state == "paused" else sink.state
            yield Reason("sink", sink.sink, f"it got nothing for {stalled_seconds:g} s while turns wait; it is {state}")


def _is_stalled(sink: SinkStatus, now: datetime, seconds: float) -> bool:
    """One old turn, which is refused again and again, is no stalled sink as long as others are taken."""
    oldest, success = sink.oldest_undelivered_seconds, sink.last_success_at
    if oldest is None or oldest < seconds:
        return False
    return success is None or (now - success).total_seconds() >= seconds
