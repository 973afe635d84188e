"""A backlog: how fast it goes out beside a bare loop of requests that posts the same bodies, also after an outage."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from owed import Watch, configure, copy_of, following, many_turns, owed_log
from receiver import free_port, receiving, url_of
from report import Row, interleave, rate_row, time_row
from senders import seconds_of

from bench import Bench
from eventlog import SinkResumed
from eventlog.writer import utc_now

_LANES = 100
_BATCHES = "turns = 100"
_PROBE_SECONDS = 0.5


@dataclass(frozen=True)
class Flood:
    """Turns that are owed, in a log that is copied for every round, and how many turns one request takes."""

    bench: Bench
    original: Path
    turns: int
    sink: str

    def copy(self, url: str, *, sync: str = "") -> Path:
        """A log of its own for a round."""
        path = copy_of(self.bench, self.original, "flood")
        configure(path, url, sink=self.sink, sync=sync)
        return path

    def turnlog_rate(self, url: str) -> float:
        """Turns per second of a run that delivers all of them."""
        return self.turns / seconds_of("turnlog", self.copy(url))

    def keep_bodies(self) -> Path:
        """A folder with the bodies that such a run posts."""
        folder = self.bench.fresh(f"bodies-of-{self.original.name}")
        with receiving(keep=folder) as url:
            self.turnlog_rate(url)
        return folder


def _flood(bench: Bench, name: str, turns: int, sink: str) -> Flood:
    original = bench.fresh(name)
    owed_log(original, many_turns(turns, lanes=_LANES))
    return Flood(bench, original, turns, sink)


def batch_cases(bench: Bench) -> Iterator[Row]:
    """Requests of 100 turns, beside one thread."""
    yield from _beside_requests(_flood(bench, "batch", bench.sizes.flood_turns, _BATCHES), "batch", threads=1)


def single_cases(bench: Bench) -> Iterator[Row]:
    """One turn a request on 8 connections, beside 8 threads."""
    flood = _flood(bench, "single", bench.sizes.single_turns, "turns = 1\nconnections = 8")
    yield from _beside_requests(flood, "single", threads=8)


def _beside_requests(flood: Flood, name: str, *, threads: int) -> Iterator[Row]:
    bodies, case, reference = flood.keep_bodies(), f"{name}/turnlog", f"{name}/requests"
    with receiving() as url:
        measures = {
            reference: lambda: flood.turns / seconds_of("requests", url, bodies, threads),
            case: lambda: flood.turnlog_rate(url),
        }
        results = interleave(measures, flood.bench.sizes.rounds)
    yield rate_row(results, reference, "turns/s")
    yield rate_row(results, case, "turns/s", reference)


def recovery_cases(bench: Bench) -> Iterator[Row]:
    """A server that comes back: when the first turn arrives, and how fast the backlog goes out then."""
    flood = _flood(bench, "recovery", bench.sizes.flood_turns, _BATCHES)
    firsts: list[float] = []

    def drain_rate() -> float:
        first, rate = _recover(flood)
        firsts.append(first)
        return rate

    with receiving() as url:
        measures = {"recovery/no-outage": lambda: flood.turnlog_rate(url), "recovery/drain": drain_rate}
        results = interleave(measures, bench.sizes.rounds)
    yield time_row({"recovery/first-delivery": firsts}, "recovery/first-delivery", "probe intervals")
    yield rate_row(results, "recovery/no-outage", "turns/s")
    yield rate_row(results, "recovery/drain", "turns/s", "recovery/no-outage")


def _recover(flood: Flood) -> tuple[float, float]:
    """Probe intervals from the server's return to the first receipt, and turns per second from then on."""
    port = free_port()
    seconds = f"probe_seconds = {_PROBE_SECONDS}\nprobe_max_seconds = {_PROBE_SECONDS}"
    directory = flood.copy(url_of(port), sync=seconds)
    with Watch(directory) as watch, following(directory):
        watch.until_paused()
        with receiving(port=port):
            back = utc_now()
            resumed = watch.until(lambda entry: isinstance(entry.event, SinkResumed)).at
            first = watch.until_delivered(1)
            last = watch.until_delivered(flood.turns - len(first.event.turns))  # type: ignore[union-attr]
    rate = flood.turns / (last.at - resumed).total_seconds()
    return (first.at - back).total_seconds() / _PROBE_SECONDS, rate
