"""The messages of Claude.ai's conversations, from its export's messages and their blocks; see `claude_export`."""

import base64
import binascii
from collections.abc import Iterator
from typing import Any

from eventlog import Message, Part
from turnlog.sources.base import PAYLOAD_BYTES_MAX
from turnlog.sources.export_parts import Payloads, dicts_at, text_at, without
from turnlog.sources.times import utc
from turnlog.sources.trees import Node

UNSUPPORTED = "This block is not supported on your current device yet."
"""What `text` has in place of a block that the interface of the export does not know."""

_ROLES = {"human": "user", "user": "user", "assistant": "assistant"}
_OWN = {"flag", "token_budget", "voice_note"}
"""Blocks that are known, and kept as they are."""


class _Piece:
    """A message in the making: blocks of one role."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.texts: list[str] = []
        self.parts: list[Part] = []
        self.ends_with_text = False

    def add_text(self, text: str) -> None:
        if self.ends_with_text:
            self.texts[-1] += text
        else:
            self.texts.append(text)
        self.ends_with_text = True

    def add(self, part: Part) -> None:
        self.parts.append(part)
        self.ends_with_text = False


def node_of(raw: dict[str, Any], node_id: str, parent: str | None, payloads: Payloads) -> Node:
    """The node of a message, which follows `parent`. Raises CannotRead for what is nested too deeply."""
    sender = raw.get("sender", raw.get("role"))
    role = _ROLES.get(sender, "system") if isinstance(sender, str) else "system"
    unknown = [] if isinstance(sender, str) and sender in _ROLES else [f"sender:{sender}"]
    blocks = raw.get("content")
    blocks = [{"type": "text", "text": blocks}] if isinstance(blocks, str) else blocks
    pieces, rests = [_Piece(role)], {}
    for number, block in enumerate(blocks if isinstance(blocks, list) else []):
        kind = text_at(block, "type")
        said_by = "tool" if kind == "tool_result" else role
        if said_by != pieces[-1].role:
            pieces.append(_Piece(said_by))
        if rest := _take(block, kind, pieces[-1], payloads, unknown):
            rests[str(number)] = rest
    rest = without(
        raw, "uuid", "text", "content", "sender", "role", "created_at", "attachments", "files", "parent_message_uuid"
    )
    if raw.get("updated_at") == raw.get("created_at"):
        rest.pop("updated_at", None)
    _take_rendering(raw, pieces, role, rest)
    files = _files(raw, pieces[0], payloads)
    rest |= {name: value for name, value in (("blocks", rests), ("files", files)) if value}
    at = utc(raw.get("created_at"))
    messages = tuple(_messages(pieces, node_id, at, is_prompt=role == "user"))
    return Node(
        id=node_id,
        parent=parent,
        is_prompt=role == "user" and any(message.role == "user" for message in messages),
        messages=messages,
        at=at,
        model=text_at(raw, "model") or None,
        rest=payloads.small(rest, PAYLOAD_BYTES_MAX) if rest else {},
        unknown=tuple(unknown),
    )


def design_message(raw: dict[str, Any]) -> dict[str, Any]:
    """A message of a Claude Design document in the form of those of conversations."""
    inner = raw["content"] if isinstance(raw.get("content"), dict) else {"content": raw.get("content")}
    blocks: list[Any] = []
    listed = inner.get("contentBlocks")
    for block in listed if isinstance(listed, list) else []:
        blocks.extend(_design_blocks(block))
    content = inner.get("content")
    if not blocks and isinstance(content, str):
        blocks, content = [{"type": "text", "text": content}], ""
    attachments = [
        {"file_name": item.get("name"), "extracted_content": item.get("content"), **without(item, "name", "content")}
        for item in dicts_at(inner, "attachments")
    ]
    rest = without(raw, "content") | without(
        inner, "contentBlocks", "content", "attachments", "role", "id", "timestamp"
    )
    return {**rest, "content": blocks, "text": content, "attachments": attachments}


def _design_blocks(block: Any) -> Iterator[Any]:
    """A block as others are; a tool call with its output is two."""
    call = block.get("toolCall") if isinstance(block, dict) else None
    if not isinstance(call, dict):
        thinking = isinstance(block, dict) and block.get("type") == "thinking" and "thinking" not in block
        yield {**without(block, "text"), "thinking": block.get("text")} if thinking else block
        return
    yield {"type": "tool_use", **without(block, "type", "toolCall"), **without(call, "output", "type")}
    if call.get("output") is not None:
        yield {
            "type": "tool_result",
            "tool_use_id": call.get("id"),
            "name": call.get("name"),
            "content": call["output"],
        }


def _take(block: Any, kind: str, piece: _Piece, payloads: Payloads, unknown: list[str]) -> dict[str, Any]:
    """Take a block into a message; returns what else is said of it."""
    if kind == "text" and isinstance(block.get("text"), str):
        if block["text"]:
            piece.add_text(block["text"])
        return without(block, "type", "text")
    if kind == "thinking" and isinstance(block.get("thinking"), str):
        summaries = block.get("summaries")
        piece.add(
            payloads.part("thinking", text=block["thinking"], data={"summaries": summaries} if summaries else None)
        )
        return without(block, "type", "thinking", "summaries")
    if kind == "tool_use":
        named = {"id": text_at(block, "id") or None, "name": text_at(block, "name") or None}
        piece.add(payloads.part("tool_call", data=block.get("input"), **named))
        return without(block, "type", "id", "name", "input")
    if kind == "tool_result":
        for part in _results(block, payloads):
            piece.add(part)
        return without(block, "type", "tool_use_id", "name", "content", "is_error", "structured_content")
    if kind not in _OWN:
        unknown.append(kind or "block")
    piece.add(payloads.part(kind or "block", data=block))
    return {}


def _results(block: dict[str, Any], payloads: Payloads) -> Iterator[Part]:
    """A tool's result: its text; what else it has is data, and images are parts of their own."""
    content = block.get("content")
    items = content if isinstance(content, list) else [content]
    texts, others, images = [], [], []
    for item in items:
        if isinstance(item, str):
            texts.append(item)
        elif isinstance(item, dict) and item.get("type") == "text" and isinstance(item.get("text"), str):
            texts.append(item["text"])
            others.extend([rest] if (rest := without(item, "type", "text", "uuid")) else [])
        elif image := _image(item, payloads):
            images.append(image)
        elif item is not None:
            others.append(item)
    data = without({"content": others, "structured_content": block.get("structured_content")})
    if block.get("is_error"):
        data["is_error"] = block["is_error"]
    named = {"id": text_at(block, "tool_use_id") or None, "name": text_at(block, "name") or None}
    yield payloads.part("tool_result", text="\n".join(texts) or None, data=data or None, **named)
    yield from images


