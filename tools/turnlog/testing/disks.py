"""Stand-ins for the operating system's files: ones that refuse, that die, and that forget what was not synced.

::

    disk = Disk(Random(1))                     # what would be there after a power cut, block by block
    life = Life(dies_at=7, share=0.5)          # the eighth call is the last, a write gets half of its bytes down
    log = EventLog.open(folder, files=MortalFiles(disk, life))
    ...                                        # raises Killed
    disk.cut_power()                           # the real files hold now what the disk kept

`RefusingFiles` raises the errors that it is told to, and counts the calls.
"""

import errno
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import RLock

from eventlog.files import FILE_MODE, Files


def os_error(number: int) -> OSError:
    """The error that the system raises with this number."""
    return OSError(number, os.strerror(number))


class RefusingFiles(Files):
    """Refuses what a test tells it to, and counts the calls.

    `room` is how many bytes can still be written (None: any number), `chunk` how many at once, and `refuse` the
    error numbers by the name of the call; each is raised as long as it stands there. Nothing is really synced.
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

    def make_folder(self, path: Path) -> None:
        """Count, perhaps refuse, then make the folder."""
        self._called("make_folder")
        super().make_folder(path)

    def open(self, path: Path) -> int:
        """Count, perhaps refuse, then open."""
        self._called("open")
        return super().open(path)

    def write(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
        """Count, perhaps refuse, then write as much as there is room for."""
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

    def cut(self, descriptor: int, length: int) -> None:
        """Count, perhaps refuse, then cut."""
        self._called("cut")
        super().cut(descriptor, length)

    def sync(self, descriptor: int) -> None:  # noqa: ARG002 - a Files has it
        """Count, perhaps refuse."""
        self._called("sync")

    def sync_folder(self, path: Path) -> None:  # noqa: ARG002 - a Files has it
        """Count, perhaps refuse."""
        self._called("sync_folder")

    def rename(self, path: Path, target: Path) -> None:
        """Count, perhaps refuse, then rename."""
        self._called("rename")
        super().rename(path, target)


class Killed(BaseException):
    """The end of a process, as its files see it."""


@dataclass
class Life:
    """How long a process, or a machine, lives: until the call with the number `dies_at` (-1: for ever).

    Of that call a `share` still happens: so much of a write; another call if it is half or more.
    """

    dies_at: int = -1
    share: float = 0.0
    calls: int = 0
    dead: bool = False

    def step(self) -> bool:
        """Count a call; whether it is the last. Raises Killed after that one."""
        if self.dead:
            raise Killed
        self.calls += 1
        self.dead = self.calls - 1 == self.dies_at
        return self.dead


@dataclass
class _Change:
    """What one call did to a file: the blocks that it touched, as they were then, and the file's length."""

    number: int
    blocks: dict[int, bytes]
    length: int


@dataclass
class _Image:
    """A file on the disk: what would be there after a power cut for certain, and what came since."""

    durable: bytearray
    changes: list[_Change] = field(default_factory=list)

    def put(self, blocks: Mapping[int, bytes], length: int, block_bytes: int) -> None:
        """Make blocks durable, and the length; what neither has are NULs."""
        del self.durable[length:]
        self.durable.extend(bytes(length - len(self.durable)))
        for block, content in blocks.items():
            begin, end = block * block_bytes, min((block + 1) * block_bytes, length)
            if begin < end:
                self.durable[begin:end] = content[: end - begin].ljust(end - begin, b"\0")

    def settle(self, number: int, block_bytes: int) -> None:
        """Make durable what changed up to the change with this number."""
        for change in self.changes:
            if change.number <= number:
                self.put(change.blocks, change.length, block_bytes)
        self.changes = [change for change in self.changes if change.number > number]

    def forget(self, random: Random, share: float, block_bytes: int) -> None:
        """What a power cut leaves: of each block, on its own, its newest state, an older one or the durable one."""
        versions: dict[int, list[bytes]] = {}
        for change in self.changes:
            for block, content in change.blocks.items():
                versions.setdefault(block, []).append(content)
        kept = {}
        for block, states in versions.items():
            if random.random() < share:
                kept[block] = states[-1]
            elif share > 0 and random.random() < 0.3:
                kept[block] = random.choice(states)
        if self.changes:
            self.put(kept, self._length_left(random, share), block_bytes)
        self.changes = []

    def _length_left(self, random: Random, share: float) -> int:
        lengths = [len(self.durable), *(change.length for change in self.changes)]
        if share in (0.0, 1.0):
            return lengths[-1] if share else lengths[0]
        between = random.randint(min(lengths), max(lengths))
        return random.choice([lengths[0], lengths[-1], random.choice(lengths), between])


