"""What needs a person, the gravest first: each a sentence and the command to run."""

from collections.abc import Callable, Iterator

from turnlog.daemon.status import Attention, SinkStatus, Status

DOCTOR = "turnlog doctor"

_OUTAGE_SECONDS = 300.0
"""A sink that is away for so long is worth telling; until then it is asked again and that is all there is to it."""


def attention(status: Status) -> Attention | None:
    """What needs attention first, if anything does."""
    return next(all_attention(status), None)


def all_attention(status: Status) -> Iterator[Attention]:
    """Everything that needs attention, the gravest first."""
    return (found for rule in _RULES for found in rule(status))


def _not_running(status: Status) -> Iterator[Attention]:
    waiting = sum(_open(sink) for sink in status.sinks if sink.state not in ("retired", "unconfigured"))
    if status.state == "not running":
        yield Attention(f"the daemon does not run; turns that wait: {waiting}", "turnlog daemon start")
    if status.state == "drained":
        yield Attention("the daemon was drained and begins nothing", "turnlog daemon reload")


def _broken(status: Status) -> Iterator[Attention]:
    for problem in status.problems:
        yield Attention(problem, DOCTOR)
    for part in status.parts:
        if part.state == "stuck":
            yield Attention(f"{part.name} is stuck", "turnlog daemon restart")
        if part.trouble is not None:
            yield Attention(f"{part.name} waits: {part.trouble}", DOCTOR)
        if part.state == "restarting":
            yield Attention(f"{part.name} broke and is started again: {part.error}", "turnlog daemon logs --errors")


def _reload(status: Status) -> Iterator[Attention]:
    if status.reload_error is not None:
        yield Attention(f"the newest configuration was not taken: {status.reload_error}", "turnlog config check")


def _sinks(status: Status) -> Iterator[Attention]:
    for sink in status.sinks:
        if sink.trouble is not None:
            yield Attention(f"the sink {sink.sink!r} is not delivered to: {sink.trouble}", DOCTOR)
        if sink.state == "paused" and sink.paused == "unauthorized":
            mend = f"turnlog sinks resume {sink.sink}"
            yield Attention(f"the sink {sink.sink!r} refuses our credentials: {sink.reason}; mend them, then", mend)
        if sink.state == "paused" and sink.paused == "operator":
            yield Attention(f"the sink {sink.sink!r} is paused by hand", f"turnlog sinks resume {sink.sink}")
        if sink.state == "unconfigured" and _open(sink):
            yield Attention(
                f"turns wait for the sink {sink.sink!r}, which is not configured: {_open(sink)}",
                f"turnlog sinks retire {sink.sink}",
            )


def _away(status: Status) -> Iterator[Attention]:
    for sink in status.sinks:
        since = sink.paused_since
        if sink.state == "paused" and since and (status.at - since).total_seconds() >= _OUTAGE_SECONDS:
            yield Attention(f"the sink {sink.sink!r} is away ({sink.paused}): {sink.reason}", DOCTOR)


def _dead(status: Status) -> Iterator[Attention]:
    for sink in status.sinks:
        if sink.dead and sink.state != "retired":
            dead = f"turnlog pending --sink {sink.sink} --state dead"
            yield Attention(f"turns that are dead at {sink.sink!r}: {sink.dead}", dead)


def _open(sink: SinkStatus) -> int:
    return sink.pending + sink.in_flight + sink.retrying


_RULES: tuple[Callable[[Status], Iterator[Attention]], ...] = (_not_running, _broken, _reload, _sinks, _away, _dead)
