"""What a projection is: a value to begin with, and what each type of event does to it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from msgspec import MsgspecError, Struct

from eventlog import Entry


class State(Protocol):
    """What a fold builds: anything that knows the last seq it has taken in."""

    last_seq: int


StateT = TypeVar("StateT", bound=State)


@dataclass(frozen=True)
class Fold(Generic[StateT]):
    """A pure function of events: no clock, no randomness, no files.

    `initial` makes an empty state; `handlers` name the event types that matter, each with what it does to the
    state, in place, and `otherwise` what any other does. Entries of types that do not matter are not even decoded.
    A handler decodes first and changes the state then: an event that breaks its own rules is one of any other type.
    `views` are the structs that the handlers decode (`entry.view`): a long stretch of the log is then decoded at once,
    into objects that have their fields and `seq`, and `at` if a view names it or `otherwise` is there.
    `version` changes with the shape or the meaning of the state, so that an old checkpoint is known as one.
    """

    name: str
    version: int
    initial: Callable[[], StateT]
    handlers: Mapping[str, Callable[[StateT, Entry], None]]
    otherwise: Callable[[StateT, Entry], None] | None = None
    views: tuple[type[Struct], ...] = ()

    def apply(self, state: StateT, entry: Entry) -> None:
        """Take one entry into the state; one that was taken in before changes nothing."""
        if entry.seq <= state.last_seq:
            return
        handler = self.handlers.get(entry.type, self.otherwise)
        if handler is not None:
            try:
                handler(state, entry)
            except MsgspecError:
                if self.otherwise is not None:
                    self.otherwise(state, entry)
        state.last_seq = entry.seq
