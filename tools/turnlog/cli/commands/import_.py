"""`turnlog import`: turns from files."""

from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import click

from turnlog.cli.app import App, json_option, pass_app, say
from turnlog.cli.filters import Moment
from turnlog.cli.output import print_json
from turnlog.cli.progress import import_bar
from turnlog.config import default_user
from turnlog.errors import WrongUsage
from turnlog.recorder import TurnRecorder
from turnlog.sources.base import Source, SourceOptions
from turnlog.sources.importing import ImportCounts, Since, import_streams
from turnlog.sources.registry import recognise, source_type, why_unknown
from turnlog.sources.save_data import SaveData
from turnlog.sources.times import zone
from turnlog.sources.unchanged import settings_of


@click.command("import")
@click.argument("source")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--user", help="Whose turns they are.  [default: $USER_ID, or 'default']")
@click.option("--conversation", help="Where they were said.  [default: the file's name without its ending]")
@click.option("--already-synced-to", metavar="SINK", help="Turns marked as synced were delivered to this sink before.")
@click.option(
    "--timezone", metavar="ZONE", help="Of times without one, such as Asia/Shanghai.  [default: this machine's]"
)
@click.option("--since", type=Moment(), help="Said at this time (UTC) or later; so is what has no time.")
@click.option("--dry-run", is_flag=True, help="Tell what would be recorded, and record nothing.")
@json_option
@pass_app
def command(
    app: App,
    source: str,
    paths: tuple[str, ...],
    user: str | None,
    conversation: str | None,
    already_synced_to: str | None,
    timezone: str | None,
    since: datetime | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Record turns from the files of another program.

    SOURCE names the program: save-data (the JSONL files of the old scripts), chatgpt, claude, gemini (exports),
    claude-code, codex, gemini-cli (sessions); with auto, what each file is, is found out by its structure. Importing
    again records exactly what is new, and goes on where Ctrl-C stopped it. What cannot be read is kept in quarantine,
    see `turnlog sources`, and the rest goes on. Ends 1 if a file could not be read at all. [import] in the
    configuration says what archives may be.
    """
    options = SourceOptions(user or default_user(), zone(timezone), app.config_or_defaults.limits)
    special = {"conversation": conversation, "already_synced_to": already_synced_to}
    streams = [
        (reader, reader.discover(files))
        for reader, files in _sources(source, [Path(path) for path in paths], options, special)
    ]
    settings = settings_of(options, special)
    sizes = [stream.size_bytes for _, found in streams for stream in found]
    counts, wanted, refused = ImportCounts(), Since(since), list[str]()
    with app.recorder(dry_run=dry_run, enrol=not dry_run) as recorder:
        _check_sink(app, recorder, already_synced_to)
        refuse = (lambda error: refused.append(str(error))) if len(sizes) > 1 else None
        take = partial(import_streams, recorder, since=wanted, refuse=refuse, settings=settings)
        with import_bar(sum(sizes), quiet=as_json) as progress:
            for reader, found in streams:
                counts.add(take(reader, found, progress=progress))
    _print(counts, dry_run=dry_run, as_json=as_json)
    _say(refused, counts, wanted, dry_run=dry_run)
    return 1 if refused else 0


def _sources(
    name: str, files: list[Path], options: SourceOptions, special: dict[str, Any]
) -> list[tuple[Source, list[Path]]]:
    """The source that was named with all the files, or each that some of them are recognised to be of."""
    if name.replace("-", "_") == SaveData.name:
        return [(SaveData(user=options.user, timezone=options.timezone, **special), files)]
    if any(value is not None for value in special.values()):
        raise WrongUsage(f"--conversation and --already-synced-to are for save-data alone, not for {name}")
    if name != "auto":
        return [(source_type(name).from_options(options), files)]
    known, unknown = recognise(files, options)
    for path in unknown:
        say(why_unknown(path, options.limits))
    return [(source_type(kind).from_options(options), found) for kind, found in known.items()]


def _check_sink(app: App, recorder: TurnRecorder, name: str | None) -> None:
    """A sink that nobody knows may be one to come, or a slip."""
    with recorder.index.locked():
        recorder.index.refresh()
        if name is None or recorder.index.knows_sink(name):
            return
    if name not in [sink.name for sink in app.config_or_defaults.sinks]:
        say(f"no sink {name!r} is configured or enrolled yet; what is marked as synced is kept from it all the same")


def _print(counts: ImportCounts, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json(counts)
    else:
        would = "would be " if dry_run else ""
        print(
            f"{would}recorded {counts.recorded}, {would}revised {counts.revised}, unchanged {counts.unchanged}, "
            f"quarantined {counts.quarantined}"
        )


def _say(refused: list[str], counts: ImportCounts, since: Since, *, dry_run: bool) -> None:
    """What a person should know beside the counts."""
    for sentence in refused:
        say(sentence)
    if since.left_out:
        say(f"{since.left_out} turns were said before --since, and are left out")
    if counts.quarantined:
        kept = "would be kept in quarantine" if dry_run else "are kept in quarantine; see `turnlog sources`"
        say(f"{counts.quarantined} could not be read and {kept}")
