"""One writer at a time, among threads and processes.

A `Lock` holds its file open and locks the descriptor, which costs half a microsecond, where opening and locking the
file anew takes 39 system calls. It is filelock's own lock (flock, on Windows LockFileEx), so a `filelock.FileLock`
on the same path contends with it. The file is never deleted: a deleted lock file locks nobody out.
"""

import os
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from eventlog.files import CLOSE_ON_EXEC, FILE_MODE

try:
    from fcntl import LOCK_EX as _EXCLUSIVE
    from fcntl import LOCK_NB as _AT_ONCE
    from fcntl import LOCK_UN as _UNLOCK
    from fcntl import flock as _flock
except ImportError:  # not POSIX: filelock knows how
    from filelock import lock_descriptor as lock_descriptor
    from filelock import unlock_descriptor as unlock_descriptor
else:

    def lock_descriptor(fd: int, *, blocking: bool = True) -> bool:  # type: ignore[misc]
        """Take the lock; the kernel queues those who wait, which is fairer than asking again and again."""
        try:
            _flock(fd, _EXCLUSIVE if blocking else _EXCLUSIVE | _AT_ONCE)
        except BlockingIOError:
            return False
        return True

    def unlock_descriptor(fd: int) -> None:
        """Let the lock go."""
        _flock(fd, _UNLOCK)


_LABEL_BYTES = 80


class Restartable(Protocol):
    """Something that a child made by fork() must not share with its parent."""

    def restart(self) -> None:
        """Begin as if new: drop locks and descriptors without touching what the parent does with them."""


_restartables: weakref.WeakSet[Restartable] = weakref.WeakSet()


def restart_in_child(thing: Restartable) -> None:
    """Have `thing.restart()` called in every child made by fork()."""
    _restartables.add(thing)


def _restart_all() -> None:
    for thing in list(_restartables):
        thing.restart()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart_all)


class Lock:
    """A lock on `path` for the threads of this process and for all other processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._threads = threading.RLock()  # it knows its owner, see `recover`
        self._held = False
        self._descriptor: int | None = None
        restart_in_child(self)

    def restart(self) -> None:
        """In a forked child: the descriptor is the parent's, and closing the copy does not unlock the parent's.

        It must be closed, though: a copy left open would keep the lock taken after the parent died with it.
        """
        self._threads, self._held = threading.RLock(), False
        self._close_file()

    def acquire(self, *, blocking: bool = True) -> bool:
        """Take the lock; False if it is taken and `blocking` is False. Raises OSError if the file cannot be used."""
        if not self._threads.acquire(blocking):
            return False
        if self._held:  # by this very thread
            self._threads.release()
            return False
        try:
            self._held = lock_descriptor(self._open_file(), blocking=blocking)
        finally:
            if not self._held:
                self._threads.release()
        return self._held

    def release(self) -> None:
        """Let the lock go; nothing to do in a child that was forked under it."""
        if self._descriptor is not None:
            self._held = False
            unlock_descriptor(self._descriptor)
            self._threads.release()

    def recover(self) -> None:
        """Let the lock go if this thread still holds it: an interrupt may come between any two steps of letting go."""
        self._threads.acquire()  # once more, or now: either way nobody else is under it
        self._held = False
        if self._descriptor is not None:
            unlock_descriptor(self._descriptor)
        with suppress(RuntimeError):  # when there is nothing left to let go
            while True:
                self._threads.release()

    def label(self) -> bytes:
        """What a holder wrote into the lock's file; for those who hold it."""
        return b"" if self._descriptor is None else os.pread(self._descriptor, _LABEL_BYTES, 0).rstrip(b"\n")

    def set_label(self, label: bytes) -> None:
        """Leave a line of at most 80 bytes to the next holders; it may be gone after a power cut."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, label + b"\n", 0)

    def close(self) -> None:
        """Close the file when no thread of this process holds the lock any more, or is about to take it."""
        with self._threads:
            self._close_file()

    def _open_file(self) -> int:
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | CLOSE_ON_EXEC, FILE_MODE)
        return self._descriptor

    def _close_file(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self._close_file()

    def __enter__(self) -> Self:
        self._threads.acquire()  # as `acquire`, in fewer steps: every append comes by here
        try:
            lock_descriptor(self._open_file() if self._descriptor is None else self._descriptor)
        except BaseException:  # an interrupt may have come when it was taken already
            if self._descriptor is not None:
                unlock_descriptor(self._descriptor)
            self._threads.release()
            raise
        self._held = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            self._held = False
            unlock_descriptor(self._descriptor)
            self._threads.release()
