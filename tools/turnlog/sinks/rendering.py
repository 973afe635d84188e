"""Turns as JSON for programs that know nothing of Turnlog. docs/sinks.md describes every field.

What is there stays: a field is only ever added. A field that changes its meaning takes a new VERSION.
"""

from datetime import datetime
from typing import Any

from msgspec import Struct

from eventlog import Message, Part
from turnlog.sinks.base import OutgoingTurn

VERSION = 1
"""Of what a turn looks like. The first field of each, so that a reader can tell."""

# What a rendered turn, and a message in it, have at most more than the turn's line in the log.
_TURN_BYTES, _MESSAGE_BYTES = 200, 20


class RenderedMessage(Struct, frozen=True, omit_defaults=True):
    """A message: who said what; the rest only where there is something to say."""

    role: str
    content: str
    id: str | None = None
    at: datetime | None = None
    name: str | None = None
    parts: tuple[Part, ...] = ()


class RenderedTurn(Struct, frozen=True):
    """A turn, whole; what is not known is null. `seq` and `delivery` come first, so that they are found quickly."""

    version: int
    seq: int
    delivery: int
    turn_id: str
    revision: int
    supersedes: int | None
    source: str
    user: str
    conversation: str
    recorded_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    model: str | None
    usage: dict[str, Any] | None
    meta: dict[str, Any]
    messages: tuple[RenderedMessage, ...]


def render_turn(turn: OutgoingTurn) -> RenderedTurn:
    """The turn as `msgspec.json.encode` takes it."""
    event = turn.event
    return RenderedTurn(
        version=VERSION,
        seq=turn.seq,
        delivery=turn.delivery,
        turn_id=event.turn_id,
        revision=event.revision,
        supersedes=event.supersedes,
        source=event.source,
        user=event.user,
        conversation=event.conversation,
        recorded_at=turn.recorded_at,
        started_at=event.started_at,
        ended_at=event.ended_at,
        model=event.model,
        usage=event.usage,
        meta=event.meta,
        messages=tuple(map(_render_message, event.messages)),
    )


def rendered_bytes(turn: OutgoingTurn) -> int:
    """How many bytes of JSON the turn is, or a little more."""
    return turn.line_bytes + _TURN_BYTES + _MESSAGE_BYTES * len(turn.event.messages)


def _render_message(message: Message) -> RenderedMessage:
    return RenderedMessage(message.role, message.content, message.id, message.at, message.name, message.parts)
