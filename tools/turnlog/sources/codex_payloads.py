"""What a rollout holds as an event can hold it: no payload too large, no binary, no number too long."""

from base64 import b64decode
from binascii import Error as NotBase64
from typing import Any

import msgspec

from eventlog import Part
from turnlog.sources.base import PAYLOAD_BYTES_MAX, Keep
from turnlog.sources.objects import NESTING_MAX, CannotRead

_TEXT, _JSON = "text/plain", "application/json"


class Payloads:
    """Makes parts of raw values; what is too large for an event, or no text, is given to `keep`.

    `record_bytes` is the size of what the values are from: in a small record nothing is too large.
    """

    def __init__(self, keep: Keep) -> None:
        self.record_bytes = PAYLOAD_BYTES_MAX + 1
        self._keep = keep

    def short(self, kind: str, name: str, text: str) -> Part:
        """A part of this type with one value that is a text and no binary."""
        if self.is_large(text):
            return self.data(kind, {name: text})
        return Part(kind, data={name: text})

    def text(self, kind: str, text: str, own: str | None = None, name: str | None = None) -> Part:
        """A part of this type, with this id and name, that says a text."""
        if self.is_large(text):
            return Part(kind, own, name, **self._kept(text.encode(), _TEXT))
        return Part(kind, own, name, text)

    def data(self, kind: str, data: Any, **fields: Any) -> Part:
        """A part of this type that holds raw JSON data. Raises CannotRead if it is nested too deeply."""
        value = self.value(data)
        if self.record_bytes > PAYLOAD_BYTES_MAX and len(encoded := msgspec.json.encode(value)) > PAYLOAD_BYTES_MAX:
            return Part(type=kind, **fields, **self._kept(encoded, _JSON))
        return Part(type=kind, data=value, **fields)

    def image(self, url: Any, **fields: Any) -> Part:
        """The image behind a `data:` URL, or where it is to be found."""
        if kept := self._binary(url):
            return Part(type="image", **fields, **kept)
        return Part(type="image", data=self.value({"url": url}) if url else None, **fields)

    def value(self, value: Any, *, nesting_max: int = NESTING_MAX) -> Any:
        """The value with large texts and binaries in it replaced by what names them, and its keys in order.

        Raises CannotRead if it is nested too deeply.
        """
        if type(value) is str:
            if value.startswith("data:") and (kept := self._binary(value)):
                return kept
            return self._kept(value.encode(), _TEXT) if self.is_large(value) else value
        if type(value) is int:  # bool is none
            return value if -(2**63) <= value < 2**64 else str(value)
        if not isinstance(value, dict | list):
            return value
        if not nesting_max:
            raise CannotRead(f"it is nested more than {NESTING_MAX} levels deep")
        if isinstance(value, list):
            return [self.value(item, nesting_max=nesting_max - 1) for item in value]
        return {key: self.value(value[key], nesting_max=nesting_max - 1) for key in sorted(value)}

    def summary(self, value: Any, large_bytes: int) -> Any:
        """A dict's values, those whose JSON is larger than this kept beside the log: for what many turns repeat."""
        if not isinstance(value, dict):
            return self.value(value)
        return {key: self._small(item, large_bytes) for key, item in value.items()}

    def base64(self, text: str, media_type: str) -> dict[str, Any] | None:
        """What names the bytes that a text spells in base64; None if it spells none."""
        try:
            return self._kept(b64decode(text, validate=True), media_type)
        except (NotBase64, ValueError):
            return None

    def _small(self, value: Any, large_bytes: int) -> Any:
        value = self.value(value)
        encoded = msgspec.json.encode(value)
        return value if len(encoded) <= large_bytes else self._kept(encoded, _JSON)

    def _binary(self, url: Any) -> dict[str, Any] | None:
        if not isinstance(url, str) or not url.startswith("data:"):
            return None
        head, comma, body = url.partition(",")
        media_type, _, encoding = head[5:].partition(";")
        if not comma or not encoding.endswith("base64"):
            return None
        return self.base64(body, media_type or "application/octet-stream")

    def _kept(self, data: bytes, media_type: str) -> dict[str, Any]:
        return {"digest": self._keep(data), "media_type": media_type, "size_bytes": len(data)}

    def is_large(self, text: str) -> bool:
        """Whether a text has too many bytes for an event."""
        return self.record_bytes > PAYLOAD_BYTES_MAX and len(text.encode()) > PAYLOAD_BYTES_MAX
