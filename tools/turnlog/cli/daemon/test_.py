"""`turnlog daemon test`."""

import os
from collections.abc import Callable
from functools import partial

import click
from msgspec import Struct

from turnlog.cli.app import App, json_option, pass_app, say
from turnlog.cli.output import print_json, print_table
from turnlog.errors import TurnlogError
from turnlog.sources.configured import configured_sources
from turnlog.sources.importing import ImportCounts
from turnlog.sources.mailboxes import configured_mailboxes
from turnlog.sources.watching import look_once
from turnlog.sync.counts import SyncCounts
from turnlog.sync.run import SyncResult, sync_once


class Looked(Struct, frozen=True):
    """What one look at a source came to; `problem` is why it could not be read."""

    source: str
    counts: ImportCounts
    problem: str | None = None


class Report(Struct, frozen=True):
    """What `turnlog daemon test --json` prints."""

    sources: list[Looked]
    sync: SyncCounts
    problems: list[str]


@click.command("test")
@json_option
@pass_app
def command(app: App, as_json: bool) -> int:
    """Read every source and deliver to every sink, once, in the foreground.

    The same that the daemon does all the time, with a report: what it took in, what it delivered, and what is wrong.
    Ends 1 if something is, 75 if a sink is being delivered to already, 78 if the configuration is broken.
    """
    app.check_config()
    with app.recorder() as recorder:
        looks: list[tuple[str, Callable[[], ImportCounts]]] = [
            (watched.source.name, partial(look_once, recorder, watched))
            for watched in configured_sources(app.config, (), os.environ)
        ]
        for mailbox in configured_mailboxes(app.config, (), os.environ):
            from turnlog.sources.mailbox_feed import read_once  # what reads mails is loaded when there is a mailbox

            looks.append((mailbox.name, partial(read_once, recorder, mailbox, say)))
        looked = [_look(name, look) for name, look in looks]
    result = sync_once(app.directory, app.config)
    if as_json:
        print_json(Report(looked, result.counts, result.problems))
    else:
        _print(looked, result)
    return max(result.exit_code, int(any(one.problem for one in looked)))


def _look(name: str, look: Callable[[], ImportCounts]) -> Looked:
    try:
        return Looked(name, look())
    except TurnlogError as error:
        return Looked(name, ImportCounts(), str(error))


def _print(looked: list[Looked], result: SyncResult) -> None:
    if looked:
        rows = [
            (one.source, one.counts.recorded, one.counts.revised, one.counts.quarantined, one.problem) for one in looked
        ]
        print_table(("source", "recorded", "revised", "quarantined", "problem"), rows)
    counts = result.counts
    print(f"delivered {counts.delivered}, failed {counts.failed}, dead {counts.dead}, pending {counts.pending}")
    for problem in result.problems:
        say(problem)
