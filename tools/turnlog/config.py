"""The configuration: TOML into structs. Every value has a default but a sink's name and type.

What a sink or source needs beyond its name and type is checked by the sink or source itself (`options`).
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import Struct, field

from turnlog.convert import convert
from turnlog.errors import ConfigError

if TYPE_CHECKING:
    from projections import ProbePolicy, RetryPolicy

FILE_NAME = "turnlog.toml"

_MEMOBASE = "memobase"

WAIT_SECONDS_MAX = 365 * 24 * 3600
"""Nobody waits longer on purpose."""

_ADDRESS = re.compile(r"(?:(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+):)?([0-9]{1,5})", re.ASCII)

_PORT_MAX = 65535

LOOPBACK = "127.0.0.1"

_SINK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)


class LogConfig(Struct, frozen=True):
    """`[log]`: where the log is, and what an append promises."""

    dir: str | None = None
    durability: Literal["fsync", "os"] = "fsync"


class SyncConfig(Struct, frozen=True):
    """`[sync]`: how often the sweep runs, how often and how patiently a turn is tried again (seconds)."""

    interval_seconds: float = 300.0
    max_attempts: int = 5
    base_seconds: float = 2.0
    max_seconds: float = 300.0
    probe_seconds: float = 1.0
    probe_max_seconds: float = 30.0
    grace_seconds: float = 10.0

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError("max_attempts must be at least 1")
        if not 0 < self.interval_seconds <= WAIT_SECONDS_MAX:
            raise ValueError(f"interval_seconds must be above 0 and at most {WAIT_SECONDS_MAX} (a year)")
        if not all(0 <= seconds <= WAIT_SECONDS_MAX for seconds in (self.base_seconds, self.max_seconds)):
            raise ValueError(f"base_seconds and max_seconds must be from 0 to {WAIT_SECONDS_MAX} (a year)")

    def probing(self) -> "ProbePolicy":
        """The part of it that decides about asking a sink that is away."""
        from projections import ProbePolicy  # 80 ms that only delivery needs

        return ProbePolicy(self.probe_seconds, self.probe_max_seconds)

    def policy(self) -> "RetryPolicy":
        """The part of it that decides about retries."""
        from projections import RetryPolicy  # as above

        return RetryPolicy(self.max_attempts, self.base_seconds, self.max_seconds)


class ImportLimits(Struct, frozen=True):
    """`[import]`: what an archive may be with all that is nested in it, and what one compressed file may be.

    `ratio_max` is of unpacked to packed, for what unpacks to over 16 MiB; text is below 50.
    """

    entries_max: int = 200_000
    entry_bytes_max: int = 16 * 1024**3
    total_bytes_max: int = 64 * 1024**3
    ratio_max: int = 200
    nesting_max: int = 2

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")


class DaemonConfig(Struct, frozen=True):
    """`[daemon]`: how often status.json is written, where the monitoring listens, and the log of the program.

    `listen` is `HOST:PORT`, or `PORT` for loopback alone (0: any free one), or `off`. A sink that got nothing for
    `stalled_seconds` while something waits makes the daemon unready. `log_file` None is `daemon.log` beside the log.
    """

    status_seconds: float = 5.0
    listen: str = "off"
    stalled_seconds: float = 300.0
    log_file: str | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_max_bytes: int = 10 * 1024 * 1024
    log_backups: int = 5

    def __post_init__(self) -> None:
        if not 0 < self.status_seconds <= WAIT_SECONDS_MAX:
            raise ValueError(f"status_seconds must be above 0 and at most {WAIT_SECONDS_MAX} (a year)")
        if self.log_max_bytes < 0 or self.log_backups < 0:
            raise ValueError("log_max_bytes and log_backups must be at least 0")
        if not 0 < self.stalled_seconds <= WAIT_SECONDS_MAX:
            raise ValueError(f"stalled_seconds must be above 0 and at most {WAIT_SECONDS_MAX} (a year)")
        if self.listen != "off" and (not _ADDRESS.fullmatch(self.listen) or self.listen_at[1] > _PORT_MAX):
            raise ValueError(f"listen must be HOST:PORT, PORT or off, not {self.listen!r}")

    @property
    def listen_at(self) -> tuple[str, int]:
        """The host and the port of `listen`, where it is not `off`."""
        found = _ADDRESS.fullmatch(self.listen)
        return (found[1] or LOOPBACK, int(found[2])) if found else (LOOPBACK, 0)


class SinkConfig(Struct, frozen=True):
    """One `[[sinks]]`: its name and type, whether it gets what was recorded before, and its own options."""

    name: str
    type: str
    backfill: bool = True
    options: dict[str, Any] = field(default_factory=dict)
    on_doubt: Literal["retry", "hold"] = "retry"
    redact: bool | None = None


class SourceConfig(Struct, frozen=True):
    """One `[[sources]]`: its type and its own options."""

    type: str
    options: dict[str, Any] = field(default_factory=dict)


class Config(Struct, frozen=True):
    """A whole configuration, and the file that it is from (None: all defaults)."""

    log: LogConfig = LogConfig()
    sync: SyncConfig = SyncConfig()
    limits: ImportLimits = ImportLimits()
    daemon: DaemonConfig = DaemonConfig()
    sinks: tuple[SinkConfig, ...] = ()
    sources: tuple[SourceConfig, ...] = ()
    path: Path | None = None

    @property
    def folder(self) -> Path:
        """Where relative paths in it begin."""
        return self.path.parent if self.path else Path()


class _Sections(Struct, frozen=True):
    log: dict[str, Any] = field(default_factory=dict)
    sync: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict, name="import")
    daemon: dict[str, Any] = field(default_factory=dict)
    sinks: list[dict[str, Any]] = field(default_factory=list)
    sources: list[dict[str, Any]] = field(default_factory=list)


def load(path: Path | None, environ: Mapping[str, str] = MappingProxyType({})) -> Config:
    """Read a configuration file, None for none, and what an environment adds to it. Raises ConfigError.

    The old scripts' variables MEMOBASE_URL and MEMOBASE_ACCESS_TOKEN (or MEMOBASE_TOKEN) make a sink `memobase`, unless
    the file has one of that name or type; MEMOBASE_SYNC_INTERVAL is `interval_seconds` where the file does not say it.
    """
    return _build({} if path is None else _tables(_read(path), path), path, environ)


def log_dir(path: Path) -> Path | None:
    """Where a configuration file says that the log is, whatever else in it may be wrong. Raises ConfigError."""
    log = _tables(_read(path), path).get("log")
    named = log.get("dir") if isinstance(log, dict) else None
    return path.parent / as_path(named) if isinstance(named, str) and named else None


def as_path(text: str) -> Path:
    """The path that a person wrote; `~` is a home folder."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 - Path's own raises where there is no such home


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"the configuration {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"the configuration {path} is not UTF-8: {error}") from error


