"""Watching sources in real time: the system wakes the watcher where it can tell of changes, a rescan finds the rest."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from turnlog.clock import Clock
from turnlog.sources.watching import RESCAN_SECONDS, Watched, Watcher

_NEWS_SECONDS = 0.1
"""What is told of files is gathered for so long: programs write a line in several pieces."""

Say = Callable[[str], None]


class News:
    """What changed, and whether it is time to stop. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self._changed = threading.Event()
        self._paths: set[Path] | None = set()
        self._lock = threading.Lock()

    def tell(self, *paths: str | bytes) -> None:
        """These files changed; without any, nobody knows which."""
        with self._lock:
            if not paths:
                self._paths = None
            elif self._paths is not None:
                self._paths |= {Path(os.fsdecode(path)) for path in paths if path}
        self._changed.set()

    def stop(self, *_: Any) -> None:
        """It is time to stop."""
        self.stopped.set()
        self._changed.set()

    def wait(self, seconds: float) -> set[Path] | None:
        """Until something changes, or for so long; returns what did, None if nobody knows."""
        if self._changed.wait(seconds):
            self.stopped.wait(_NEWS_SECONDS)
        with self._lock:
            self._changed.clear()
            paths, self._paths = self._paths, set()
        return paths


def follow(
    watched: Sequence[Watched],
    watcher: Watcher,
    news: News,
    *,
    clock: Clock,
    say: Say,
    looked: Callable[[], object] = lambda: None,
) -> None:
    """Have the watcher look whenever something may have changed, until it is time to stop; then tell `looked`.

    A place that comes to be, or is another one than before, is watched anew. Raises what `Watcher.look` does.
    """
    while not news.stopped.is_set():
        places = _places(watched)
        with observing(watched, news, say):
            changed: set[Path] | None = None
            while not news.stopped.is_set() and _places(watched) == places:
                due = watcher.look(changed)
                looked()
                left = (due - clock.now()).total_seconds()  # less than a rescan, unless the clock was set back
                changed = news.wait(min(max(0.0, left), RESCAN_SECONDS))


def _places(watched: Sequence[Watched]) -> list[tuple[int, int] | None]:
    """Which folders and files there are at the paths."""
    found: list[tuple[int, int] | None] = []
    for one in watched:
        for path in one.paths:
            try:
                status = path.stat()
            except OSError:
                found.append(None)
            else:
                found.append((status.st_dev, status.st_ino) if path.is_dir() else (0, 0))
    return found


@contextmanager
def observing(watched: Sequence[Watched], news: News, say: Say) -> Iterator[None]:
    """Be told by the system of changes, where the package `watchdog` is installed and the system lets us."""
    observer = _observe(watched, news, say)
    try:
        yield
    finally:
        if observer is not None:
            observer.stop()
            observer.join()


def _observe(watched: Sequence[Watched], news: News, say: Say) -> Any:
    try:
        from watchdog.events import FileSystemEventHandler
        from watchdog.observers import Observer
    except ImportError:
        say("the package watchdog is not installed, so files are looked at every few seconds (pip install watchdog)")
        return None

    class Handler(FileSystemEventHandler):
        def on_any_event(self, event: Any) -> None:
            if event.event_type == "moved" and event.is_directory:
                news.tell()
            elif event.event_type in ("created", "modified", "moved") and not event.is_directory:
                news.tell(event.src_path, event.dest_path)

    observer = Observer()
    try:
        for one in watched:
            for path in one.paths:
                if path.exists():
                    observer.schedule(Handler(), str(path), recursive=not one.drops)
        observer.start()
    except OSError as error:  # there may be no more watches to be had
        observer.unschedule_all()
        say(f"the system does not tell of changes ({error.strerror}), so files are looked at every few seconds")
        return None
    return observer
