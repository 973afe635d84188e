"""Replays the log in the folder that is its argument, if there is one, and prints the most memory it took, in MB."""

import resource
import sys
from pathlib import Path

from replays import into_delivery

_MEGABYTE = 1_000_000


def peak_bytes(process: int | None = None) -> int:
    """The largest resident set of a process so far; None: of this one, which needs no Linux.

    On Linux VmHWM: ru_maxrss would be that of the process that started this one, where that is larger, for
    exec(2) takes it over (measured: 310 MB for a child of 9 MB).
    """
    try:
        status = Path(f"/proc/{process or 'self'}/status").read_text()
    except OSError:
        if process is not None:
            raise
        kilobytes = sys.platform != "darwin"  # there they are bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1024 if kilobytes else 1)
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        into_delivery(Path(argument))
    print(peak_bytes() / _MEGABYTE)
