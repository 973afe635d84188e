"""Following sources: what is said is recorded as it is said, a turn at a time.

A turn is recorded when the next one begins, or when its stream has been quiet for a while and no tool is at work in it;
if it goes on after all, that is a revision. Of the files that the system tells of, only those are looked at; every few
seconds all are, and what changed since, by device, inode, size and time, is taken in.
"""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from eventlog import TurnRecorded
from turnlog.clock import Clock
from turnlog.errors import WrongUsage
from turnlog.recorder import TurnRecorder
from turnlog.sources.base import Source, Stream
from turnlog.sources.importing import ImportCounts, import_stream

SETTLE_SECONDS = 10.0
RESCAN_SECONDS = 5.0

TOOL_SECONDS = 3600.0
"""A tool that has not answered for so long will not: its program was ended, most likely."""

Stamp = tuple[tuple[int, int, int, int], ...]


class Watched(Struct, frozen=True):
    """A source, and where its files are; what is not there yet may come.

    With `drops` the paths are folders into which anything is dropped: a file in one is shown to the source when it has
    stopped growing, and read if the source recognises it. A turn that is not over is recorded when it has been quiet
    for `settle_seconds`.
    """

    source: Source
    paths: tuple[Path, ...]
    drops: bool = False
    settle_seconds: float = SETTLE_SECONDS


class Feed(Protocol):
    """A source that is no files: what comes is fetched by a thread of its own, and recorded when the watcher looks."""

    def start(self, recorder: TurnRecorder, tell: Callable[[], None]) -> None:
        """Begin to fetch what came since the log's cursor; `tell` is called, by the thread, when there is some."""

    def take(self, recorder: TurnRecorder, say: Callable[[str], None]) -> ImportCounts:
        """Record what has come by now, and say what went wrong. Returns at once. Raises AppendFailed."""

    def close(self) -> None:
        """Fetch no more."""


@contextmanager
def fetching(feeds: Sequence[Feed], recorder: TurnRecorder, tell: Callable[[], None]) -> Iterator[None]:
    """Have the feeds fetch in a `with` block; `tell` is called when there is something for the watcher to look at."""
    try:
        for feed in feeds:
            feed.start(recorder, tell)
        yield
    finally:
        for feed in feeds:
            feed.close()


class _Followed(Struct):
    """What is known of a stream: what its files looked like, since when, and until when its last turn is held back."""

    watched: Watched
    stream: Stream
    stamp: Stamp
    changed_at: datetime
    held_until: datetime | None = None


