"""`turnlog stats`: counters."""

import click

from projections import DELIVERY, STATISTICS, SinkCounts
from turnlog.cli.app import App, json_option, pass_app
from turnlog.cli.output import print_json, print_table

_HOURS_SHOWN = 24


@click.command("stats")
@json_option
@pass_app
def command(app: App, as_json: bool) -> None:
    """Count turns, requests and failures.

    By sink, by source, and by the hour (UTC) in which turns were recorded.
    """
    statistics, delivery = app.replay(STATISTICS, DELIVERY)
    sinks = {
        name: {**sink.totals(), **_counts(statistics.sinks.get(name, SinkCounts()))}
        for name, sink in delivery.sinks.items()
    }
    if as_json:
        names = ("events", "last_seq", "turns", "revisions", "by_type", "by_source", "by_hour")
        print_json({**{name: getattr(statistics, name) for name in names}, "sinks": sinks})
        return
    click.echo(f"{statistics.events} events, {statistics.turns} turns, of these {statistics.revisions} revisions")
    print_table(("source", "turns"), statistics.by_source.items())
    print_table(("hour", "turns"), sorted(statistics.by_hour.items())[-_HOURS_SHOWN:])
    print_table(
        ("sink", "requests", "delivered", "reconciled", "failures"),
        [(name, s["requests"], s["delivered"], s["reconciled"], _brief(s["failures"])) for name, s in sinks.items()],
    )


def _counts(counts: SinkCounts) -> dict[str, object]:
    return {"requests": counts.requests, "reconciled": counts.reconciled, "failures": dict(counts.failures)}


def _brief(failures: object) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in failures.items()) if isinstance(failures, dict) else ""
