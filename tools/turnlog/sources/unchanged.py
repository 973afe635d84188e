"""Streams that need not be read again: nothing that a reading of them looks at has changed since the last one.

A stamp is a digest of what the system says of the stream's files (device, inode, size, and when their content and they
themselves were changed last, in nanoseconds), of how they are read, and of the program's version. It is in the index
beside what was counted, so that it is gone with the index, and no event tells of it: a file that was only touched is
read again, and nothing is written. Rewriting a file to equal size changes its times; who sets back the one cannot set
back the other. A change within the clock's tick of the last one might not, so that what changed just now has no stamp.
"""

import os
import time
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from turnlog.recorder import TurnRecorder
from turnlog.sources.base import Source, SourceOptions, Stream

SETTLED_NANOSECONDS = 2_000_000_000
"""Longer than any file system's times are coarse."""


def settings_of(options: SourceOptions, more: Any = None) -> str:
    """All that a reading depends on besides the files: what the source was told, and what naive times are here."""
    return msgspec.json.encode([options, more, time.tzname], enc_hook=str).decode()


class Unchanged:
    """Knows the streams of a source as they are at first; `settings` says how they are read, None that all are to be.

    Only what was recorded counts: with a dry-run recorder all are to be read.
    """

    def __init__(self, recorder: TurnRecorder, source: Source, streams: Sequence[Stream], settings: str | None) -> None:
        self._index = recorder.index
        self._source = source.name
        self._settings = settings
        self._stamps: dict[str, str | None] = {}
        if settings is not None and recorder.blob_folder is not None:
            self._stamps = {stream.name: self._stamp(stream) for stream in streams}

    def counts(self, stream: Stream) -> tuple[int, int] | None:
        """How many turns, and pieces that could not be read, the last reading gave; None if it is to be read anew."""
        stamp = self._stamps.get(stream.name)
        if stamp is None:
            return None
        with self._index.locked():
            self._index.refresh()
            return self._index.read_before(self._source, stream.name, stamp)

    def note(self, stream: Stream, turns: int, quarantined: int) -> None:
        """Keep what a reading gave that is over, if nothing has changed since it began."""
        stamp = self._stamps.get(stream.name)
        if stamp is not None and stamp == self._stamp(stream):
            with self._index.locked():
                self._index.refresh()
                self._index.keep_reading(self._source, stream.name, stamp, turns, quarantined)

    def _stamp(self, stream: Stream) -> str | None:
        if stream.others is None:
            return None
        newest = time.time_ns() - SETTLED_NANOSECONDS
        files = []
        for path in (stream.path, *stream.others):
            try:
                status = os.stat(path)  # noqa: PTH116 - a tenth of the time for thousands of files
            except OSError:
                return None
            if max(status.st_mtime_ns, status.st_ctime_ns) > newest:
                return None
            times = (status.st_mtime_ns, status.st_ctime_ns)
            files.append((os.fsencode(path), status.st_dev, status.st_ino, status.st_size, *times))
        return sha256(msgspec.json.encode([_version(), self._settings, files])).hexdigest()


@cache
def _version() -> str:
    try:
        return version("turnlog")
    except PackageNotFoundError:
        return ""
