"""What every source of turns offers.

A source finds streams (files, mostly) and reads each, from a cursor on, in chunks. A chunk is taken in as a whole:
its turns and what could not be read are appended, then its cursor. A source writes nothing and never touches what it
reads. Reading the same content again yields the same turn ids, so that nothing is recorded twice.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from msgspec import Struct

from eventlog import TurnRecorded


class Stream(Struct, frozen=True):
    """One thing that a source reads from beginning to end; `name` identifies it in events."""

    name: str
    path: Path
    size_bytes: int


class Unreadable(Struct, frozen=True):
    """A piece of a stream that is no turn, kept as it is: `position` says where, such as `line 7`."""

    position: str
    reason: str
    raw: bytes


class Chunk(Struct, frozen=True):
    """Some turns of a stream in order, what could not be read among them, and the cursor behind it all.

    `cursor` is plain JSON data and means something to its source only; `fingerprint` tells whether a stream still
    begins as it did. `offset` is how many bytes of the stream have been read, for progress bars.
    """

    turns: tuple[TurnRecorded, ...]
    unreadable: tuple[Unreadable, ...]
    cursor: Any
    fingerprint: str
    offset: int


class Source(Protocol):
    """A format that turns can be read from."""

    name: ClassVar[str]
    """As it stands in events, with underscores."""

    def discover(self, paths: Sequence[Path]) -> list[Stream]:
        """The streams in what the user named. Raises WrongUsage for what cannot be read."""

    def read(self, stream: Stream, cursor: Any = None) -> Iterator[Chunk]:
        """What came since `cursor` (None: everything). Raises WrongUsage if the stream cannot be read."""
