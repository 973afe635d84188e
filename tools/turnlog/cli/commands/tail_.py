"""`turnlog tail`: the events themselves."""

import sys
from collections.abc import Iterator
from contextlib import suppress

import click
import msgspec

from eventlog import Entry, EventLog, TurnHeader
from turnlog.cli.app import App, json_option, pass_app
from turnlog.cli.output import one_line


@click.command("tail")
@click.option(
    "-n", "--lines", default=10, show_default=True, type=click.IntRange(0), help="How many of the last events."
)
@click.option("-f", "--follow", is_flag=True, help="Then print events as they come, until Ctrl-C.")
@json_option
@pass_app
def command(app: App, lines: int, follow: bool, as_json: bool) -> None:
    """Print events, also as they come.

    With --json each line is the log's own, checksum included.
    """
    for entry in _until_interrupted(_entries(app.read_log(), lines, follow=follow)):
        if as_json:
            sys.stdout.buffer.write(entry.line + b"\n")
        else:
            click.echo(f"{entry.seq:>8}  {entry.at:%Y-%m-%d %H:%M:%S}Z  {entry.type:<16}  {one_line(_summary(entry))}")
        sys.stdout.flush()


def _until_interrupted(entries: Iterator[Entry]) -> Iterator[Entry]:
    with suppress(KeyboardInterrupt):  # the way to end --follow, and no error
        yield from entries


def _entries(log: EventLog, lines: int, *, follow: bool) -> Iterator[Entry]:
    first = max(0, log.last_seq() - lines)
    return log.follow(gt=first) if follow else log.read(gt=first)


def _summary(entry: Entry) -> str:
    """What an event is about, in a line; no message text."""
    if entry.type == "TurnRecorded":
        turn = entry.view(TurnHeader)
        return f"{turn.source} {turn.user}/{turn.conversation} {turn.turn_id} revision {turn.revision}"
    fields = msgspec.to_builtins(entry.event)
    return ", ".join(
        f"{name} {_brief(value)}" for name, value in fields.items() if name not in ("type", "raw") and value
    )


def _brief(value: object) -> str:
    text = msgspec.json.encode(value).decode() if isinstance(value, dict | list | tuple) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."
