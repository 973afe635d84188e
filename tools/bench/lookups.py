"""Getting at a part of a large log: one event by its seq, or the state from a checkpoint."""

import importlib.util
import random
import statistics
import time
from collections.abc import Iterator

from report import Row, percentile, single_row

from bench import Bench, say
from eventlog import EventLog

_WARM_UP = 100


def fetch_cases(bench: Bench) -> Iterator[Row]:
    """How long `EventLog.get` takes for seqs anywhere in the log."""
    log = EventLog.open(bench.big_log(), read_only=True)
    last_seq, chance = log.last_seq(), random.Random(7)  # noqa: S311 - the same seqs in every run
    microseconds = []
    for _ in range(_WARM_UP + bench.sizes.fetches):
        seq = chance.randint(1, last_seq)
        begin = time.perf_counter()
        entry = log.get(seq)
        microseconds.append((time.perf_counter() - begin) * 1e6)
        if entry is None or entry.seq != seq:
            raise RuntimeError(f"seq {seq} is not in the log")
    yield single_row("fetch/median", statistics.median(microseconds[_WARM_UP:]), "us")
    yield single_row("fetch/99th", percentile(microseconds[_WARM_UP:], 99), "us")


def checkpoint_cases(_bench: Bench) -> Iterator[Row]:
    """How long a start from a checkpoint takes with more and more events behind it."""
    if importlib.util.find_spec("projections.checkpoint") is None:
        say("skipped: there is no projections.checkpoint yet")
    else:
        say("skipped: projections.checkpoint is there, but how it is used was not known when this case was written")
    yield from ()
