"""A file that whole lines are appended to: all of a batch or nothing, by one writer at a time, whatever happens.

A crash in the middle of a write leaves a beginning of a line at the end. Whoever opens the file next cuts it off, if
it is a line of ours; what somebody else left there is ended with a newline and kept.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

import msgspec

from eventlog.codec import HEAD as LOG_HEAD
from eventlog.files import Files
from eventlog.locks import lock_descriptor

_PIECE_BYTES = 64 * 1024


class Unfinished(OSError):
    """A batch could not be written whole, nor what was written of it cut off: some of it may be in the file."""


class LinesFile:
    """The file at `path`, opened when it is needed first, and anew when somebody has renamed it meanwhile.

    `head` is how every line of ours begins. With `sync` an append returns when it would survive a power cut. Not for
    several threads at once. Every method but `close` raises OSError.
    """

    def __init__(self, path: Path, *, head: bytes, sync: bool, files: Files | None = None) -> None:
        self.path = path
        self._head = head
        self._sync = sync
        self._files = files or Files()
        self._descriptor: int | None = None
        self._unfinished: int | None = None  # where a batch begins that is to be cut off

    def open(self) -> bool:
        """Have the file that `path` names now, made if need be, locked, its end mended; whether it is another one."""
        self._cut_unfinished()
        if self._descriptor is not None and self._is_current(self._descriptor):
            return False
        self.close()
        descriptor = self._files.open(self.path)
        try:
            self._take(descriptor)
            self._mend(descriptor)
            if self._sync:  # whoever made it may have died before its name was durable
                self._files.sync_folder(self.path.parent)
        except BaseException:
            self._files.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def append(self, lines: bytes) -> int:
        """Append whole lines; returns the offset that they begin at.

        1. The file is opened and its end mended, see `open`. 2. The lines are written, in one call where the system
        takes them in one. 3. With `sync` they are synced. If 2 or 3 fails, the file is cut back to where the lines
        begin; if that fails too, raises Unfinished, and nothing else is done before they are cut off.
        """
        descriptor = self._opened()
        begin = self._files.size(descriptor)
        try:
            self._files.write_all(descriptor, lines, begin)
            if self._sync:
                self._files.sync(descriptor)
        except BaseException as error:
            self._unfinished = begin
            try:
                self._cut_unfinished()
            except OSError:
                if isinstance(error, OSError):
                    raise Unfinished(error.errno, error.strerror) from error
            raise
        return begin

    def lines(self) -> Iterator[bytes]:
        """Every line of ours, with its newline, made durable before; the others are passed over in pieces."""
        descriptor = self._opened()
        if self._sync:
            self._files.sync(descriptor)
        with os.fdopen(os.dup(descriptor), "rb") as file:
            file.seek(0)
            while piece := file.readline(_PIECE_BYTES):
                if piece.startswith(self._head):
                    yield piece if piece.endswith(b"\n") else piece + file.readline()
                else:
                    while piece and not piece.endswith(b"\n"):
                        piece = file.readline(_PIECE_BYTES)

    def has_room(self) -> bool:
        """Whether the file system has any space left."""
        return os.fstatvfs(self._opened()).f_bavail > 0

    def close(self) -> None:
        """Let go of the file and its lock."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            if self._unfinished is not None:
                with suppress(OSError):
                    self._files.cut(descriptor, self._unfinished)
            self._unfinished = None
            self._files.close(descriptor)

    def _opened(self) -> int:
        self.open()
        assert self._descriptor is not None  # noqa: S101 - open() has just seen to it
        return self._descriptor

    def _cut_unfinished(self) -> None:
        if self._descriptor is not None and self._unfinished is not None:
            self._files.cut(self._descriptor, self._unfinished)
            self._unfinished = None

    def _is_current(self, descriptor: int) -> bool:
        try:
            there, ours = self.path.stat(), os.fstat(descriptor)
        except OSError:
            return False
        return os.path.samestat(there, ours)

    def _take(self, descriptor: int) -> None:
        if not S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        if os.pread(descriptor, len(LOG_HEAD), 0) == LOG_HEAD:
            raise OSError(errno.EINVAL, "it is a part of Turnlog's own log")
        if not lock_descriptor(descriptor, blocking=False):
            raise OSError(errno.EBUSY, "another sink or process writes to it")

    def _mend(self, descriptor: int) -> None:
        """See to it that the next line begins where a line begins."""
        size = self._files.size(descriptor)
        begin = _last_line(descriptor, size)
        if begin == size:
            return
        if self._is_torn(descriptor, begin, size):
            self._files.cut(descriptor, begin)
        else:
            self._files.write_all(descriptor, b"\n", size)

    def _is_torn(self, descriptor: int, begin: int, end: int) -> bool:
        """Whether an unended line is a beginning of one of ours, or what a power cut left of one: blocks of NULs."""
        head = os.pread(descriptor, len(self._head), begin)
        if head == self._head:
            return not _is_json(os.pread(descriptor, end - begin, begin))
        return self._head.startswith(head) or not any(
            os.pread(descriptor, min(_PIECE_BYTES, end - at), at).strip(b"\0") for at in range(begin, end, _PIECE_BYTES)
        )


def _last_line(descriptor: int, size: int) -> int:
    """Where the line begins that the file ends in; `size` if that is ended."""
    end = size
    while end:
        begin = max(0, end - _PIECE_BYTES)
        newline = os.pread(descriptor, end - begin, begin).rfind(b"\n")
        if newline >= 0:
            return begin + newline + 1
        end = begin
    return 0


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except (ValueError, RecursionError):
        return False
    return True
