"""What Google's formats share: JSON that is read with care, and the `Part` objects of its API as parts of a message.

A `content` of the Gemini API is text, one such object, or a list of both: `{"text"}`, `{"text", "thought": true}`,
`{"inlineData": {"mimeType", "data"}}` (base64), `{"fileData": {"fileUri", "mimeType"}}`, `{"functionCall": {"id",
"name", "args"}}`, `{"functionResponse": {"id", "name", "response"}}`, `{"executableCode": {"language", "code"}}` and
`{"codeExecutionResult": {"outcome", "output"}}`. Gemini CLI and AI Studio both write them. What is none of these is
kept under its own name, and counted.
"""

import binascii
import json
from base64 import b64decode
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from eventlog import Part
from turnlog.sources.base import PAYLOAD_BYTES_MAX, Keep
from turnlog.sources.objects import NESTING_MAX, TOO_DEEP, CannotRead, is_deeper_than, may_be_deep, objects_on
from turnlog.text import clean

SALVAGE_PASSES_MAX = 32
"""A damaged text is looked at this many times at most, on the whole, to find the objects in it."""

_DIGITS = bytes(48 if 48 <= byte < 58 else 32 for byte in range(256))
_LONG_NUMBER = b"0" * 19
_DECODER = json.JSONDecoder()


def read_object(raw: bytes, *, may_be_long: bool = False) -> dict[str, Any]:
    """The one JSON object that the bytes are, as the log can hold it. Raises CannotRead.

    With `may_be_long`, integers may be in it that are too long for the log; see `Content.add`.
    """
    if may_be_long or _LONG_NUMBER not in raw.translate(_DIGITS):
        try:
            value = msgspec.json.decode(raw)
        except (ValueError, RecursionError):
            value = None  # it is read below with more care, which also tells what is wrong
        if isinstance(value, dict):
            if may_be_deep(raw) and is_deeper_than(NESTING_MAX, value):
                raise CannotRead(TOO_DEEP)
            return value
    pieces = list(objects_on(raw))
    if not pieces:
        raise CannotRead("nothing stands there")
    if len(pieces) > 1 or pieces[0].damage:
        raise CannotRead(pieces[-1].damage or "more than one object stands there")
    record: dict[str, Any] = clean(pieces[0].record)[0]
    return record


def salvage(text: str, accept: Callable[[dict[str, Any]], bool]) -> Iterator[dict[str, Any]]:
    """The objects of a damaged JSON text that `accept` takes, in order, none from within another.

    How much is tried is bounded, so that no text takes long; what lies behind that is given up.
    """
    at, budget = 0, SALVAGE_PASSES_MAX * len(text)
    while budget > 0 and (start := text.find("{", at)) >= 0:
        at = start + 1
        try:
            record, end = _DECODER.raw_decode(text, start)
            if accept(record):
                yield read_object(text[start:end].encode("utf-8", "replace"))
                at = end
        except json.JSONDecodeError as error:
            end = len(text) if error.msg.startswith("Unterminated") else error.pos
            budget -= end // 8  # the error itself counts the lines up to there
        except (ValueError, RecursionError, CannotRead):
            end = len(text)
        budget -= end - start


