"""What every sink offers, and what it is told and answers.

A sink sends and says what came of it; it never retries, waits, or decides what an answer means for a turn: the engine
does, from the kinds of `Refused`. Its answers are values; an exception from a sink is a bug in it.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from msgspec import Struct

from eventlog import TurnRecorded
from projections import Place


class OutgoingTurn(Struct, frozen=True):
    """A turn on its way: its seq, when it was recorded, its event, its line's length.

    `attempt` is the seq of the SyncAttempted that it is sent under, `tries` how often it was sent before that since
    it is owed, `delivery` which delivery of it this is: 1, or more after the sink lost it or the operator wanted it
    sent again. `older` is the newest older revision that the sink has; None if it has none, or takes revisions by
    `upsert` and need not know. `place` is where it stands in its conversation, for sinks that want `places`.
    """

    seq: int
    recorded_at: datetime
    event: TurnRecorded
    line_bytes: int
    attempt: int = 0
    tries: int = 0
    delivery: int = 1
    older: TurnRecorded | None = None
    place: Place | None = None


class Delivered(Struct, frozen=True):
    """The sink has the turn; `receipt` is its proof, as plain JSON data.

    `buffered` is how much of it (in the units of `Sink.size`) the sink keeps in a buffer that wants to be flushed, see
    `FlushingSink`. `reconciled` is set by the engine when it learnt this by asking, not from the answer to its request.
    """

    receipt: Any = None
    reconciled: bool = False
    buffered: int = 0


class Refused(Struct, frozen=True):
    """The sink does not have the turn, or not for certain.

    `kind` is one of `eventlog.FAILURE_KINDS`, `error` one sentence without secrets and message text, `status` the
    HTTP status if there was one, `retry_after` in seconds. `alone` says that the answer was about this turn in
    particular, not about the request that it was in.
    """

    kind: str
    error: str
    status: int | None = None
    retry_after: float | None = None
    alone: bool = False


Outcome = Delivered | Refused


class Unknown(Struct, frozen=True):
    """The sink cannot tell whether it has a turn; `error` says why. `final`: nor will it ever be able to."""

    error: str = ""
    final: bool = False


class Lost(Struct, frozen=True):
    """A turn that a sink took and could not make use of: its seq, and which delivery of it that was."""

    seq: int
    delivery: int = 1


class Flushed(Struct, frozen=True):
    """A user's buffer was flushed; `lost` are turns of theirs that the sink has lost, now or before, and the reason."""

    lost: tuple[Lost, ...] = ()
    reason: str = ""


class Limits(Struct, frozen=True):
    """How much a request may hold; `size` in the units of `Sink.size`. A turn that is too large alone is sent alone.

    `one_source`: all turns of a request are of one source. `one_user`: they are of one user, who has one request (or
    flush) at a time. A request that is not full waits until its newest turn is `linger_seconds` old. `buffered` is the
    most that may wait in a user's buffer (`Delivered.buffered`) before it is flushed; 0: there is no limit.
    """

    turns: int = 100
    conversations: int = 100
    size: int = 4 * 1024 * 1024
    one_source: bool = False
    one_user: bool = False
    linger_seconds: float = 0.0
    buffered: int = 0


@runtime_checkable
class Sink(Protocol):
    """A backend that turns can be delivered to. Its methods are called from several threads at once.

    A class may derive from this one to get what most sinks want of what has a value here.
    """

    type: ClassVar[str]
    """As the configuration names it."""

    limits: Limits = Limits()
    connections: int = 4
    """How many requests it takes at once."""

    idempotent: bool = False
    """Whether sending a turn again changes nothing, so that doubt is settled by sending again."""

    remote: bool = True
    """Whether turns leave the machine, so that secrets in them are redacted unless the configuration says otherwise."""

    revisions: Literal["upsert", "append", "replace"] = "upsert"
    """How it takes a new revision of a turn that it has: over the old one, as what is new in it, or in its place."""

    places: bool = False
    """Whether it wants to know where a turn stands in its conversation, which has to be looked up."""

    @classmethod
    def from_options(cls, options: dict[str, Any], *, where: str, folder: Path) -> "Sink":
        """The sink that a configuration describes; `where` names it in errors, `folder` is where its paths begin.

        Raises ConfigError.
        """

    def check(self) -> Refused | None:
        """Whether it is reachable and lets us in: None if all is well."""

    def size(self, turn: OutgoingTurn) -> int:
        """How much the turn adds to a request, or a little more, in the units of `limits.size`: bytes, or tokens."""

    def deliver(self, batch: Sequence[OutgoingTurn]) -> Sequence[Outcome]:
        """Send some turns in one request; one outcome for each, in their order."""

    def close(self) -> None:
        """Let go of connections."""


@runtime_checkable
class FindingSink(Sink, Protocol):
    """A sink that can say whether it has a turn, so that doubt is settled by asking."""

    def find(self, turn: OutgoingTurn) -> Delivered | Unknown | None:
        """Delivered if the sink has the turn, None if it has not, Unknown if it cannot tell.

        `turn.attempt` is that of the attempt in doubt.
        """


@runtime_checkable
class FlushingSink(Sink, Protocol):
    """A sink that gathers what it takes in a buffer for each user, and makes use of it when that is flushed."""

    flush_after_seconds: float
    """How long a user must have been quiet to be flushed; 0: only where `limits.buffered` asks for it."""

    def flush(self, user: str, *, quiet: bool) -> Flushed | Refused:
        """Flush a user's buffer: because they are `quiet`, so that there is time, or to make room for more."""
