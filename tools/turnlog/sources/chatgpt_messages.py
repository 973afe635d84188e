"""The messages of ChatGPT's conversations, from its export's nodes.

What the fields mean is told in `chatgpt`. A message is a node: who said it decides its role, whom it is for whether it
is a tool call, and its content type where its text is.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from eventlog import Message, Part
from turnlog.sources.base import PAYLOAD_BYTES_MAX
from turnlog.sources.chatgpt_assets import Assets, asset_id
from turnlog.sources.export_parts import Payloads, dicts_at, media_type_of, text_at, without
from turnlog.sources.times import utc
from turnlog.sources.trees import Node

_TEXT_FIELDS = {
    "citable_code_output": "output_str",
    "code": "text",
    "execution_output": "text",
    "reasoning_recap": "content",
    "sonic_webpage": "text",
    "system_error": "text",
    "tether_browsing_display": "result",
    "tether_quote": "text",
}
"""Content types that are one text and what belongs to it."""

_RAW = {"computer_output", "model_editable_context", "user_editable_context"}
"""Content types that are kept as they are."""

_INJECTED = {"model_editable_context", "user_editable_context"}
"""Content types that the program puts into a conversation, in whoever's name."""

_TO_ALL = (None, "", "all", "assistant", "user")
"""For whom a message is that is no tool call."""


class _Said(NamedTuple):
    """What is in a content: texts, parts beside them, and the types in it that nobody knows."""

    texts: list[str]
    parts: list[Part]
    unknown: list[str]


def node_of(node_id: str, raw: dict[str, Any], payloads: Payloads, assets: Assets) -> Node:
    """The node of a mapping. Raises CannotRead for what is nested too deeply."""
    parent = raw.get("parent") if isinstance(raw.get("parent"), str) else None
    message = raw.get("message")
    if not isinstance(message, dict):
        rest = {"node": payloads.small(without(raw, "id", "parent", "children"))} if message else {}
        return Node(id=node_id, parent=parent, is_prompt=False, messages=(), rest=rest)
    author = message["author"] if isinstance(message.get("author"), dict) else {}
    metadata = message["metadata"] if isinstance(message.get("metadata"), dict) else {}
    content = message["content"] if isinstance(message.get("content"), dict) else {}
    said = _said(content, metadata, payloads, assets)
    is_hidden = bool(metadata.get("is_visually_hidden_from_conversation")) or message.get("weight") in (0, 0.0)
    role, unknown = _role(author, content, is_hidden=is_hidden)
    at = utc(message.get("create_time"))
    named: dict[str, Any] = {"id": node_id, "at": at, "name": text_at(author, "name") or None}
    messages = tuple(_messages(role, named, message, parent, said, payloads))
    is_prompt = role == "user"
    return Node(
        id=node_id,
        parent=parent,
        is_prompt=is_prompt,
        messages=messages or ((Message(role=role, **named),) if is_prompt else ()),
        at=at,
        model=text_at(metadata, "model_slug") or None,
        is_hidden=is_hidden and role != "system",
        rest=_rest(raw, message, metadata, author, payloads),
        unknown=(*said.unknown, *unknown),
    )


def _role(author: dict[str, Any], content: dict[str, Any], *, is_hidden: bool) -> tuple[str, list[str]]:
    """The role, and what is unknown of it: who is none of those known speaks for the program."""
    role = author.get("role")
    if text_at(content, "content_type") in _INJECTED or (role == "user" and is_hidden):
        return "system", []
    if role in ("user", "assistant", "tool", "system"):
        return str(role), []
    return "system", [f"role:{role}"]


def _messages(
    role: str, named: dict[str, Any], message: dict[str, Any], parent: str | None, said: _Said, payloads: Payloads
) -> Iterator[Message]:
    text = "\n\n".join(said.texts)
    recipient = message.get("recipient")
    parts = said.parts
    if role == "tool":
        if text:
            parts = [payloads.part("tool_result", id=parent, name=named["name"], text=text), *parts]
        text = ""
    elif role == "assistant" and recipient not in _TO_ALL:
        parts = [payloads.part("tool_call", id=named["id"], name=str(recipient), text=text), *parts]
        text = ""
    if text or parts:
        yield Message(role=role, content=text, parts=tuple(parts), **named)


def _said(content: dict[str, Any], metadata: dict[str, Any], payloads: Payloads, assets: Assets) -> _Said:
    kind = text_at(content, "content_type")
    attachments = dicts_at(metadata, "attachments")
    said = _Said([], [], [])
    if kind in ("text", "multimodal_text"):
        _take_parts(content, attachments, said, payloads, assets)
    elif kind == "thoughts":
        said.parts.extend(_thoughts(content, payloads))
    elif kind in _TEXT_FIELDS:
        _take_text(kind, content, said, payloads, assets)
    elif content:
        said.parts.append(payloads.part(kind or "content", data=without(content, "content_type")))
        if kind not in _RAW:
            said.unknown.append(kind or "content")
    pointed_to = {asset_id(part.id) for part in said.parts if part.id}
    for item in attachments:
        if asset_id(pointer := text_at(item, "id")) not in pointed_to:
            said.parts.append(_asset("attachment", pointer, {}, item, payloads, assets))
    return said