@dataclass
class _Naming:
    """A name that was given in a folder: to a new file, to a folder (no image), or to a file that had another."""

    path: Path
    image: _Image | None
    before: Path | None = None


class Disk:
    """What of some real files would be there after a power cut.

    A block of `block_bytes` that was written since its file's last sync survives or not, each on its own; so do the
    file's length, its cutting, and names that were given since their folder's last sync. The real files are what the
    operating system shows until then. `random` decides, and `share` (None: drawn at each cut) is how likely a change
    survives; 0 and 1 leave nothing to chance.
    """

    def __init__(self, random: Random, *, block_bytes: int = 4096) -> None:
        self.lock = RLock()
        self._random = random
        self._block_bytes = block_bytes
        self._number = 0  # of the last change
        self._boots = 1
        self._images: dict[int, _Image] = {}  # by descriptor
        self._names: dict[Path, _Image] = {}  # as the operating system shows them
        self._durable_names: dict[Path, _Image] = {}
        self._namings: list[_Naming] = []  # not durable yet
        self._untold: set[int] = set()  # descriptors of files that could not be synced

    def boot_id(self) -> bytes:
        """Another one after each power cut."""
        return b"boot-%d" % self._boots

    def opened(self, path: Path, descriptor: int, *, new: bool) -> None:
        """A file was opened, and made if it is `new`."""
        image = None if new else self._names.get(path)
        if image is None:
            image = _Image(bytearray(b"" if new else path.read_bytes()))
            self._names[path] = image
            if new:
                self._namings.append(_Naming(path, image))
            else:
                self._durable_names[path] = image
        self._images[descriptor] = image

    def closed(self, descriptor: int) -> None:
        """A descriptor means nothing any more."""
        self._images.pop(descriptor, None)
        self._untold.discard(descriptor)

    def changed(self, descriptor: int, begin: int, end: int) -> None:
        """Bytes from `begin` to `end` were written, or cut off."""
        size, step = os.fstat(descriptor).st_size, self._block_bytes
        blocks = range(begin // step, -(-end // step))
        self._number += 1
        contents = {block: os.pread(descriptor, step, block * step) for block in blocks}
        self._images[descriptor].changes.append(_Change(self._number, contents, size))

    def begin_sync(self, descriptor: int) -> tuple[_Image, int]:
        """What a sync that begins now will cover, for `end_sync`. Raises OSError once after a failure; see `drop`."""
        if descriptor in self._untold:
            self._untold.discard(descriptor)
            raise os_error(errno.EIO)
        return self._images[descriptor], self._number

    def end_sync(self, covered: tuple[_Image, int]) -> None:
        """The sync is done."""
        image, number = covered
        image.settle(number, self._block_bytes)

    def drop(self, descriptor: int) -> None:
        """What the kernel does when a sync fails: what was not durable is taken for clean, and never written.

        Everybody who has the file open is told once, with his next sync; whoever opens it later never hears of it.
        """
        image = self._images[descriptor]
        image.changes.clear()
        self._untold |= {other for other, same in self._images.items() if same is image and other != descriptor}

    def made_folder(self, path: Path) -> None:
        """A folder is being made."""
        self._namings.append(_Naming(path, None))

    def renamed(self, path: Path, target: Path) -> None:
        """A file has another name."""
        image = self._names.pop(path)
        self._names[target] = image
        self._namings.append(_Naming(target, image, path))

    def synced_folder(self, path: Path) -> None:
        """The names in a folder are durable."""
        done = [naming for naming in self._namings if naming.path.parent == path]
        self._namings = [naming for naming in self._namings if naming.path.parent != path]
        for naming in done:
            self._keep(naming)

    def _keep(self, naming: _Naming) -> None:
        if naming.before is not None:
            self._durable_names.pop(naming.before, None)
        if naming.image is not None:
            self._durable_names[naming.path] = naming.image

    def cut_power(self, share: float | None = None) -> None:
        """Make the real files what the disk kept. Whoever had them open is dead."""
        if share is None:
            share = self._random.choice([0.0, 0.5, 0.95, 1.0, self._random.random()])
        self._boots += 1
        for image in {id(image): image for image in (*self._names.values(), *self._durable_names.values())}.values():
            image.forget(self._random, share, self._block_bytes)
        lost_folders = []
        for naming in self._namings:
            if self._random.random() < share:
                self._keep(naming)
            elif naming.image is None:
                lost_folders.append(naming.path)
        self._rewrite(lost_folders)

    def _rewrite(self, lost_folders: list[Path]) -> None:
        for path in lost_folders:
            shutil.rmtree(path, ignore_errors=True)
        kept = {
            path: image
            for path, image in self._durable_names.items()
            if not any(path.is_relative_to(folder) for folder in lost_folders)
        }
        for path in self._names.keys() - kept.keys():
            path.unlink(missing_ok=True)
        for path in [path for path in kept if path in self._names and not path.exists()]:
            del kept[path]  # deleted behind this object's back
        for path, image in kept.items():
            _overwrite(path, image.durable)
        self._names, self._durable_names, self._namings, self._images = dict(kept), kept, [], {}
        self._untold.clear()


def _overwrite(path: Path, content: bytes | bytearray) -> None:
    """The same file, so that its number and modes stay; its folder has been kept."""
    with suppress(FileNotFoundError):
        if path.read_bytes() == content:
            return
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, FILE_MODE)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, content, 0)
    finally:
        os.close(descriptor)


