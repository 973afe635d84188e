"""`turnlog daemon run`."""

import logging
import os
import sys

import click

from turnlog.cli.app import App, pass_app, say


@click.command("run")
@click.option("--ready-fd", type=int, hidden=True, help="Where `start` is told that all runs.")
@pass_app
def command(app: App, ready_fd: int | None) -> int:
    """Be the daemon, in the foreground.

    For service managers and terminals: it runs until SIGTERM or Ctrl-C, then finishes what is in flight within [sync]
    grace_seconds. SIGHUP has it read its configuration anew. Ends 78 if something is wrong with the configuration, 75
    if a daemon runs already for this log.
    """
    from turnlog.daemon.daemon import Daemon

    if ready_fd is not None:
        os.setsid()  # what happens to the terminal of whoever started it is not its affair
        os.chdir("/")  # no file system is kept from being unmounted; `start` has named all paths in full
    daemon = Daemon(app.find_places, os.environ)
    _log_to_stderr()
    daemon.run(ready=lambda: _tell_ready(ready_fd))
    return 0


def _log_to_stderr() -> None:
    """What the daemon has to tell goes where its stderr leads."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="turnlog: %(message)s")


def _tell_ready(descriptor: int | None) -> None:
    if descriptor is None:
        say("the daemon runs; Ctrl-C stops it")
        return
    os.write(descriptor, b"ready\n")
    os.close(descriptor)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, sys.stderr.fileno())  # until now it led to whoever waits for this
    os.close(nowhere)
