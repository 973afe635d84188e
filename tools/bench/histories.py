"""What a history costs: the time of a hundred turns, and memory, with more and more turns behind."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count, islice

from owed import Watch, base_log, configure, copy_of, delivered_log, following, many_turns
from peak import peak_bytes
from receiver import free_port, receiving, url_of
from report import Row, interleave, single_row, time_row
from senders import seconds_of

from bench import Bench

_TURNS = 100
_ROUNDS = 3
_MEGABYTE = 1_000_000
_NEW = 10_000_000  # the numbers of turns that no history has


def history_cases(bench: Bench) -> Iterator[Row]:
    """A hundred turns, appended at once: by an engine that has caught up, and by one that has to start first."""
    measures: dict[str, Callable[[], float]] = {}
    with ExitStack() as stack:
        url = stack.enter_context(receiving())
        for turns in bench.sizes.history_turns:
            directory = copy_of(bench, delivered_log(bench, turns), f"follow-{turns}")
            configure(directory, url)
            watch = stack.enter_context(Watch(directory))
            stack.enter_context(following(directory))
            fresh = many_turns(1_000_000, first=_NEW)
            watch.log.append_many([next(fresh)])
            watch.until_delivered(1)
            measures[f"history/follow/{turns}-turns"] = lambda w=watch, f=fresh: (
                w.deliver(list(islice(f, _TURNS)))[1] * 1000
            )  # type: ignore[misc]
        for turns in bench.sizes.history_turns:
            measures[f"history/start/{turns}-turns"] = _starting(bench, turns, url)
        for measure in measures.values():
            measure()
        results = interleave(measures, bench.sizes.rounds * _ROUNDS)
    first = bench.sizes.history_turns[0]
    for case in results:
        reference = f"{case.rpartition('/')[0]}/{first}-turns"
        yield time_row(results, case, "ms", None if case == reference else reference)


def _starting(bench: Bench, turns: int, url: str) -> Callable[[], float]:
    directory, numbers = copy_of(bench, delivered_log(bench, turns), f"start-{turns}"), count(_NEW, _TURNS)
    configure(directory, url)

    def start() -> float:
        with Watch(directory) as watch:
            watch.log.append_many(list(many_turns(_TURNS, first=next(numbers))))
        return seconds_of("turnlog", directory) * 1000

    return start


def peak_cases(bench: Bench) -> Iterator[Row]:
    """The most memory that `sync --follow` takes: with nothing to do, and with all to do at a sink that is down."""
    turns = bench.sizes.history_turns[-1]
    idle = copy_of(bench, delivered_log(bench, turns), "idle-follow")
    with receiving() as url, Watch(idle) as watch:
        configure(idle, url)
        with following(idle) as process:
            watch.deliver(list(many_turns(1, first=_NEW)))
            yield single_row(f"memory/idle/{turns}-delivered", peak_bytes(process.pid) / _MEGABYTE, "MB")
    down = copy_of(bench, base_log(bench, turns), "down-follow")
    configure(down, url_of(free_port()))
    with Watch(down) as watch, following(down) as process:
        watch.until_paused()
        time.sleep(2)
        yield single_row(f"memory/down/{turns}-pending", peak_bytes(process.pid) / _MEGABYTE, "MB")
