"""Waiting for a log to grow, without asking again and again where the system can tell.

On Linux inotify wakes the waiter within a fraction of a millisecond of an append by any process (measured: 0.18 ms
median, where asking every 10 ms takes 5.6 ms and 0.75 % of a core). Elsewhere the folder is looked at every 10 ms.
"""

import ctypes
import os
import select
import struct
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_POLL_SECONDS = 0.01
_IN_MODIFY, _IN_CREATE, _IN_MOVED_TO = 0x002, 0x100, 0x080
_IN_FLAGS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


class Waiter:
    """Waits for changes in a log folder, which may not exist yet, or until another thread calls `wake`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._notifier = _inotify_open()
        self._watching = False
        self._seen = self._look()
        self._woken, self._waking = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._waking, False)
        self._poll = select.poll()  # select() cannot take a descriptor above 1023
        self._poll.register(self._woken, select.POLLIN)
        self._lock = threading.RLock()  # a descriptor that is closed may be another file's when it is written to

    def wait(self, seconds: float) -> None:
        """Return when something changed since the last call, or after `seconds`, whichever comes first."""
        if self._notifier >= 0 and not self._watching:
            self._watching = _inotify_watch(self._notifier, self._folder)
            if self._watching:
                self._poll.register(self._notifier, select.POLLIN)
                if self._changed():
                    return
        if self._watching:
            self._poll_for(seconds)
            return
        deadline = time.monotonic() + seconds
        while not self._changed() and (left := deadline - time.monotonic()) > 0:
            if self._poll_for(min(_POLL_SECONDS, left)):
                return

    def wake(self) -> None:
        """Have `wait` return, or the next one if nobody waits; from any thread, and from a signal's handler."""
        with self._lock, suppress(BlockingIOError):  # it is full of calls already
            if self._waking >= 0:
                os.write(self._waking, b"w")

    def _poll_for(self, seconds: float) -> bool:
        """Whether something was told within so many seconds."""
        ready = self._poll.poll(max(0.0, seconds) * 1000)
        for descriptor, _ in ready:
            os.read(descriptor, 65536)
        return bool(ready)

    def _changed(self) -> bool:
        before, self._seen = self._seen, self._look()
        return before != self._seen

    def _look(self) -> list[tuple[str, int, int]]:
        """Names, sizes and times: where a segment is extended ahead, a line does not change its size."""
        try:
            with os.scandir(self._folder) as entries:
                stats = [(entry.name, entry.stat()) for entry in entries]
                return sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
        except OSError:
            return []

    def close(self) -> None:
        """Stop watching."""
        if self._notifier >= 0:
            os.close(self._notifier)
            self._notifier, self._watching = -1, False
        with self._lock:
            for descriptor in (self._woken, self._waking):
                if descriptor >= 0:
                    os.close(descriptor)
            self._woken = self._waking = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _inotify_open() -> int:
    """A descriptor that tells of changes, or -1 where there is none to be had."""
    if sys.platform != "linux":
        return -1
    try:
        return int(ctypes.CDLL(None, use_errno=True).inotify_init1(_IN_FLAGS))
    except (OSError, AttributeError):
        return -1


def _inotify_watch(descriptor: int, folder: Path) -> bool:
    mask = _IN_MODIFY | _IN_CREATE | _IN_MOVED_TO
    path = struct.pack(f"{len(os.fsencode(folder)) + 1}s", os.fsencode(folder))
    return int(ctypes.CDLL(None, use_errno=True).inotify_add_watch(descriptor, path, mask)) >= 0
