"""`turnlog sources`: where turns come from."""

import os
from pathlib import Path
from typing import Any

import click
from msgspec.structs import astuple

from eventlog import EventLog, LineQuarantined
from projections import NOTICES, SOURCES, SourceState, open_notices
from turnlog.cli.app import App, json_option, pass_app
from turnlog.cli.mailboxes import mailbox_table, print_notices
from turnlog.cli.output import print_json, print_table
from turnlog.cli.settings import edit
from turnlog.clock import SystemClock
from turnlog.config import FILE_NAME, SourceConfig
from turnlog.errors import WrongUsage
from turnlog.sources.configured import watch_all
from turnlog.sources.looking import Seen, look_of
from turnlog.sources.mailboxes import MAILBOX, all_sources
from turnlog.sources.registry import source_type


@click.group("sources", invoke_without_command=True)
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List sources, what was read of them, and their quarantine; add, remove one.

    Exports that can be downloaded, as mails say, are shown with their link until they expire or are imported. What
    could not be read is kept in the log; `turnlog tail --json` or a blob beside the log has its bytes.
    """
    if ctx.invoked_subcommand is None:
        app = ctx.find_object(App)
        assert app is not None  # noqa: S101 - the group made it
        _list(app, as_json=as_json)


@command.command("list")
@json_option
@pass_app
def list_(app: App, as_json: bool) -> None:
    """List sources, as `turnlog sources` does."""
    _list(app, as_json=as_json)


@command.command("add")
@click.argument("source")
@click.argument("path", required=False)
@click.option("--user", help="Whose turns they are; of a mailbox, who logs in.  [default: $USER_ID, or 'default']")
@click.option("--timezone", metavar="ZONE", help="Of times without one.  [default: this machine's]")
@click.option("--settle-seconds", type=float, help="How long a turn must be quiet to be recorded.  [default: 10]")
@click.option("--host", help="Of a mailbox: its IMAP server.")
@click.option("--port", type=int, help="Of a mailbox: 993, or 143 for STARTTLS.  [default: 993]")
@click.option("--folder", help="Of a mailbox.  [default: INBOX]")
@click.option("--password-ref", metavar="REF", help="Of a mailbox: where the password is, env:NAME or file:PATH.")
@click.option("--ca-file", metavar="PATH", help="Of a mailbox: who vouches for its server.  [default: the system's]")
@click.option("--owner", help="Of a mailbox: whose turns attached exports hold.  [default: $USER_ID, or 'default']")
@pass_app
def add(app: App, /, source: str, path: str | None, **options: Any) -> None:
    """Have a source watched: at PATH, or where its program keeps its files.

    A mailbox is read for mails in which ChatGPT and Claude announce an export, and for exports that are attached; it is
    never changed. Writes a `[[sources]]` table into the configuration file; all else in it stays as it is.
    """
    if source == MAILBOX:
        table, told = mailbox_table(options, path), f"the mailbox of {options['user']}"
    else:
        table, told = _table_of_files(source, path, options)

    def change(document: Any) -> None:
        import tomlkit

        tables = document.setdefault("sources", tomlkit.aot())
        if any(_is_meant(known, table["type"], _place(table)) for known in tables):
            raise WrongUsage(f"{table['type']} is there already; `turnlog sources remove` takes it out")
        made = tomlkit.table()
        for key, value in table.items():
            made[key] = _inline(value) if isinstance(value, dict) else value
        tables.append(made)

    edit(_config_path(app), change)
    click.echo(f"{told} is watched by `turnlog watch`", err=True)


def _inline(values: dict[str, str]) -> Any:
    """As a person would write it: `{ env = "NAME" }`."""
    import tomlkit

    table = tomlkit.inline_table()
    table.update(values)
    return table


def _table_of_files(source: str, path: str | None, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The table of a source that is files, and where they are. Raises WrongUsage, ConfigError."""
    name = source_type(source).name
    given = {key: value for key, value in options.items() if value is not None}
    for key in given:
        if key not in ("user", "timezone", "settle_seconds"):
            raise WrongUsage(f"--{key.replace('_', '-')} is for a mailbox alone, not for {name}")
    table = ({"path": str(Path(path).absolute())} if path else {}) | given
    (watched,) = watch_all([SourceConfig(name, table)], os.environ)
    return {"type": name, **table}, f"{name} in {', '.join(map(str, watched.paths))}"


@command.command("remove")
@click.argument("source")
@click.argument("path", required=False)
@pass_app
def remove(app: App, source: str, path: str | None) -> None:
    """Have a source watched no more; what was recorded from it stays.

    PATH of a mailbox is who logs in to it.
    """
    name = source if source == MAILBOX else source_type(source).name

    def change(document: Any) -> None:
        tables = document.get("sources", [])
        meant = [i for i, known in enumerate(tables) if _is_meant(known, name, path)]
        if not meant:
            raise WrongUsage(f"no source {source!r}{f' at {path}' if path else ''} is in {_config_path(app)}")
        for i in reversed(meant):
            del tables[i]
        if not tables:
            del document["sources"]

    edit(_config_path(app), change)
    click.echo(f"{name} is watched no more", err=True)


@command.command("check")
@json_option
@pass_app
def check(app: App, as_json: bool) -> int:
    """Look whether the sources that are watched are there and can be read.

    Mailboxes are logged in to. Ends 1 if one cannot be read.
    """
    looks = [look_of(app.config, table, os.environ) for table in all_sources(app.config, os.environ)]
    found = [look() for look in looks]
    if as_json:
        for seen in found:
            print_json(seen)
    elif found:
        print_table(Seen.__struct_fields__, [astuple(seen) for seen in found])
    else:
        click.echo("no source is configured; `turnlog sources add` has one watched", err=True)
    return 1 if any(seen.problem for seen in found) else 0


def _is_meant(table: Any, name: str, path: str | None) -> bool:
    """Whether a table of the configuration is the one of that name, and at that path if there is one."""
    if str(table.get("type", "")).replace("-", "_") != name:
        return False
    return path is None or _place(table) in (path, str(Path(path).absolute()))


def _place(table: Any) -> str | None:
    """What tells two sources of one type apart."""
    place: str | None = table.get("user" if table["type"] == MAILBOX else "path")
    return place


def _config_path(app: App) -> Path:
    return app.places.config_path or app.directory / FILE_NAME


def _list(app: App, *, as_json: bool) -> None:
    log = app.read_log()
    state, notices = app.replay(SOURCES, NOTICES)
    now = SystemClock().now()
    waiting = open_notices(notices, now)
    if as_json:
        for name, source in state.sources.items():
            own = [notice for notice in waiting if notice.source == name]
            print_json(_to_json(log, name, source) | {"notices": own})
        return
    if not state.sources:
        click.echo("no turns yet; `turnlog record` and `turnlog import` take them in", err=True)
        return
    rows = [(name, s.turns, len(s.streams), s.quarantined, s.last_turn_at) for name, s in state.sources.items()]
    print_table(("source", "turns", "streams", "quarantined", "last turn"), rows)
    if waiting:
        click.echo()
        print_notices(waiting, now)
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
