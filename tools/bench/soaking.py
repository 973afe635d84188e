"""The soak: what is done when, and what comes of it."""

import argparse
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from command import workplace
from report import Row, as_json, as_table, single_row
from soak_growth import Sample, growth, growth_rows, sample
from soak_truth import Truth, unfinished, untrue, untrue_pages
from soak_world import SINK, World, world

from bench import say

_SHORT_SECONDS = 300.0
"""A soak that is shorter than this does everything more often."""

_PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.05
_PROBLEMS_MAX = 100


@dataclass(frozen=True)
class Plan:
    """How long a soak lasts, and how often what is done in it; in seconds. Of each period a third is an outage."""

    lasts: float
    period: float
    reload: float
    probe: float
    sample: float


def plan_of(minutes: float) -> Plan:
    """The plan of a soak of so many minutes: with an outage and a reload a minute, where it is long enough."""
    seconds = minutes * 60
    if seconds >= _SHORT_SECONDS:
        return Plan(seconds, period=60.0, reload=60.0, probe=5.0, sample=1.0)
    return Plan(seconds, period=max(6.0, seconds / 6), reload=max(4.0, seconds / 6), probe=1.0, sample=0.25)


@dataclass
class Soak:
    """A soak and what was seen in it."""

    world: World
    plan: Plan
    problems: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    probe_seconds: list[float] = field(default_factory=list)
    renamed: int = 0

    def run(self) -> None:
        """Warm up for a period, do it all for as long as it lasts, and see everything to its end."""
        self._truth = Truth(self.world)
        self._work(self.plan.period)
        self.samples.clear()
        say(f"warm after {self.plan.period:.0f} s; {self.plan.lasts / 60:.4g} minutes follow")
        self._work(self.plan.lasts)
        self._finish()
        self._truth.close()
        self.problems += growth(self.samples)

    def _work(self, seconds: float) -> None:
        plan, begin = self.plan, time.monotonic()
        tasks: list[_Task] = [
            _Task(plan.sample, 0.0, self._sample),
            _Task(plan.probe, plan.probe / 2, self._probe),
            _Task(plan.reload, plan.reload / 2, self._reload),
            _Task(plan.reload, plan.reload * 0.75, self._rename_log),
            _Task(plan.period, plan.period * 2 / 3, self._cut_off),
            _Task(plan.period, plan.period, self._mend),
        ]
        while True:
            task = min(tasks, key=lambda one: one.due)
            if task.due > seconds:
                break
            time.sleep(max(0.0, begin + task.due - time.monotonic()))
            task.work()
            task.due = max(task.due + task.period, time.monotonic() - begin)  # what took too long is not made up for

    def _sample(self) -> None:
        self.samples.append(sample(self.world.service.process))

    def _probe(self) -> None:
        before = self._truth.look()
        begin = time.monotonic()
        status = self.world.service.status()
        self.probe_seconds.append(time.monotonic() - begin)
        self._note(untrue(status, before, self._truth.look()))
        before = self._truth.look()
        self._note(untrue_pages(self.world, before, self._truth.look()))

    def _reload(self) -> None:
        self._note([self.world.service.reload()])

    def _rename_log(self) -> None:
        self.renamed += self.world.service.rename_log()

    def _cut_off(self) -> None:
        self._until(lambda: self._sink_state() in ("ok", "idle"), "the sink is back, and the status does not say so")
        self.world.cut_off()

    def _mend(self) -> None:
        self._until(lambda: self._sink_state() == "paused", "the sink is away, and the status does not say so")
        self.world.mend()

    def _sink_state(self) -> str:
        return next((str(sink["state"]) for sink in self.world.service.status()["sinks"] if sink["sink"] == SINK), "")

    def _until(self, is_so: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not is_so():
            if time.monotonic() > deadline:
                return self._note([otherwise])
            time.sleep(_POLL_SECONDS)
        return None

    def _finish(self) -> None:
        self.world.mend()
        talk, service = self.world.talk, self.world.service
        talk.close()
        self._until(lambda: self._truth.look().delivered >= talk.begun, "not everything is delivered in the end")
        self._probe()
        self._note([service.stop()])
        self._note(unfinished(self.world, service.directory))
        if self.renamed and not service.log_file.exists():
            self._note(["the daemon's log was renamed and it made no new one"])

    def _note(self, problems: Iterator[str] | Sequence[str | None]) -> None:
        for problem in filter(None, problems):
            if len(self.problems) < _PROBLEMS_MAX:
                self.problems.append(problem)
                say(f"PROBLEM: {problem}")


@dataclass
class _Task:
    """Something that is done every `period`, next when it is `due`; in seconds from the beginning."""

    period: float
    due: float
    work: Callable[[], None]


def rows(soak: Soak) -> Iterator[Row]:
    """What a soak has measured and counted."""
    yield from growth_rows(soak.samples)
    yield single_row("soak/status/median", statistics.median(soak.probe_seconds) * 1000, "ms")
    counts = {
        "turns": soak.world.talk.begun,
        "outages": soak.world.outages,
        "reloads": soak.world.service.reloads,
        "renames": soak.renamed,
        "probes": len(soak.probe_seconds),
        "problems": len(soak.problems),
    }
    yield from (single_row(f"soak/{name}", count, name) for name, count in counts.items())


def main(arguments: Sequence[str]) -> int:
    """Soak and print; 1 if something was wrong."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # so that all is ended and removed
    with workplace(options.dir) as folder, world(folder, options.rate) as at:
        soak = Soak(at, plan_of(options.minutes))
        soak.run()
    found = list(rows(soak))
    print("\n".join(map(as_json, found)) if options.json else as_table(found))
    for problem in soak.problems:
        say(f"problem: {problem}")
    return 1 if soak.problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tools/bench/soak",
        description="Have a daemon deliver to a sink that is away a third of the time, and judge it.",
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="how long, after one period to warm up")
    parser.add_argument("--rate", type=float, default=5.0, help="turns recorded a second")
    parser.add_argument("--json", action="store_true", help="JSON Lines, one object per figure, instead of a table")
    parser.add_argument("--dir", type=Path, help="work below this folder")
    return parser
