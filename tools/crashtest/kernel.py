"""A real power cut: a file system of its own is stopped by the kernel while processes write to it.

The file system is an ext4 image on a loop device. EXT4_IOC_SHUTDOWN stops it at once: nothing more reaches the image,
not even its journal. It is mounted in a mount namespace of this process, so that it goes with it in any case.
"""

import ctypes
import fcntl
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from children import Child, read_all
from promises import look
from rounds import Round
from sayings import Id, event_of
from writers import HANGS, start_writer, told

from eventlog.files import Files

_TOOLS = ("mkfs.ext4", "mount", "umount", "losetup")
_IMAGE_BYTES = 16 * 1024 * 1024
_SECONDS_MAX = 30
_NEW_MOUNTS = 0x20000  # CLONE_NEWNS, unshare(2)
_SHUTDOWN, _WITHOUT_JOURNAL = 0x8004587D, 2  # _IOR('X', 125, __u32) and EXT4_GOING_FLAGS_NOLOGFLUSH


class _FilesOf(Files):
    """Files on a machine that was started so many times: the real one goes on running."""

    def __init__(self, boot: int) -> None:
        self._boot = boot

    def boot_id(self) -> bytes:
        """Another one after each power cut."""
        return b"boot-%d" % self._boot


def why_not_kernel(folder: Path) -> str:
    """Why no power cut is possible here; nothing if it is."""
    if sys.platform != "linux":
        return "it needs Linux"
    if os.geteuid() != 0:
        return "it needs root"
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        return f"{missing[0]} is not installed"
    if not Path("/dev/loop-control").exists():
        return "there is no /dev/loop-control"
    with TemporaryDirectory(dir=folder) as place:
        child = Child(lambda _pipe: _try(Path(place)), seconds=_SECONDS_MAX)
        if child.wait() == 0:
            return ""
        return f"a file system cannot be mounted and stopped here ({' '.join(child.lines).lstrip('!')})"


def _try(place: Path) -> None:
    with _Volume(place).mounted() as volume:
        volume.stop()


class _Volume:
    """An ext4 file system in a file."""

    def __init__(self, folder: Path) -> None:
        self._image = folder / "image"
        self.folder = folder / "mounted"

    def _mount(self) -> None:
        _run("mount", "-t", "ext4", "-o", "loop", str(self._image), str(self.folder))

    def _unmount(self) -> None:
        _run("umount", str(self.folder))

    def stop(self) -> None:
        """The power goes."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _WITHOUT_JOURNAL))
        finally:
            os.close(descriptor)

    def start(self) -> None:
        """The power is back: the file system is mounted anew, from what is in the image."""
        self._unmount()
        self._mount()

    @contextmanager
    def mounted(self) -> Iterator["_Volume"]:
        """Make it and mount it; it is gone at the end."""
        _leave_the_others_mounts()
        self.folder.mkdir()
        with self._image.open("wb") as file:
            file.truncate(_IMAGE_BYTES)
        _run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1", str(self._image))
        self._mount()
        try:
            yield self
        finally:
            self._unmount()
            self.folder.rmdir()
            self._image.unlink()


def _leave_the_others_mounts() -> None:
    """What this process mounts is seen by it and its children alone, and gone with them."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_MOUNTS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    _run("mount", "--make-rprivate", "/")


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_SECONDS_MAX)  # noqa: S603
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr.strip()}")


def kernel_round(this: Round) -> None:
    """Some processes write; the power goes, two or three times; then what was promised is looked for."""
    with _Volume(this.folder).mounted() as volume:
        directory = volume.folder / "data"
        promised: dict[Id, int] = {}
        for life in range(this.random.randint(2, 3)):
            _live(this, volume, directory, life, promised)
            volume.start()
            this.crashes += 1
            look(directory, promised, this.broken, settled=False)
            if this.broken:
                break
        this.events = len(promised)
        if not this.broken:
            _settle(this, directory, promised)
        if this.broken and directory.exists():
            shutil.copytree(directory, this.directory)


def _live(this: Round, volume: _Volume, directory: Path, life: int, promised: dict[Id, int]) -> None:
    """Write until the power goes; what was acknowledged is added to what is promised."""
    files = this.build.files(_FilesOf, life)
    durabilities = ["fsync", *(this.random.choice(["fsync", "fsync", "os"]) for _ in range(this.random.randint(0, 2)))]
    writers = {
        start_writer(this, directory, f"w{life}-{number}", durability=durability, files=files): durability
        for number, durability in enumerate(durabilities)
    }
    try:
        if life % 2:  # the others may end before anything was promised
            next(iter(writers)).read(None)
        end = time.monotonic() + 10 ** this.random.uniform(-3, -1)
        while (left := end - time.monotonic()) > 0:
            read_all(list(writers), left)
        _take(this, writers, promised)  # while the kernel stops, fdatasync has been seen to succeed in vain
        volume.stop()
        for writer in writers:
            writer.signal(signal.SIGTERM)
            # It ends with an error, for its files are gone.
            this.broken += [HANGS] if writer.wait() == -signal.SIGALRM else []
    finally:
        for writer in writers:
            writer.kill()


def _take(this: Round, writers: dict[Child, str], promised: dict[Id, int]) -> None:
    """What was acknowledged as durable is promised, with all that stands before it."""
    acknowledged: dict[Id, int] = {}
    durable = max(promised.values(), default=0)
    for writer, durability in writers.items():
        said, errors = told(writer)
        this.broken += [f"a writer failed before the power went: {error}" for error in errors]
        acknowledged.update(said)
        if durability == "fsync":
            durable = max([durable, *said.values()])
    promised.update({identity: seq for identity, seq in acknowledged.items() if seq <= durable})


def _settle(this: Round, directory: Path, promised: dict[Id, int]) -> None:
    """A new writer appends on; then there is nothing to say against the log."""
    last = Id("end", 0)
    with this.build.open(directory, files=this.build.files(_FilesOf, -1)) as log:
        promised[last] = log.append(event_of(last))
    look(directory, promised, this.broken)
