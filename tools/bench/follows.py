"""Following a log: how soon an append by another process is seen, and what waiting costs."""

import multiprocessing
import random
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from report import Row, percentile, single_row
from samples import contents, turn

from bench import Bench
from eventlog import EventLog, TurnRecorded

_WARM_UP = 20
_PAUSE_SECONDS = (0.002, 0.01)  # long enough for the follower to be asleep again
_PATIENCE_SECONDS = 120
_SETTLE_SECONDS = 0.3
_IDLE_SECONDS = 2.0


def follow_cases(bench: Bench) -> Iterator[Row]:
    """From the call of `append` in another process until the entry is in this one's hands."""
    directory, count = bench.fresh("follow"), _WARM_UP + bench.sizes.wakes
    with EventLog.open(directory) as log:
        log.append(turn(0, contents(1)[0]))
    writer = multiprocessing.get_context("spawn").Process(target=_append_now_and_then, args=(directory, count))
    writer.daemon = True
    writer.start()
    milliseconds = _wake_times(directory, count)[_WARM_UP:]
    writer.join(_PATIENCE_SECONDS)
    if len(milliseconds) < bench.sizes.wakes:
        raise RuntimeError(f"the follower saw {len(milliseconds)} of {bench.sizes.wakes} appends")
    yield single_row("follow/median", statistics.median(milliseconds), "ms")
    yield single_row("follow/99th", percentile(milliseconds, 99), "ms")


def _append_now_and_then(directory: Path, count: int) -> None:
    """In the other process: each turn is named by the moment of its append."""
    (messages,), chance = contents(1), random.Random(11)  # noqa: S311 - pauses, not keys
    with EventLog.open(directory) as log:
        for _ in range(count):
            time.sleep(chance.uniform(*_PAUSE_SECONDS))
            log.append(TurnRecorded(turn_id=str(time.monotonic_ns()), messages=messages))


def _wake_times(directory: Path, count: int) -> list[float]:
    stop = threading.Event()
    watchdog = threading.Timer(_PATIENCE_SECONDS, stop.set)
    watchdog.daemon = True
    watchdog.start()
    milliseconds: list[float] = []
    log = EventLog.open(directory, read_only=True)
    for entry in log.follow(gt=log.last_seq(), stop=stop):
        now = time.monotonic_ns()
        if isinstance(entry.event, TurnRecorded):
            milliseconds.append((now - int(entry.event.turn_id)) / 1e6)
        if len(milliseconds) == count:
            break
    watchdog.cancel()
    return milliseconds


def idle_cases(bench: Bench) -> Iterator[Row]:
    """The share of a core that a follower takes while nothing happens."""
    directory, stop = bench.fresh("idle"), threading.Event()
    with EventLog.open(directory) as log:
        log.append(turn(0, contents(1)[0]))
    follower = threading.Thread(target=_follow, args=(directory, stop), daemon=True)
    follower.start()
    time.sleep(_SETTLE_SECONDS)
    used, begin = time.process_time(), time.monotonic()
    time.sleep(_IDLE_SECONDS)
    used, lasted = time.process_time() - used, time.monotonic() - begin
    stop.set()
    follower.join()
    yield single_row("follow/idle-cpu", used / lasted * 100, "% of a core")


def _follow(directory: Path, stop: threading.Event) -> None:
    for _ in EventLog.open(directory, read_only=True).follow(stop=stop):
        pass
