"""Conversations: every turn once, as it is now, and what is noted of them."""

from collections import Counter

from hypothesis import given

from eventlog import ConversationNoted, Entry, TurnHeader
from projections import CONVERSATIONS, Conversations, fold_all
from turnlog.testing import logs, make_entries, wild_logs

from .support import turn


def conversations(entries: list[Entry]) -> Conversations:
    (state,) = fold_all(entries, CONVERSATIONS)
    assert isinstance(state, Conversations)
    return state


@given(logs())
def test_each_turn_is_in_its_conversation_once_with_its_newest_revision(entries: list[Entry]) -> None:
    """In the order in which turns were first said; every seq is one of a turn that nothing took the place of."""
    state = conversations(entries)
    turns = {entry.seq: entry.event for entry in entries if isinstance(entry.event, TurnHeader)}
    told = [seq for conversation in state.conversations.values() for seq in conversation.seqs]
    assert len(told) == len(set(told))
    older = {event.supersedes for event in turns.values() if event.supersedes is not None}
    assert set(told) == {seq for seq in turns if seq not in older}
    for lane, conversation in state.conversations.items():
        for seq in conversation.seqs:
            event = turns[seq]
            assert (event.source, event.user, event.conversation) == lane
        assert conversation.first_at is not None
        assert conversation.last_at is not None
        assert conversation.first_at <= conversation.last_at


@given(wild_logs())
def test_nothing_in_a_log_breaks_it(entries: list[Entry]) -> None:
    """Nor does it matter where a replay is broken off and gone on with."""
    state = conversations(entries)
    other = CONVERSATIONS.initial()
    for entry in [*entries[: len(entries) // 2], *entries]:
        CONVERSATIONS.apply(other, entry)
    assert other == state


def test_a_revision_keeps_its_place_and_the_newest_note_counts() -> None:
    """Titles and other notes change without a turn; one that says nothing of the title leaves it."""
    entries = make_entries(
        [
            turn("a", conversation="c"),
            turn("b", conversation="c"),
            ConversationNoted(source="live", conversation="c", title="old", notes={"x": 1, "y": 1}),
            turn("a", conversation="c", revision=2, supersedes=1, text="more"),
            ConversationNoted(source="live", conversation="c", title="new"),
            ConversationNoted(source="live", conversation="c", notes={"x": 2}),
        ]
    )
    state = conversations(entries)
    ((lane, conversation),) = state.conversations.items()
    assert list(conversation.seqs) == [4, 2]
    assert state.title(lane) == "new"
    assert state.noted["live", "c"].notes == Counter(x=2, y=1)
