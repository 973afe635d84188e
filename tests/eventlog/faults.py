"""Stand-ins for the operating system's files: ones that refuse, that die, and that forget what was not synced."""

import errno
import os
from pathlib import Path

from eventlog.files import Files


def os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class RefusingFiles(Files):
    """Refuses what a test tells it to, and counts the calls.

    `room` is how many bytes can still be written (None: any number), `chunk` how many at once, and `refuse` the
    error numbers by the name of the call; each is raised as long as it stands there.
    """

    def __init__(self) -> None:
        self.room: int | None = None
        self.chunk: int | None = None
        self.refuse: dict[str, int] = {}
        self.calls: list[str] = []

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name in self.refuse:
            raise os_error(self.refuse[name])

    def open(self, path: Path) -> int:
        self._called("open")
        return super().open(path)

    def cut(self, descriptor: int, length: int) -> None:
        self._called("cut")
        super().cut(descriptor, length)

    def make_folder(self, path: Path) -> None:
        self._called("make_folder")
        super().make_folder(path)

    def write(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
        self._called("write")
        if self.chunk is not None:
            data = data[: self.chunk]
        if self.room is None:
            return super().write(descriptor, data, offset)
        inside = max(0, self.size(descriptor) - offset)  # what is written over needs no room
        if not inside + self.room:
            raise os_error(errno.ENOSPC)
        written = super().write(descriptor, data[: inside + self.room], offset)
        self.room -= max(0, written - inside)
        return written

    def sync(self, descriptor: int) -> None:
        self._called("sync")

    def sync_folder(self, path: Path) -> None:
        self._called("sync_folder")


class Killed(BaseException):
    """The end of a process, as its files see it."""


class MortalFiles(Files):
    """Dies at the call with the number `dies_at`, of a write after a share of its bytes; nothing comes after.

    It also knows what is on the disk: `cut_power` takes away what was not synced.
    """

    def __init__(self) -> None:
        self.dies_at = -1
        self.share = 0.0
        self.calls = 0
        self.dead = False
        self._path: dict[int, Path] = {}
        self._synced: dict[Path, int] = {}
        self._unsynced_names: set[Path] = set()

    def live_again(self, dies_at: int = -1, share: float = 0.0) -> None:
        """A new process on the same disk."""
        self.dies_at, self.share, self.calls, self.dead = dies_at, share, 0, False

    def _dies_now(self) -> bool:
        if self.dead:
            raise Killed
        self.calls += 1
        self.dead = self.calls - 1 == self.dies_at
        return self.dead

    def open(self, path: Path) -> int:
        if self._dies_now() and not self.share:
            raise Killed
        if not path.exists():
            self._unsynced_names.add(path)
        descriptor = super().open(path)
        if self.dead:
            os.close(descriptor)
            raise Killed
        self._path[descriptor] = path
        return descriptor

    def write(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
        if not self._dies_now():
            return super().write(descriptor, data, offset)
        super().write(descriptor, data[: int(len(data) * self.share)], offset)
        raise Killed

    def cut(self, descriptor: int, length: int) -> None:
        if self._dies_now():
            raise Killed
        super().cut(descriptor, length)

    def sync(self, descriptor: int) -> None:
        if self._dies_now():
            raise Killed
        self._synced[self._path[descriptor]] = self.size(descriptor)

    def sync_folder(self, path: Path) -> None:
        if self._dies_now():
            raise Killed
        self._unsynced_names = {name for name in self._unsynced_names if name.parent != path}

    def cut_power(self, *, kept: float, zeroed: bool) -> None:
        """Leave of what was not synced a share, and of the rest nothing, or as many NULs."""
        for path in self._unsynced_names:
            path.unlink(missing_ok=True)
        self._unsynced_names = set()
        for path in {*self._synced, *self._path.values()}:
            if path.exists():
                self._forget(path, kept=kept, zeroed=zeroed)

    def _forget(self, path: Path, *, kept: float, zeroed: bool) -> None:
        data, synced = path.read_bytes(), self._synced.get(path, 0)
        end = synced + int((len(data) - synced) * kept)
        path.write_bytes(data[:end] + bytes(len(data) - end if zeroed else 0))
        self._synced[path] = path.stat().st_size
