"""Parts: what breaks is started again, what is stuck is named, and none of it is felt by the others."""

import threading
from collections.abc import Iterator

import pytest

import turnlog.daemon.parts as module
from turnlog.daemon.parts import Pulse, Supervisor, told
from turnlog.daemon.status import PartStatus
from turnlog.errors import Busy

from ..waiting import until


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    monkeypatch.setattr(module, "FIRST_RETRY_SECONDS", 0.02)
    monkeypatch.setattr(module, "RETRY_SECONDS_MAX", 0.05)
    supervisor = Supervisor(stuck_seconds=0.05)
    yield supervisor
    assert supervisor.stop(10) == []


def well(pulse: Pulse) -> None:
    """A part that gets on until it is stopped."""
    pulse.ready()
    while not pulse.stopping.wait(0.005):
        pulse.beat()


def status(supervisor: Supervisor, name: str) -> PartStatus:
    (found,) = (part for part in supervisor.statuses() if part.name == name)
    return found


def tended(supervisor: Supervisor) -> bool:
    supervisor.tend()
    return True


def test_a_part_that_breaks_is_started_again_and_the_others_go_on(supervisor: Supervisor) -> None:
    """Each time, however often; its status says how often, and why it was that last."""
    calls: list[int] = []

    def breaks_thrice(pulse: Pulse) -> None:
        calls.append(1)
        if len(calls) <= 3:
            raise Busy("somebody else is at it")
        well(pulse)

    supervisor.start("good", well)
    supervisor.start("bad", breaks_thrice)
    until(lambda: tended(supervisor) and status(supervisor, "bad").state == "running")
    assert status(supervisor, "bad").restarts == 3
    assert status(supervisor, "bad").error == "somebody else is at it"
    assert (status(supervisor, "good").state, status(supervisor, "good").restarts) == ("running", 0)


def test_a_part_that_ends_by_itself_is_started_again_too(supervisor: Supervisor) -> None:
    """Nothing is left undone because a loop was left; it waits longer each time, up to a limit."""
    supervisor.start("brief", lambda pulse: pulse.ready())
    until(lambda: tended(supervisor) and status(supervisor, "brief").restarts >= 4)
    brief = status(supervisor, "brief")
    assert brief.error == "it ended by itself"


def test_a_stuck_part_is_named_until_it_gets_on(supervisor: Supervisor) -> None:
    """It has begun its work and says nothing more; the one beside it is not named."""
    go_on = threading.Event()

    def sticks(pulse: Pulse) -> None:
        pulse.ready()
        go_on.wait(30)
        well(pulse)

    supervisor.start("good", well)
    supervisor.start("stuck", sticks)
    until(lambda: supervisor.stuck() == ["stuck"])
    assert status(supervisor, "stuck").state == "stuck"
    go_on.set()
    until(lambda: not supervisor.stuck())


def test_what_is_not_ready_yet_is_not_stuck(supervisor: Supervisor) -> None:
    """A first look at a long log may take its time."""
    go_on = threading.Event()
    supervisor.start("slow", lambda pulse: (go_on.wait(30), well(pulse))[1])
    until(lambda: go_on.wait(0.2) or True)
    assert (supervisor.stuck(), supervisor.is_ready, status(supervisor, "slow").state) == ([], False, "starting")
    go_on.set()
    until(lambda: supervisor.is_ready)


def test_a_part_that_does_not_end_is_told_and_left_alone() -> None:
    """Stopping takes as long as it may, and no longer."""
    supervisor, go_on = Supervisor(), threading.Event()
    supervisor.start("good", well)
    supervisor.start("deaf", lambda _: go_on.wait(30) and None)
    assert supervisor.stop(0.1) == ["deaf"]
    assert supervisor.names == []
    go_on.set()


def test_what_is_to_be_called_at_the_end_is_called_however_late_it_is_named() -> None:
    """A part that is stopped before it could say how is stopped all the same."""
    pulse, called = Pulse(), []
    pulse.stop()
    pulse.when_stopped(lambda: called.append(1))
    assert called == [1]


def test_a_bug_is_told_without_what_it_says() -> None:
    """An exception's text may be a message's; its type and place are not."""
    try:
        int("what Ann said")
    except ValueError as error:
        assert told(error).startswith("ValueError in test_parts.py, line ")
