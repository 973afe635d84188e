"""Claude Code's records as messages: who said what, with the structured parts beside the text.

What a record says that has no place in `Message` stands in a part of type `fields`; what most records of a session have
alike (`META`) is left out of it, since it belongs to the turn. Fields that are empty are none.
"""

from collections import Counter
from datetime import UTC, datetime, tzinfo
from itertools import filterfalse
from typing import Any

from eventlog import Message, Part
from turnlog.sources.claude_code_lines import Record
from turnlog.sources.claude_code_payloads import Payloads
from turnlog.sources.claude_code_prompts import blocks_of, is_typed, kind_of, texts_of, unwrap

META = {
    "cwd": "cwd",
    "gitBranch": "git_branch",
    "version": "version",
    "entrypoint": "entrypoint",
    "userType": "user_type",
    "slug": "slug",
    "sessionKind": "session_kind",
    "permissionMode": "permission_mode",
}
"""What a turn's `meta` tells of its records, under the names there."""

STATES = frozenset(
    {
        *("summary", "custom-title", "ai-title", "last-prompt", "agent-name", "agent-setting", "tag"),
        *("file-history-snapshot", "file-history-delta", "queue-operation", "mode", "permission-mode"),
        *("pr-link", "frame-link", "bridge-session", "worktree-state", "relocated", "atis-latch"),
    }
)
"""Records that say something of the session at that moment, and nothing that anybody said."""

_HANDLED = frozenset((*META, "type", "uuid", "timestamp", "message", "sessionId", "session_id", "isSidechain"))
_OF_THE_COPY = frozenset((*META, "sessionId", "session_id"))
_SAID = frozenset(("role", "content", "type", "usage"))
_SAYING = ("user", "assistant")
_CALLS = ("tool_use", "server_tool_use", "mcp_tool_use")
_FILES = {"image": "image", "document": "attachment"}
_RESULT = "tool_result"
_TEXT, _THOUGHT = frozenset(("type", "text")), frozenset(("type", "thinking", "signature"))
_CALL = frozenset(("type", "id", "name", "input"))
_ANSWER = frozenset(("type", "tool_use_id", "content", "is_error"))


