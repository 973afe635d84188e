"""`turnlog retry`: the operator wants turns sent again."""

from typing import Any

import click

from eventlog import RetryRequested
from turnlog.cli.app import App, json_option, pass_app
from turnlog.cli.decide import decide
from turnlog.cli.filters import filter_options
from turnlog.sync.decisions import choose_retries


@click.command("retry")
@click.argument("turns", nargs=-1, metavar="[TURN]...")
@filter_options(("retrying", "dead", "skipped", "delivered"))
@click.option("--reason", default="", help="Why, for the record.")
@click.option("--dry-run", is_flag=True, help="Tell which turns are meant, and decide nothing.")
@json_option
@pass_app
def command(app: App, /, turns: tuple[str, ...], **options: Any) -> None:
    """Send turns again that are dead, delivered or skipped.

    TURNs are seqs or turn ids; or choose by --sink, --state, --user, --conversation, --source. Without --state a
    choice takes what is dead or retrying. Attempts count from 0 again, and the next `turnlog sync` sends them.
    """
    decide(app, RetryRequested, choose_retries, turns, done="due to be sent again", **options)
