"""The sources of a configuration, as they are watched."""

import os
from collections.abc import Mapping, Sequence
from datetime import tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

from turnlog.config import Config, ImportLimits, SourceConfig, as_path, default_user
from turnlog.convert import convert
from turnlog.errors import ConfigError
from turnlog.sources.base import SourceOptions
from turnlog.sources.homes import DROPPED, homes
from turnlog.sources.mailboxes import MAILBOX, is_mailbox
from turnlog.sources.registry import source_type
from turnlog.sources.watching import SETTLE_SECONDS, Watched


class WatchOptions(Struct, frozen=True):
    """What a `[[sources]]` table says beside its type: where, if not where the program keeps its files; whose turns."""

    path: str | None = None
    user: str | None = None
    timezone: str | None = None
    settle_seconds: float = SETTLE_SECONDS


def configured_sources(config: Config, names: Sequence[str], environ: Mapping[str, str]) -> list[Watched]:
    """The sources that are configured, or those named, which need not be. Raises WrongUsage, ConfigError.

    Mailboxes are not among them, see `configured_mailboxes`.
    """
    wanted = [name.replace("-", "_") for name in names]
    files = [table for table in config.sources if not is_mailbox(table)]
    tables = [table for table in files if not wanted or table.type.replace("-", "_") in wanted]
    found = [watched_source(config, table, environ) for table in tables]
    known = {*(watched.source.name for watched in found), MAILBOX}
    return found + watch_all([SourceConfig(name) for name in wanted if name not in known], environ, config.limits)


def watched_source(config: Config, table: SourceConfig, environ: Mapping[str, str]) -> Watched:
    """One source of a configuration that is no mailbox. Raises WrongUsage, ConfigError."""
    return _watched(table, f"{config.path}, source {table.type!r}", config.folder, environ, config.limits)


def watch_all(
    tables: Sequence[SourceConfig],
    environ: Mapping[str, str],
    limits: ImportLimits = ImportLimits(),  # noqa: B008 - frozen
) -> list[Watched]:
    """Sources that stand in no file. Raises WrongUsage, ConfigError."""
    return [_watched(table, f"source {table.type!r}", Path(), environ, limits) for table in tables]


def _watched(
    table: SourceConfig, where: str, folder: Path, environ: Mapping[str, str], limits: ImportLimits
) -> Watched:
    kind = source_type(table.type)
    chosen = convert(table.options, WatchOptions, where=where, error=ConfigError)
    options = SourceOptions(chosen.user or default_user(environ), _zone(chosen.timezone, where), limits)
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - Path's own raises where there is no such home
    paths = (folder / as_path(chosen.path),) if chosen.path else homes(kind.name, environ, home)
    if not paths:
        raise ConfigError(f"{where}: this source has no place of its own; name one with path")
    drops = kind.name in DROPPED and all(not path.is_file() for path in paths)
    return Watched(kind.from_options(options), paths, drops, chosen.settle_seconds)


def _zone(name: str | None, where: str) -> tzinfo | None:
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigError(f"{where}: unknown time zone {name!r}; name one such as Europe/Berlin") from error
