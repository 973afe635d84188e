"""What a run did, in numbers."""

from collections import Counter
from math import ceil, log

from msgspec import Struct

from eventlog import Event, SyncFailed, SyncSucceeded
from projections import is_counted

_BUCKETS_PER_DOUBLING = 8


class SyncCounts(Struct):
    """What one run did, in turns; `pending` is what is still to be sent, whoever has to wait for what.

    `failed` counts failures that a turn is blamed for and may try again after; an outage is none of them.
    """

    delivered: int = 0
    failed: int = 0
    dead: int = 0
    pending: int = 0
    reconciled: int = 0

    def take(self, event: Event) -> None:
        """Count an event that was written."""
        if isinstance(event, SyncSucceeded):
            self.delivered += len(event.turns)
            self.reconciled += len(event.turns) if event.reconciled else 0
        elif isinstance(event, SyncFailed) and event.final:
            self.dead += len(event.turns)
        elif isinstance(event, SyncFailed) and is_counted(event):
            self.failed += len(event.turns)

    def add(self, other: "SyncCounts") -> None:
        """Take in the counts of another sink."""
        for name in SyncCounts.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Latencies:
    """How long turns took, in seconds: a histogram whose buckets grow by 9 percent, so its size is bounded."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()

    def note(self, seconds: float) -> None:
        """A turn took so long; a clock that was set back makes it a microsecond."""
        self._buckets[ceil(log(max(seconds, 1e-6), 2) * _BUCKETS_PER_DOUBLING)] += 1

    def add(self, other: "Latencies") -> None:
        """Take in those of another sink."""
        self._buckets.update(other._buckets)

    def percentile(self, share: float) -> float | None:
        """The time within which this share (0 to 1) of the turns were done, rounded up; None if there were none."""
        left = share * self._buckets.total()
        for bucket in sorted(self._buckets):
            left -= self._buckets[bucket]
            if left <= 0:
                return float(2.0 ** (bucket / _BUCKETS_PER_DOUBLING))
        return None
