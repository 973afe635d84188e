"""What every case is given: a folder to work in, how large to measure, and the big log that several cases share."""

import importlib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from samples import write_big_log


@dataclass(frozen=True)
class Sizes:
    """How much is measured: rows in one round, all writers together, and how many rounds."""

    rounds: int
    rows: int
    rows_batched: int
    rows_unsynced: int
    replay_rounds: int
    replay_events: int
    fetches: int
    starts: int
    wakes: int
    idle_seconds: float
    old_way_turns: tuple[int, ...]
    receipts: int
    flood_turns: int
    single_turns: int
    history_turns: tuple[int, ...]
    watched_files: int
    watched_turns: int
    watched_seconds: float
    import_rounds: int
    import_bytes: int
    import_bytes_large: int


FULL = Sizes(
    rounds=5,
    rows=6000,
    rows_batched=20_000,
    rows_unsynced=20_000,
    replay_rounds=5,
    replay_events=1_000_000,
    fetches=5000,
    starts=15,
    wakes=500,
    idle_seconds=30.0,
    old_way_turns=(1000, 10_000, 50_000),
    receipts=500,
    flood_turns=10_000,
    single_turns=2000,
    history_turns=(1000, 100_000, 1_000_000),
    watched_files=1000,
    watched_turns=100,
    watched_seconds=60,
    import_rounds=3,
    import_bytes=200_000_000,
    import_bytes_large=1_000_000_000,
)
QUICK = Sizes(
    rounds=5,
    rows=800,
    rows_batched=8000,
    rows_unsynced=8000,
    replay_rounds=3,
    replay_events=50_000,
    fetches=1000,
    starts=5,
    wakes=100,
    idle_seconds=2.0,
    old_way_turns=(1000, 10_000),
    receipts=100,
    flood_turns=5000,
    single_turns=500,
    history_turns=(1000, 10_000),
    watched_files=100,
    watched_turns=30,
    watched_seconds=5,
    import_rounds=2,
    import_bytes=4_000_000,
    import_bytes_large=50_000_000,
)


def say(text: str) -> None:
    """Tell the person at the terminal; stdout is for the figures."""
    print(text, file=sys.stderr, flush=True)


def peer(module: str, package: str) -> ModuleType | None:
    """The module of a peer; None, and a line that says so, if it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        say(f"skipped: {package} is not installed (pip install --group bench)")
        return None


@dataclass
class Bench:
    """One run."""

    folder: Path
    sizes: Sizes
    _big_log: Path | None = field(default=None, init=False)

    def fresh(self, name: str) -> Path:
        """A new, empty folder; slashes in the name become dashes."""
        path = self.folder / name.replace("/", "-")
        path.mkdir()
        return path

    def big_log(self) -> Path:
        """The folder of the log that is replayed; written when first asked for."""
        if self._big_log is None:
            path = self.fresh("big")
            say(f"  writing a log of {self.sizes.replay_events:,} events")
            write_big_log(path, self.sizes.replay_events)
            self._big_log = path
        return self._big_log
