"""One daemon for each log folder: a lock on `daemon.lock`, which is never deleted and also says who holds it.

The lock alone decides; what stands in the file is information, and is compared with the process's start time before
anything is done with it. The lock is flock(2), as that of `eventlog.Lock`, which would take 100 ms to import here.
"""

import fcntl
import os
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from turnlog.daemon.process import is_same, start_of

NAME = "daemon.lock"

_BYTES_MAX = 4096


class Holder(Struct, frozen=True):
    """The daemon that holds the lock: its process and when that was started, and where its control socket is."""

    pid: int
    started: str
    socket: str = ""


class DaemonLock:
    """The lock of one folder, for the daemon itself."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / NAME
        self._descriptor = -1

    def acquire(self) -> bool:
        """Take the lock on the file that is there now; whether it was to be had. Raises OSError."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        if not _lock(descriptor):
            os.close(descriptor)
            return False
        self.release()
        self._descriptor = descriptor
        return True

    def tell(self, holder: Holder) -> None:
        """Write down who holds it. Raises OSError."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, msgspec.json.encode(holder) + b"\n", 0)

    @property
    def is_there(self) -> bool:
        """Whether the file that is locked is still the one in the folder."""
        try:
            found = self.path.stat()
        except OSError:
            return False
        mine = os.fstat(self._descriptor)
        return (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino)

    def release(self) -> None:
        """Let it go."""
        if self._descriptor >= 0:
            os.close(self._descriptor)  # which lets a lock of flock(2) go
            self._descriptor = -1


def is_locked(directory: Path) -> bool:
    """Whether a daemon works on the log in a folder."""
    try:
        descriptor = os.open(directory / NAME, os.O_RDWR)
    except OSError:
        return False
    try:
        return not _lock(descriptor)
    finally:
        os.close(descriptor)


def holder_of(directory: Path) -> Holder | None:
    """The daemon that works on the log in a folder, or None; one that has just begun may not have said who it is.

    Where the folder has gone, the daemon may still wait for it: then only its socket is known.
    """
    if not (directory / NAME).exists():
        return _waiting(directory)
    if not is_locked(directory):
        return None
    with suppress(OSError, msgspec.MsgspecError):
        holder = msgspec.json.decode((directory / NAME).read_bytes()[:_BYTES_MAX], type=Holder)
        if is_same(holder.pid, holder.started):
            return holder
    return Holder(0, "")


def _waiting(directory: Path) -> Holder | None:
    from turnlog.daemon.control import socket_path  # only where there is no lock's file to tell it

    path = str(socket_path(directory))
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(path)
        pid = peer_of(connection)
        return Holder(pid, start_of(pid) or "", path)
    return None


def peer_of(connection: socket.socket) -> int:
    """The process at the other end of a Unix socket; 0 where nobody tells."""
    if sys.platform != "linux":
        return 0
    size = struct.calcsize("3i")
    pid, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(pid)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
