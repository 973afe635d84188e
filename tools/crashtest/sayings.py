"""The events that are appended: each can be made again from its id alone, and so be checked."""

from dataclasses import dataclass
from zlib import crc32

from eventlog import Event, Message, TurnRecorded
from eventlog.events import UnknownEvent

_LENGTHS = (0, 10, 40, 90, 150, 300, 700, 1500, 3000, 9000)
_TEXT = '事件 are written once; 0123456789 \\ " \n'


@dataclass(frozen=True, order=True)
class Id:
    """Who appended an event, in his how manieth append, and as which part of so many in one batch."""

    author: str
    number: int
    part: int = 0
    parts: int = 1

    def __str__(self) -> str:
        return f"{self.author}:{self.number}:{self.part}:{self.parts}"

    @property
    def batch(self) -> tuple[str, int]:
        """What names the append that it was in."""
        return self.author, self.number


def parse_id(text: str) -> Id:
    """The id that `str` made a text of. Raises ValueError."""
    author, number, part, parts = text.split(":")
    return Id(author, int(number), int(part), int(parts))


def batch_of(author: str, number: int, parts: int) -> list[Id]:
    """The ids of the events of one append."""
    return [Id(author, number, part, parts) for part in range(parts)]


def event_of(identity: Id) -> Event:
    """The event with this id; its length is drawn from the id."""
    name = str(identity)
    drawn = crc32(name.encode())
    length = _LENGTHS[drawn % 1000 % len(_LENGTHS)] if drawn % 7 == 0 else drawn % 120
    text = f"{name} {_TEXT}"
    return TurnRecorded(turn_id=name, messages=(Message("user", (text * (length // len(text) + 1))[:length]),))


def id_of(event: Event | UnknownEvent) -> Id | None:
    """Whose event that is; None if the log itself wrote it."""
    return parse_id(event.turn_id) if isinstance(event, TurnRecorded) else None
