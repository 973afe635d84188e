"""What a source has read, ready to be taken into the log."""

from typing import Any

from msgspec import Struct

from eventlog import ConversationNoted, NoticeRaised
from turnlog.prepared_turns import PreparedTurn, prepare_turn
from turnlog.sources.base import Chunk, Unreadable


class PreparedChunk(Struct, frozen=True):
    """A `Chunk` whose turns are encoded: they can be sent from the process that read them, and appended as they are."""

    turns: tuple[PreparedTurn, ...]
    unreadable: tuple[Unreadable, ...]
    cursor: Any
    fingerprint: str
    offset: int
    notes: tuple[ConversationNoted | NoticeRaised, ...] = ()


def prepare_chunk(chunk: Chunk) -> PreparedChunk:
    """Raises BadTurn for a turn that could not be read again as it is."""
    turns = tuple(map(prepare_turn, chunk.turns))
    return PreparedChunk(turns, chunk.unreadable, chunk.cursor, chunk.fingerprint, chunk.offset, chunk.notes)
