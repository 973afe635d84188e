"""`turnlog daemon restart`."""

import click

from turnlog.cli.app import App, json_option, pass_app
from turnlog.cli.daemon.start_ import start_daemon
from turnlog.cli.daemon.stop_ import stop_daemon, timeout_option


@click.command("restart")
@timeout_option
@json_option
@pass_app
def command(app: App, timeout: float | None, as_json: bool) -> None:
    """Stop the daemon if it runs, and start it.

    One whose configuration is wrong is not stopped, because it could not be started: `turnlog daemon reload` tells
    what is wrong, too.
    """
    app.check_config()
    stop_daemon(app, timeout)
    start_daemon(app, as_json=as_json)
