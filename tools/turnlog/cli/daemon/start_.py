"""`turnlog daemon start`."""

import click

from turnlog.cli.app import App, json_option, pass_app
from turnlog.cli.output import print_json
from turnlog.daemon.lock import holder_of
from turnlog.daemon.starting import start


@click.command("start")
@json_option
@pass_app
def command(app: App, as_json: bool) -> None:
    """Start the daemon in the background.

    Returns when it runs, or says why it does not: with 78 if something is wrong with the configuration. One that runs
    already is left as it is.
    """
    start_daemon(app, as_json=as_json)


def start_daemon(app: App, *, as_json: bool) -> None:
    """Start it if it does not run, and tell its process id."""
    holder = holder_of(app.directory)
    pid = holder.pid if holder is not None else start(app.options)
    if as_json:
        print_json({"running": True, "pid": pid, "started": holder is None})
    else:
        print(f"the daemon runs{' already' if holder else ''}, pid {pid}")
