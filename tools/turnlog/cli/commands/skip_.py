"""`turnlog skip`: the operator does not want turns sent."""

from typing import Any

import click

from eventlog import TurnSkipped
from turnlog.cli.app import App, json_option, pass_app
from turnlog.cli.decide import decide
from turnlog.cli.filters import filter_options
from turnlog.sync.decisions import choose_skips


@click.command("skip")
@click.argument("turns", nargs=-1, metavar="[TURN]...")
@filter_options(("pending", "retrying", "dead"))
@click.option("--reason", default="", help="Why, for the record.")
@click.option("--dry-run", is_flag=True, help="Tell which turns are meant, and decide nothing.")
@json_option
@pass_app
def command(app: App, /, turns: tuple[str, ...], **options: Any) -> None:
    """Do not send these turns.

    TURNs are seqs or turn ids; or choose by --sink, --state, --user, --conversation, --source. Their lanes go on
    without them; `turnlog retry` takes it back.
    """
    decide(app, TurnSkipped, choose_skips, turns, done="skipped", **options)
