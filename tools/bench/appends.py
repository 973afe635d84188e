"""Appending: alone, by threads, by processes, in batches; and how long one must wait while others write."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial

import backends
from report import Row, interleave, percentile, rate_row, single_row
from teams import Team, seconds

from bench import Bench, peer

_WARM_UP_ROWS = 1200  # SQLite writes its write-ahead log anew after 1000 pages: only then does it not grow any more
_RAW = "append/raw/1-writer"
_RAW_BATCHES = "append/raw/batches-of-100"
_SQLITE_BATCHES = "append/sqlite-full/batches-of-100"


class Lineup:
    """The teams of one group of cases, each ready to run a round of the same number of rows."""

    def __init__(self, bench: Bench, stack: ExitStack, rows: int) -> None:
        self._bench = bench
        self._stack = stack
        self._rows = rows
        self.measures: dict[str, Callable[[], float]] = {}
        self.teams: dict[str, Team] = {}

    def add(
        self, case: str, backend: Callable[..., object], *, threads: int = 0, processes: int = 0, **options: object
    ) -> None:
        """Start a team of writers; one thread if nothing else is asked for."""
        members, batch = threads or processes or 1, int(str(options.get("batch", 1)))
        open_backend = partial(backend, self._bench.fresh(case), **options)
        rows = self._bench.sizes.rows_batched if batch > 1 else self._rows
        team = Team(
            open_backend,  # type: ignore[arg-type]
            puts=rows // members // batch,
            warm_up=_WARM_UP_ROWS // members // batch,
            threads=0 if processes else members,
            processes=processes,
        )
        self.teams[case] = self._stack.enter_context(team)
        self.measures[case] = lambda: _rate(team, rows)


def _rate(team: Team, rows: int) -> float:
    os.sync()  # what the case before left to be written is not this one's to pay
    return rows / seconds(team.measure())


def append_cases(bench: Bench) -> Iterator[Row]:
    """Durable appends, as multiples of the raw write and sync by one writer."""
    with ExitStack() as stack:
        lineup = Lineup(bench, stack, bench.sizes.rows)
        _add_durable(lineup)
        results = interleave(lineup.measures, bench.sizes.rounds)
    for case in results:
        yield rate_row(results, case, "events/s", None if case == _RAW else _RAW)
    batches = "append/turnlog/batches-of-100"
    yield rate_row(results, batches, "events/s", _SQLITE_BATCHES, name=f"{batches}/against-sqlite")
    yield rate_row(results, batches, "events/s", _RAW_BATCHES, name=f"{batches}/against-raw-batches")


def _add_durable(lineup: Lineup) -> None:
    lineup.add(_RAW, backends.raw)
    for name, backend in (("turnlog", backends.turnlog), ("sqlite-full", backends.sqlite)):
        lineup.add(f"append/{name}/1-writer", backend)
        lineup.add(f"append/{name}/8-threads", backend, threads=8)
        lineup.add(f"append/{name}/4-processes", backend, processes=4)
        lineup.add(f"append/{name}/batches-of-100", backend, batch=backends.BATCH)
    lineup.add(_RAW_BATCHES, backends.raw, batch=backends.BATCH)
    if peer("persistqueue", "persist-queue"):
        lineup.add("append/persist-queue/1-writer", backends.persist_queue)
    if peer("eventsourcing.sqlite", "eventsourcing"):
        lineup.add("append/eventsourcing/1-writer", backends.eventsourcing)


def unsynced_cases(bench: Bench) -> Iterator[Row]:
    """Appends that survive the end of the process and not a power cut."""
    turnlog, sqlite = "append-os/turnlog/1-writer", "append-os/sqlite-normal/1-writer"
    with ExitStack() as stack:
        lineup = Lineup(bench, stack, bench.sizes.rows_unsynced)
        lineup.add(sqlite, backends.sqlite, synchronous="NORMAL")
        lineup.add(turnlog, backends.turnlog, durability="os")
        results = interleave(lineup.measures, bench.sizes.rounds)
    yield rate_row(results, sqlite, "events/s")
    yield rate_row(results, turnlog, "events/s", sqlite)


def wait_cases(bench: Bench) -> Iterator[Row]:
    """How long a durable append takes while four processes append as fast as they can."""
    with ExitStack() as stack:
        lineup = Lineup(bench, stack, bench.sizes.rows)
        for name, backend in (("turnlog", backends.turnlog), ("sqlite-full", backends.sqlite)):
            lineup.add(f"wait/{name}/4-processes", backend, processes=4)
        waits = _waits(lineup.teams, bench.sizes.rounds)
    for case, milliseconds in waits.items():
        yield single_row(f"{case}/99.9th", percentile(milliseconds, 99.9), "ms")
        yield single_row(f"{case}/worst", max(milliseconds), "ms")


def _waits(teams: Mapping[str, Team], rounds: int) -> dict[str, list[float]]:
    """The waits of all rounds together: a rare long one shows only among many."""
    waits: dict[str, list[float]] = {case: [] for case in teams}
    for _ in range(rounds):
        for case, team in teams.items():
            os.sync()
            waits[case] += [wait * 1000 for run in team.measure() for wait in run.waits]
    return waits
