"""Every conversation: its turns as they are now, when they were said, and what is noted of it."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from eventlog import Entry
from projections import views
from projections.fold import Fold
from projections.turns import Column, Lane


@dataclass
class Conversation:
    """The seqs of its turns in the order in which they were said, of each its newest revision, and the times."""

    seqs: Column = field(default_factory=lambda: array("Q"))
    first_at: datetime | None = None
    last_at: datetime | None = None


@dataclass
class Note:
    """What was noted last of a conversation; of `notes` the newest value of each key."""

    title: str | None = None
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass
class Conversations:
    """Conversations by source, user and name, in the order in which they began; notes by source and name."""

    last_seq: int = 0
    conversations: dict[Lane, Conversation] = field(default_factory=dict)
    noted: dict[tuple[str, str], Note] = field(default_factory=dict)

    def title(self, lane: Lane) -> str | None:
        """What a conversation is called, if it is."""
        source, _, name = lane
        note = self.noted.get((source, name))
        return note.title if note else None


def _turn_recorded(state: Conversations, entry: Entry) -> None:
    turn = entry.view(views.TimedTurn)
    lane = turn.source, turn.user, turn.conversation
    conversation = state.conversations.setdefault(lane, Conversation())
    position = _position(conversation.seqs, turn.supersedes)
    if position is None:
        _leave(state, turn.supersedes)
        conversation.seqs.append(entry.seq)
    else:
        conversation.seqs[position] = entry.seq
    times = [turn.started_at or turn.ended_at or turn.at, turn.ended_at or turn.started_at or turn.at]
    conversation.first_at = _least(conversation.first_at, times)
    conversation.last_at = max([*times, *([conversation.last_at] if conversation.last_at else [])])


def _least(known: datetime | None, times: Iterable[datetime]) -> datetime:
    return min([*times, *([known] if known else [])])


def _position(seqs: Column, seq: int | None) -> int | None:
    """Where a turn stands; it is one of the last, mostly."""
    if seq is None:
        return None
    return next((i for i in range(len(seqs) - 1, -1, -1) if seqs[i] == seq), None)


def _leave(state: Conversations, seq: int | None) -> None:
    """A turn goes on in another conversation, which no recorder of ours does."""
    for conversation in state.conversations.values() if seq is not None else ():
        if (position := _position(conversation.seqs, seq)) is not None:
            del conversation.seqs[position]


def _conversation_noted(state: Conversations, entry: Entry) -> None:
    event = entry.view(views.Noted)
    note = state.noted.setdefault((event.source, event.conversation), Note())
    note.title = note.title if event.title is None else event.title
    note.notes.update(event.notes)


CONVERSATIONS: Fold[Conversations] = Fold(
    name="conversations",
    version=1,
    initial=Conversations,
    handlers={"TurnRecorded": _turn_recorded, "ConversationNoted": _conversation_noted},
    views=(views.TimedTurn, views.Noted),
)
"""The fold from events to `Conversations`."""
