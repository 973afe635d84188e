"""Text as the log can hold it: valid Unicode, whatever came in."""

import re
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")


def clean(value: Any) -> tuple[Any, int]:
    """The value (text, list, tuple or dict, nested) with lone surrogates replaced by U+FFFD, and how many there were.

    JSON escapes can spell half a character; UTF-8, and so the log, cannot hold one.
    """
    if isinstance(value, str):
        return _SURROGATE.subn("\ufffd", value) if not value.isascii() else (value, 0)
    if isinstance(value, list | tuple):
        pairs = [clean(item) for item in value]
        return type(value)(item for item, _ in pairs), sum(count for _, count in pairs)
    if isinstance(value, dict):
        keys = [clean(key) for key in value]
        values = [clean(item) for item in value.values()]
        cleaned = {key: item for (key, _), (item, _) in zip(keys, values, strict=True)}
        return cleaned, sum(count for _, count in (*keys, *values))
    return value, 0
