"""What the log can hold: valid Unicode, numbers that JSON knows, and nothing nested beyond reason."""

import json
from collections import OrderedDict, namedtuple
from math import isfinite
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlog.text import NESTING_MAX, clean

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner) | st.tuples(inner, inner),
)


def surrogates(value: Any) -> int:
    if isinstance(value, str):
        return sum("\ud800" <= c <= "\udfff" for c in value)
    if isinstance(value, list | tuple):
        return sum(map(surrogates, value))
    if isinstance(value, dict):
        return sum(surrogates(key) + surrogates(item) for key, item in value.items())
    return 0


@given(VALUES)
def test_what_is_cleaned_can_be_written_and_the_surrogates_are_counted(value: Any) -> None:
    """As JSON in UTF-8, without NaN; every lone surrogate was counted, and none is left."""
    cleaned, count = clean(value)
    assert count == surrogates(value)
    json.dumps(cleaned, ensure_ascii=False, allow_nan=False).encode()


@given(VALUES)
def test_cleaning_is_done_once_and_changes_nothing_that_is_clean(value: Any) -> None:
    """What was cleaned is clean; text keeps its length, and what was clean is equal to what it was."""
    cleaned, _ = clean(value)
    assert clean(cleaned) == (cleaned, 0)
    if isinstance(value, str):
        assert len(cleaned) == len(value)


@given(st.floats())
def test_a_number_that_json_does_not_know_becomes_text(value: float) -> None:
    """The others stay numbers."""
    cleaned, _ = clean([value])
    assert cleaned == [value] if isfinite(value) else cleaned[0] in ("NaN", "Infinity", "-Infinity")


def test_half_characters_become_the_replacement_character() -> None:
    """In keys and values; what stands around them stays, also a whole character outside the first plane."""
    assert clean({"a\ud800": ["\udc00b", "😀", ("你", "\ud83d")]}) == (
        {"a\ufffd": ["\ufffdb", "😀", ("你", "\ufffd")]},
        3,
    )


def test_kinds_of_lists_and_dicts_are_taken() -> None:
    """Callers hand in what they have."""
    point = namedtuple("point", "x y")
    assert clean(OrderedDict(a=point("\ud800", 1))) == ({"a": ("\ufffd", 1)}, 1)


@pytest.mark.parametrize("kind", ["list", "dict", "loop"])
def test_what_is_nested_too_deeply_is_refused(kind: str) -> None:
    """The limit is the same whoever calls; one level less is fine."""
    value: Any = 1
    for _ in range(NESTING_MAX):
        value = [value] if kind == "list" else {"k": value}
    if kind == "loop":
        value = []
        value.append(value)
    else:
        assert clean(value) == (value, 0)
    with pytest.raises(ValueError, match=f"nested more than {NESTING_MAX} levels deep"):
        clean([value])
