"""The in-memory sink with faults, given as values: what the next requests meet, or a rule for any request.

::

    sink = FaultySink(finding=...)                        # or FindingFaultySink: it can be asked
    sink.faults.extend([unavailable(), None, in_doubt(taken=ALL)])      # one for each request, None: all is well
    sink.rule = lambda turns: rejected() if any(is_poison(turn) for turn in turns) else None
    sink.outage = unavailable()                           # every request, check and question, until it is None again
"""

import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

from msgspec import Struct

from turnlog.sinks.base import Delivered, Limits, Outcome, OutgoingTurn, Refused, Sink, Unknown

ALL = 2**31
"""As many turns as a request has."""


class Fault(Struct, frozen=True):
    """What goes wrong with one request. Make one with the functions of this module.

    The sink takes the first `taken` turns all the same. The answer is `refused`, for all turns or, where `seqs` says
    so, for those alone; or `error` is raised; or, where `surplus` is not 0, there are so many outcomes too many.
    """

    refused: Refused | None = None
    seqs: frozenset[int] | None = None
    taken: int = 0
    error: BaseException | None = None
    surplus: int = 0


def unavailable() -> Fault:
    """Nobody is there."""
    return Fault(Refused("unavailable", "nobody is there"))


def throttled(retry_after: float | None = None) -> Fault:
    """Too much at once; wait for so many seconds."""
    return Fault(Refused("throttled", "too much at once", 429, retry_after))


def unauthorized() -> Fault:
    """The token is wrong."""
    return Fault(Refused("unauthorized", "the token is wrong", 401))


def failed(*, seqs: Collection[int] | None = None, retry_after: float | None = None) -> Fault:
    """The request failed, or the turns with these seqs did and the others are taken."""
    return Fault(_of_some(Refused("failed", "it broke", 500, retry_after), seqs), _some(seqs))


def rejected(*, seqs: Collection[int] | None = None) -> Fault:
    """The request is refused for good, or the turns with these seqs are and the others are taken."""
    return Fault(_of_some(Refused("rejected", "unprocessable", 422), seqs), _some(seqs))


def in_doubt(*, taken: int = 0) -> Fault:
    """The connection broke after the request was sent; the sink has the first `taken` turns."""
    return Fault(Refused("in_doubt", "the connection broke"), taken=taken)


def raising(error: BaseException, *, taken: int = 0) -> Fault:
    """The sink raises; a `BaseException` goes through the engine as the end of the process would."""
    return Fault(taken=taken, error=error)


def miscounted(surplus: int = -1, *, taken: int = 0) -> Fault:
    """The sink tells so many outcomes more (or, below 0, fewer) than there are turns."""
    return Fault(taken=taken, surplus=surplus)


def _some(seqs: Collection[int] | None) -> frozenset[int] | None:
    return None if seqs is None else frozenset(seqs)


def _of_some(refused: Refused, seqs: Collection[int] | None) -> Refused:
    if seqs is None:
        return refused
    return Refused(refused.kind, refused.error, refused.status, refused.retry_after, alone=True)


@dataclass(frozen=True)
class Received:
    """One request as it came in: its turns, and what went wrong with it."""

    turns: tuple[OutgoingTurn, ...]
    fault: Fault | None

    @property
    def seqs(self) -> tuple[int, ...]:
        """The turns' seqs, in order."""
        return tuple(turn.seq for turn in self.turns)


@dataclass
class FaultySink(Sink):
    """Keeps what it takes in memory, and fails as told. It cannot be asked for a turn; `FindingFaultySink` can.

    `requests` are all that came in, `checks` counts the checks, `taken` are the seqs of all turns that it took, each
    as often as it took it. `stored` is what a backend would have now: with `idempotent`, of each turn what it took
    last, at its first place; else everything. `meanwhile` is called in every request before anything else, in its
    thread.
    """

    type: ClassVar[str] = "faulty"

    limits: Limits = Limits()  # noqa: RUF009 - frozen
    connections: int = 1
    idempotent: bool = False
    remote: bool = False
    revisions: Literal["upsert", "append", "replace"] = "upsert"
    faults: deque[Fault | None] = field(default_factory=deque)
    rule: Callable[[Sequence[OutgoingTurn]], Fault | None] = lambda _: None
    outage: Fault | None = None
    meanwhile: Callable[[Sequence[OutgoingTurn]], None] = lambda _: None

    requests: list[Received] = field(default_factory=list)
    checks: int = 0
    taken: list[int] = field(default_factory=list)
    stored: list[OutgoingTurn] = field(default_factory=list)
    closed: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def from_options(cls, options: dict[str, Any], **_: Any) -> Self:
        """See `Sink.from_options`; the options are the fields of the class."""
        return cls(**options)

    def check(self) -> Refused | None:
        """Well, unless there is an outage."""
        self.checks += 1
        return self.outage.refused if self.outage else None

    def size(self, turn: OutgoingTurn) -> int:
        """The length of its line."""
        return turn.line_bytes

    def deliver(self, batch: Sequence[OutgoingTurn]) -> Sequence[Outcome]:
        """Take the turns, or do what the fault that is next says."""
        self.meanwhile(batch)
        with self._lock:
            fault = self._next_fault(batch)
            self.requests.append(Received(tuple(batch), fault))
            if fault is None:
                return [self._take(turn) for turn in batch]
            return self._fail(batch, fault)

    def close(self) -> None:
        """Count it; a test may want to know."""
        self.closed += 1

    def copies(self, seq: int) -> int:
        """How often a backend would now have the turn recorded at `seq`."""
        return sum(turn.seq == seq for turn in self.stored)

    def _next_fault(self, batch: Sequence[OutgoingTurn]) -> Fault | None:
        if self.outage is not None:
            return self.outage
        return self.faults.popleft() if self.faults else self.rule(batch)

    def _fail(self, batch: Sequence[OutgoingTurn], fault: Fault) -> Sequence[Outcome]:
        if fault.seqs is not None and fault.refused is not None:
            return [fault.refused if turn.seq in fault.seqs else self._take(turn) for turn in batch]
        delivered: list[Outcome] = [self._take(turn) for turn in batch[: fault.taken]]
        if fault.error is not None:
            raise fault.error
        if fault.refused is not None:
            return [fault.refused] * len(batch)
        return (delivered + [Delivered()] * (len(batch) + fault.surplus))[: len(batch) + fault.surplus]

    def _take(self, turn: OutgoingTurn) -> Delivered:
        self.taken.append(turn.seq)
        known = (i for i, kept in enumerate(self.stored) if kept.event.turn_id == turn.event.turn_id)
        place = next(known, None) if self.idempotent else None
        if place is None:
            self.stored.append(turn)
        else:
            self.stored[place] = turn
        return Delivered({"number": len(self.taken)})


class FindingFaultySink(FaultySink):
    """A `FaultySink` that can say whether it has a turn, except in an outage."""

    def find(self, turn: OutgoingTurn) -> Delivered | Unknown | None:
        """Whether this revision of the turn was taken."""
        with self._lock:
            if self.outage is not None:
                return Unknown("nobody is there")
            return Delivered({"found": True}) if turn.seq in self.taken else None
