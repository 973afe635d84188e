"""`turnlog verify`: proof."""

import click

from eventlog import EventLog, Problem
from projections import DELIVERY, STATE_NAMES, Delivery, SinkState, replay
from turnlog.cli.app import App, json_option, pass_app, say
from turnlog.cli.output import print_json, print_table


@click.command("verify")
@json_option
@pass_app
def command(app: App, as_json: bool) -> int:
    """Check every checksum, seq and law.

    Lists what is damaged and where, and ends 1 if anything is. Changes nothing. A torn tail, which a crash leaves and
    the next append closes, is listed and is no damage.
    """
    log = app.read_log()
    report = log.verify()
    state, broken = _check_laws(log)
    ok = report.ok and not broken
    problems = [*report.problems, *broken]
    if as_json:
        print_json({"ok": ok, "events": report.events, "segments": report.segments, "problems": problems})
    else:
        click.echo(f"{'ok' if ok else 'DAMAGED'}: {report.events} events in {report.segments} segments")
        if problems:
            columns = ("kind", "segment", "seq", "offset", "detail")
            print_table(columns, [[getattr(problem, name) for name in columns] for problem in problems])
    for what, count in state.anomalies.items():
        say(f"passed over {count} times: {what}")
    return 0 if ok else 1


def _check_laws(log: EventLog) -> tuple[Delivery, list[Problem]]:
    """Replay, and count every state anew: each turn in scope has exactly one."""
    (state,) = replay(log, DELIVERY)
    return state, [_law(sink) for sink in state.sinks.values() if not _adds_up(sink)]


def _adds_up(sink: SinkState) -> bool:
    return all(sink.states.count(code) == sink.counts[code] for code in range(len(STATE_NAMES)))


def _law(sink: SinkState) -> Problem:
    return Problem("law", "", None, None, f"the states at {sink.name!r} do not add up: {sink.totals()}")
