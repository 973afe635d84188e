"""`turnlog replay`: the state from the log alone."""

from datetime import datetime

import click

from eventlog import Problem
from projections import DELIVERY, STATE_NAMES, STATISTICS, replay
from turnlog.cli.app import App, json_option, pass_app, say
from turnlog.cli.output import print_json, print_table
from turnlog.clock import as_utc


class _Until(click.ParamType[int | datetime]):
    """A seq, or a time in RFC 3339."""

    name = "SEQ|TIME"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> int | datetime:
        try:
            if value.isdecimal():
                return int(value)
            return as_utc(datetime.fromisoformat(value))
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither a seq nor a time such as 2026-11-20T10:00:00Z", param, ctx)


@click.command("replay")
@click.option("--until", type=_Until(), help="Show the past: up to this event, or up to this time (UTC).")
@json_option
@pass_app
def command(app: App, until: int | datetime | None, as_json: bool) -> int:
    """Rebuild the state from the log alone, also of the past.

    Reads nothing but the log's segments. Ends 1 if something in the log is damaged.
    """
    problems: list[Problem] = []
    delivery, statistics = replay(app.read_log(), DELIVERY, STATISTICS, until=until, problems=problems)
    sinks = {name: sink.totals() for name, sink in delivery.sinks.items()}
    if as_json:
        counts = {"events": statistics.events, "last_seq": statistics.last_seq, "turns": statistics.turns}
        print_json({**counts, "sinks": sinks})
    else:
        click.echo(f"{statistics.events} events, {statistics.turns} turns, last seq {statistics.last_seq}")
        if sinks:
            print_table(("sink", *STATE_NAMES[1:]), [(name, *totals.values()) for name, totals in sinks.items()])
    for problem in problems:
        say(f"passed over {problem.segment} at byte {problem.offset}: {problem.detail}; see `turnlog verify`")
    return 1 if problems else 0
