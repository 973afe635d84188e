"""Objects on lines that nobody can be sure of: what is too deep for the log is told."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlog.sources.gemini_content import read_object
from turnlog.sources.objects import NESTING_MAX, TOO_DEEP, CannotRead, is_deeper_than


def nested(levels: int, kinds: list[bool]) -> Any:
    """A value so many levels deep, lists and objects as told."""
    value: Any = 1
    for level in range(levels):
        value = [0, value] if kinds[level % len(kinds)] else {"a": 0, "b": value}
    return value


@given(st.integers(0, 12), st.integers(0, 12), st.lists(st.booleans(), min_size=1))
def test_how_deep_a_value_is(levels: int, allowed: int, kinds: list[bool]) -> None:
    """Lists and objects count alike, an empty one too; what is shallow beside the deepest does not."""
    assert is_deeper_than(allowed, nested(levels, kinds)) == (levels > allowed)
    assert is_deeper_than(allowed, [nested(levels, kinds), *([[]] * 3)]) == (max(levels, 1) + 1 > allowed)


@pytest.mark.parametrize("more", [0, 1, 2000])
def test_an_object_of_a_hundred_levels_is_read_and_no_deeper_one(more: int) -> None:
    """The object itself is the first level."""
    raw = b'{"a":' + b"[" * (NESTING_MAX - 1 + more) + b"]" * (NESTING_MAX - 1 + more) + b"}"
    if not more:
        assert read_object(raw).keys() == {"a"}
        return
    with pytest.raises(CannotRead, match=TOO_DEEP):
        read_object(raw)
