"""Plain data to structs: what does not fit is told in a sentence that names the place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from turnlog.convert import convert, nearest
from turnlog.errors import ConfigError


class Inner(Struct):
    size: int = 0


class Outer(Struct):
    name: str
    limit: int = 3
    parts: tuple[Inner, ...] = ()

    def __post_init__(self) -> None:
        if self.limit < 0:
            raise ValueError("limit must not be below 0")


def refusal(data: object) -> str:
    with pytest.raises(ConfigError) as caught:
        convert(data, Outer, where="the file", error=ConfigError)
    return str(caught.value)


def test_data_that_fits_is_the_struct() -> None:
    """Defaults stand in for what is missing."""
    made = convert({"name": "n", "parts": [{"size": 4}]}, Outer, where="here", error=ConfigError)
    assert made == Outer("n", 3, (Inner(4),))


def test_what_does_not_fit_is_named() -> None:
    """With the place, the key, and what was expected."""
    assert refusal({"name": "n", "limti": 1}) == "the file: unknown key 'limti'; did you mean 'limit'?"
    assert refusal({"name": "n", "zzz": 1}) == "the file: unknown key 'zzz'; known: limit, name, parts"
    assert refusal({"name": "n", 5: 1}) == "the file: unknown key 5; known: limit, name, parts"
    assert refusal({}) == "the file: missing key `name`"
    assert refusal({"name": 3}) == "the file: Expected `str`, got `int` at `name`"
    assert refusal({"name": "n", "parts": [{"size": "x"}]}) == "the file: Expected `int`, got `str` at `parts[0].size`"
    assert refusal({"name": "n", "limit": -1}) == "the file: limit must not be below 0"
    assert refusal([1]) == "the file must be a table of keys and values, not list"


@given(st.text(), st.lists(st.text(min_size=1), unique=True))
def test_a_word_is_told_with_one_that_is_known_or_with_all(word: str, known: list[str]) -> None:
    """Never with one that is not."""
    end = nearest(word, known)
    said_one = any(end == f"; did you mean {name!r}?" for name in known)
    assert said_one or end == (f"; known: {', '.join(sorted(known))}" if known else "; there are none")


@given(st.text(min_size=1))
def test_the_word_itself_is_the_nearest(word: str) -> None:
    """A typing mistake of one letter still finds it."""
    assert nearest(word, [word, "something else"]) == f"; did you mean {word!r}?"
    assert nearest("penidng", ["pending", "replay"]) == "; did you mean 'pending'?"
