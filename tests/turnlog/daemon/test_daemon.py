"""The daemon from inside: what it tells its service manager, and what it makes of time."""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import turnlog.daemon.daemon as module
from turnlog.config import Config
from turnlog.daemon.daemon import Daemon
from turnlog.daemon.parts import Pulse
from turnlog.places import Places
from turnlog.sync import engine

from ..waiting import until


class Told:
    """A service manager that remembers what it is told."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.texts: list[str] = []
        self.beats = 0

    def ready(self) -> None:
        self.words.append("ready")

    def reloading(self) -> None:
        self.words.append("reloading")

    def stopping(self) -> None:
        self.words.append("stopping")

    def status(self, text: str) -> None:
        self.texts.append(text)

    def alive(self) -> None:
        self.beats += 1


@pytest.fixture
def manager() -> Told:
    return Told()


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(module, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(engine, "_JOIN_SECONDS", 0.01)  # how often the engine beats
    with TemporaryDirectory(prefix="tl") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield tmp_path / "data"


def live(daemon: Daemon, meanwhile: Callable[[], None]) -> None:
    """Let it run while something is done in another thread, and stop it then."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            meanwhile()
        except BaseException as error:  # noqa: BLE001 - it is raised where the test sees it
            failures.append(error)
        daemon.ask("stop")

    daemon.run(ready=lambda: threading.Thread(target=work).start())
    for failure in failures:
        raise failure


def make(directory: Path, manager: Told, **options: object) -> Daemon:
    return Daemon(lambda: Places(directory, None), {}, manager=manager, **options)  # type: ignore[arg-type]


@contextmanager
def stuck(daemon: Daemon) -> Iterator[None]:
    """A part that has begun its work and does not get on while the block lasts."""
    go_on = threading.Event()

    def run(pulse: Pulse) -> None:
        pulse.ready()
        go_on.wait(30)
        while not pulse.stopping.wait(0.01):
            pulse.beat()

    daemon.supervisor.start("sticky", run)
    try:
        yield
    finally:
        go_on.set()


def test_the_manager_is_told_the_life(directory: Path, manager: Told) -> None:
    """Ready once, reloading and ready again, and the end."""
    taken: list[Config] = []
    daemon = make(directory, manager, configured=taken.append)

    def meanwhile() -> None:
        daemon.ask("reload")
        until(lambda: daemon.status().generation == 2)

    live(daemon, meanwhile)
    assert manager.words == ["ready", "reloading", "ready", "stopping"]
    assert len(taken) == 2


def test_only_progress_feeds_the_watchdog(directory: Path, manager: Told) -> None:
    """While a part is stuck nobody is told that all is well, and the status names it; then it goes on."""
    daemon = make(directory, manager, stuck_seconds=0.5)

    def meanwhile() -> None:
        until(lambda: manager.beats > 3)
        with stuck(daemon):
            until(lambda: manager.texts)
            beats = manager.beats
            until(lambda: len(manager.texts) > 10)
            assert manager.beats == beats
            status = daemon.status()
            assert status.attention is not None
            assert status.attention.sentence == "sticky is stuck"
        until(lambda: manager.beats > beats)

    live(daemon, meanwhile)
    assert set(manager.texts) == {"stuck: sticky"}


def test_a_part_that_breaks_is_told_and_the_daemon_goes_on(directory: Path, manager: Told) -> None:
    """Its error stands in the status with the command to read more."""
    daemon = make(directory, manager)

    def breaks(_: Pulse) -> None:
        raise OSError(5, os.strerror(5))

    def meanwhile() -> None:
        daemon.supervisor.start("shaky", breaks)
        until(lambda: any(part.state == "restarting" for part in daemon.status().parts))
        attention = daemon.status().attention
        assert attention is not None
        assert "shaky broke" in attention.sentence
        assert attention.command == "turnlog daemon logs --errors"

    live(daemon, meanwhile)


@pytest.mark.parametrize(
    ("jump", "said"), [(3600.0, "forward, or the machine slept, by 3600 s"), (-60.0, "back by 60 s")]
)
def test_a_clock_that_jumps_is_told(
    directory: Path,
    manager: Told,
    jump: float,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once, in either direction; a machine that was suspended looks the same."""
    daemon = make(directory, manager)
    offset, jumped = module._clock_offset, [0.0]
    monkeypatch.setattr(module, "_clock_offset", lambda: offset() + jumped[0])

    def meanwhile() -> None:
        jumped[0] = jump
        until(lambda: said in caplog.text)

    with caplog.at_level(logging.INFO, "turnlog.daemon"):
        live(daemon, meanwhile)
    assert caplog.text.count("the clock was set") == 1


def test_an_empty_folder_is_not_taken_for_a_log(directory: Path, manager: Told) -> None:
    """Where the log was there may be the place at which it is to be mounted: nothing is made in it."""
    daemon = make(directory, manager)
    elsewhere = directory.with_name("elsewhere")

    def meanwhile() -> None:
        directory.rename(elsewhere)
        until(lambda: daemon.status().state == "waiting")
        directory.mkdir()
        beats = manager.beats
        until(lambda: manager.beats > beats + 5)
        assert list(directory.iterdir()) == []
        directory.rmdir()
        elsewhere.rename(directory)
        until(lambda: daemon.status().state == "running")

    live(daemon, meanwhile)
