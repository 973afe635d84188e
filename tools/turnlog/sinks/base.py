"""What every sink offers, and what it is told and answers.

A sink sends and says what came of it; it never retries, waits, or decides what an answer means for a turn: the engine
does, from the kinds of `Refused`. Its answers are values; an exception from a sink is a bug in it.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

from msgspec import Struct

from eventlog import TurnRecorded
from projections import Place


class OutgoingTurn(Struct, frozen=True):
    """A turn on its way: its seq, when it was recorded, its event, its place in its conversation, its line's length."""

    seq: int
    recorded_at: datetime
    event: TurnRecorded
    place: Place
    line_bytes: int


class Delivered(Struct, frozen=True):
    """The sink has the turn; `receipt` is its proof, as plain JSON data.

    `reconciled` is set by the engine when it learnt this by asking, not from the answer to its request.
    """

    receipt: Any = None
    reconciled: bool = False


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
    """The sink cannot tell whether it has a turn; `error` says why."""

    error: str = ""


class Limits(Struct, frozen=True):
    """How much a request may hold. A turn that is too large alone is sent alone."""

    turns: int = 100
    conversations: int = 100
    bytes: int = 4 * 1024 * 1024
    one_source: bool = False


@runtime_checkable
class Sink(Protocol):
    """A backend that turns can be delivered to. Its methods are called from several threads at once."""

    type: ClassVar[str]
    """As the configuration names it."""

    limits: Limits
    connections: int
    """How many requests it takes at once."""

    idempotent: bool
    """Whether sending a turn again changes nothing, so that doubt is settled by sending again."""

    @classmethod
    def from_options(cls, options: dict[str, Any], *, where: str, folder: Path) -> Self:
        """The sink that a configuration describes; `where` names it in errors, `folder` is where its paths begin.

        Raises ConfigError.
        """

    def check(self) -> Refused | None:
        """Whether it is reachable and lets us in: None if all is well."""

    def size(self, turn: OutgoingTurn) -> int:
        """How many bytes the turn adds to a request, or a little more."""

    def deliver(self, batch: Sequence[OutgoingTurn]) -> Sequence[Outcome]:
        """Send some turns in one request; one outcome for each, in their order."""

    def close(self) -> None:
        """Let go of connections."""


@runtime_checkable
class FindingSink(Sink, Protocol):
    """A sink that can say whether it has a turn, so that doubt is settled by asking."""

    def find(self, turn: OutgoingTurn) -> Delivered | Unknown | None:
        """Delivered if the sink has the turn, None if it has not, Unknown if it cannot tell."""
