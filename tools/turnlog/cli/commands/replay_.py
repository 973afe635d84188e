"""`turnlog replay`: the state from the log alone."""

from datetime import datetime
from typing import Any

import click

from eventlog import EventLog, Problem
from projections import DELIVERY, STATE_NAMES, STATISTICS, Checkpoints, Fold, SinkCounts, replay
from turnlog.cli.app import App, json_option, pass_app, say
from turnlog.cli.output import print_json, print_table
from turnlog.clock import as_utc
from turnlog.errors import WrongUsage


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
@click.option("--from-checkpoint", is_flag=True, help="Begin where a state was saved, and save the new one.")
@click.option("--check", is_flag=True, help="Replay both ways and compare.")
@json_option
@pass_app
def command(app: App, until: int | datetime | None, from_checkpoint: bool, check: bool, as_json: bool) -> int:
    """Rebuild the state from the log alone, also of the past.

    Reads nothing but the log's segments, unless a checkpoint is asked for. Ends 1 if something in the log is damaged,
    or if a checkpoint and the log do not agree. What is `reconciled` was in doubt, and found when the sink was asked.
    """
    if until is not None and (from_checkpoint or check):
        raise WrongUsage("--until shows the past, where there are no checkpoints; leave one of the options out")
    problems: list[Problem] = []
    log, folds = app.read_log(), (DELIVERY, STATISTICS)
    checkpoints = Checkpoints(log) if from_checkpoint and not check else None
    states = replay(log, *folds, until=until, problems=problems, checkpoints=checkpoints)
    delivery, statistics = states
    agree = not check or _agree(log, folds, states)
    sinks = {name: sink.totals() for name, sink in delivery.sinks.items()}
    reconciled = {name: statistics.sinks.get(name, SinkCounts()).reconciled for name in sinks}
    if as_json:
        counts = {"events": statistics.events, "last_seq": statistics.last_seq, "turns": statistics.turns}
        print_json({**counts, "sinks": sinks, "reconciled": reconciled})
    else:
        click.echo(f"{statistics.events} events, {statistics.turns} turns, last seq {statistics.last_seq}")
        rows = [(name, *totals.values(), reconciled[name]) for name, totals in sinks.items()]
        if rows:
            print_table(("sink", *STATE_NAMES[1:], "reconciled"), rows)
    for problem in problems:
        say(f"passed over {problem.segment} at byte {problem.offset}: {problem.detail}; see `turnlog verify`")
    return 0 if agree and not problems else 1


def _agree(log: EventLog, folds: tuple[Fold[Any], ...], states: tuple[Any, ...]) -> bool:
    """Whether the folds come to the same states from their checkpoints; says which do."""
    checkpoints = Checkpoints(log, read_only=True)
    saved = [state.last_seq for state in checkpoints.load(folds)]
    differing = []
    for fold, seq, state, other in zip(folds, saved, states, replay(log, *folds, checkpoints=checkpoints), strict=True):
        if not seq:
            say(f"{fold.name}: there is no checkpoint that fits")
        elif state == other:
            say(f"{fold.name}: the checkpoint at seq {seq} agrees with the log")
        else:
            say(f"{fold.name}: the checkpoint at seq {seq} does not agree with the log; delete checkpoints/{fold.name}")
            differing.append(fold)
    return not differing
