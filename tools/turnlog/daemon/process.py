"""Which process is meant: a number may be another process's by now, a number and a start time are not.

Linux tells all of it in /proc (proc_pid_stat(5)); elsewhere `ps` does, as POSIX has it.
"""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

_STAT_STATE, _STAT_START = 0, 19
"""Where they are in /proc/PID/stat behind the program's name, which may hold anything, parentheses too."""


def start_of(pid: int) -> str | None:
    """When a process was started, in whatever form the system has it; None if there is none, or it has ended."""
    if sys.platform == "linux":
        with suppress(OSError, IndexError):
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            ended = fields[_STAT_STATE] in ("Z", "X")
            return None if ended else f"{_boot()}:{fields[_STAT_START]}"
        return None
    return _ps(pid, "lstart") or None


def is_same(pid: int, started: str) -> bool:
    """Whether the process with this number is the one that was started then."""
    return start_of(pid) == started


def send(pid: int, started: str, number: int) -> bool:
    """Send a signal to the process that is meant and to no other; whether there was one."""
    if not hasattr(os, "pidfd_open"):
        if not is_same(pid, started):
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            return True
        return False
    try:
        descriptor = os.pidfd_open(pid)  # from here on it is one process, whatever becomes of its number
    except OSError:
        return False
    try:
        if not is_same(pid, started):
            return False
        signal.pidfd_send_signal(descriptor, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)


def memory_bytes() -> int | None:
    """This process's resident memory; None where nobody tells."""
    if sys.platform == "linux":
        with suppress(OSError, ValueError, IndexError):
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE")
        return None
    told = _ps(os.getpid(), "rss")
    return int(told) * 1024 if told.isdigit() else None


def cpu_seconds() -> float:
    """The processor time that this process has used."""
    return time.process_time()


def _boot() -> str:
    """The name of the time since the machine was started: start times begin anew with it."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:8]
    return ""


def _ps(pid: int, column: str) -> str:
    import subprocess  # only where there is no /proc

    command = ["ps", "-o", f"{column}=", "-p", str(pid)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})  # noqa: S603
    return done.stdout.strip()
