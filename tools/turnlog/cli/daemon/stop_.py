"""`turnlog daemon stop`."""

import click

from turnlog.cli.app import App, json_option, pass_app, say
from turnlog.cli.output import print_json
from turnlog.config import Config
from turnlog.daemon.lock import holder_of
from turnlog.daemon.starting import stop
from turnlog.errors import ConfigError

_MORE_SECONDS = 10.0
"""How much longer than what is in flight a daemon may take to end."""

timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Kill it when it has not ended after so long.  [default: [sync] grace_seconds and 10]",
)


@click.command("stop")
@timeout_option
@json_option
@pass_app
def command(app: App, timeout: float | None, as_json: bool) -> int:
    """Stop the daemon.

    What is in flight is finished within [sync] grace_seconds, and what is not is written down as in doubt. One that
    does not end in time is killed, which loses nothing; then it ends 1. That none runs is an answer: it ends 0.
    """
    was_running, killed = stop_daemon(app, timeout)
    if as_json:
        print_json({"running": False, "stopped": was_running, "killed": killed})
    else:
        print("the daemon was killed" if killed else "the daemon has stopped" if was_running else "no daemon runs")
    return 1 if killed else 0


def stop_daemon(app: App, timeout: float | None) -> tuple[bool, bool]:
    """Stop it if it runs; whether it did, and whether it had to be killed."""
    holder = holder_of(app.directory)
    if holder is None:
        return False, False
    seconds = _grace_seconds(app) + _MORE_SECONDS if timeout is None else timeout
    killed = stop(app.directory, holder, seconds=seconds)
    if killed:
        say(f"the daemon did not end within {seconds:g} s; what was in flight is settled by the next start")
    return True, killed


def _grace_seconds(app: App) -> float:
    try:
        return app.config.sync.grace_seconds
    except ConfigError:  # the daemon has an older one, in which it is most likely the same
        return Config().sync.grace_seconds
