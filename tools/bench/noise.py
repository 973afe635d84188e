"""How busy the machine was with other work while something was measured: figures from a busy machine mean little."""

import os
import time
from pathlib import Path

_BUSY_COLUMNS = (1, 2, 3, 6, 7, 8)  # user, nice, system, irq, softirq, steal: proc(5)


class Noise:
    """Counts from its making on."""

    def __init__(self) -> None:
        self._busy, self._own, self._begin = _busy_seconds(), _own_seconds(), time.monotonic()

    def percent(self) -> float | None:
        """The share of all cores that others used (the kernel too, for us); None where that cannot be told.

        Counts the processes that this one started only when they have ended and were waited for.
        """
        busy = _busy_seconds()
        if busy is None or self._busy is None:
            return None
        others = (busy - self._busy) - (_own_seconds() - self._own)
        return max(0.0, others / (time.monotonic() - self._begin) / (os.cpu_count() or 1) * 100)


def _own_seconds() -> float:
    return sum(os.times()[:4])


def _busy_seconds() -> float | None:
    try:
        columns = Path("/proc/stat").read_text().splitlines()[0].split()
    except OSError:
        return None
    return sum(int(columns[at]) for at in _BUSY_COLUMNS) / os.sysconf("SC_CLK_TCK")
