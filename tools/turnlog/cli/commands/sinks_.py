"""`turnlog sinks`: how the sinks are, and the operator's hand on them."""

from datetime import UTC, datetime

import click

from eventlog import Event, SinkPaused, SinkResumed, SinkRetired
from projections import DELIVERY, OPERATOR, STATISTICS
from turnlog.cli.app import App, json_option, pass_app
from turnlog.cli.output import ago, duration, print_json, print_table
from turnlog.errors import WrongUsage
from turnlog.sync.health import SinkHealth, sink_health


@click.group("sinks", invoke_without_command=True)
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List sinks and how they are; pause, resume, retire one.

    The lag is the age of the oldest turn that is not delivered, in seconds.
    """
    if ctx.invoked_subcommand is not None:
        return
    app = ctx.find_object(App)
    assert app is not None  # noqa: S101 - the group made it
    now = datetime.now(UTC)
    state, statistics = app.replay(DELIVERY, STATISTICS)
    healths = sink_health(app.read_log(), state, statistics, app.config_or_defaults, now)
    if as_json:
        for health in healths:
            print_json(health)
    elif healths:
        counted = ("pending", "retrying", "delivered", "dead")
        columns = ("sink", "type", "state", "lag", "in flight", "turns/s", *counted, "last success")
        print_table(columns, [_line(health, now) for health in healths])
    else:
        click.echo("no sink is configured or enrolled; see README.md, Configuration", err=True)


def _line(health: SinkHealth, now: datetime) -> tuple[object, ...]:
    state = health.state
    if health.pause is not None:
        following = f", next probe {ago(health.next_probe_at, now)}" if health.next_probe_at else ""
        state = f"paused ({health.pause.kind}) {ago(health.pause.since, now)}{following}: {health.pause.reason}"
    lag = None if health.lag_seconds is None else duration(health.lag_seconds)
    counts = (health.counts[name] for name in ("pending", "retrying", "delivered", "dead"))
    rate = f"{health.rate:.1f}" if health.rate else None
    return health.sink, health.type, state, lag, health.in_flight, rate, *counts, ago(health.last_success_at, now)


@command.command("pause")
@click.argument("name")
@click.option("--reason", default="", help="Why, for the record.")
@pass_app
def pause(app: App, name: str, reason: str) -> None:
    """Send nothing to a sink until it is resumed by hand."""
    _decide(app, name, SinkPaused(sink=name, kind=OPERATOR, reason=reason or "paused by the operator"), "paused")


@command.command("resume")
@click.argument("name")
@click.option("--reason", default="", help="Why, for the record.")
@pass_app
def resume(app: App, name: str, reason: str) -> None:
    """Send to a sink again, whatever it was paused for."""
    _decide(app, name, SinkResumed(sink=name, reason=reason or "resumed by the operator"), "resumed")


@command.command("retire")
@click.argument("name")
@click.option("--reason", default="", help="Why, for the record.")
@pass_app
def retire(app: App, name: str, reason: str) -> None:
    """Owe a sink nothing any longer, for good; what it has stays known."""
    _decide(app, name, SinkRetired(sink=name, reason=reason), "retired")


def _decide(app: App, name: str, event: Event, done: str) -> None:
    (state,) = app.replay(DELIVERY)
    app.check_sink(name, state)
    if name in state.sinks and state.sinks[name].retired:
        raise WrongUsage(f"the sink {name!r} is retired, which is for good; configure a sink of another name")
    with app.recorder() as recorder:
        recorder.log.append(event)
    click.echo(f"{name} is {done}", err=True)