class MortalFiles(Files):
    """The files of one process on a disk; it dies when one of its lives is over, such as its own or the machine's."""

    def __init__(self, disk: Disk, *lives: Life) -> None:
        self.disk = disk
        self.lives = lives

    def _last(self) -> float | None:
        """The share of this call that happens if it is the last one, else None."""
        last = [life.share for life in self.lives if life.step()]
        return min(last) if last else None

    def _dies_before(self) -> bool:
        """Whether this is the last call, which happened; raises Killed if it is and did not."""
        share = self._last()
        if share is not None and share < 0.5:
            raise Killed
        return share is not None

    def make_folder(self, path: Path) -> None:
        """Make a folder, and those above it, each of which is a call."""
        with self.disk.lock:
            if not path.is_dir():
                self.make_folder(path.parent)
                dies = self._dies_before()
                self.disk.made_folder(path)
                if dies:
                    path.mkdir(exist_ok=True)
                    raise Killed
            super().make_folder(path)

    def open(self, path: Path) -> int:
        """Open, and perhaps die."""
        with self.disk.lock:
            dies, new = self._dies_before(), not path.exists()
            descriptor = super().open(path)
            self.disk.opened(path, descriptor, new=new)
            if dies:
                self.close(descriptor)
                raise Killed
            return descriptor

    def write(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
        """Write, or a part of it, and die."""
        with self.disk.lock:
            share = self._last()
            if share is not None:
                data = data[: int(len(data) * share)]
            written = super().write(descriptor, data, offset)
            if written:
                self.disk.changed(descriptor, offset, offset + written)
            if share is not None:
                raise Killed
            return written

    def cut(self, descriptor: int, length: int) -> None:
        """Cut, and perhaps die."""
        with self.disk.lock:
            dies, before = self._dies_before(), self.size(descriptor)
            super().cut(descriptor, length)
            self.disk.changed(descriptor, length, max(before, length))
            if dies:
                raise Killed

    def sync(self, descriptor: int) -> None:
        """Make durable what was written before this call; what others write meanwhile is not covered."""
        with self.disk.lock:
            dies = self._dies_before()
            covered = self.disk.begin_sync(descriptor)
        os.sched_yield()
        with self.disk.lock:
            self.disk.end_sync(covered)
        if dies:
            raise Killed

    def sync_folder(self, path: Path) -> None:
        """Make the names in a folder durable."""
        with self.disk.lock:
            dies = self._dies_before()
            self.disk.synced_folder(path)
            if dies:
                raise Killed

    def boot_id(self) -> bytes:
        """The disk's: another one after each power cut."""
        return self.disk.boot_id()

    def rename(self, path: Path, target: Path) -> None:
        """Rename, and perhaps die."""
        with self.disk.lock:
            dies = self._dies_before()
            super().rename(path, target)
            self.disk.renamed(path, target)
            if dies:
                raise Killed

    def close(self, descriptor: int) -> None:
        """Close; the dead may do that too, for the system closes what they had open."""
        with self.disk.lock:
            self.disk.closed(descriptor)
            super().close(descriptor)
