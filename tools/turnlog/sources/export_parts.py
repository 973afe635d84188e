"""What the exports of chat programs hold, as messages, turns and notes can hold it."""

import mimetypes
import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from eventlog import Part
from turnlog.sources.base import PAYLOAD_BYTES_MAX, Keep
from turnlog.sources.objects import NESTING_MAX, TOO_DEEP, CannotRead, is_deeper_than

NOTE_BYTES_MAX = 4 * 1024
"""A field of a note that is larger is kept beside the log."""

_NUMBERS = (bool, int, float)
_JSON = "application/json"
_UUID = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Payloads:
    """Makes parts of messages, and fields of notes; what is too large for them is given to `keep`."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep

    def part(self, kind: str, *, text: str | None = None, data: Any = None, **fields: Any) -> Part:
        """A part; a large text is kept and told by its digest, large data by a digest in its place."""
        if data is not None:
            data = self.small(data, PAYLOAD_BYTES_MAX)
        if text is not None and len(text) > PAYLOAD_BYTES_MAX // 4 and len(raw := text.encode()) > PAYLOAD_BYTES_MAX:
            return Part(type=kind, data=data, **{**fields, **self.kept(raw, "text/plain")})
        return Part(type=kind, text=text, data=data, **fields)

    def small(self, value: Any, bytes_max: int = NOTE_BYTES_MAX) -> Any:
        """The value, its keys in order; or what names it where it is kept. Raises CannotRead if it is too deep."""
        raw = in_order(value)
        return msgspec.json.decode(raw) if len(raw) <= bytes_max else self.kept(raw, _JSON)

    def kept(self, raw: bytes, media_type: str | None) -> dict[str, Any]:
        """Keep the bytes; returns what names them, which are fields of a part too."""
        return {"digest": self._keep(raw), "media_type": media_type, "size_bytes": len(raw)}


def in_order(value: Any) -> bytes:
    """The value as JSON with the keys of its objects in order, so that the same content is the same bytes.

    Raises CannotRead for what is nested too deeply.
    """
    try:
        raw = msgspec.json.encode(value, order="deterministic")
    except RecursionError as error:
        raise CannotRead(TOO_DEEP) from error
    if raw.count(b"[") + raw.count(b"{") > NESTING_MAX and is_deeper_than(NESTING_MAX, value):
        raise CannotRead(TOO_DEEP)
    return raw


def without(record: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The fields that say something, but for those named."""
    return {name: value for name, value in record.items() if (value or type(value) in _NUMBERS) and name not in names}


def text_at(record: Any, *names: str) -> str:
    """The first text that is not empty among the fields named; empty if there is none, and for what is no object."""
    if isinstance(record, dict):
        for name in names:
            value = record.get(name)
            if value and isinstance(value, str):
                return value
    return ""


def dicts_at(record: Any, name: str) -> list[dict[str, Any]]:
    """The objects in a list in a field; what is none of them is no list, or no object."""
    items = record.get(name) if isinstance(record, dict) else None
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def media_type_of(name: str | None) -> str | None:
    """The media type that a file's name tells."""
    return mimetypes.guess_type(name)[0] if name else None


def is_uuid(text: str) -> bool:
    """Whether an id is unique in the world; one that a program counted is not."""
    return _UUID.fullmatch(text) is not None


def digest_of(value: Any) -> str:
    """A name for what has none, by its content."""
    return blake2b(in_order(value), digest_size=16).hexdigest()
