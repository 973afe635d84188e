"""`turnlog sources`: where turns came from."""

import click

from eventlog import EventLog, LineQuarantined
from projections import SOURCES, SourceState
from turnlog.cli.app import App, json_option, pass_app
from turnlog.cli.output import print_json, print_table


@click.command("sources")
@json_option
@pass_app
def command(app: App, as_json: bool) -> None:
    """List sources, how far they were read, and their quarantine.

    What could not be read is kept in the log; `turnlog tail --json` or a blob beside the log has its bytes.
    """
    log = app.read_log()
    (state,) = app.replay(SOURCES)
    if as_json:
        for name, source in state.sources.items():
            print_json(_to_json(log, name, source))
        return
    if not state.sources:
        click.echo("no turns yet; `turnlog record` and `turnlog import` take them in", err=True)
        return
    rows = [(name, s.turns, len(s.streams), s.quarantined, s.last_turn_at) for name, s in state.sources.items()]
    print_table(("source", "turns", "streams", "quarantined", "last turn"), rows)
    bad = [_quarantined(log, seq) for s in state.sources.values() for t in s.streams.values() for seq in t.quarantined]
    if bad:
        click.echo()
        print_table(
            ("seq", "stream", "position", "reason"), [(b["seq"], b["stream"], b["position"], b["reason"]) for b in bad]
        )


def _to_json(log: EventLog, name: str, source: SourceState) -> dict[str, object]:
    streams = [
        {
            "stream": stream,
            "cursor": state.cursor,
            "advanced_at": state.advanced_at,
            "quarantined": [_quarantined(log, seq) for seq in state.quarantined],
        }
        for stream, state in source.streams.items()
    ]
    return {
        "source": name,
        "turns": source.turns,
        "quarantined": source.quarantined,
        "last_turn_at": source.last_turn_at,
        "streams": streams,
    }


def _quarantined(log: EventLog, seq: int) -> dict[str, object]:
    entry = log.get(seq)
    event = entry.event if entry else None
    if not isinstance(event, LineQuarantined):  # its line was damaged since
        return {"seq": seq, "stream": None, "position": None, "reason": "its line in the log is damaged"}
    names = ("stream", "position", "reason", "raw", "blob")
    return {"seq": seq, **{name: getattr(event, name) for name in names}}
