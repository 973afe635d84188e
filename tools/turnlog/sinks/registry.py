"""Sinks by the type that the configuration names: our own, then those that installed distributions offer.

A distribution offers one through the entry point group `turnlog.sinks`; docs/sinks.md shows how. Ours are in a table,
so that no distribution takes the place of one, and entry points are looked for only when a type is none of ours.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from turnlog.config import Config, SinkConfig
from turnlog.convert import nearest
from turnlog.errors import ConfigError
from turnlog.sinks.base import Sink

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

SINK_TYPES = {
    "batch": "turnlog.sinks.batch:BatchSink",
    "jsonl": "turnlog.sinks.jsonl:JsonlSink",
    "memobase": "turnlog.sinks.memobase:MemobaseSink",
    "memory": "turnlog.sinks.memory:MemorySink",
    "webhook": "turnlog.sinks.webhook:WebhookSink",
}
"""The class of each type of ours, as `module:name`; loaded when it is used, because HTTP takes 90 ms to import."""

GROUP = "turnlog.sinks"
"""The entry point group; a contract with other distributions, so do not change."""


def open_sink(config: Config, sink: SinkConfig) -> Sink:
    """The sink that a part of the configuration describes. Raises ConfigError."""
    where = f"{config.path or 'the environment'}, sink {sink.name!r}"
    try:
        return _open(config, sink, where)
    except ConfigError as error:
        if str(error).startswith(where):
            raise
        raise ConfigError(f"{where}: {error}") from error  # a secret does not know whose it is


def _open(config: Config, sink: SinkConfig, where: str) -> Sink:
    if sink.type in SINK_TYPES:
        module, _, name = SINK_TYPES[sink.type].partition(":")
        kind: type[Sink] = getattr(import_module(module), name)
        return kind.from_options(sink.options, where=where, folder=config.folder)
    return _open_installed(_find(sink.type, where), config, sink, where)


def _find(kind: str, where: str) -> "EntryPoint":
    from importlib.metadata import entry_points  # 30 ms that only somebody else's sink needs

    known = entry_points(group=GROUP)
    found = {(point.value, _distribution(point)): point for point in known.select(name=kind)}
    if not found:
        raise ConfigError(f"{where}: unknown type {kind!r}{nearest(kind, list({*SINK_TYPES, *known.names}))}")
    if len(found) > 1:
        several = " and ".join(sorted(distribution for _, distribution in found))
        raise ConfigError(f"{where}: the type {kind!r} is offered by {several}; uninstall all but one")
    return next(iter(found.values()))


def _open_installed(point: "EntryPoint", config: Config, sink: SinkConfig, where: str) -> Sink:
    """The sink of another distribution, which may break in every way. Raises ConfigError, which names it."""
    whose = f"{where}: the type {sink.type!r} of the distribution {_distribution(point)}"
    try:
        kind: Any = point.load()
    except Exception as error:
        raise ConfigError(f"{whose} cannot be loaded: {_told(error)}; update or uninstall it") from error
    if not callable(getattr(kind, "from_options", None)):
        raise ConfigError(f"{whose} is no sink: {point.value} has no from_options")
    try:
        opened = kind.from_options(sink.options, where=where, folder=config.folder)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{whose} cannot be opened: {_told(error)}; update or uninstall it") from error
    if not isinstance(opened, Sink):
        raise ConfigError(f"{whose} is no sink: {_missing(opened)}; deriving it from turnlog.sinks.base.Sink helps")
    return opened


def _distribution(point: "EntryPoint") -> str:
    return (point.dist.name if point.dist is not None else None) or "(unknown)"  # metadata may lack its name


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _missing(thing: object) -> str:
    members = sorted(name for name in {*Sink.__annotations__, *vars(Sink)} if not name.startswith("_"))
    return f"it lacks {', '.join(name for name in members if not hasattr(thing, name))}"
