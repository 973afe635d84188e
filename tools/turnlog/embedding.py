"""What an application embeds: a recorder that can also deliver, in a thread of its own."""

import os
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from eventlog import Durability
from turnlog.errors import TurnlogError
from turnlog.places import find_places, read_config
from turnlog.recorder import TurnRecorder

if TYPE_CHECKING:
    from turnlog.sync.background import BackgroundDelivery


class Recorder(TurnRecorder):
    """Records turns into the log in `directory`, which is created if need be, and delivers them if asked to.

    Safe for any number of threads and processes. `durability` is what a return from `record` promises: `fsync`
    (on disk) or `os`. With `dry_run` nothing is written: results say what would be, with seqs that would be taken.

    `deliver` delivers in the background what is owed to the sinks of the configuration, in real time, until `close`:
    the configuration is that of the command line (`turnlog.toml` in `directory`, TURNLOG_CONFIG, ...). A sink that
    another process delivers to is left to it, and taken over at its end. What keeps it from delivering is logged by
    the logger `turnlog`; no failure of a sink reaches the caller, and nothing is lost by one.

    Raises LogUnavailable, NewerFormat, and ConfigError if `deliver` cannot know what to do.
    """

    def __init__(
        self,
        directory: str | PathLike[str],
        *,
        durability: Durability = "fsync",
        dry_run: bool = False,
        deliver: bool = False,
    ) -> None:
        super().__init__(directory, durability=durability, dry_run=dry_run)
        try:
            self._delivery = _begin_delivery(Path(directory)) if deliver and not dry_run else None
        except TurnlogError:
            super().close()
            raise

    def close(self) -> None:
        """Finish what is being delivered, within the configuration's `grace_seconds`, and let go of the files."""
        if self._delivery is not None:
            self._delivery.stop()
        super().close()


def _begin_delivery(directory: Path) -> "BackgroundDelivery":
    from turnlog.sync.background import BackgroundDelivery  # what only records does without the engine

    config = read_config(find_places(str(directory), None, os.environ), os.environ)
    return BackgroundDelivery(directory, config)
