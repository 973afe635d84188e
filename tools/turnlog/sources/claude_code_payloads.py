"""What Claude Code's records hold besides text: as parts of a message, the large and the binary kept beside the log.

What is kept is written with sorted keys, since copies of a line differ in their order, and a digest must not.
"""

import binascii
from base64 import b64decode
from typing import Any

import msgspec

from eventlog import Part
from turnlog.sources.base import PAYLOAD_BYTES_MAX, Keep
from turnlog.sources.claude_code_lines import Record

_encode_sorted = msgspec.json.Encoder(order="sorted").encode


class Payloads:
    """Makes parts; `keep` takes what no event should hold."""

    def __init__(self, keep: Keep) -> None:
        self._may_be_large = True
        self._keep = keep

    def begin(self, record: Record) -> None:
        """Take in what record the next values are from: in a small one nothing is too large."""
        self._may_be_large = record.size_bytes > PAYLOAD_BYTES_MAX

    def data(self, value: Any) -> dict[str, Any]:
        """The fields of a Part that hold a JSON value, or name it by its digest."""
        if _holds_binaries(value):
            value = self._without_binaries(value)
        if self._may_be_large and len(encoded := canonical(value)) > PAYLOAD_BYTES_MAX:
            return self._kept(encoded, "application/json")
        return {"data": value}

    def text(self, value: str) -> dict[str, Any]:
        """The fields of a Part that hold a text, or name it by its digest."""
        if len(value) * 4 > PAYLOAD_BYTES_MAX:
            encoded = value.encode()
            if len(encoded) > PAYLOAD_BYTES_MAX:
                return self._kept(encoded, "text/plain")
        return {"text": value}

    def file(self, block: dict[str, Any], kind: str, of: str | None = None) -> list[Part]:
        """An image or document block; its bytes are kept whatever their size. `of` is the tool call that gave it."""
        source = block.get("source")
        rest = {key: value for key, value in block.items() if key not in ("type", "source", "title")}
        title = block.get("title")
        names: dict[str, Any] = {"id": of, "name": title if isinstance(title, str) else None}
        if isinstance(source, dict) and isinstance(source.get("data"), str):
            content = _bytes_of(source)
            media_type = source.get("media_type")
            kept = self._kept(content, media_type if isinstance(media_type, str) else None)
        else:
            kept = self.data(source)
        return [Part(type=kind, **names, **kept), *([Part(type="fields", id=of, **self.data(rest))] if rest else [])]

    def _kept(self, content: bytes, media_type: str | None) -> dict[str, Any]:
        return {"digest": self._keep(content), "media_type": media_type, "size_bytes": len(content)}

    def _without_binaries(self, value: Any) -> Any:
        """The value with what is base64 by its own account named by digest."""
        if isinstance(value, list):
            return [self._without_binaries(item) for item in value]
        if not isinstance(value, dict):
            return value
        if _is_binary(value):
            kept = self._kept(_bytes_of(value), None)
            return {**value, "data": {"digest": kept["digest"], "size_bytes": kept["size_bytes"]}}
        found = {key: self._without_binaries(item) for key, item in value.items()}
        if isinstance(value.get("base64"), str):
            kept = self._kept(_bytes_of({"type": "base64", "data": value["base64"]}), None)
            found["base64"] = {"digest": kept["digest"], "size_bytes": kept["size_bytes"]}
        return found


def _holds_binaries(value: Any) -> bool:
    """Whether there is base64 in a value, by its own account."""
    if type(value) is dict:
        if "base64" in value or _is_binary(value):
            return True
        value = value.values()
    elif type(value) is not list:
        return False
    for item in value:  # noqa: SIM110 - any() would take twice as long
        if (type(item) is dict or type(item) is list) and _holds_binaries(item):
            return True
    return False


def _is_binary(value: dict[str, Any]) -> bool:
    return value.get("type") == "base64" and isinstance(value.get("data"), str)


def _bytes_of(source: dict[str, Any]) -> bytes:
    """What a source block holds; what says base64 and is none, as it stands."""
    text: str = source["data"]
    if source.get("type") == "base64":
        try:
            return b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            pass
    return text.encode()


def canonical(value: Any) -> bytes:
    """The JSON of a value, whatever the order of its keys was."""
    return _encode_sorted(value)
