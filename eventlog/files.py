"""The few system calls that the log makes on its files, in one object.

Everything that writes goes through a `Files`, so that a test can put one in its place that fails or forgets.
Files are made 0600 and folders 0700.
"""

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

FILE_MODE = 0o600
FOLDER_MODE = 0o700


def _full_sync(descriptor: int) -> None:
    # On macOS fsync leaves the data in the drive's cache; F_FULLFSYNC is what makes it durable (fcntl(2)).
    import fcntl

    fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # type: ignore[attr-defined,unused-ignore]


_sync: Callable[[int], None] = _full_sync if sys.platform == "darwin" else getattr(os, "fdatasync", os.fsync)


class Files:
    """The operating system's files."""

    def make_folder(self, path: Path) -> None:
        """Make a folder and those above it, 0700, and make their names durable."""
        if path.is_dir():
            return
        self.make_folder(path.parent)
        try:
            path.mkdir(mode=FOLDER_MODE, exist_ok=True)
        except FileExistsError as error:  # a file is in the way
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from error
        self.sync_folder(path.parent)

    def open_to_append(self, path: Path) -> int:
        """A descriptor that reads anywhere and writes at the end; the file is made, 0600, if it is not there."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | _CLOSE_ON_EXEC, FILE_MODE)

    def write(self, descriptor: int, data: bytes) -> int:
        """Write some of `data`; returns how many bytes."""
        return os.write(descriptor, data)

    def write_all(self, descriptor: int, data: bytes) -> None:
        """Write all of `data`, however many calls it takes."""
        rest = memoryview(data)
        while rest:
            rest = rest[self.write(descriptor, rest) :]  # type: ignore[arg-type]

    def size(self, descriptor: int) -> int:
        """The length of an open file in bytes."""
        return os.fstat(descriptor).st_size

    def sync(self, descriptor: int) -> None:
        """Return when the file's content and length would survive a power cut."""
        _sync(descriptor)

    def sync_folder(self, path: Path) -> None:
        """Return when the names in a folder would survive a power cut."""
        if sys.platform == "win32":  # NTFS journals names by itself; a folder cannot be opened there
            return
        descriptor = os.open(path, os.O_RDONLY | _CLOSE_ON_EXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def close(self, descriptor: int) -> None:
        """Close a descriptor."""
        os.close(descriptor)


_CLOSE_ON_EXEC = getattr(os, "O_CLOEXEC", 0)