def _tables(text: str, path: Path) -> dict[str, Any]:
    import tomllib  # 5 ms that nobody needs who only asks a daemon

    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is no valid TOML: {error}") from error


def parse(text: str, path: Path) -> Config:
    """The configuration in `text`, which stands in the file `path`. Raises ConfigError."""
    return _build(_tables(text, path), path, {})


def _build(data: dict[str, Any], path: Path | None, environ: Mapping[str, str]) -> Config:
    where = str(path or "the environment")
    sections = convert(data, _Sections, where=where, error=ConfigError)
    sinks = tuple(_sink(table, f"{where}, sink {i}") for i, table in enumerate(sections.sinks, start=1))
    names = [sink.name for sink in sinks]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{where}: two sinks have the name {name!r}; give each its own")
    sync = {**_interval(environ), **sections.sync}
    return Config(
        log=convert(sections.log, LogConfig, where=f"{where}, [log]", error=ConfigError),
        sync=convert(sync, SyncConfig, where=f"{where}, [sync]", error=ConfigError),
        limits=convert(sections.limits, ImportLimits, where=f"{where}, [import]", error=ConfigError),
        daemon=convert(sections.daemon, DaemonConfig, where=f"{where}, [daemon]", error=ConfigError),
        sinks=(*sinks, *_old_sink(environ, sinks)),
        sources=tuple(_source(table, f"{where}, source {i}") for i, table in enumerate(sections.sources, start=1)),
        path=path,
    )


def _old_sink(environ: Mapping[str, str], sinks: Sequence[SinkConfig]) -> list[SinkConfig]:
    """The sink that the old scripts' variables describe, if it is not in the file by now."""
    if not environ.get("MEMOBASE_URL") or any(_MEMOBASE in (sink.name, sink.type) for sink in sinks):
        return []
    options: dict[str, Any] = {"url": environ["MEMOBASE_URL"]}
    token = next((name for name in ("MEMOBASE_ACCESS_TOKEN", "MEMOBASE_TOKEN") if environ.get(name)), None)
    if token is not None:
        options["token"] = {"env": token}
    return [SinkConfig(_MEMOBASE, _MEMOBASE, options=options)]


def _interval(environ: Mapping[str, str]) -> dict[str, float]:
    said = environ.get("MEMOBASE_SYNC_INTERVAL")
    if not said:
        return {}
    try:
        return {"interval_seconds": float(said)}
    except ValueError as error:
        raise ConfigError(
            f"the environment variable MEMOBASE_SYNC_INTERVAL is no number of seconds: {said!r}"
        ) from error


def _sink(table: dict[str, Any], where: str) -> SinkConfig:
    own, options = _split(table, ("name", "type", "backfill", "on_doubt", "redact"))
    sink = convert(own, SinkConfig, where=where, error=ConfigError)
    if not _SINK_NAME.fullmatch(sink.name):
        raise ConfigError(f"{where}: the name {sink.name!r} must be letters, digits, '.', '_' and '-', at most 64")
    return msgspec.structs.replace(sink, options=options)


def _source(table: dict[str, Any], where: str) -> SourceConfig:
    own, options = _split(table, ("type",))
    source = convert(own, SourceConfig, where=where, error=ConfigError)
    return SourceConfig(source.type, options)


def _split(table: dict[str, Any], own: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    return {k: v for k, v in table.items() if k in own}, {k: v for k, v in table.items() if k not in own}


def default_user(environ: Mapping[str, str] = os.environ) -> str:
    """Whose turns, where a turn does not say: USER_ID, as the old scripts had it, else `default`."""
    return environ.get("USER_ID") or "default"
