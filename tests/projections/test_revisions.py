"""Which state of a turn is newer: what is said decides, then the source's own measures, never the order of reading."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from eventlog import Message, Part, TurnRecorded
from projections import Standing, standing
from turnlog.testing.strategies import messages

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def turn(*said: Message, **fields: Any) -> TurnRecorded:
    return TurnRecorded(turn_id="t", messages=said, **fields)


def at(minutes: int) -> datetime:
    return NOON + timedelta(minutes=minutes)


@given(st.lists(messages(), min_size=1, max_size=6), st.integers(1, 6), st.integers(0, 20))
def test_what_a_turn_was_before_it_grew_is_within_it(said: list[Message], count: int, cut: int) -> None:
    """Fewer messages, the last of them cut short, without a count of tokens: whatever the messages are."""
    first = said[:count]
    first[-1] = replace(first[-1], content=first[-1].content[:cut], parts=first[-1].parts[:cut])
    usage = {"tokens": 7, "by": {"kind": 2}}
    assert standing(turn(*first), turn(*said, model="m", usage=usage)) is Standing.WITHIN


@given(st.lists(messages(), min_size=1, max_size=4), st.lists(messages(), min_size=1, max_size=4))
def test_two_states_are_never_each_before_the_other(one: list[Message], other: list[Message]) -> None:
    """So that of the two, one at most is left out; and a state is within itself."""
    both = (turn(*one), turn(*other))
    assert standing(both[0], both[0]) is Standing.WITHIN
    standings = [standing(*both), standing(*reversed(both))]
    assert standings.count(Standing.BEFORE) <= 1
    if standings == [Standing.WITHIN] * 2:
        assert [m.content for m in one] == [m.content for m in other]


USER = Message("user", "q", id="u")
CALL = Part("tool_call", id="c", data={"status": "executing"})
DONE = Part("tool_call", id="c", data={"status": "success"})
OLD, NEW = Message("assistant", "an answer", id="a"), Message("assistant", "another", id="a")
CASES = {
    "its conversation was changed before": (
        turn(USER, OLD, ended_at=at(9), meta={"updated_at": "2026-01-01"}),
        turn(USER, NEW, ended_at=at(1), meta={"updated_at": "2026-01-02"}),
        Standing.BEFORE,
    ),
    "its last message was said before": (
        turn(USER, OLD, ended_at=at(1)),
        turn(USER, NEW, ended_at=at(2)),
        Standing.BEFORE,
    ),
    "its last message was said later": (
        turn(USER, OLD, ended_at=at(3)),
        turn(USER, NEW, ended_at=at(2)),
        Standing.AFTER,
    ),
    "it has fewer messages": (turn(USER, OLD), turn(USER, NEW, Message("tool", id="r")), Standing.BEFORE),
    "nobody can tell": (turn(USER, OLD), turn(USER, NEW), Standing.AFTER),
    "a tool is at work in it": (
        turn(USER, replace(OLD, parts=(CALL,))),
        turn(USER, replace(OLD, parts=(DONE, Part("tool_result", id="c")))),
        Standing.BEFORE,
    ),
    "it has a message of its own": (
        turn(USER, OLD, Message("tool", "only here", id="r"), ended_at=at(1)),
        turn(USER, NEW, Message("tool", id="s"), ended_at=at(2)),
        Standing.AFTER,
    ),
    "a message was taken away": (turn(USER, ended_at=at(3)), turn(USER, OLD, ended_at=at(2)), Standing.WITHIN),
    "it counted more": (turn(USER, usage={"tokens": 2}), turn(USER, usage={"tokens": 1}), Standing.AFTER),
    "it is another model's": (turn(USER, model="m"), turn(USER, model="n"), Standing.AFTER),
    "its messages have no ids": (
        turn(Message("user", "q")),
        turn(Message("user", "q"), Message("tool")),
        Standing.WITHIN,
    ),
    "another's place": (turn(Message("user", "q")), turn(Message("tool"), Message("user", "q")), Standing.AFTER),
}


@pytest.mark.parametrize("case", CASES)
def test_a_state_stands(case: str) -> None:
    """As what it says, or else its source, tells."""
    state, newest, expected = CASES[case]
    assert standing(state, newest) is expected
