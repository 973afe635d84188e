"""The locks of a log's folder, and who holds them.

Linux tells the holders in /proc/locks (proc_locks(5)); elsewhere a lock is tried for a moment, and its file says who it
may be. A process that is stopped (Ctrl-Z) keeps its locks, and everybody waits.
"""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from eventlog.locks import lock_descriptor, unlock_descriptor
from turnlog.doctor.findings import Finding

LOCKS = Path("/proc/locks")

PATIENCE_SECONDS = 0.5
"""Whoever writes holds the log's lock for a moment; who holds it at every look for so long is stuck."""

_LOOKS = 10
_MOMENTARY = ("log.lock", "index.lock")
_LABEL_BYTES_MAX = 200


def check_locks(directory: Path) -> Iterator[Finding]:
    """Which locks are held, by whom, and whether somebody holds one who does not get on."""
    paths = sorted(directory.glob("*.lock"))
    held = False
    for path in paths:
        pids = holders(path)
        if path.name in _MOMENTARY and pids is not None:
            pids = _held_on(path)
        if pids is not None:
            held = True
            yield _judge(path, pids)
    if not held:
        yield Finding("locks", "ok", "nobody holds a lock: nothing is being delivered")


def _held_on(path: Path) -> list[int] | None:
    """Who holds a lock at every look for a while; None if it was free once."""
    for _ in range(_LOOKS):
        time.sleep(PATIENCE_SECONDS / _LOOKS)
        pids = holders(path)
        if pids is None:
            return None
    return pids


def _judge(path: Path, pids: list[int]) -> Finding:
    who = " and ".join(map(describe_process, pids)) or "a process that cannot be seen from here"
    stopped = [pid for pid in pids if process_state(pid) in ("T", "t")]
    told = f"{path.name} is held by {who}{_label(path)}"
    if stopped:
        return Finding("locks", "warn", f"{told}, which is stopped", f"let it go on: kill -CONT {stopped[0]}")
    if path.name in _MOMENTARY:
        return Finding("locks", "warn", f"{told} all the time: nobody can record", "see what it does, or end it")
    return Finding("locks", "ok", told)


def holders(path: Path) -> list[int] | None:
    """The processes that hold a lock, as far as they can be seen; None if nobody does."""
    try:
        lines = LOCKS.read_text(encoding="ascii", errors="replace").splitlines()
        status = path.stat()
    except OSError:
        return [] if _is_locked(path) else None
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    found = [fields for line in lines if (fields := line.split())[1:2] == ["FLOCK"] and len(fields) > 5]
    pids = [int(fields[4]) for fields in found if fields[5] == place]
    if pids:
        return [pid for pid in pids if pid > 0]
    # Some file systems (btrfs, overlay) have another device there than stat tells; the inode is the same.
    return [] if any(fields[5].endswith(f":{status.st_ino}") for fields in found) and _is_locked(path) else None


def _is_locked(path: Path) -> bool:
    """Whether a lock cannot be had; if it can, it is held for an instant."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        if not lock_descriptor(descriptor, blocking=False):
            return True
        unlock_descriptor(descriptor)
        return False
    finally:
        os.close(descriptor)


def describe_process(pid: int) -> str:
    """A process by its number and name; not by its arguments, which may hold a secret."""
    name = ""
    with suppress(OSError):
        name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    return f"process {pid}{name and f' ({name})'}"


def process_state(pid: int) -> str:
    """The letter that proc_pid_stat(5) has for it, such as T for stopped; empty where nothing tells it."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    return ""


def _label(path: Path) -> str:
    """What a worker of a sink wrote into its lock; the log's own is no text for people."""
    if path.name.startswith("sink-"):
        with suppress(OSError):
            said = path.read_bytes()[:_LABEL_BYTES_MAX].decode("utf-8", errors="replace").strip()
            return f", which says: {said}" if said else ""
    return ""
