"""Text as the log can hold it: valid Unicode, whatever came in."""

import json
import re
from collections.abc import Iterable
from math import isfinite
from typing import Any

NESTING_MAX = 128
"""Deeper data is refused: how deep Python can follow depends on who calls."""

_SURROGATE = re.compile("[\ud800-\udfff]")


def clean(value: Any, *, nesting_max: int = NESTING_MAX) -> tuple[Any, int]:
    """The value (text, list, tuple or dict, nested) with lone surrogates replaced by U+FFFD, and how many there were.

    JSON escapes can spell half a character; UTF-8, and so the log, cannot hold one. NaN and the infinities, which JSON
    does not know, become text. Raises ValueError for what is nested too deeply.
    """
    if isinstance(value, str):
        return _SURROGATE.subn("\ufffd", value) if not value.isascii() else (value, 0)
    if isinstance(value, float) and not isfinite(value):
        return json.dumps(value), 0
    if not isinstance(value, list | tuple | dict):
        return value, 0
    if not nesting_max:
        raise ValueError(f"it is nested more than {NESTING_MAX} levels deep")
    if isinstance(value, dict):
        keys, count_of_keys = _clean_all(value, nesting_max)
        values, count_of_values = _clean_all(value.values(), nesting_max)
        return dict(zip(keys, values, strict=True)), count_of_keys + count_of_values
    items, count = _clean_all(value, nesting_max)
    return tuple(items) if isinstance(value, tuple) else items, count


def one_line(text: str) -> str:
    """Text that a terminal prints as it is: no line breaks, and nothing that moves its cursor or changes colours."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _stand_in(c) for c in text)


def _stand_in(character: str) -> str:
    return " " if character.isspace() else "\N{REPLACEMENT CHARACTER}"


def _clean_all(values: Iterable[Any], nesting_max: int) -> tuple[list[Any], int]:
    pairs = [clean(value, nesting_max=nesting_max - 1) for value in values]
    return [value for value, _ in pairs], sum(count for _, count in pairs)
