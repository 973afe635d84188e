"""Getting at a part of a large log: one event by its seq, or the state from a checkpoint."""

import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from msgspec.structs import replace
from report import Row, interleave, percentile, single_row, time_row
from samples import SINK, contents, turn, write_big_log

from bench import Bench
from eventlog import EventLog
from projections import DELIVERY, Checkpoints, replay

_WARM_UP = 100
_CHECKPOINT_EVENTS = (10_000, 100_000)
_TAIL_EVENTS = 100
_START = """
import sys
from eventlog import EventLog
from projections import DELIVERY, Checkpoints, replay
log = EventLog.open(sys.argv[1], read_only=True)
(state,) = replay(log, DELIVERY, checkpoints=Checkpoints(log, read_only=True))
assert state.last_seq == log.last_seq()
"""


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


def checkpoint_cases(bench: Bench) -> Iterator[Row]:
    """How long a process takes from its start to the delivery state of a log with more and more events behind it.

    Each log has a checkpoint and the same number of events behind that.
    """
    sizes = [events for events in _CHECKPOINT_EVENTS if events < bench.sizes.replay_events]
    logs = {events: _with_checkpoint(bench.fresh(f"checkpoint-{events}"), events) for events in sizes}
    logs[bench.sizes.replay_events] = _with_checkpoint(bench.big_log(), 0)
    cases = {f"checkpoint/start/{events}-events": path for events, path in logs.items()}
    results = interleave({case: partial(_start, path) for case, path in cases.items()}, bench.sizes.starts)
    first = next(iter(cases))
    for case in results:
        yield time_row(results, case, "ms", None if case == first else first)


def _with_checkpoint(path: Path, events: int) -> Path:
    """A log with a checkpoint, and a tail behind it; `events` are written first."""
    if events:
        write_big_log(path, events)
    with EventLog.open(path, durability="os") as log:
        Checkpoints(log).save((DELIVERY,), replay(log, DELIVERY))
        tail = [turn(number, contents(1)[0]) for number in range(_TAIL_EVENTS)]
        log.append_many([replace(event, delivered_to=(SINK,)) for event in tail])  # as other cases expect of all
    return path


def _start(path: Path) -> float:
    """Milliseconds of a process that does nothing else."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", _START, str(path)], check=True)  # noqa: S603 - our own
    return (time.perf_counter() - begin) * 1000