def _image(item: Any, payloads: Payloads) -> Part | None:
    """An image that is spelled out in base 64, kept; None for anything else."""
    source = item.get("source") if isinstance(item, dict) else None
    if not isinstance(source, dict) or not isinstance(source.get("data"), str):
        return None
    try:
        raw = base64.b64decode(source["data"], validate=True)
    except (binascii.Error, ValueError):
        return None
    rest = without(item, "type", "source") | without(source, "type", "data", "media_type")
    kept = payloads.kept(raw, text_at(source, "media_type") or None)
    return payloads.part("image", data=rest or None, **kept)


def _take_rendering(raw: dict[str, Any], pieces: list[_Piece], role: str, rest: dict[str, Any]) -> None:
    """What `text` says: it stands in for blocks without text; where it says something else, that is kept."""
    text = raw.get("text")
    if not isinstance(text, str) or not text.strip():
        return
    said = [text for piece in pieces for text in piece.texts]
    if not any(each.strip() for each in said) and UNSUPPORTED not in text:
        next(piece for piece in pieces if piece.role == role).add_text(text)
    elif UNSUPPORTED not in text and "".join(text.split()) != "".join("".join(said).split()):
        rest["text"] = text


def _files(raw: dict[str, Any], piece: _Piece, payloads: Payloads) -> list[dict[str, Any]]:
    """Take attachments and files into a message; returns what else is said of the files, in order."""
    for item in dicts_at(raw, "attachments"):
        rest = without(item, "id", "file_name", "extracted_content")
        named = {"id": text_at(item, "id") or None, "name": text_at(item, "file_name") or None}
        text = text_at(item, "extracted_content") or None
        piece.add(payloads.part("attachment", text=text, data=rest or None, **named))
    rests = []
    for item in dicts_at(raw, "files"):
        kind = "image" if item.get("file_kind") == "image" else "attachment"
        named = {"id": text_at(item, "file_uuid", "uuid") or None, "name": text_at(item, "file_name") or None}
        piece.add(payloads.part(kind, **named))
        rests.append(without(item, "file_uuid", "file_name"))
    return rests if any(rests) else []


def _messages(pieces: list[_Piece], node_id: str, at: Any, *, is_prompt: bool) -> Iterator[Message]:
    """The messages of a node that say something; a prompt may say nothing."""
    said = [piece for piece in pieces if piece.parts or any(piece.texts)]
    for number, piece in enumerate(said or (pieces[:1] if is_prompt else [])):
        content = "\n\n".join(text for text in piece.texts if text)
        name = f"{node_id}:{number}" if number else node_id
        yield Message(role=piece.role, content=content, id=name, at=at, parts=tuple(piece.parts))
