"""What is different between two configurations, in sentences without values that may be secret."""

from collections.abc import Iterator
from typing import Any

from msgspec.structs import asdict

from turnlog.config import Config, SinkConfig

_PLAIN_SECTIONS = {"sync": "sync", "log": "log", "daemon": "daemon", "import": "limits"}
"""Those whose values may be told, and what they are called in a `Config`."""


def changes(old: Config, new: Config) -> list[str]:
    """A line for each difference; an empty list if there is none that matters."""
    return [*_sections(old, new), *_sinks(old, new), *_sources(old, new)]


def _sections(old: Config, new: Config) -> Iterator[str]:
    for name, attribute in _PLAIN_SECTIONS.items():
        before, after = asdict(getattr(old, attribute)), asdict(getattr(new, attribute))
        for key in after:
            if before[key] != after[key]:
                late = "; it needs a restart" if (name, key) in _FIXED else ""
                yield f"[{name}] {key}: {before[key]} -> {after[key]}{late}"


_FIXED = {("log", "dir"), ("daemon", "log_file")}
"""What a running daemon cannot change."""


def _sinks(old: Config, new: Config) -> Iterator[str]:
    before, after = ({sink.name: sink for sink in config.sinks} for config in (old, new))
    yield from (f"the sink {name!r} is new" for name in after if name not in before)
    yield from (f"the sink {name!r} is gone; what it is owed stays known" for name in before if name not in after)
    for name, sink in after.items():
        known = before.get(name)
        if known is not None and (known != sink or old.folder != new.folder):
            yield f"the sink {name!r} is another: {', '.join(_different(known, sink)) or 'its folder'}"


def _different(old: SinkConfig, new: SinkConfig) -> list[str]:
    """The names of what is different, not the values."""
    before, after = ({**asdict(sink), **sink.options, "options": None} for sink in (old, new))
    missing: Any = object()
    return sorted(key for key in {*before, *after} if before.get(key, missing) != after.get(key, missing))


def _sources(old: Config, new: Config) -> Iterator[str]:
    yield from (f"the source {table.type!r} is new" for table in new.sources if table not in old.sources)
    yield from (f"the source {table.type!r} is gone" for table in old.sources if table not in new.sources)
