"""What the system tells of a process, and running `turnlog`. The figures need Linux."""

import os
import subprocess
import sys
from pathlib import Path

_PATIENCE_SECONDS = 120.0


class Process:
    """A process that runs."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def memory_bytes(self) -> int:
        """Resident memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def open_files(self) -> int:
        """File descriptors."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def threads(self) -> int:
        """Threads."""
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def cpu_seconds(self) -> float:
        """Processor time since its start; it is counted in ticks of 10 ms (proc_pid_stat(5))."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def turnlog(directory: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command on a log, to its end."""
    command = [sys.executable, "-m", "turnlog", "--dir", str(directory), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=_PATIENCE_SECONDS)  # noqa: S603 - our own
