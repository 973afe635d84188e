"""The configuration: TOML into structs. Every value has a default but a sink's name and type.

What a sink or source needs beyond its name and type is checked by the sink or source itself (`options`).
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from projections import ProbePolicy, RetryPolicy
from turnlog.convert import convert
from turnlog.errors import ConfigError

FILE_NAME = "turnlog.toml"

WAIT_SECONDS_MAX = 365 * 24 * 3600
"""Nobody waits longer on purpose."""

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

    def probing(self) -> ProbePolicy:
        """The part of it that decides about asking a sink that is away."""
        return ProbePolicy(self.probe_seconds, self.probe_max_seconds)

    def policy(self) -> RetryPolicy:
        """The part of it that decides about retries."""
        return RetryPolicy(self.max_attempts, self.base_seconds, self.max_seconds)


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
    sinks: list[dict[str, Any]] = field(default_factory=list)
    sources: list[dict[str, Any]] = field(default_factory=list)


def load(path: Path | None) -> Config:
    """Read a configuration file; None gives the defaults. Raises ConfigError."""
    return Config() if path is None else parse(_read(path), path)


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
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is no valid TOML: {error}") from error


def parse(text: str, path: Path) -> Config:
    """The configuration in `text`, which stands in the file `path`. Raises ConfigError."""
    data = _tables(text, path)
    sections = convert(data, _Sections, where=str(path), error=ConfigError)
    sinks = tuple(_sink(table, f"{path}, sink {i}") for i, table in enumerate(sections.sinks, start=1))
    names = [sink.name for sink in sinks]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{path}: two sinks have the name {name!r}; give each its own")
    return Config(
        log=convert(sections.log, LogConfig, where=f"{path}, [log]", error=ConfigError),
        sync=convert(sections.sync, SyncConfig, where=f"{path}, [sync]", error=ConfigError),
        sinks=sinks,
        sources=tuple(_source(table, f"{path}, source {i}") for i, table in enumerate(sections.sources, start=1)),
        path=path,
    )


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
