"""`turnlog pending`: what is not delivered."""

from datetime import UTC, datetime
from typing import Any

import click

from projections import DELIVERY
from turnlog.cli.app import App, json_option, pass_app, say
from turnlog.cli.filters import filter_options, to_filter
from turnlog.cli.output import following, print_json, print_table
from turnlog.sync.listing import TurnAtSink, list_turns


@click.command("pending")
@filter_options(("pending", "attempting", "retrying", "dead"))
@json_option
@pass_app
def command(app: App, /, as_json: bool, **chosen: Any) -> None:
    """List what is not delivered, and why, and when next.

    That is what is pending, attempting, retrying or dead, a line for each turn and sink, in the order of the log.
    """
    log = app.read_log()
    (state,) = app.replay(DELIVERY)
    app.check_sink(chosen["sink"], state)
    rows = list_turns(log, state, to_filter(**chosen), policy=app.policy)
    if as_json:
        for row in rows:
            print_json(row)
        return
    now = datetime.now(UTC)
    lines = [_line(row, now) for row in rows]
    for sink in state.sinks.values():
        if sink.pause is not None and not sink.retired:
            say(f"the sink {sink.name!r} is paused ({sink.pause.kind}): {sink.pause.reason}")
    if lines:
        print_table(("seq", "turn", "user", "conversation", "sink", "state", "attempts", "next", "last error"), lines)
    else:
        click.echo("nothing is pending", err=True)


def _line(row: TurnAtSink, now: datetime) -> tuple[Any, ...]:
    error = row.last_error and f"{row.last_error.kind}: {row.last_error.message}"
    turn = row.seq, row.turn_id, row.user, row.conversation, row.sink, row.state, row.attempts
    return *turn, following(row, now), error