class Watcher:
    """Takes in what some sources get; `feeds` are those that are no files, see `fetching`.

    `say` is told what cannot be read, once until it can be, and `beat` is called whenever a look gets on.

    `look` is to be called whenever something has changed, and at the latest at the time that it returns.
    """

    def __init__(
        self,
        recorder: TurnRecorder,
        watched: Sequence[Watched],
        *,
        feeds: Sequence[Feed] = (),
        clock: Clock,
        rescan_seconds: float = RESCAN_SECONDS,
        say: Callable[[str], None] = lambda _: None,
        beat: Callable[[], object] = lambda: None,
    ) -> None:
        self.counts = ImportCounts()
        self._recorder = recorder
        self._watched = watched
        self._feeds = feeds
        self._clock = clock
        self._rescan = timedelta(seconds=rescan_seconds)
        self._scan_at = clock.now()
        self._say = say
        self._beat = beat
        self._told: set[str] = set()
        self._followed: dict[tuple[str, str], _Followed] = {}
        self._dropped: dict[tuple[str, Path], tuple[Stamp, bool | None]] = {}  # None: it may still grow

    def look(self, changed: Collection[Path] | None = None) -> datetime:
        """Take in what changed and what has settled; returns when to look again if nothing is told before.

        `changed` are the files that did, None if nobody knows. All are looked at then, and when it is time to.
        Raises AppendFailed if the log cannot be written: what was not recorded is when it is looked at again.
        """
        now = self._clock.now()
        for feed in self._feeds:
            self.counts.add(feed.take(self._recorder, self._say))
        is_scan = changed is None or not now < self._scan_at <= now + self._rescan  # the clock may be set back
        if is_scan:
            self._scan_at = now + self._rescan
        for watched in self._watched:
            for stream in (
                self._discover(watched) if is_scan or watched.drops else self._touched(watched, changed or ())
            ):
                self._follow(watched, stream, now)
        for key, followed in list(self._followed.items()):
            if followed.held_until and followed.held_until <= now:
                self._settle(key, followed, now)
        return min([self._scan_at, *(f.held_until for f in self._followed.values() if f.held_until)])

    def _touched(self, watched: Watched, changed: Collection[Path]) -> list[Stream]:
        """The streams that some files are of."""
        meant = [path for path in changed if any(path.is_relative_to(root) for root in watched.paths)]
        return self._streams(watched, [path for path in meant if path.is_file() and watched.source.recognises(path)])

    def _settle(self, key: tuple[str, str], followed: _Followed, now: datetime) -> None:
        """Take in what was held back of a stream, unless it has gone."""
        if _stamp_of((followed.stream.path,)):
            self._follow(followed.watched, followed.stream, now)
        else:
            del self._followed[key]

    @property
    def held_since(self) -> datetime | None:
        """Since when the oldest turn waits that is not recorded yet, because it may go on; None if there is none."""
        return min((f.changed_at for f in self._followed.values() if f.held_until), default=None)

    def _discover(self, watched: Watched) -> list[Stream]:
        paths = self._drops(watched) if watched.drops else [path for path in watched.paths if path.exists()]
        return self._streams(watched, paths)

    def _streams(self, watched: Watched, paths: Sequence[Path]) -> list[Stream]:
        try:
            return watched.source.discover(paths) if paths else []
        except WrongUsage as error:
            self._tell(str(error))
            return []

    def _drops(self, watched: Watched) -> list[Path]:
        """The files in the folders that are complete, as far as can be seen, and the source's own."""
        files = [path for folder in watched.paths if folder.is_dir() for path in sorted(folder.iterdir())]
        return [path for path in files if path.is_file() and self._is_its_own(watched.source, path)]

    def _is_its_own(self, source: Source, path: Path) -> bool:
        stamp, known = _stamp_of((path,)), self._dropped.get((source.name, path))
        verdict = known[1] if known is not None and known[0] == stamp else None
        if verdict is None and known is not None and known[0] == stamp:
            verdict = source.recognises(path)
        self._dropped[source.name, path] = stamp, verdict
        return bool(verdict)

    def _follow(self, watched: Watched, stream: Stream, now: datetime) -> None:
        source = watched.source
        key, stamp = (source.name, stream.name), _stamp_of((stream.path, *(stream.others or ())))
        known = self._followed.get(key)
        if known is None:
            known = self._followed[key] = _Followed(watched, stream, (), now)
        self._beat()
        if stamp != known.stamp or now < known.changed_at:  # the second: the clock was set back
            known.changed_at = now
        elif known.held_until is None or now < known.held_until:
            return

        def hold(turn: TurnRecorded) -> bool:
            wait = max(watched.settle_seconds, TOOL_SECONDS if is_at_work(turn) else 0.0)
            until = known.changed_at + timedelta(seconds=wait)
            known.held_until = until if now < until else None
            return known.held_until is not None

        known.held_until = None
        try:
            cursor = cursor_of(self._recorder, source, stream)
            progress = partial(_beaten, self._beat)
            self.counts.add(import_stream(self._recorder, source, stream, cursor, hold=hold, progress=progress))
        except WrongUsage as error:  # gone, or not to be read: it is looked at when it looks otherwise
            self._tell(str(error))
        known.stamp = stamp

    def _tell(self, sentence: str) -> None:
        if sentence not in self._told:
            self._told.add(sentence)
            self._say(sentence)


def look_once(recorder: TurnRecorder, watched: Watched) -> ImportCounts:
    """Take in everything that a source has now, whether it may go on or not. Raises WrongUsage, AppendFailed."""
    counts, source = ImportCounts(), watched.source
    paths = [path for path in watched.paths if path.exists()]
    if watched.drops:
        paths = [
            file for path in paths for file in sorted(path.iterdir()) if file.is_file() and source.recognises(file)
        ]
    for stream in source.discover(paths) if paths else []:
        counts.add(import_stream(recorder, source, stream, cursor_of(recorder, source, stream)))
    return counts


def cursor_of(recorder: TurnRecorder, source: Source, stream: Stream) -> Any:
    """How far a stream was read, as the log has it."""
    with recorder.index.locked():
        recorder.index.refresh()
        return recorder.index.cursor(source.name, stream.name)


def is_at_work(turn: TurnRecorded) -> bool:
    """Whether a tool was called in the turn and has not answered."""
    parts = [part for message in turn.messages for part in message.parts]
    answered = {part.id for part in parts if part.type == "tool_result"}
    return any(part.type == "tool_call" and part.id is not None and part.id not in answered for part in parts)


def _beaten(beat: Callable[[], object], *_: int) -> None:
    beat()


def _stamp_of(paths: Sequence[Path]) -> Stamp:
    found = []
    for path in paths:
        try:
            status = os.stat(path)  # noqa: PTH116 - of thousands of files every few seconds
        except OSError:
            continue
        found.append((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)
