"""The parts that watch: one for each source of the configuration."""

import logging
from datetime import UTC, datetime
from pathlib import Path

from eventlog import Durability
from turnlog.clock import SystemClock
from turnlog.daemon.parts import Pulse
from turnlog.recorder import TurnRecorder
from turnlog.sources.following import News, follow
from turnlog.sources.watching import Watched, Watcher

_logger = logging.getLogger("turnlog.daemon")


class SourcePart:
    """Records what one source gets. `looked_at` is when its files were looked at last, `held_since` since when the
    oldest thing in them waits to be recorded, because it may go on."""

    def __init__(self, directory: Path, durability: Durability, watched: Watched) -> None:
        self.source = watched.source.name
        self.looked_at: datetime | None = None
        self.held_since: datetime | None = None
        self._directory = directory
        self._durability = durability
        self._watched = watched

    def run(self, pulse: Pulse) -> None:
        """Watch until the pulse is told to stop. Raises what keeps it from recording: then it begins anew."""
        news, clock = News(), SystemClock()
        pulse.when_stopped(news.stop)
        with TurnRecorder(self._directory, durability=self._durability) as recorder:
            watcher = Watcher(recorder, [self._watched], clock=clock, say=self._say, beat=pulse.beat)

            def looked() -> None:
                self.looked_at, self.held_since = datetime.now(UTC), watcher.held_since
                pulse.ready()

            follow([self._watched], watcher, news, clock=clock, say=self._say, looked=looked)

    def _say(self, sentence: str) -> None:
        _logger.warning("%s: %s", self.source, sentence)
