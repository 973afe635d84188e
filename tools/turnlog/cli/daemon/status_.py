"""`turnlog daemon status`."""

from datetime import datetime

import click

from turnlog.cli.app import App, json_option, pass_app
from turnlog.cli.output import ago, duration, one_line, print_json, print_table
from turnlog.daemon.client import NoAnswer, ask_status
from turnlog.daemon.lock import holder_of
from turnlog.daemon.status import SinkStatus, SourceStatus, Status

_SOURCE_COLUMNS = ("source", "watched", "last read", "turns", "quarantined", "lag")
_SINK_COLUMNS = ("sink", "state", "oldest", "pending", "retrying", "dead", "delivered", "turns/s", "next probe")


@click.command("status")
@json_option
@pass_app
def command(app: App, as_json: bool) -> int:
    """Tell how the daemon, its sources and its sinks are.

    Ends 0 if all is well, 1 if something needs attention: then the last line says what, and the command to run. That no
    daemon runs is such a thing; what the log says is told all the same.
    """
    status = _status(app)
    if as_json:
        print_json(status)
    else:
        _print(status)
    return 0 if status.attention is None else 1


def _status(app: App) -> Status:
    holder = holder_of(app.directory)
    if holder is None:
        from turnlog.daemon.absent import status_without  # reads the log, which takes longer

        return status_without(app.directory, app.config_or_defaults)
    try:
        return ask_status(holder.socket)
    except NoAnswer as error:
        from turnlog.daemon.absent import last_written

        return last_written(app.directory, str(error))


def _print(status: Status) -> None:
    print(_headline(status))
    sync = status.sync
    took = f" in {sync.last_seconds:.3g} s" if sync.last_seconds is not None else ""
    last = f", the last one {ago(sync.last_at, status.at)}{took}" if sync.last_at else ""
    following = f"; next look {ago(sync.next_at, status.at)}" if sync.next_at and status.running else ""
    print(f"turns {status.turns}; requests {sync.done}, errors {sync.errors}{last}{following}")
    if status.sources:
        print()
        print_table(_SOURCE_COLUMNS, [_source(source, status.at) for source in status.sources])
    if status.sinks:
        print()
        print_table(_SINK_COLUMNS, [_sink(sink, status.at) for sink in status.sinks])
    broken = [part for part in status.parts if part.state != "running" or part.error or part.trouble]
    if broken:
        print()
        rows = [(p.name, p.state, ago(p.since, status.at), p.restarts, p.trouble or p.error) for p in broken]
        print_table(("part", "state", "since", "restarts", "why"), rows)
    for notice in status.notices:
        print(one_line(f"{ago(notice.raised_at, status.at)}, {notice.source}: {notice.title} {notice.link}"))
    if status.attention is not None:
        print(f"\n{one_line(status.attention.sentence)}: `{status.attention.command}`")


def _headline(status: Status) -> str:
    if not status.running:
        return f"not running: {status.directory}"
    memory = f", {status.memory_bytes / 2**20:.0f} MB" if status.memory_bytes else ""
    cpu = f", {status.cpu_seconds:.1f} s of processor time" if status.cpu_seconds is not None else ""
    life = f"{status.state}, pid {status.pid}, for {duration(status.uptime_seconds or 0.0)}{memory}{cpu}"
    return f"{life}; turnlog {status.version}, configuration {status.generation}"


def _source(source: SourceStatus, now: datetime) -> tuple[object, ...]:
    lag = None if source.lag_seconds is None else duration(source.lag_seconds)
    watched = ago(source.looked_at, now) if source.watched else "no"
    return source.source, watched, ago(source.read_at, now), source.turns, source.quarantined, lag


def _sink(sink: SinkStatus, now: datetime) -> tuple[object, ...]:
    state = sink.state
    if sink.paused is not None and sink.state == "paused":
        state = f"paused ({sink.paused}) {ago(sink.paused_since, now)}: {sink.reason}"
    oldest = sink.oldest_undelivered_seconds
    following = ago(sink.next_probe_at, now) if sink.next_probe_at else None
    return (
        sink.sink,
        state,
        None if oldest is None else duration(oldest),
        sink.pending + sink.in_flight,
        sink.retrying,
        sink.dead,
        sink.delivered,
        f"{sink.rate:.1f}" if sink.rate else None,
        following,
    )