class Messages:
    """Makes messages of records. Naive times are in `timezone`, None for this machine's."""

    def __init__(self, payloads: Payloads, timezone: tzinfo | None) -> None:
        self._payloads = payloads
        self._timezone = timezone

    def message(
        self, record: Record, *, name: str | None, typed: bool, previous: str | None, unknown: Counter[str]
    ) -> Message:
        """What the record says. `name` is the sub-agent's that said it, `typed` tells of a `user`
        record or an attachment that a person typed it, `previous` is the id of the message before it in its thread,
        `unknown` counts the types that nobody knows.
        """
        fields, kind, payloads = record.fields, record.kind, self._payloads
        payloads.begin(record)
        rest = _rest(fields, _HANDLED)
        at = self.time(fields)
        if at is None and _tells(fields.get("timestamp")):
            rest["timestamp"] = fields["timestamp"]
        if previous is not None and rest.get("parentUuid") == previous:
            del rest["parentUuid"]
        if name is not None and rest.get("agentId") == name:
            del rest["agentId"]
        parts: list[Part] = []
        if kind in _SAYING:
            role, content = self._said(fields, kind, rest, parts, unknown)
        else:
            role, content = self._told(record, kind, rest, parts, unknown)
        if rest:
            parts.append(Part("fields", **payloads.data(rest)))
        return Message("user" if typed else role, content, record.uuid, at, name, tuple(parts))

    def time(self, fields: dict[str, Any]) -> datetime | None:
        """When a record was written, None if it does not say."""
        text = fields.get("timestamp")
        try:
            moment = datetime.fromisoformat(text) if isinstance(text, str) else None
            if moment is None or moment.tzinfo is UTC:
                return moment
            if moment.tzinfo is None and self._timezone is not None:
                moment = moment.replace(tzinfo=self._timezone)
            return moment.astimezone(UTC)
        except (ValueError, OverflowError, OSError):
            return None

    def _said(
        self, fields: dict[str, Any], kind: str, rest: dict[str, Any], parts: list[Part], unknown: Counter[str]
    ) -> tuple[str, str]:
        message = fields.get("message")
        if type(message) is not dict:
            message = {} if message is None else {"content": [message]}
        blocks = blocks_of(message.get("content"))
        texts: list[str] = []
        for block in blocks:
            self._block(block, texts, parts, unknown)
        about = _rest(message, _SAID)
        usage = message.get("usage")
        steps = usage.get("iterations") if type(usage) is dict else None
        if type(steps) is list and len(steps) > 1:
            about["iterations"] = steps
        if about:
            rest["message"] = about
        role = kind
        if kind == "user":
            calls = [block.get("tool_use_id") for block in blocks if kind_of(block).endswith(_RESULT)]
            role = "tool" if calls else "system"
            if "toolUseResult" in rest:
                of = calls[0] if len(calls) == 1 and isinstance(calls[0], str) else None
                parts.append(Part("tool_use_result", of, **self._payloads.data(rest.pop("toolUseResult"))))
        return role, texts[0] if len(texts) == 1 else "\n\n".join(texts)

    def _block(self, block: Any, texts: list[str], parts: list[Part], unknown: Counter[str]) -> None:
        """Add the texts and the parts of a block."""
        kind = kind_of(block)
        if kind == "text" and isinstance(block.get("text"), str):
            wrapped, text = unwrap(block["text"])
            parts += [Part("context", name=name, **self._payloads.text(inner)) for name, inner in wrapped]
            texts += [text] if text else []
            if len(block) > len(_TEXT):
                self._extras(block, parts, _TEXT)
        elif kind in _CALLS:
            given = self._payloads.data(block.get("input"))
            parts.append(Part("tool_call", _text(block.get("id")), _text(block.get("name")), **given))
            if len(block) > len(_CALL) or kind != "tool_use":
                self._extras(block, parts, _CALL if kind == "tool_use" else _CALL - {"type"})
        elif kind == "thinking" and isinstance(block.get("thinking"), str):
            signature = {"signature": block["signature"]} if _tells(block.get("signature")) else None
            said = self._payloads.text(block["thinking"]) if block["thinking"] else {}
            parts.append(Part(kind, data=signature, **said))
            if len(block) > len(_THOUGHT):
                self._extras(block, parts, _THOUGHT)
        elif kind.endswith(_RESULT):
            self._result(block, kind, parts, unknown)
        elif kind in _FILES:
            parts += self._payloads.file(block, _FILES[kind])
        else:
            unknown[kind or "no type"] += 1
            parts.append(Part(kind or "record", **self._payloads.data(block)))

    def _result(self, block: dict[str, Any], kind: str, parts: list[Part], unknown: Counter[str]) -> None:
        of = _text(block.get("tool_use_id"))
        texts: list[str] = []
        others: list[Part] = []
        for piece in blocks_of(block.get("content")):
            inner = kind_of(piece)
            if inner == "text" and isinstance(piece.get("text"), str):
                texts.append(piece["text"])
                self._extras(piece, others, _TEXT)
            elif inner in _FILES:
                others += self._payloads.file(piece, _FILES[inner], of)
            else:
                others.append(Part(inner or "record", of, **self._payloads.data(piece)))
                unknown.update([inner] if kind == _RESULT and inner != "tool_reference" else [])
        text = self._payloads.text("\n".join(texts)) if texts else {}
        parts.append(Part(_RESULT, of, data={"is_error": True} if block.get("is_error") is True else None, **text))
        parts += others
        self._extras(block, parts, _ANSWER if kind == _RESULT else _ANSWER - {"type"})

    def _extras(self, block: dict[str, Any], parts: list[Part], known: frozenset[str]) -> None:
        """Add what a block has besides, where it has any."""
        extras = _rest(block, known)
        if extras:
            parts.append(Part("fields", _text(block.get("id")), **self._payloads.data(extras)))

    def _told(
        self, record: Record, kind: str, rest: dict[str, Any], parts: list[Part], unknown: Counter[str]
    ) -> tuple[str, str]:
        """What the program says: a notice, something attached, a prompt that waited in the queue, anything else."""
        attachment = rest.get("attachment")
        if kind == "system":
            content = rest.pop("content") if isinstance(rest.get("content"), str) else ""
            parts.append(Part("system", name=_text(rest.pop("subtype", None))))
            return kind, content
        if kind != "attachment" or not isinstance(attachment, dict):
            unknown[kind or "no type"] += 1
            rest.clear()
            parts.append(self.raw(record))
            return "system", ""
        del rest["attachment"]
        texts: list[str] = []
        if attachment.get("type") == "queued_command":
            for block in blocks_of(attachment.get("prompt")):
                self._block(block, texts, parts, unknown)
            attachment = {key: value for key, value in attachment.items() if key != "prompt"}
        parts.append(Part("attachment", name=_text(attachment.get("type")), **self._payloads.data(attachment)))
        return "system", "\n\n".join(texts)

    def raw(self, record: Record) -> Part:
        """A record as it is, for types that nobody knows; but for what differs between its copies."""
        fields = record.fields
        if record.uuid:
            fields = {key: value for key, value in fields.items() if key not in _OF_THE_COPY}
        return Part("record", name=record.kind or None, **self._payloads.data(fields))

    def state(self, record: Record) -> Any:
        """A record of the session's state as a note has it."""
        return self.noted(record.fields, record)

    def noted(self, value: dict[str, Any], of: Record) -> Any:
        """Plain data of a record as a note has it; what is too large for one by digest."""
        self._payloads.begin(of)
        given = self._payloads.data(value)
        return given["data"] if "data" in given else {"type": value.get("type"), **given}


def is_queued_prompt(fields: dict[str, Any]) -> bool:
    """Whether an attachment is a prompt that was typed while the assistant worked."""
    attachment = fields.get("attachment")
    if not isinstance(attachment, dict):
        return False
    origin = attachment.get("origin")
    if attachment.get("type") != "queued_command" or attachment.get("commandMode") != "prompt" or fields.get("isMeta"):
        return False
    if isinstance(origin, dict) and origin.get("kind") == "task-notification":
        return False
    return is_typed(attachment.get("prompt"))


def queued_text(fields: dict[str, Any]) -> str:
    """The text of a queued prompt."""
    return "\n\n".join(texts_of(fields["attachment"].get("prompt")))


def _rest(values: dict[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """The fields that say something, but for those that are known."""
    keys = filterfalse(known.__contains__, values)
    return {key: value for key in keys if (value := values[key]) or _tells(value)}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _tells(value: Any) -> bool:
    """Whether a field says anything: empty ones, null and false do not, zero does."""
    return bool(value) or (value == 0 and value is not False)
