"""From the append of one turn until its receipt is durable."""

import random
import statistics
import time
from collections.abc import Iterator

from owed import Watch, configure, following, many_turns, owed_log
from receiver import receiving
from report import Row, percentile, single_row

from bench import Bench

_WARM_UP = 20
_PAUSE_SECONDS = (0.002, 0.01)  # long enough for the engine to be asleep again


def receipt_cases(bench: Bench) -> Iterator[Row]:
    """One turn at a time, by another process than the engine's."""
    directory, chance = bench.fresh("receipt"), random.Random(11)  # noqa: S311 - pauses, not keys
    owed_log(directory, many_turns(1))
    milliseconds = []
    with receiving() as url, Watch(directory) as watch:
        configure(directory, url)
        with following(directory):
            watch.until_delivered(1)
            for event in many_turns(_WARM_UP + bench.sizes.receipts, first=1):
                time.sleep(chance.uniform(*_PAUSE_SECONDS))
                milliseconds.append(watch.deliver([event]) * 1000)
    yield single_row("receipt/median", statistics.median(milliseconds[_WARM_UP:]), "ms")
    yield single_row("receipt/99th", percentile(milliseconds[_WARM_UP:], 99), "ms")
