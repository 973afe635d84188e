"""What was taken in: conversations, and the turns of each as they are now."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import datetime
from typing import Any, TypeVar

import click
from msgspec import Struct

from eventlog import EventLog, TurnRecorded
from projections import Conversations, Lane
from turnlog.cli.filters import Moment
from turnlog.sinks.base import OutgoingTurn

F = TypeVar("F", bound=Callable[..., Any])


class Wanted(Struct, frozen=True):
    """Which conversations are meant, and since when; a field that is None means any. `grep` is text in a message."""

    conversation: str | None = None
    source: str | None = None
    user: str | None = None
    since: datetime | None = None
    grep: str | None = None


class ConversationRow(Struct, frozen=True):
    """One conversation; the fields are those of `turnlog conversations --json`. Times are those of its turns."""

    source: str
    user: str
    conversation: str
    title: str | None
    turns: int
    first_at: datetime | None
    last_at: datetime | None


_OPTIONS = (
    click.option("--source", help="From this source only."),
    click.option("--user", help="Of this user only."),
    click.option("--since", type=Moment(), help="Said at this time (UTC) or later."),
)


def wanted_options(function: F) -> F:
    """Add the options that choose conversations."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def to_wanted(*, source: str | None, **chosen: Any) -> Wanted:
    """What the options mean; a source's dashes are underscores."""
    return Wanted(source=source and source.replace("-", "_"), **chosen)


def list_conversations(log: EventLog, state: Conversations, wanted: Wanted) -> Iterator[ConversationRow]:
    """The conversations that are meant, in the order in which they began in the log."""
    for lane, conversation in state.conversations.items():
        if not _takes(wanted, lane) or (wanted.since and conversation.last_at and conversation.last_at < wanted.since):
            continue
        if wanted.grep is not None and not any(read_turns(log, conversation.seqs, wanted)):
            continue
        times = conversation.first_at, conversation.last_at
        yield ConversationRow(*lane, state.title(lane), len(conversation.seqs), *times)


def list_turns(
    log: EventLog, state: Conversations, wanted: Wanted
) -> Iterator[tuple[Lane, str | None, Iterator[OutgoingTurn]]]:
    """Each conversation that is meant, its title, and its turns that are."""
    for lane, conversation in state.conversations.items():
        if _takes(wanted, lane):
            yield lane, state.title(lane), read_turns(log, conversation.seqs, wanted)


def read_turns(log: EventLog, seqs: Iterable[int], wanted: Wanted) -> Iterator[OutgoingTurn]:
    """The turns recorded at these seqs that are meant; those whose lines are damaged are left out."""
    with closing(log.lookup()) as lookup:
        for seq in seqs:
            entry = lookup.get(seq)
            turn = entry.event if entry else None
            if entry is None or not isinstance(turn, TurnRecorded):
                continue
            at = turn.ended_at or turn.started_at or entry.at
            if (wanted.since is None or at >= wanted.since) and (wanted.grep is None or _says(turn, wanted.grep)):
                yield OutgoingTurn(seq, entry.at, turn, len(entry.line))


def _takes(wanted: Wanted, lane: Lane) -> bool:
    pairs = zip((wanted.source, wanted.user, wanted.conversation), lane, strict=True)
    return all(meant is None or meant == value for meant, value in pairs)


def _says(turn: TurnRecorded, text: str) -> bool:
    text = text.casefold()
    return any(text in message.content.casefold() for message in turn.messages)
