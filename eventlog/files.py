"""The few system calls that the log makes on its files, in one object.

Everything that writes goes through a `Files`, so that a test can put one in its place that fails or forgets.
Files are made 0600 and folders 0700.
"""

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

FILE_MODE = 0o600
FOLDER_MODE = 0o700

CLOSE_ON_EXEC = getattr(os, "O_CLOEXEC", 0)


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

    def open(self, path: Path) -> int:
        """A descriptor that reads and writes anywhere; the file is made, 0600, if it is not there."""
        return os.open(path, os.O_RDWR | os.O_CREAT | CLOSE_ON_EXEC, FILE_MODE)

    def write(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
        """Write some of `data` at `offset`; returns how many bytes."""
        return os.pwrite(descriptor, data, offset)

    def write_all(self, descriptor: int, data: bytes | memoryview, offset: int) -> None:
        """Write all of `data` at `offset`, however many calls it takes."""
        done = 0
        while done < len(data):
            done += self.write(descriptor, data[done:], offset + done)

    def cut(self, descriptor: int, length: int) -> None:
        """Make an open file `length` bytes long: what stands behind is gone."""
        os.ftruncate(descriptor, length)

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
        descriptor = os.open(path, os.O_RDONLY | CLOSE_ON_EXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def boot_id(self) -> bytes:
        """What names the time since the machine was started, or nothing where the system does not tell it.

        Linux: proc_sys_kernel(5). Elsewhere a power cut is looked for at the very end of a log only.
        """
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
        except OSError:
            return b""

    def rename(self, path: Path, target: Path) -> None:
        """Give a file another name, in place of whatever had it."""
        path.replace(target)

    def close(self, descriptor: int) -> None:
        """Close a descriptor."""
        os.close(descriptor)

    def write_file(self, path: Path, *pieces: bytes | memoryview) -> None:
        """Make a file with this content, whole or not at all, and durable; its folder is made if it is not there.

        1. The content is written to a new file beside it. 2. That is synced. 3. It gets its name. 4. The folder is
        synced. Raises OSError; then nothing has changed, or step 4 failed and the new content may not survive.
        """
        self.make_folder(path.parent)
        unfinished = path.with_name(f"{path.name}.{uuid4().hex}.tmp")
        try:
            descriptor = self.open(unfinished)
            try:
                offset = 0
                for piece in pieces:
                    self.write_all(descriptor, piece, offset)
                    offset += len(piece)
                self.sync(descriptor)
            finally:
                self.close(descriptor)
            self.rename(unfinished, path)
        except BaseException:
            with suppress(OSError):
                unfinished.unlink()
            raise
        self.sync_folder(path.parent)
