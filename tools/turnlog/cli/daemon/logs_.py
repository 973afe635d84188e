"""`turnlog daemon logs`: what the daemon logged."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from datetime import datetime

import click

from turnlog.cli.app import App, json_option, pass_app, say
from turnlog.cli.filters import Moment
from turnlog.cli.output import one_line
from turnlog.daemon.log_lines import to_text
from turnlog.daemon.log_reading import Line, LogReader, wanted_lines
from turnlog.daemon.log_settings import log_settings

_LINES = 20

_POLL_SECONDS = 0.2


@click.command("logs")
@click.option("-f", "--follow", is_flag=True, help="Then print lines as they come, until Ctrl-C.")
@click.option(
    "-n", "--lines", "count", type=click.IntRange(0), help=f"How many of the last lines.  [default: {_LINES}]"
)
@click.option("--errors", is_flag=True, help="Only what went wrong.")
@click.option("--since", type=Moment(), help="Only lines since this time (UTC); all of them, unless -n says otherwise.")
@json_option
@pass_app
def command(app: App, *, follow: bool, count: int | None, errors: bool, since: datetime | None, as_json: bool) -> None:
    """Print what the daemon logged, also as it comes.

    Reads the files that were turned over too. With --json each line is the file's own. No line has words of a
    conversation in it.
    """
    config = app.config_or_defaults
    path = log_settings(app.directory, config.daemon, config.folder).file
    count = _LINES if count is None and since is None else count
    wanted = wanted_lines(errors=errors, since=since)
    with closing(LogReader(path)) as reader, suppress(KeyboardInterrupt):
        lines = reader.last(count, wanted, since=since)
        if not lines and not path.exists():
            say(f"nothing was logged yet: there is no {path}")
        _print(lines, as_json=as_json)
        if follow:
            _print(filter(wanted, _coming(reader)), as_json=as_json)


def _coming(reader: LogReader) -> Iterator[Line]:
    while True:
        yield from reader.news()
        time.sleep(_POLL_SECONDS)


def _print(lines: Iterable[Line], *, as_json: bool) -> None:
    for line in lines:
        if as_json:
            sys.stdout.buffer.write(line.raw + b"\n")
        else:
            sys.stdout.write(
                one_line(to_text(line.fields) if line.fields else line.raw.decode(errors="replace")) + "\n"
            )
        sys.stdout.flush()