def _take_parts(
    content: dict[str, Any], attachments: list[dict[str, Any]], said: _Said, payloads: Payloads, assets: Assets
) -> None:
    parts = content.get("parts")
    for part in parts if isinstance(parts, list) else []:
        if isinstance(part, str):
            said.texts.extend([part] if part else [])
        elif isinstance(part, dict):
            _take_part(part, attachments, said, payloads, assets)
        elif part is not None:
            said.parts.append(payloads.part("content", data=part))
            said.unknown.append(f"part:{type(part).__name__}")
    rest = without(content, "content_type", "parts")
    if text_at(rest, "text"):  # the oldest exports
        said.texts.append(str(rest.pop("text")))
    if rest:
        said.parts.append(payloads.part("content", data=rest))


def _take_part(
    part: dict[str, Any], attachments: list[dict[str, Any]], said: _Said, payloads: Payloads, assets: Assets
) -> None:
    """A piece of a multimodal content: a pointer to an asset, a transcript, or what nobody knows."""
    kind = text_at(part, "content_type")
    pointer = text_at(part, "asset_pointer")
    if kind == "audio_transcription":
        said.texts.extend([text_at(part, "text")] if text_at(part, "text") else [])
        said.parts.append(payloads.part(kind, data=without(part, "content_type", "text")))
    elif pointer:
        item = next((a for a in attachments if asset_id(text_at(a, "id")) == asset_id(pointer)), {})
        kind = "image" if kind == "image_asset_pointer" else "attachment"
        said.parts.append(_asset(kind, pointer, part, item, payloads, assets))
    elif kind == "real_time_user_audio_video_asset_pointer":
        said.parts.append(payloads.part(kind, data=without(part, "content_type")))
        for inner in _pointers(part):
            _take_part(inner, attachments, said, payloads, assets)
    else:
        said.parts.append(payloads.part(kind or "content", data=without(part, "content_type")))
        said.unknown.append(kind or "content")


def _pointers(part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Sound, frames and film of a talk."""
    frames = part.get("frames_asset_pointers")
    for item in [part.get("audio_asset_pointer"), *(frames if isinstance(frames, list) else [])]:
        if isinstance(item, dict) and text_at(item, "asset_pointer"):
            yield item
        elif isinstance(item, str):
            yield {"asset_pointer": item}
    if film := text_at(part, "video_container_asset_pointer"):
        yield {"asset_pointer": film}


def _asset(
    kind: str, pointer: str, part: dict[str, Any], item: dict[str, Any], payloads: Payloads, assets: Assets
) -> Part:
    """A file that is named, with its digest if the export has it."""
    found = assets.find(pointer)
    name = text_at(item, "name") or (found.name if found else "") or None
    media_type = text_at(item, "mime_type", "mimeType") or media_type_of(name) or (found and found.media_type) or None
    said = item.get("size", part.get("size_bytes"))
    size = said if isinstance(said, int) and not isinstance(said, bool) else None
    data = without(part, "content_type", "asset_pointer", "size_bytes", "metadata")
    if isinstance(part.get("metadata"), dict) and without(part["metadata"]):
        data["metadata"] = without(part["metadata"])
    return payloads.part(
        kind,
        id=pointer,
        name=name,
        data=data or None,
        digest=found.digest if found else None,
        media_type=media_type,
        size_bytes=found.size_bytes if found else size,
    )


def _thoughts(content: dict[str, Any], payloads: Payloads) -> Iterator[Part]:
    for thought in dicts_at(content, "thoughts"):
        text, chunks = text_at(thought, "content"), thought.get("chunks")
        is_same = isinstance(chunks, list) and "".join(filter(_is_text, chunks)) == text
        rest = without(thought, "summary", "content", "finished", *(["chunks"] if is_same else []))
        yield payloads.part("thinking", name=text_at(thought, "summary") or None, text=text, data=rest or None)
    if rest := without(content, "content_type", "thoughts", "source_analysis_msg_id"):
        yield payloads.part("thoughts", data=rest)


def _take_text(kind: str, content: dict[str, Any], said: _Said, payloads: Payloads, assets: Assets) -> None:
    """A content that is one text; what belongs to it is a part of its type."""
    field = _TEXT_FIELDS[kind]
    text = text_at(content, field)
    rest = without(content, "content_type", *([field] if text else []))
    if kind == "reasoning_recap":
        said.parts.append(payloads.part(kind, text=text or None, data=rest or None))
        return
    said.texts.extend([text] if text else [])
    if rest:
        said.parts.append(payloads.part(kind, data=rest))
    for item in dicts_at(content, "assets"):
        if pointer := text_at(item, "asset_pointer"):
            said.parts.append(_asset("image", pointer, item, {}, payloads, assets))


_ELSEWHERE = {
    "message": ("id", "author", "create_time", "content", "metadata", "end_turn", "recipient", "status", "weight"),
    "metadata": ("attachments", "model_slug", "parent_id", "timestamp_", "default_model_slug"),
}
"""What of a message is told elsewhere, or tells nothing."""

_USUAL = {"status": (None, "finished_successfully"), "weight": (None, 1), "recipient": (None, "", "all")}
"""What is worth no word."""


def _rest(
    raw: dict[str, Any], message: dict[str, Any], metadata: dict[str, Any], author: dict[str, Any], payloads: Payloads
) -> dict[str, Any]:
    """What else the program says of a message: it changes from export to export, so it is none of the content."""
    rest = without(message, *_ELSEWHERE["message"]) | without(metadata, *_ELSEWHERE["metadata"])
    for name, usual in _USUAL.items():
        if message.get(name) not in usual:
            rest[name] = message[name]
    if about := without(author, "role", "name"):
        rest["author"] = about
    if more := without(raw, "id", "parent", "children", "message"):
        rest["node"] = more
    return dict(payloads.small(rest, PAYLOAD_BYTES_MAX)) if rest else {}


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
