"""What every source of turns offers.

A source finds streams (files, mostly) and reads each, from a cursor on, in chunks. A chunk is taken in as a whole:
its turns and what could not be read are appended, then its cursor. A source writes nothing and never touches what it
reads. Reading the same content again yields the same turn ids, so that nothing is recorded twice.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import tzinfo
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from msgspec import Struct

from eventlog import ConversationNoted, NoticeRaised, TurnRecorded
from turnlog.config import ImportLimits

Keep = Callable[[bytes], str]
"""Keeps a payload that is too large, or too raw, for an event beside the log; returns its SHA-256, which names it."""

PAYLOAD_BYTES_MAX = 64 * 1024
"""What is larger than this is kept beside the log; so is what is no text, whatever its size."""

CHUNK_BYTES = 2 * 1024 * 1024
"""So much of a stream makes a chunk."""

CHUNK_TURNS_MAX = 500
"""So many turns make one too, and so do as many pieces that cannot be read."""


def keep_nothing(data: bytes) -> str:
    """A `Keep` for whoever only wants to know what there is."""
    return sha256(data).hexdigest()


class SourceOptions(Struct, frozen=True):
    """What a source is told: whose turns they are, where naive times are from (None: this machine), what it unpacks."""

    user: str = "default"
    timezone: tzinfo | None = None
    limits: ImportLimits = ImportLimits()


class Stream(Struct, frozen=True):
    """One thing that a source reads from beginning to end; `name` identifies it in events.

    `others` are the files that are read along with it, as those of a session's sub-agents are; None if nobody knows.
    """

    name: str
    path: Path
    size_bytes: int
    others: tuple[Path, ...] | None = None


class Unreadable(Struct, frozen=True):
    """A piece of a stream that is no turn, kept as it is: `position` says where, such as `line 7`."""

    position: str
    reason: str
    raw: bytes


class Chunk(Struct, frozen=True):
    """Some turns of a stream in order, what could not be read among them, and the cursor behind it all.

    `cursor` is plain JSON data and means something to its source only; None says that nobody is to go on from here.
    `fingerprint` tells whether a stream still begins as it did. `offset` is how many bytes of the stream have been
    read, for progress bars. `notes` are what is said of conversations beside their turns: titles, branches, which other
    conversations hold a turn too; and notices.
    """

    turns: tuple[TurnRecorded, ...]
    unreadable: tuple[Unreadable, ...]
    cursor: Any
    fingerprint: str
    offset: int
    notes: tuple[ConversationNoted | NoticeRaised, ...] = ()


class Named(Protocol):
    """What events are told to be from."""

    name: ClassVar[str]
    """As it stands in events, with underscores."""

    global_ids: ClassVar[bool] = False
    """Whether a turn may be in several of its conversations, as a fork has those of its parent: then it stays in the
    one that it was recorded in first."""


class Source(Named, Protocol):
    """A format that turns can be read from."""

    @classmethod
    def from_options(cls, options: SourceOptions) -> Self:
        """A source for a user."""

    def recognises(self, path: Path) -> bool:
        """Whether a regular file is one of its own, by its structure and not by its name. Raises nothing."""

    def discover(self, paths: Sequence[Path]) -> list[Stream]:
        """The streams in what the user named. Raises WrongUsage for what cannot be read."""

    def read(self, stream: Stream, cursor: Any = None, *, keep: Keep = keep_nothing) -> Iterator[Chunk]:
        """What came since `cursor` (None: everything). Raises WrongUsage if the stream cannot be read.

        Payloads that no event should hold are given to `keep`, and told by the digest that it returns.
        """
