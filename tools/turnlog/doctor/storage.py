"""The log's folder: who may read it, how much room there is, how fast it is. A folder that is not there is not made."""

import os
import re
import shlex
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from eventlog.files import Files
from turnlog.doctor.findings import Finding

FREE_BYTES_MIN = 64 * 1024 * 1024
FREE_BYTES_LOW = 1024 * 1024 * 1024
FREE_FILES_LOW = 1000
SYNC_SECONDS_SLOW = 0.05
"""Each turn waits for a sync or two; a disk that takes longer than this is felt."""

_SYNCS = 5
_SYNC_BYTES = 4096
_NETWORK = re.compile(r"nfs|cifs|smb|9p|fuse\.(sshfs|s3fs|rclone|gcsfuse|glusterfs)|afs|ceph|lustre")
_OURS = ("log", "blobs", "checkpoints", "index.sqlite*", "*.lock", "*.token", "status.json", "daemon.log*")


def check_permissions(directory: Path) -> Iterator[Finding]:
    """The folder is ours alone: conversations are private."""
    if directory.exists() and not directory.is_dir():
        yield Finding("permissions", "fail", f"{directory} is no folder", "name another one, or move it away")
        return
    if not directory.is_dir():
        yield _missing("permissions", directory)
        return
    if not os.access(directory, os.W_OK | os.X_OK):
        yield Finding(
            "permissions", "fail", f"{directory} cannot be written to", f"ls -ld {shlex.quote(str(directory))}"
        )
        return
    owner = directory.stat().st_uid
    if hasattr(os, "geteuid") and owner != os.geteuid():
        sentence = (
            f"{directory} belongs to the user {owner}, and this is {os.geteuid()}: what is made now is not theirs"
        )
        yield Finding("permissions", "warn", sentence, "run turnlog as the user whose folder it is")
    loose = [path for path in (directory, *_our_files(directory)) if _is_loose(path)]
    if loose:
        told = ", ".join(str(path) for path in loose[:3]) + (f" and {len(loose) - 3} more" if len(loose) > 3 else "")
        remedy = f"chmod -R go= {shlex.quote(str(directory))}"
        yield Finding("permissions", "warn", f"others may read or write {told}", remedy)
    else:
        yield Finding("permissions", "ok", f"{directory} is open to its owner alone")


def _our_files(directory: Path) -> Iterator[Path]:
    """What Turnlog makes there, without the payloads in their folders."""
    for pattern in _OURS:
        for path in sorted(directory.glob(pattern)):
            yield path
            if path.name in ("log", "checkpoints"):
                yield from sorted(path.iterdir())


def _is_loose(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & 0o077)
    except OSError:  # gone meanwhile
        return False


def check_disk(directory: Path) -> Iterator[Finding]:
    """There is room, the file system can be written to, and it is no network's."""
    place = next(path for path in (directory, *directory.absolute().parents) if path.is_dir())
    room = os.statvfs(place)
    free = room.f_bavail * room.f_frsize
    told = f"{free / 2**30:.1f} GiB are free at {place}"
    if room.f_flag & getattr(os, "ST_RDONLY", 1):
        yield Finding("disk", "fail", f"the file system at {place} is read-only", "mount it to be written to")
    elif free < FREE_BYTES_MIN:
        yield Finding(
            "disk", "fail", f"{free / 2**20:.0f} MiB are free at {place}", "make room: recording fails when it is full"
        )
    elif free < FREE_BYTES_LOW:
        yield Finding("disk", "warn", told, "make room before it is full")
    elif room.f_files > 0 and room.f_favail < FREE_FILES_LOW:
        yield Finding(
            "disk", "warn", f"{place} has room for {room.f_favail} more files", "remove files that nobody needs"
        )
    else:
        yield Finding("disk", "ok", told)
    kind = file_system(place)
    if _NETWORK.match(kind):
        remedy = "move the log to a local disk; docs/durability.md says why"
        yield Finding("disk", "warn", f"{place} is on a network ({kind}), whose locks and syncs may not hold", remedy)


def file_system(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """The type of the file system that a path is on, as proc_pid_mountinfo(5) tells it; empty where nothing does."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    found, longest, real = "", -1, path.resolve()
    for line in lines:
        fields, _, behind = line.partition(" - ")
        point = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields.split(" ")[4]))
        if len(point.parts) >= longest and real.is_relative_to(point):
            found, longest = behind.split(" ")[0], len(point.parts)
    return found


def check_sync_speed(directory: Path) -> Iterator[Finding]:
    """How long the disk takes to make a small write durable, on a file without a name."""
    if not directory.is_dir():
        yield _missing("sync speed", directory)
        return
    if not os.access(directory, os.W_OK | os.X_OK):
        yield Finding("sync speed", "skip", f"{directory} cannot be written to")
        return
    try:
        seconds = measure_sync(directory)
    except OSError as error:
        sentence = f"nothing can be written to {directory}: {error.strerror}"
        yield Finding("sync speed", "fail", sentence, "make room, or see why the system refuses: dmesg")
        return
    told = f"a small write is durable after {seconds * 1000:.1f} ms"
    if seconds > SYNC_SECONDS_SLOW:
        remedy = 'use a faster disk, or durability = "os" in [log] if a power cut may take the last turns'
        yield Finding("sync speed", "warn", told, remedy)
    else:
        yield Finding("sync speed", "ok", told)


def measure_sync(directory: Path) -> float:
    """The median of a few syncs, in seconds. Raises OSError."""
    files, times = Files(), []
    with tempfile.TemporaryFile(dir=directory) as file:
        for number in range(_SYNCS):
            began = time.perf_counter()
            files.write_all(file.fileno(), b"x" * _SYNC_BYTES, number * _SYNC_BYTES)
            files.sync(file.fileno())
            times.append(time.perf_counter() - began)
    return median(times)


def _missing(name: str, directory: Path) -> Finding:
    return Finding(name, "skip", f"{directory} is not there yet: the first turn makes it")