class Content:
    """The text and the parts of one `content`, in order; `unknown` counts what has no place of its own."""

    def __init__(self, keep: Keep) -> None:
        self.text = ""
        self.parts: list[Part] = []
        self.unknown: defaultdict[str, int] = defaultdict(int)  # a Counter takes four times as long to make
        self._keep = keep

    def take(self, value: Any) -> None:
        """Take in a content: text, an object, or a list of them."""
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str):
                self.text += item
            elif isinstance(item, dict):
                self._take_part(item)
            elif item is not None:
                self.add(Part(type="record", data=item))
                self.unknown[type(item).__name__] += 1

    def add(self, part: Part) -> None:
        """Add a part; what of it is too large for an event is kept beside the log."""
        if part.data is None and len(part.text or "") <= PAYLOAD_BYTES_MAX // 4:
            self.parts.append(part)  # as most are
            return
        data = msgspec.to_builtins(part.data, order="sorted")  # the order of keys is no part of what was said
        try:
            encoded = b"" if data is None else msgspec.json.encode(data)
        except OverflowError:  # an integer that 64 bits cannot hold
            encoded = json.dumps(data).encode()
            data = read_object(b'{"data":%s}' % encoded)["data"]
        if len(encoded) > PAYLOAD_BYTES_MAX:
            self.add_bytes(msgspec.structs.replace(part, data=None, text=None), encoded, "application/json")
            if part.text is None:
                return
            data = None
        text = (part.text or "").encode()
        if len(text) > PAYLOAD_BYTES_MAX:
            self.add_bytes(msgspec.structs.replace(part, data=data, text=None), text, "text/plain")
        else:
            self.parts.append(msgspec.structs.replace(part, data=data))

    def add_bytes(self, part: Part, payload: bytes, media_type: str) -> None:
        """Add a part whose content is kept beside the log."""
        digest = self._keep(payload)
        kept = msgspec.structs.replace(part, digest=digest, media_type=media_type, size_bytes=len(payload))
        self.parts.append(kept)

    def add_base64(self, blob: Any, *, name: str | None = None) -> None:
        """Add what `{"mimeType", "data"}` holds, an image or another file."""
        blob = blob if isinstance(blob, dict) else {"data": blob}
        media_type, data = blob.get("mimeType"), blob.get("data")
        kind = "image" if str(media_type).startswith("image/") else "attachment"
        try:
            payload = b64decode(data, validate=True) if isinstance(data, str) else b""
        except (binascii.Error, ValueError):
            payload = b""
        if payload and isinstance(media_type, str):
            self.add_bytes(Part(type=kind, name=name), payload, media_type)
        else:
            self.add(Part(type=kind, name=name, data=blob))

    def _take_part(self, item: dict[str, Any]) -> None:
        rest = dict(item)
        text = rest.pop("text", None)
        if isinstance(text, str):
            if rest.pop("thought", False) is True:
                self.add(Part(type="thinking", text=text))
            else:
                self.text += text
        elif text is not None:
            rest["text"] = text
        for key in [key for key in rest if key in _TAKERS and isinstance(rest[key], dict)]:
            _TAKERS[key](self, rest.pop(key))
        if rest:
            kind = next(iter(sorted(rest)))
            self.add(Part(type=kind or "record", data=rest))
            self.unknown[kind] += kind not in _NOTED


def _take_file(content: Content, value: dict[str, Any]) -> None:
    media_type = value.get("mimeType")
    kept = media_type if isinstance(media_type, str) else None
    content.add(Part(type="attachment", name=as_text(value.get("displayName")), data=value, media_type=kept))


def _take_call(content: Content, value: dict[str, Any]) -> None:
    content.add(call_part(value))


def _take_response(content: Content, value: dict[str, Any]) -> None:
    response = value.get("response")
    output = response.get("output") if isinstance(response, dict) and len(response) == 1 else None
    said = {"text": output} if isinstance(output, str) else {"data": response}
    content.add(Part(type="tool_result", id=as_text(value.get("id")), name=as_text(value.get("name")), **said))
    rest = {key: item for key, item in value.items() if key not in ("id", "name", "response")}
    if rest:
        content.add(Part(type="fields", id=as_text(value.get("id")), data=rest))


def _take_code(content: Content, value: dict[str, Any]) -> None:
    rest = {key: item for key, item in value.items() if key != "code"}
    content.add(Part(type="tool_call", name="code_execution", text=as_text(value.get("code")), data=rest or None))


def _take_code_result(content: Content, value: dict[str, Any]) -> None:
    rest = {key: item for key, item in value.items() if key != "output"}
    content.add(Part(type="tool_result", name="code_execution", text=as_text(value.get("output")), data=rest or None))


_TAKERS: dict[str, Callable[[Content, Any], None]] = {
    "inlineData": Content.add_base64,
    "fileData": _take_file,
    "functionCall": _take_call,
    "functionResponse": _take_response,
    "executableCode": _take_code,
    "codeExecutionResult": _take_code_result,
}
_NOTED = ("thoughtSignature", "thought")
"""What stands beside other content and says nothing of its own."""


def call_part(value: dict[str, Any]) -> Part:
    """A tool call `{"id", "name", "args"}` as a part."""
    return Part(type="tool_call", id=as_text(value.get("id")), name=as_text(value.get("name")), data=value.get("args"))


def as_text(value: Any) -> str | None:
    """The value if it is text."""
    return value if isinstance(value, str) else None


def as_time(value: Any) -> datetime | None:
    """The moment that a time with a zone (RFC 3339) means, in UTC; None for anything else."""
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None
