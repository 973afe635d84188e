"""A crew: sinks that come, go, change and break while the engine is at work, none of which the others feel."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import turnlog.sync.crew as module
from eventlog import EventLog, SyncAttempted, SyncFailed, SyncSucceeded
from turnlog import Recorder
from turnlog.config import Config, SinkConfig, SyncConfig
from turnlog.sinks.base import Limits
from turnlog.sync.crew import Crew, Hooks, open_crew
from turnlog.sync.lease import lease
from turnlog.testing import FaultySink, failed, unauthorized

from ..waiting import until

PATIENCE_SECONDS = 20.0


class Breaking(FaultySink):
    """A sink with a bug, as long as `broken` is set."""

    broken = False

    @property  # type: ignore[override]
    def limits(self) -> Limits:
        if self.broken:
            raise ZeroDivisionError("what Ann said")
        return Limits()

    @limits.setter
    def limits(self, value: Limits) -> None:
        pass


def config(*names: str, grace_seconds: float = 5.0, **options: Any) -> Config:
    sinks = tuple(SinkConfig(name, "faulty", options=options) for name in names)
    return Config(sync=SyncConfig(base_seconds=0.0, grace_seconds=grace_seconds), sinks=sinks)


class Team:
    """A crew at work on a log, with sinks by name."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.recorder = Recorder(directory, durability="os")
        self.sinks: dict[str, FaultySink] = {name: FaultySink() for name in ("a", "b", "c")}
        self.told: list[str] = []
        self.crew: Crew

    def record(self, text: str = "hi") -> int:
        return self.recorder.record(messages=[{"role": "user", "content": text}]).seq

    def events(self, kind: type[Any]) -> list[Any]:
        log = EventLog.open(self.directory, read_only=True)
        return [entry.event for entry in log.read() if isinstance(entry.event, kind)]

    def delivered(self) -> int:
        """How many turns the log says are delivered, however often it says it of one."""
        return sum(len(event.turns) for event in self.events(SyncSucceeded))

    @contextmanager
    def working(self, config: Config) -> Iterator[Crew]:
        """Deliver in a thread, as long as the block lasts."""
        with open_crew(self.directory, config, clock=None, hooks=Hooks(trouble=self.told.append, waits=True)) as crew:
            crew.expect_all()
            thread = threading.Thread(target=crew.engine.follow, kwargs={"join": lambda: crew.join() and False})
            thread.start()
            try:
                yield crew
            finally:
                crew.engine.stop()
                thread.join(PATIENCE_SECONDS)
                assert not thread.is_alive()


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Team]:
    team = Team(tmp_path / "data")
    monkeypatch.setattr(module, "open_sink", lambda _, sink: team.sinks[sink.name])
    monkeypatch.setattr(module, "_AGAIN_SECONDS", 0.01)
    yield team
    team.recorder.close()


def test_a_sink_that_breaks_costs_the_others_nothing(team: Team) -> None:
    """It is waited for, and delivered to when its code is well again; what it raised is not told, only its type."""
    broken = team.sinks["a"] = Breaking()
    with team.working(config("a", "b")) as crew:
        team.record()
        until(lambda: broken.taken and team.sinks["b"].taken)
        broken.broken = True
        team.record()
        until(lambda: "a" in crew.absent and crew.absent["a"].failures >= 2)
        until(lambda: len(team.sinks["b"].taken) == 2)
        assert list(crew.engine.sinks) == ["b"]
        assert str(crew.absent["a"]) == "its code broke: ZeroDivisionError"
        broken.broken = False
        until(lambda: len(broken.taken) == 2)
        assert crew.absent == {}
    assert team.told[0] == "a: its code broke: ZeroDivisionError; trying again"
    assert not any("Ann" in sentence for sentence in team.told)


def test_what_was_under_way_when_a_sink_broke_is_settled_once(team: Team) -> None:
    """When it is added again, as if its worker had died; what comes of the old request later changes nothing."""
    broken = team.sinks["a"] = Breaking(connections=4)
    going, entered = threading.Event(), threading.Event()
    broken.meanwhile = lambda _: entered.set() or (going.wait(PATIENCE_SECONDS) and None)  # type: ignore[func-returns-value]
    with team.working(config("a")) as crew:
        team.record()
        assert entered.wait(PATIENCE_SECONDS)
        broken.broken = True
        crew.engine.ask_again()
        team.record()
        until(lambda: "a" in crew.absent and crew.absent["a"].failures)
        broken.meanwhile = lambda _: None
        broken.broken = False
        until(lambda: team.delivered() == 2)
        going.set()
        until(lambda: len(broken.taken) == 3)
        team.record()
        until(lambda: team.delivered() == 3)
    first, *_ = team.events(SyncFailed)
    assert first.kind == "in_doubt"
    assert first.attempt not in {event.attempt for event in team.events(SyncSucceeded)}


