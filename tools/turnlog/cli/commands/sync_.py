"""`turnlog sync`: deliver."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import click

from turnlog.cli.app import App, json_option, pass_app, say
from turnlog.cli.output import print_json, print_table
from turnlog.cli.progress import Progress, show_progress
from turnlog.sinks.jsonl import STDOUT
from turnlog.sync.crew import Hooks
from turnlog.sync.engine import Engine
from turnlog.sync.run import PlannedRequest, SyncResult, plan_all, sync_follow, sync_once


@click.command("sync")
@click.option("--once", is_flag=True, help="Send until nothing may be sent now, then end.")
@click.option("--follow", is_flag=True, help="Send in real time, and go on until it is stopped.")
@click.option("--wait", "wait", is_flag=True, help="With --follow: wait for a sink that another process delivers to.")
@click.option("--sink", "sinks", multiple=True, metavar="NAME", help="Only this sink; may be given again.")
@click.option("--dry-run", is_flag=True, help="Print what would be sent first, and send nothing.")
@json_option
@pass_app
def command(
    app: App, *, once: bool, follow: bool, wait: bool, sinks: tuple[str, ...], dry_run: bool, as_json: bool
) -> int:
    """Deliver what is owed to the sinks.

    Probes paused sinks and sends until nothing is eligible or in flight; with --follow it goes on with what comes, and
    with what is due, until Ctrl-C or SIGTERM; then what is in flight is finished within [sync] grace_seconds. Ends 1 if
    anything is left, 75 if another process delivers to a sink, 78 if a sink's configuration is broken.
    """
    if dry_run:
        _print_plan(plan_all(app.directory, app.config, sinks), as_json=as_json)
        return 0
    if once == follow or (wait and not follow):
        raise click.UsageError(
            "say --once to deliver what can be delivered now, --follow (with --wait, if you like) to go on in real "
            "time, or --dry-run to see what would be sent"
        )
    turns_on_stdout = _writes_turns_out(app, sinks)
    if turns_on_stdout and as_json:
        raise click.UsageError("a sink writes its turns to stdout, where --json would be among them; leave it away")
    with _stop_on_signals() as stop, show_progress(lasting=follow, quiet=as_json) as progress:
        hooks = Hooks(
            events=progress.note,
            trouble=progress.say,
            engine=lambda engine: _attach(engine, stop, progress),
            waits=wait,
        )
        deliver = sync_follow if follow else sync_once
        result = deliver(app.directory, app.config, sinks, hooks=hooks)
    _print(result, as_json=as_json, tell=say if turns_on_stdout else print)
    return result.exit_code


class _Stop:
    """What the first Ctrl-C or SIGTERM sets; the engine, once there is one, is stopped by it."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.engine: Engine | None = None

    def set(self) -> None:
        """Stop."""
        self.event.set()
        if self.engine is not None:
            self.engine.stop()


def _attach(engine: Engine, stop: _Stop, progress: Progress) -> None:
    stop.engine = engine
    progress.watch(engine)
    if stop.event.is_set():
        engine.stop()


@contextmanager
def _stop_on_signals() -> Iterator[_Stop]:
    """Have what is in flight finished and written down at the first Ctrl-C or SIGTERM."""
    stop = _Stop()

    def note(number: int, _: object) -> None:
        if stop.event.is_set():  # whoever insists gets it: the attempts are in the log, and the next run settles them
            os._exit(128 + number)
        stop.set()
        with suppress(RuntimeError):  # it came in the middle of another line to stderr, which lets no second one in
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


def _writes_turns_out(app: App, names: tuple[str, ...]) -> bool:
    """Whether stdout belongs to the turns of a sink that is delivered to."""
    sinks = (sink for sink in app.config.sinks if not names or sink.name in names)
    return any(sink.type == "jsonl" and sink.options.get("path") == STDOUT for sink in sinks)


def _print(result: SyncResult, *, as_json: bool, tell: Callable[[str], None]) -> None:
    for problem in result.problems:
        say(problem)
    if as_json:
        print_json(result.counts)
        return
    counts = result.counts
    enqueued, tried = counts.delivered + counts.dead + counts.pending, counts.delivered + counts.failed + counts.dead
    tell(
        f"enqueued {enqueued}, delivered {counts.delivered}, failed {counts.failed}, dead {counts.dead}, "
        f"pending {counts.pending}, reconciled {counts.reconciled}"
    )
    if tried:
        tell(f"success rate {counts.delivered / tried:.1%}{_latencies(result)}")


def _latencies(result: SyncResult) -> str:
    """From recording to receipt; of turns that waited for long that is how long they waited."""
    shares = (("median", 0.5), ("95th percentile", 0.95), ("99th", 0.99))
    told = [f"{name} {_seconds(value)}" for name, share in shares if (value := result.latencies.percentile(share))]
    return f"; from recording to receipt: {', '.join(told)}" if told else ""


def _seconds(value: float) -> str:
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.1f} s" if value < 600 else f"{value / 3600:.1f} h"
