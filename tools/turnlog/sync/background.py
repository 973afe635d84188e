"""Delivery in a thread of an application that also does other things."""

import logging
import threading
from pathlib import Path

from eventlog import EventLogError
from turnlog.config import Config
from turnlog.errors import TurnlogError
from turnlog.sync.crew import Hooks
from turnlog.sync.engine import Engine
from turnlog.sync.run import sync_follow

_logger = logging.getLogger("turnlog")

_JOIN_SECONDS = 5.0
"""How much longer than what is in flight the delivery may take to end."""


class BackgroundDelivery:
    """An engine in a thread: delivers to a configuration's sinks, in real time, until `stop`.

    What keeps it from delivering is logged by the logger `turnlog`, as is what must not happen.
    """

    def __init__(self, directory: Path, config: Config) -> None:
        self._directory = directory
        self._config = config
        self._stopping = threading.Event()
        self._engine: Engine | None = None
        self._thread = threading.Thread(target=self._run, name="turnlog-delivery", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Have it finish what is in flight, within `grace_seconds`, and wait for its end."""
        self._stopping.set()
        if self._engine is not None:
            self._engine.stop()
        self._thread.join(self._config.sync.grace_seconds + _JOIN_SECONDS)

    def _run(self) -> None:
        hooks = Hooks(trouble=_logger.warning, engine=self._attach, waits=True)
        try:
            result = sync_follow(self._directory, self._config, hooks=hooks)
        except (TurnlogError, EventLogError) as error:
            _logger.error("turns are recorded and not delivered: %s", error)  # noqa: TRY400 - a sentence for a person
        except Exception:
            _logger.exception("turns are recorded and not delivered")
        else:
            for problem in result.problems:
                _logger.info("%s", problem)

    def _attach(self, engine: Engine) -> None:
        self._engine = engine
        if self._stopping.is_set():
            engine.stop()