def test_a_bug_that_shows_in_the_engine_ends_a_run_that_waits_for_nothing(team: Team) -> None:
    """There, nobody would notice that a sink is left out."""
    team.sinks["a"] = Breaking()
    team.record()
    with open_crew(team.directory, config("a"), clock=None, hooks=Hooks()) as crew:
        crew.add(SinkConfig("a", "faulty"))
        team.sinks["a"].broken = True  # type: ignore[attr-defined]
        with pytest.raises(ZeroDivisionError):
            crew.engine.run_once()


def test_a_sink_that_is_gone_is_let_go_when_its_request_has_ended(team: Team) -> None:
    """What comes of that is written down; nothing more is begun, its lease is free, and its connections are closed."""
    going, entered = threading.Event(), threading.Event()
    team.sinks["a"].meanwhile = lambda _: (entered.set(), going.wait(PATIENCE_SECONDS))[0]  # type: ignore[func-returns-value]
    with team.working(config("a", "b")) as crew:
        team.record()
        assert entered.wait(PATIENCE_SECONDS)
        crew.change(config("b"))
        team.record()
        until(lambda: len(team.sinks["b"].taken) == 2)
        assert team.sinks["a"].closed == 0
        going.set()
        until(lambda: team.sinks["a"].closed)
        with lease(team.directory, "a"):
            pass
        assert [event.sink for event in team.events(SyncAttempted)].count("a") == 1
        assert [event.sink for event in team.events(SyncSucceeded)].count("a") == 1


def test_a_request_that_does_not_end_is_given_up_after_the_grace_time(team: Team) -> None:
    """It is in doubt; its late end changes nothing, and the sink's successor delivers the turn."""
    going, entered = threading.Event(), threading.Event()
    team.sinks["a"].meanwhile = lambda _: (entered.set(), going.wait(PATIENCE_SECONDS))[0]  # type: ignore[func-returns-value]
    slow = team.sinks["a"]
    with team.working(config("a", grace_seconds=0.05)) as crew:
        team.record()
        assert entered.wait(PATIENCE_SECONDS)
        team.sinks["a"] = FaultySink()
        crew.change(config("a", grace_seconds=0.05, another=True))
        until(lambda: team.sinks["a"].taken)
        going.set()
        until(lambda: slow.taken)
        team.record()
        until(lambda: len(team.sinks["a"].taken) == 2)
    assert [event.kind for event in team.events(SyncFailed)] == ["in_doubt"]
    assert len(team.events(SyncSucceeded)) == 2


def test_sinks_come_while_it_works(team: Team) -> None:
    """They are enrolled and get what was recorded before."""
    team.record()
    with team.working(config("a")) as crew:
        until(lambda: team.sinks["a"].taken)
        crew.change(config("a", "b", "c"))
        until(lambda: team.sinks["b"].taken and team.sinks["c"].taken)
        assert team.sinks["a"].closed == 0


def test_what_somebody_else_delivers_to_is_waited_for(team: Team) -> None:
    """And told once, not every second."""
    with lease(team.directory, "a"), team.working(config("a", "b")) as crew:
        team.record()
        until(lambda: team.sinks["b"].taken)
        for _ in range(5):
            crew.engine.wake()
        assert "is being delivered to" in str(crew.absent["a"])
    assert len(team.told) == 1
    with team.working(config("a", "b")):
        until(lambda: team.sinks["a"].taken)


def test_credentials_are_tried_anew_when_the_configuration_is(team: Team) -> None:
    """An operator who mends them reloads, and need not wait for the next sweep."""
    team.sinks["a"].outage = unauthorized()
    with team.working(config("a")) as crew:
        team.record()
        until(lambda: crew.engine.state.sinks["a"].pause)
        team.sinks["a"].outage = None
        crew.change(config("a"))
        until(lambda: team.sinks["a"].taken)


def test_patience_changes_with_the_configuration(team: Team) -> None:
    """For the sinks that stay, which are neither closed nor asked anything."""
    team.sinks["a"].rule = lambda _: failed()
    patient = Config(sync=SyncConfig(base_seconds=1000.0, max_seconds=1000.0), sinks=config("a").sinks)
    with team.working(patient) as crew:
        seq = team.record()
        until(lambda: team.events(SyncFailed))
        crew.change(Config(sync=SyncConfig(max_attempts=2, base_seconds=0.0), sinks=patient.sinks))
        until(lambda: crew.engine.state.turn_state("a", seq) == "dead")
        assert team.sinks["a"].closed == 0
