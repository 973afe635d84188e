"""A line of the daemon's log: an object of JSON in the file, a sentence with its fields for people.

Every line has `at` (RFC 3339, UTC), `level` (debug, info, warning, error, critical) and `message`. A line about a turn
has `turn_id` and `seq`, one about a delivery `sink` and `attempt` (the seq of the SyncAttempted). A failure that is a
bug has `error`, `{"type", "trace", "cause"}`: what it was and where, and not what it said, for that may be
somebody's words.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

ERRORS = ("error", "critical")
"""The levels that `turnlog daemon logs --errors` prints."""

_HEAD = ("at", "level", "message")


def encode(fields: Mapping[str, Any]) -> bytes:
    """The line, without its newline."""
    return msgspec.json.encode(fields)


def decode(line: bytes) -> dict[str, Any] | None:
    """The fields of a line; None for what is none, such as the unfinished one that a full disk leaves."""
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError:
        return None


def time_of(fields: Mapping[str, Any]) -> datetime | None:
    """When it was written; None if it does not say."""
    try:
        return datetime.fromisoformat(fields["at"]).astimezone(UTC)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def to_sentence(fields: Mapping[str, Any]) -> str:
    """The message and what belongs to it: `delivered turn_id=t1 sink=team attempt=7`."""
    rest = (f"{key}={_value(value)}" for key, value in fields.items() if key not in _HEAD and value is not None)
    return " ".join((str(fields.get("message", "")), *rest))


def to_text(fields: Mapping[str, Any]) -> str:
    """The same with its time and level, for terminals."""
    at = time_of(fields)
    when = f"{at:%Y-%m-%d %H:%M:%SZ}" if at else "-"
    return f"{when}  {str(fields.get('level', '-')).upper():<8}  {to_sentence(fields)}"


def _value(value: Any) -> str:
    if isinstance(value, str) and value and value.isprintable() and not set(value) & set(" \"=\\'"):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)
