"""Turns as Memobase can take them: nothing that it refuses or drops, nothing lost, never more than a budget."""

from datetime import UTC, datetime
from itertools import takewhile

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eventlog import Message, Part, TurnRecorded
from turnlog.sinks.memobase_text import (
    EMPTY,
    ESCAPE,
    MESSAGE_TOKENS,
    ChatMessage,
    Piece,
    chat_messages,
    restore,
    safe,
    split,
    tokens,
)
from turnlog.testing import messages, turns

AT = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
BUDGET_MIN = MESSAGE_TOKENS + 16

texts = st.text() | st.text(alphabet=["<", "|", ">", ESCAPE, "\0", "\ud83d", "\ude00", "a", "0", "{", "}", "["])
wild = st.lists(texts | st.sampled_from(["<|endoftext|>", "<|endofprompt|>", "endoftext"])).map("".join)


def turn(*said: Message) -> TurnRecorded:
    return TurnRecorded(turn_id="t", started_at=AT, messages=said)


@given(wild)
@example("<|endoftext|>")
@example("<||>")
@example(ESCAPE)
def test_no_text_is_sent_that_poisons_a_blob_and_every_text_comes_back(text: str) -> None:
    """No NUL, no half character, nothing that begins a special token; `restore` gives the text itself."""
    sent = safe(text)
    sent.encode()
    assert "\0" not in sent
    assert "<|" not in sent
    assert restore(sent) == text


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters=f"\0|{ESCAPE}")))
def test_ordinary_text_is_sent_as_it_is(text: str) -> None:
    """Only what has to be changed is."""
    assert safe(text) == text


@given(turns())
def test_a_turn_s_messages_are_all_there_in_order_with_their_times(turn: TurnRecorded) -> None:
    """Roles are the two that Memobase knows; others are told by the alias; contents are strings and never empty."""
    sent = chat_messages(turn, AT)
    assert all(message.role in ("user", "assistant") and message.content for message in sent)
    plain = [m for m in sent if m.alias is None or not m.alias.startswith("[")]
    whole = [m for m in turn.messages if m.role in ("user", "assistant") and (m.content or not m.parts)]
    assert [(m.role, restore(m.content)) for m in plain] == [(m.role, m.content) for m in whole]
    assert len(sent) == sum(len(m.parts) + bool(m.content or not m.parts) for m in turn.messages)


