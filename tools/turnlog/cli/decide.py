"""What `turnlog retry` and `turnlog skip` have in common."""

from collections.abc import Callable, Sequence
from typing import Any

import click
import msgspec

from eventlog import EventLog, RetryRequested, TurnSkipped
from projections import DELIVERY, replay
from turnlog.cli.app import App
from turnlog.cli.filters import to_filter
from turnlog.cli.output import print_json, print_table
from turnlog.errors import WrongUsage
from turnlog.sync.decisions import to_decisions
from turnlog.sync.life import find_turns
from turnlog.sync.listing import Filter, TurnAtSink

Choose = Callable[..., list[TurnAtSink]]


def decide(
    app: App,
    kind: type[RetryRequested] | type[TurnSkipped],
    choose: Choose,
    turns: tuple[str, ...],
    *,
    done: str,
    reason: str,
    dry_run: bool,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Choose turns, write the decision down and print what it is about; `done` says it in a word."""
    wanted = to_filter(turns, **chosen)
    if wanted.is_empty:
        raise click.UsageError("name a TURN, or say which turns are meant with --sink, --state, --user ...")
    log = app.read_log()
    (state,) = replay(log, DELIVERY)
    app.check_sink(wanted.sink, state)
    rows = choose(log, state, _by_seq(log, wanted, app), policy=app.policy)
    if rows and not dry_run:
        with app.recorder() as recorder:
            recorder.log.append_many(to_decisions(kind, rows, reason))
    _print(rows, f"{'would be' if dry_run else 'are'} {done}", as_json=as_json)


def _by_seq(log: EventLog, wanted: Filter, app: App) -> Filter:
    """The filter with the turns that it names as their seqs."""
    seqs: list[str] = []
    for name in wanted.turns:
        found = find_turns(log, name)
        if not found:
            raise WrongUsage(f"there is no turn {name!r} in {app.directory}; `turnlog pending` lists what is open")
        seqs += map(str, found)
    return msgspec.structs.replace(wanted, turns=tuple(seqs))


def _print(rows: Sequence[TurnAtSink], done: str, *, as_json: bool) -> None:
    if as_json:
        for row in rows:
            print_json(row)
        return
    if rows:
        print_table(("seq", "turn", "user", "conversation", "sink", "was"), [_line(row) for row in rows])
    click.echo(f"{len(rows)} turns {done}", err=True)


def _line(row: TurnAtSink) -> tuple[Any, ...]:
    return row.seq, row.turn_id, row.user, row.conversation, row.sink, row.state
