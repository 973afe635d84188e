"""Which of two states of a turn is the newer one.

Copies of a session are read in any order: one that was saved earlier may come after one that was saved later. What the
states say decides, and where that does not, what their source says of them: never the order in which they were read.
"""

from collections.abc import Iterator, Sequence
from enum import Enum, auto
from typing import Any

from eventlog import Message, Part, TurnRecorded


class Standing(Enum):
    """How a state of a turn stands to another one, as the newest is that is recorded.

    `WITHIN`: the other says all that it says. `BEFORE`: the other has all its messages, says something else in some,
    and is newer. `AFTER`: it says something new, or nobody can tell.
    """

    WITHIN = auto()
    BEFORE = auto()
    AFTER = auto()


def standing(turn: TurnRecorded, newest: TurnRecorded) -> Standing:
    """How a state of a turn stands to the newest.

    A message of its own makes it `AFTER`, whatever the times: nothing that was said is left out. If the other has all
    its messages, and more of them or in them, it is `WITHIN`. If they differ in what a message says (it was edited, a
    tool's answer took the place of a note that it is at work), the source's own measures tell: when the conversation
    was changed last (`meta["updated_at"]`), when the last message was said, how many messages and parts there are.
    """
    pairs = list(_pairs(turn.messages, newest.messages))
    if any(other is None for _, other in pairs):
        return Standing.AFTER
    is_said = all(other is not None and _is_within(message, other) for message, other in pairs)
    if is_said and turn.model in (None, newest.model) and _is_no_more(turn.usage, newest.usage):
        return Standing.WITHIN
    return Standing.BEFORE if _is_before(turn, newest) else Standing.AFTER


def _pairs(messages: Sequence[Message], others: Sequence[Message]) -> Iterator[tuple[Message, Message | None]]:
    """Each message with the one that it is in the other state: the one with its id, or else at its place."""
    places: dict[str, list[int]] = {}
    for place, other in enumerate(others):
        if other.id:
            places.setdefault(other.id, []).append(place)
    found = {i: places[m.id].pop(0) for i, m in enumerate(messages) if m.id and places.get(m.id)}
    taken = set(found.values())
    for place, message in enumerate(messages):
        there = found.get(place)
        if not message.id and place < len(others) and place not in taken and others[place].role == message.role:
            there = place
        yield message, None if there is None else others[there]


def _is_within(message: Message, other: Message) -> bool:
    """Whether a message says no more than another; its time says nothing."""
    if (message.role, message.name) != (other.role, other.name) or not other.content.startswith(message.content):
        return False
    rest = iter(other.parts)
    return all(any(_is_part(part, theirs) for theirs in rest) for part in message.parts)


def _is_part(part: Part, other: Part) -> bool:
    return part == other or (
        part.text is not None
        and other.text is not None
        and other.text.startswith(part.text)
        and (part.type, part.id, part.name, part.data) == (other.type, other.id, other.name, other.data)
        and part.digest == other.digest
    )


def _is_no_more(usage: Any, other: Any) -> bool:
    """Whether every count is at most the other's."""
    if usage is None or usage == other:
        return True
    if isinstance(usage, dict) and isinstance(other, dict):
        return all(name in other and _is_no_more(value, other[name]) for name, value in usage.items())
    return isinstance(usage, int | float) and isinstance(other, int | float) and usage <= other


def _is_before(turn: TurnRecorded, other: TurnRecorded) -> bool:
    """What the first measure that both have, and that differs, says."""
    for own, theirs in zip(_measures(turn), _measures(other), strict=True):
        if own is not None and theirs is not None and own != theirs:
            return bool(own < theirs)
    return False


def _measures(turn: TurnRecorded) -> tuple[Any, ...]:
    updated_at = turn.meta.get("updated_at")
    parts = sum(len(message.parts) for message in turn.messages)
    return updated_at if isinstance(updated_at, str) else None, turn.ended_at, len(turn.messages), parts