def test_what_memobase_has_no_place_for_is_told_in_words() -> None:
    """System and tool messages, tool calls, attachments, an empty message, a name that looks like a role."""
    sent = chat_messages(
        turn(
            Message("system", "Be brief."),
            Message("user", "", parts=(Part("image", digest="abc", media_type="image/png", size_bytes=7),)),
            Message("assistant", "Let me see.", parts=(Part("tool_call", name="search", data={"q": "x"}),)),
            Message("tool", "found", name="search"),
            Message("assistant", "", name="[odd]"),
            Message("user", "Hi", name="Amy", at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ),
        AT,
    )
    at = "2026-11-20T10:00:00Z"
    assert sent == [
        ChatMessage("assistant", "Be brief.", at, "[system]"),
        ChatMessage("user", '{"digest":"abc","media_type":"image/png","size_bytes":7}', at, "[image]"),
        ChatMessage("assistant", "Let me see.", at),
        ChatMessage("assistant", '{"data":{"q":"x"}}', at, "[tool_call] search"),
        ChatMessage("assistant", "found", at, "[tool] search"),
        ChatMessage("assistant", EMPTY, at, f"{ESCAPE}[odd]"),
        ChatMessage("user", "Hi", "2026-01-02T03:04:05Z", "Amy"),
    ]


@given(turns(), st.data())
def test_of_a_turn_that_grew_what_is_new_is_sent(older: TurnRecorded, data: st.DataObject) -> None:
    """Messages behind the known ones, and of the last known one its new end; nothing where nothing is new."""
    assert chat_messages(older, AT, older) == []
    more = data.draw(st.lists(messages(), min_size=1, max_size=3))
    grown = msgspec.structs.replace(older, messages=(*older.messages, *more))
    assert chat_messages(grown, AT, older) == chat_messages(msgspec.structs.replace(older, messages=tuple(more)), AT)
    last = older.messages[-1]
    longer = msgspec.structs.replace(last, content=last.content + "!!")
    changed = msgspec.structs.replace(older, messages=(*older.messages[:-1], longer))
    assert [restore(message.content) for message in chat_messages(changed, AT, older)] == ["!!"]


def test_of_a_turn_that_was_edited_all_is_sent_from_the_edit_on() -> None:
    """What was said after it is said again, for it answers something else now."""
    older = turn(Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    newer = turn(Message("user", "a"), Message("assistant", "B"), Message("user", "c"))
    assert [message.content for message in chat_messages(newer, AT, older)] == ["B", "c"]


def joined(pieces: list[Piece]) -> list[ChatMessage]:
    """The messages with their fragments together again."""
    whole: list[ChatMessage] = []
    for piece in pieces:
        for i, message in enumerate(piece.messages):
            if i == 0 and piece.continues:
                whole[-1] = msgspec.structs.replace(whole[-1], content=whole[-1].content + message.content)
            else:
                whole.append(message)
    return whole


@given(
    st.lists(st.text(min_size=1, max_size=400).map(lambda text: ChatMessage("user", text, "t")), max_size=6),
    st.integers(BUDGET_MIN, 200),
)
def test_pieces_hold_everything_and_are_within_the_budget(said: list[ChatMessage], budget: int) -> None:
    """Put together they are the messages; none is empty, and none is above the budget."""
    pieces = split(said, budget)
    assert joined(pieces) == said
    for piece in pieces:
        assert piece.messages
        assert all(message.content for message in piece.messages)
        assert sum(message.tokens for message in piece.messages) <= budget


def test_what_fits_is_one_piece() -> None:
    """Nothing is divided that need not be."""
    said = [ChatMessage("user", "hello", "t"), ChatMessage("assistant", "world", "t")]
    assert split(said, 1000) == [Piece(tuple(said))]
    assert split([], 1000) == []


def test_a_long_message_is_divided_between_sentences_or_else_words() -> None:
    """In the later half of what fits; Chinese has sentences too, and what has no boundary is divided anywhere."""
    for sentence in ("This is a sentence of some length. ", "这是一个相当长的句子，里面有很多字。"):
        for piece in split([ChatMessage("user", sentence * 40, "t")], 200)[:-1]:
            assert piece.messages[-1].content.endswith(sentence)
    for piece in split([ChatMessage("user", "word " * 400, "t")], 200):
        assert piece.messages[0].content.endswith("word ")
    assert len(split([ChatMessage("user", "x" * 4000, "t")], 200)) > 1


@given(st.text(), st.text())
def test_more_text_is_not_fewer_tokens(first: str, second: str) -> None:
    """So that what is cut off makes a piece smaller, and a turn that grows is not taken for a smaller one."""
    assert tokens(first) <= tokens(first + second) <= tokens(first) + tokens(second) + 6 * 2


@pytest.mark.parametrize(
    ("text", "real"),
    [
        ("The quick brown fox jumps over the lazy dog.", 10),
        ("我们来谈谈这个问题，好吗？", 9),
        ("def f(x):\n    return {'a': [x, 1.5], 'b': None}\n", 22),
        ("https://example.com/a/b?c=d&e=f#g", 12),
        ("👩‍👩‍👧‍👦🇩🇪", 15),
        ("aGVsbG8gd29ybGQgdGhpcyBpcyBhIHNlY3JldA==", 25),
        ("꧁༺𝓗𝓮𝓵𝓵𝓸༻꧂", 24),
        ("z\u0337\u0311a\u0335l\u0336g\u0337o\u0336", 17),
    ],
)
def test_the_estimate_is_not_below_three_quarters_of_what_a_real_vocabulary_makes(text: str, real: int) -> None:
    """Counted with the public vocabulary o200k; the budget leaves room for a third more than is estimated."""
    assert tokens(text) * 4 / 3 >= real


def test_the_longest_budget_leaves_room_below_the_flush() -> None:
    """A flush takes 16,384 tokens of the server's counting."""
    from turnlog.sinks.memobase import TOKENS_MAX

    assert TOKENS_MAX * 4 / 3 < 16_384
    assert list(takewhile(lambda n: n <= TOKENS_MAX, [256, 12_000, 12_001])) == [256, 12_000]
