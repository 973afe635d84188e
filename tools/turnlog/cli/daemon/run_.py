"""`turnlog daemon run`."""

import logging
import os
import sys
from contextlib import closing

import click

from turnlog.cli.app import App, pass_app, say

_logger = logging.getLogger("turnlog.delivery")


@click.command("run")
@click.option("--ready-fd", type=int, hidden=True, help="Where `start` is told that all runs.")
@pass_app
def command(app: App, ready_fd: int | None) -> int:
    """Be the daemon, in the foreground.

    For service managers and terminals: it runs until SIGTERM or Ctrl-C, then finishes what is in flight within [sync]
    grace_seconds. SIGHUP has it read its configuration anew. Ends 78 if something is wrong with the configuration, 75
    if a daemon runs already for this log.
    """
    from eventlog import EventLog
    from turnlog.daemon.daemon import Daemon
    from turnlog.daemon.log_events import EventTeller
    from turnlog.daemon.logs import ConfiguredLogs
    from turnlog.daemon.notify import Notifier

    if ready_fd is not None:
        os.setsid()  # what happens to the terminal of whoever started it is not its affair
        os.chdir("/")  # no file system is kept from being unmounted; `start` has named all paths in full
    with (
        closing(ConfiguredLogs(app.directory, foreground=ready_fd is None)) as logs,
        closing(EventTeller(_logger, EventLog.open(app.directory, read_only=True))) as teller,
    ):
        daemon = Daemon(app.find_places, os.environ, manager=Notifier(), configured=logs, on_events=teller)
        daemon.run(ready=lambda: _tell_ready(ready_fd))
    return 0


def _tell_ready(descriptor: int | None) -> None:
    if descriptor is None:
        if sys.stderr.isatty():  # elsewhere a program reads the lines of the log there
            say("the daemon runs; Ctrl-C stops it")
        return
    os.write(descriptor, b"ready\n")
    os.close(descriptor)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, sys.stderr.fileno())  # until now it led to whoever waits for this
    os.close(nowhere)
