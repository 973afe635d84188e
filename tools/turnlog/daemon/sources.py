"""The parts that watch: one for each source of the configuration."""

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from turnlog.clock import SystemClock
from turnlog.config import Config, SourceConfig
from turnlog.daemon.parts import Pulse
from turnlog.recorder import TurnRecorder
from turnlog.sources.configured import watched_source
from turnlog.sources.following import News, follow
from turnlog.sources.mailboxes import feeds_of, is_mailbox, make_configured
from turnlog.sources.watching import Feed, Watched, Watcher, fetching

_logger = logging.getLogger("turnlog.daemon")


class SourcePart:
    """Records what one source gets, be it files or a mailbox.

    `looked_at` is when it was looked at last, `held_since` since when the oldest thing in its files waits to be
    recorded, because it may go on.
    """

    def __init__(self, directory: Path, config: Config, table: SourceConfig, environ: Mapping[str, str]) -> None:
        self.source = table.type.replace("-", "_")
        self.looked_at: datetime | None = None
        self.held_since: datetime | None = None
        self._directory = directory
        self._config = config
        self._table = table
        self._environ = environ

    def run(self, pulse: Pulse) -> None:
        """Watch until the pulse is told to stop. Raises what keeps it from recording: then it begins anew."""
        news, clock = News(), SystemClock()
        pulse.when_stopped(news.stop)
        watched, feeds = self._open()
        with (
            TurnRecorder(self._directory, durability=self._config.log.durability) as recorder,
            fetching(feeds, recorder, news.tell),
        ):
            watcher = Watcher(recorder, watched, feeds=feeds, clock=clock, say=self._say, beat=pulse.beat)

            def looked() -> None:
                self.looked_at, self.held_since = datetime.now(UTC), watcher.held_since
                pulse.ready()

            follow(watched, watcher, news, clock=clock, say=self._say, looked=looked)

    def _open(self) -> tuple[list[Watched], Sequence[Feed]]:
        if is_mailbox(self._table):
            return [], feeds_of([make_configured(self._config, self._table, self._environ)])
        return [watched_source(self._config, self._table, self._environ)], ()

    def _say(self, sentence: str) -> None:
        _logger.warning("%s: %s", self.source, sentence)
