"""The part that delivers: one engine for all sinks, in which a sink that breaks costs the others nothing."""

import logging
from datetime import datetime
from pathlib import Path

from projections import Delivery
from turnlog.config import Config
from turnlog.daemon.parts import Pulse
from turnlog.sync.crew import Crew, Hooks, open_crew
from turnlog.sync.engine import OnEvents

NAME = "delivery"

_logger = logging.getLogger("turnlog.daemon")


class DeliveryPart:
    """Delivers to the sinks of a configuration, which may change; `absent` tells of those that it cannot deliver to."""

    def __init__(self, directory: Path, config: Config, on_events: OnEvents) -> None:
        self.left: int | None = None
        self._directory = directory
        self._config = config
        self._on_events = on_events
        self._crew: Crew | None = None
        self._told: str | None = None

    def run(self, pulse: Pulse) -> None:
        """Deliver until the pulse is told to stop; then finish what is in flight, within `grace_seconds`."""
        hooks = Hooks(self._on_events, self._tell, lambda engine: pulse.when_stopped(engine.stop), waits=True)
        try:
            with open_crew(self._directory, self._config, clock=None, hooks=hooks) as crew:
                self._crew = crew
                crew.expect_all()
                counts = crew.engine.follow(join=lambda: self._tend(pulse, crew))
                self.left = counts.pending
        finally:
            self._crew = None

    def change(self, config: Config) -> None:
        """Deliver as another configuration says, from the next moment on; waits for nothing."""
        self._config = config
        if (crew := self._crew) is not None:
            crew.change(config)

    @property
    def state(self) -> Delivery | None:
        """What the engine knows; None where there is none at the moment."""
        crew = self._crew
        return crew.engine.state if crew is not None else None

    @property
    def next_at(self) -> datetime | None:
        """When the engine looks at something by itself, at the latest."""
        crew = self._crew
        return crew.engine.next_at if crew is not None else None

    @property
    def absent(self) -> dict[str, str]:
        """The sinks that are waited for, by name: because somebody else delivers to them, or why they broke."""
        crew = self._crew
        absences = dict(crew.absent) if crew is not None else {}
        return {name: str(absence) for name, absence in absences.items() if absence.error is not None}

    def _tend(self, pulse: Pulse, crew: Crew) -> bool:
        """Once a second, and whenever something happens: the loop gets on, and the sinks are those that are wanted."""
        pulse.beat()
        pulse.trouble = crew.engine.trouble
        if pulse.trouble is None and self._told is not None:
            self._told = None
            _logger.info("the log can be written again")
        crew.join()
        pulse.ready()
        return False

    def _tell(self, trouble: str) -> None:
        """What is the same every second is logged once."""
        if trouble != self._told:
            _logger.warning("%s", trouble)
        self._told = trouble
