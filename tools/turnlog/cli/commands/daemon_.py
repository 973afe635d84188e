"""`turnlog daemon`: the background service."""

import click

from turnlog.cli.lazy import LazyGroup

COMMANDS = {
    "start": "Start the daemon in the background.",
    "run": "Be the daemon, in the foreground.",
    "stop": "Stop the daemon.",
    "restart": "Stop the daemon if it runs, and start it.",
    "status": "Tell how the daemon, its sources and its sinks are.",
    "reload": "Have the daemon read its configuration anew.",
    "drain": "Have the daemon begin nothing more, until it is reloaded.",
    "logs": "Print what the daemon logged, also as it comes.",
    "test": "Read every source and deliver to every sink, once, in the foreground.",
    "install": "Have the daemon started by the machine from now on.",
    "uninstall": "Have it started no longer, and leave nothing behind.",
    "autostart-status": "Tell whether the machine starts the daemon.",
}
"""Every subcommand with the first line of its help, which a test compares with the subcommand's own."""


@click.command("daemon", cls=LazyGroup, known=COMMANDS, package="turnlog.cli.daemon")
def command() -> None:
    """Run sources and delivery as one background service.

    There is one for each log folder. Everything that it knows is in the log: it may be killed at any time, and goes on
    where it was.
    """
