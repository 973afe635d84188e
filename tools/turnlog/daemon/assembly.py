"""The parts that a configuration asks for: one that delivers, and one for each source."""

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from turnlog.config import Config, SourceConfig
from turnlog.daemon.delivery import NAME as DELIVERY_NAME
from turnlog.daemon.delivery import DeliveryPart
from turnlog.daemon.parts import Supervisor
from turnlog.daemon.sources import SourcePart
from turnlog.sources.mailboxes import all_sources
from turnlog.sync.engine import OnEvents

_JOIN_SECONDS = 5.0
"""How much longer than what is in flight the parts may take to end."""


class _Watching(Struct, frozen=True):
    table: SourceConfig
    name: str
    part: SourcePart


class Assembly:
    """Starts, changes and stops the parts; one thread does that, any may look at `delivery` and `sources`."""

    def __init__(self, directory: Path, environ: Mapping[str, str], stuck_seconds: float, on_events: OnEvents) -> None:
        self.delivery: DeliveryPart | None = None
        self.supervisor = Supervisor(stuck_seconds=stuck_seconds)
        self._directory = directory
        self._environ = environ
        self._on_events = on_events
        self._config = Config()
        self._watching: list[_Watching] = []

    @property
    def sources(self) -> list[SourcePart]:
        """Those that are watched."""
        return [watching.part for watching in self._watching]

    def start(self, config: Config) -> None:
        """Start all parts."""
        self._config = config
        self.delivery = DeliveryPart(self._directory, config, self._on_events)
        self.supervisor.start(DELIVERY_NAME, self.delivery.run)
        for table in all_sources(config, self._environ):
            self._watch(table)

    def change(self, config: Config) -> None:
        """Do what another configuration asks for, which was checked; waits for nobody."""
        old, self._config = self._config, config
        if self.delivery is not None:
            self.delivery.change(config)
        wanted = all_sources(config, self._environ)
        other_places = old.folder != config.folder or (old.log.durability, old.limits) != (
            config.log.durability,
            config.limits,
        )
        kept = [] if other_places else [one for one in self._watching if one.table in wanted]
        self.supervisor.ask_to_stop([one.name for one in self._watching if one not in kept])
        self._watching = kept
        for table in wanted:
            if table not in [one.table for one in kept]:
                self._watch(table)

    def stop(self, *, wait: bool = True) -> list[str]:
        """Stop all parts, within the grace time; returns those that have not ended by then."""
        self._watching = []
        if not wait:
            self.supervisor.ask_to_stop(self.supervisor.names)
            return []
        return self.supervisor.stop(self._config.sync.grace_seconds + _JOIN_SECONDS)

    def _watch(self, table: SourceConfig) -> None:
        part = SourcePart(self._directory, self._config, table, self._environ)
        name = f"source {part.source}"
        same = [one.name for one in self._watching if one.part.source == part.source]
        while name in same:  # two places of one source
            name += "'"
        self._watching = [*self._watching, _Watching(table, name, part)]
        self.supervisor.start(name, part.run)
