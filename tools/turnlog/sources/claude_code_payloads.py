"""What Claude Code's records hold besides text: as parts of a message, the large and the binary kept beside the log.

Data is written with sorted keys, since copies of a line differ in their order, and a turn must not.
"""

import binascii
from base64 import b64decode
from typing import Any

import msgspec

from eventlog import Part
from turnlog.sources.base import PAYLOAD_BYTES_MAX, Keep

_encode_sorted = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder().decode


class Payloads:
    """Makes parts; `keep` takes what no event should hold."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep

    def data(self, value: Any) -> dict[str, Any]:
        """The fields of a Part that hold a JSON value, or name it by its digest."""
        encoded = _encode_sorted(value)
        if b"base64" in encoded:
            encoded = _encode_sorted(self._without_binaries(value))
        if len(encoded) > PAYLOAD_BYTES_MAX:
            return self._kept(encoded, "application/json")
        return {"data": _decode(encoded)}

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
        if value.get("type") == "base64" and isinstance(value.get("data"), str):
            kept = self._kept(_bytes_of(value), None)
            return {**value, "data": {"digest": kept["digest"], "size_bytes": kept["size_bytes"]}}
        found = {key: self._without_binaries(item) for key, item in value.items()}
        if isinstance(value.get("base64"), str):
            kept = self._kept(_bytes_of({"type": "base64", "data": value["base64"]}), None)
            found["base64"] = {"digest": kept["digest"], "size_bytes": kept["size_bytes"]}
        return found


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
