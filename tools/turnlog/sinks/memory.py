"""The reference sink: it keeps what it gets in this process's memory, and forgets it when the process ends."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from msgspec import Struct

from turnlog.convert import convert
from turnlog.errors import ConfigError
from turnlog.sinks.base import Delivered, Limits, Outcome, OutgoingTurn, Refused, Sink, Unknown


class MemoryOptions(Struct, frozen=True):
    """What the configuration may say: requests at once, turns in a request."""

    connections: int = 1
    turns: int = 100


class MemorySink(Sink):
    """Takes every turn, in the order in which they come; `received` is what it has."""

    type: ClassVar[str] = "memory"
    remote = False

    def __init__(self, *, limits: Limits = Limits(), connections: int = 1, idempotent: bool = False) -> None:  # noqa: B008 - frozen
        self.limits = limits
        self.connections = connections
        self.idempotent = idempotent
        self.received: list[OutgoingTurn] = []
        self._lock = threading.Lock()

    @classmethod
    def from_options(cls, options: dict[str, Any], *, where: str, folder: Path) -> Self:  # noqa: ARG003 - no paths
        """See `Sink.from_options`."""
        chosen = convert(options, MemoryOptions, where=where, error=ConfigError)
        return cls(limits=Limits(turns=chosen.turns), connections=chosen.connections)

    def check(self) -> Refused | None:
        """Memory is always there."""
        return None

    def size(self, turn: OutgoingTurn) -> int:
        """The length of its line."""
        return turn.line_bytes

    def deliver(self, batch: Sequence[OutgoingTurn]) -> Sequence[Outcome]:
        """Keep the turns; the receipt is how many there are now."""
        with self._lock:
            self.received.extend(batch)
            return [Delivered({"received": len(self.received)})] * len(batch)

    def find(self, turn: OutgoingTurn) -> Delivered | Unknown | None:
        """Whether this revision of the turn is here."""
        with self._lock:
            return Delivered({"found": True}) if any(kept.seq == turn.seq for kept in self.received) else None

    def close(self) -> None:
        """There is nothing to let go of."""
