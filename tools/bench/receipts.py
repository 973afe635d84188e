"""From the append of one turn until the log has the sink's receipt for it, and until that is durable."""

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
    seconds = []
    with receiving() as url, Watch(directory) as watch:
        configure(directory, url)
        with following(directory):
            watch.until_delivered(1)
            for event in many_turns(_WARM_UP + bench.sizes.receipts, first=1):
                time.sleep(chance.uniform(*_PAUSE_SECONDS))
                seconds.append(watch.deliver([event]))
    for name, values in zip(("receipt", "receipt/durable"), zip(*seconds[_WARM_UP:], strict=True), strict=True):
        yield single_row(f"{name}/median", statistics.median(values) * 1000, "ms")
        yield single_row(f"{name}/99th", percentile(values, 99) * 1000, "ms")
