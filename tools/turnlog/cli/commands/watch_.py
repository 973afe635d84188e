"""`turnlog watch`: follow sources."""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from turnlog.cli.app import App, json_option, pass_app, say
from turnlog.cli.output import print_json
from turnlog.clock import SystemClock
from turnlog.errors import WrongUsage
from turnlog.sources.configured import configured_sources
from turnlog.sources.mailboxes import configured_mailboxes, feeds_of
from turnlog.sources.watching import Watched, Watcher, fetching

_NEWS_SECONDS = 0.1
"""What is told of files is gathered for so long: programs write a line in several pieces."""


@click.command("watch")
@click.argument("sources", nargs=-1, metavar="[SOURCE...]")
@json_option
@pass_app
def command(app: App, sources: tuple[str, ...], as_json: bool) -> int:
    """Record what is said as it is said, until Ctrl-C.

    SOURCE is one of those that `turnlog import` knows, which is then looked for where its program keeps its files, or
    mailbox; without any, all that are configured are watched. A turn is recorded when the next one begins, or when it
    has been quiet for a while.
    """
    watched = configured_sources(app.config, sources, os.environ)
    mailboxes = configured_mailboxes(app.config, sources, os.environ)
    if not watched and not mailboxes:
        raise WrongUsage("no source is configured; name one, such as `turnlog watch claude_code`")
    feeds = feeds_of(mailboxes)
    with app.recorder() as recorder, _news(watched) as news, fetching(feeds, recorder, news.tell):
        watcher = Watcher(recorder, watched, feeds=feeds, clock=SystemClock(), say=say)
        for one in watched:
            say(f"watching {one.source.name} in {', '.join(map(str, one.paths))}")
        for mailbox in mailboxes:
            say(f"watching {mailbox.place}, folder {mailbox.place.folder}")
        changed: set[Path] | None = None
        while not news.stopped.is_set():
            due = watcher.look(changed)
            changed = news.wait(max(0.0, (due - SystemClock().now()).total_seconds()))
    if as_json:
        print_json(watcher.counts)
    else:
        counts = watcher.counts
        print(f"recorded {counts.recorded}, revised {counts.revised}, quarantined {counts.quarantined}")
    return 0


class _News:
    """What changed, and whether it is time to stop."""

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


@contextmanager
def _news(watched: Sequence[Watched]) -> Iterator[_News]:
    """Be told by the system of changes, where the package `watchdog` is installed, and of Ctrl-C and SIGTERM."""
    news = _News()
    before = {number: signal.signal(number, news.stop) for number in (signal.SIGINT, signal.SIGTERM)}
    observer = _observe(watched, news)
    try:
        yield news
    finally:
        if observer is not None:
            observer.stop()
            observer.join()
        for number, handler in before.items():
            signal.signal(number, handler)


def _observe(watched: Sequence[Watched], news: _News) -> Any:
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
    for one in watched:
        for path in one.paths:
            if path.exists():
                observer.schedule(Handler(), str(path), recursive=not one.drops)
    observer.start()
    return observer
