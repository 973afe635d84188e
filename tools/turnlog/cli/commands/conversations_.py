"""`turnlog conversations`: what was taken in."""

from datetime import UTC, datetime
from typing import Any

import click

from projections import CONVERSATIONS
from turnlog.cli.app import App, json_option, pass_app
from turnlog.cli.history import list_conversations, to_wanted, wanted_options
from turnlog.cli.output import ago, print_json, print_table


@click.command("conversations")
@wanted_options
@click.option("--grep", metavar="TEXT", help="In which this was said, in any case.")
@json_option
@pass_app
def command(app: App, /, as_json: bool, **chosen: Any) -> None:
    """List conversations.

    A turn with several revisions counts once. `turnlog show CONVERSATION` and `turnlog export` have what was said.
    """
    (state,) = app.replay(CONVERSATIONS)
    rows = list_conversations(app.read_log(), state, to_wanted(**chosen))
    if as_json:
        for row in rows:
            print_json(row)
        return
    now = datetime.now(UTC)
    lines = [(r.source, r.user, r.conversation, r.title, r.turns, r.first_at, ago(r.last_at, now)) for r in rows]
    if lines:
        print_table(("source", "user", "conversation", "title", "turns", "began", "last turn"), lines)
    else:
        click.echo("no such conversation", err=True)
