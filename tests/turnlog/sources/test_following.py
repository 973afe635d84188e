"""Following in real time: the system wakes the watcher, and where it cannot a rescan finds what there is."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from eventlog import EventLog, TurnRecorded
from turnlog import Recorder
from turnlog.clock import SystemClock
from turnlog.sources import following
from turnlog.sources.following import News, follow
from turnlog.sources.watching import Watched, Watcher

from ..waiting import until
from .test_watching import Talk

PATIENCE_SECONDS = 30.0
NEVER_SECONDS = 1e6


@contextmanager
def followed(folder: Path, *, rescan_seconds: float, told: list[str]) -> Iterator[Callable[[], int]]:
    """Follow the talks in a folder; how many turns are recorded by now."""
    news, clock = News(), SystemClock()
    watched = [Watched(Talk(), (folder / "talks",), settle_seconds=0)]
    with Recorder(folder / "data", durability="os") as recorder:
        watcher = Watcher(recorder, watched, clock=clock, rescan_seconds=rescan_seconds)

        def run() -> None:
            follow(watched, watcher, news, clock=clock, say=told.append)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield lambda: sum(
                isinstance(entry.event, TurnRecorded) for entry in EventLog.open(folder / "data", read_only=True).read()
            )
        finally:
            news.stop()
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()


def test_the_system_wakes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a rescan that never comes, what is written is recorded all the same."""
    pytest.importorskip("watchdog")
    monkeypatch.setattr(following, "RESCAN_SECONDS", NEVER_SECONDS)
    (tmp_path / "talks").mkdir()
    with followed(tmp_path, rescan_seconds=NEVER_SECONDS, told=[]) as count:
        for number in range(1, 4):
            (tmp_path / "talks" / f"{number}.talk").write_text(">one\n")
            until(lambda n=number: count() == n)  # type: ignore[misc]


def test_without_being_told_it_looks_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the package is not installed it says so, once."""
    monkeypatch.setitem(sys.modules, "watchdog.observers", None)
    monkeypatch.setattr(following, "RESCAN_SECONDS", 0.02)
    (tmp_path / "talks").mkdir()
    told: list[str] = []
    with followed(tmp_path, rescan_seconds=0.02, told=told) as count:
        (tmp_path / "talks" / "a.talk").write_text(">one\n")
        until(lambda: count() == 1)
    assert len(told) == 1
    assert "watchdog is not installed" in told[0]


def test_a_system_that_has_no_more_watches_is_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, and everything is found by looking."""
    api = pytest.importorskip("watchdog.observers.api")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(api.BaseObserver, "start", refuse)
    monkeypatch.setattr(following, "RESCAN_SECONDS", 0.02)
    (tmp_path / "talks").mkdir()
    told: list[str] = []
    with followed(tmp_path, rescan_seconds=0.02, told=told) as count:
        (tmp_path / "talks" / "a.talk").write_text(">one\n")
        until(lambda: count() == 1)
    assert "does not tell of changes" in told[0]


def test_a_place_that_comes_later_is_watched_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that was made anew, too: it is not the old one that the system is asked to tell of."""
    pytest.importorskip("watchdog")
    monkeypatch.setattr(following, "RESCAN_SECONDS", 0.02)
    observed: list[int] = []
    observe = following._observe
    monkeypatch.setattr(following, "_observe", lambda *given: (observed.append(1), observe(*given))[1])
    with followed(tmp_path, rescan_seconds=0.02, told=[]) as count:
        until(lambda: len(observed) == 1)
        (tmp_path / "talks").mkdir()
        until(lambda: len(observed) == 2)
        (tmp_path / "talks").rename(tmp_path / "old")
        (tmp_path / "talks").mkdir()
        until(lambda: len(observed) >= 3)
        (tmp_path / "talks" / "a.talk").write_text(">one\n")
        until(lambda: count() == 1)
