"""`turnlog sync`: deliver."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import click

from turnlog.cli.app import App, json_option, pass_app, say
from turnlog.cli.output import print_json, print_table
from turnlog.sync.run import PlannedRequest, SyncResult, plan_all, sync_once


@click.command("sync")
@click.option("--once", is_flag=True, help="Send until nothing may be sent now, then end.")
@click.option("--sink", "sinks", multiple=True, metavar="NAME", help="Only this sink; may be given again.")
@click.option("--dry-run", is_flag=True, help="Print what would be sent first, and send nothing.")
@json_option
@pass_app
def command(app: App, once: bool, sinks: tuple[str, ...], dry_run: bool, as_json: bool) -> int:
    """Deliver what is owed to the sinks.

    Probes paused sinks and sends until nothing is eligible or in flight; never waits for a later try. Ends 1 if
    anything is left, 75 if another process delivers to a sink, 78 if a sink's configuration is broken.
    """
    if dry_run:
        _print_plan(plan_all(app.directory, app.config, sinks), as_json=as_json)
        return 0
    if not once:
        raise click.UsageError("say --once to deliver what can be delivered now, or --dry-run to see what that is")
    with _stop_on_signals() as stop:
        result = sync_once(app.directory, app.config, sinks, stop=stop)
    _print(result, as_json=as_json)
    return result.exit_code


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets, so that what is in flight is finished and written down."""
    stop = threading.Event()

    def note(number: int, _: object) -> None:
        if stop.is_set():  # whoever insists gets it: the attempts are in the log, and the next run settles them
            os._exit(128 + number)
        stop.set()
        say("stopping when what is in flight has ended; once more ends at once")

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_plan(requests: list[PlannedRequest], *, as_json: bool) -> None:
    if as_json:
        for request in requests:
            print_json(request)
    else:
        rows = [(request.sink, len(request.turns), _brief(request.turns)) for request in requests]
        print_table(("sink", "turns", "seqs"), rows)


def _brief(seqs: tuple[int, ...]) -> str:
    shown = ", ".join(str(seq) for seq in seqs[:10])
    return shown + (", ..." if len(seqs) > 10 else "")


def _print(result: SyncResult, *, as_json: bool) -> None:
    for problem in result.problems:
        say(problem)
    if as_json:
        print_json(result.counts)
        return
    counts = result.counts
    print(
        f"delivered {counts.delivered}, failed {counts.failed}, dead {counts.dead}, pending {counts.pending}, "
        f"reconciled {counts.reconciled}"
    )
