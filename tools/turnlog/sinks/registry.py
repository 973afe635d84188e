"""Sinks by the type that the configuration names."""

from importlib import import_module

from turnlog.config import Config, SinkConfig
from turnlog.convert import nearest
from turnlog.errors import ConfigError
from turnlog.sinks.base import Sink

SINK_TYPES = {
    "batch": "turnlog.sinks.batch:BatchSink",
    "jsonl": "turnlog.sinks.jsonl:JsonlSink",
    "memobase": "turnlog.sinks.memobase:MemobaseSink",
    "memory": "turnlog.sinks.memory:MemorySink",
    "webhook": "turnlog.sinks.webhook:WebhookSink",
}
"""The class of each type, as `module:name`; loaded when it is used, because HTTP takes 90 ms to import."""


def open_sink(config: Config, sink: SinkConfig) -> Sink:
    """The sink that a part of the configuration describes. Raises ConfigError."""
    where = f"{config.path}, sink {sink.name!r}"
    if sink.type not in SINK_TYPES:
        raise ConfigError(f"{where}: unknown type {sink.type!r}{nearest(sink.type, list(SINK_TYPES))}")
    module, _, name = SINK_TYPES[sink.type].partition(":")
    kind: type[Sink] = getattr(import_module(module), name)
    return kind.from_options(sink.options, where=where, folder=config.folder)
