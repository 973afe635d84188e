"""Whether a process grows: its memory, open files and threads in the first and the last quarter of a time."""

import statistics
import time
from collections.abc import Iterator, Sequence

from msgspec import Struct
from processes import Process
from report import Row, single_row

_MEGABYTE = 1_000_000

_ALLOWED = {"memory": 3.0, "open-files": 1.0, "threads": 1.0}
"""So much more may be had at the end: what Python's allocator keeps, a connection that happens to be open."""

_UNITS = {"memory": "MB", "open-files": "files", "threads": "threads"}


class Sample(Struct, frozen=True):
    """A process at a moment; the fields but for the last two are those of `_ALLOWED`, in their units."""

    values: dict[str, float]
    cpu_seconds: float
    at: float


def sample(process: Process) -> Sample:
    """Look at a process."""
    values = {
        "memory": process.memory_bytes() / _MEGABYTE,
        "open-files": float(process.open_files()),
        "threads": float(process.threads()),
    }
    return Sample(values, process.cpu_seconds(), time.monotonic())


def growth(samples: Sequence[Sample]) -> Iterator[str]:
    """What has grown by more than it may."""
    for name, allowed in _ALLOWED.items():
        first, last = _quarters(samples, name)
        if last > first + allowed:
            yield f"{name} went from {first:.4g} to {last:.4g} {_UNITS[name]}"


def growth_rows(samples: Sequence[Sample]) -> Iterator[Row]:
    """The medians of both quarters, and the processor time between the first sample and the last."""
    for name in _ALLOWED:
        first, last = _quarters(samples, name)
        reference = f"soak/{name}/first-quarter"
        yield single_row(reference, first, _UNITS[name])
        yield Row(f"soak/{name}/last-quarter", round(last, 2), _UNITS[name], round(first / last, 3), reference)
    used, lasted = samples[-1].cpu_seconds - samples[0].cpu_seconds, samples[-1].at - samples[0].at
    yield single_row("soak/cpu", used / lasted * 100, "% of a core")


def _quarters(samples: Sequence[Sample], name: str) -> tuple[float, float]:
    quarter = max(1, len(samples) // 4)
    first, last = ([one.values[name] for one in some] for some in (samples[:quarter], samples[-quarter:]))
    return statistics.median(first), statistics.median(last)
