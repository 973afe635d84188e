"""What Gemini CLI's message records say, as messages of a turn."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from eventlog import Message, Part
from turnlog.sources.base import Keep
from turnlog.sources.gemini_cli_session import is_typed
from turnlog.sources.gemini_content import Content, as_text, as_time, call_part

_NOTICES = ("info", "error", "warning")
_ROLES = {"user": "user", "gemini": "assistant", "model": "assistant"}


class Said:
    """The messages of a turn, as they are taken in, and what is counted over them."""

    def __init__(self, keep: Keep) -> None:
        self.messages: list[Message] = []
        self.models: dict[str, None] = {}
        self.tokens: defaultdict[str, int] = defaultdict(int)
        self.unknown: defaultdict[str, int] = defaultdict(int)
        self.agents: set[str] = set()
        self._keep = keep

    def take(self, versions: Sequence[dict[str, Any]], name: str, agent: str | None = None) -> None:
        """Take in a message, given as all its versions; `agent` names the sub-agent whose it is.

        An older version is kept if it says something that the next one does not say.
        """
        for record, later in pairwise(versions):
            if not _covers(later, record):
                self._take(record, name, agent)
        if versions:
            self._take(versions[-1], name, agent)
            self._count(versions[-1])

    def times(self) -> tuple[datetime | None, datetime | None]:
        """When the first and the last of it was said."""
        times = [message.at for message in self.messages if message.at]
        return min(times, default=None), max(times, default=None)

    def _take(self, record: dict[str, Any], name: str, agent: str | None) -> None:
        rest = dict(record)
        kind, at = rest.pop("type", rest.pop("role", None)), as_time(rest.get("timestamp"))
        if at is not None:
            del rest["timestamp"]
        if not name.startswith("#"):
            rest.pop("id", None)
        else:
            name = ""
        content = Content(self._keep)
        if not isinstance(kind, str) or (kind not in _ROLES and kind not in _NOTICES):
            self.unknown[kind if isinstance(kind, str) else type(kind).__name__] += 1
            content.add(Part(type="record", data=record))
            self._add("system", content, name, at, agent)
            return
        self._take_content(content, rest)
        role = "system" if kind in _NOTICES else _ROLES[kind]
        if role == "user":
            role = _role_of_user(content, agent)
        calls = rest.pop("toolCalls", None) if role == "assistant" else None
        answers = self._take_calls(content, calls) if isinstance(calls, list) else []
        for key in ("tokens", "model") if role == "assistant" else ():
            if isinstance(rest.get(key), dict | str):
                del rest[key]
        if any(value not in (None, [], {}) for value in rest.values()):
            content.add(Part(type="fields", data=rest))
        self._add(role, content, name, at, agent or (kind if kind in _NOTICES else None))
        for answer, when in answers:
            self._add("tool", answer, "", when, agent)

    def _take_content(self, content: Content, rest: dict[str, Any]) -> None:
        thoughts = rest.pop("thoughts", None)
        for thought in thoughts if isinstance(thoughts, list) else []:
            content.add(_thought(thought))
        given = rest.pop("content", None)
        content.take(given)
        if "parts" in rest:
            content.take(rest.pop("parts"))
        shown = rest.pop("displayContent", None)
        if shown is not None and shown != given:
            display = Content(self._keep)
            display.take(shown)
            if display.text and display.text != content.text:
                content.add(Part(type="display", text=display.text))
            content.parts += display.parts

    def _take_calls(self, content: Content, calls: list[Any]) -> list[tuple[Content, datetime | None]]:
        """Put the calls with the message; returns what the tools answered, for messages of their own."""
        answers = []
        for call in calls:
            rest = dict(call) if isinstance(call, dict) else {"toolCall": call}
            at = as_time(rest.get("timestamp"))
            if at is not None:
                del rest["timestamp"]
            content.add(call_part(rest))
            for key in ("name", "args"):
                rest.pop(key, None)
            agent = as_text(rest.get("agentId"))
            self.agents |= {agent} if agent else set()
            answers.append((self._answer(rest), at))
        return answers

    def _answer(self, rest: dict[str, Any]) -> Content:
        answer = Content(self._keep)
        answer.take(rest.pop("result", None))
        if answer.text:
            answer.parts.insert(0, Part(type="tool_result", id=as_text(rest.get("id")), text=answer.text))
            answer.text = ""
        if any(part.type == "tool_result" and part.text == rest.get("resultDisplay", "") for part in answer.parts):
            rest.pop("resultDisplay", None)  # the same once more
        answer.add(Part(type="fields", id=as_text(rest.pop("id", None)), data=rest))
        return answer

    def _add(self, role: str, content: Content, id: str, at: datetime | None, name: str | None) -> None:  # noqa: A002
        for kind, count in content.unknown.items():
            self.unknown[kind] += count
        self.messages.append(
            Message(role=role, content=content.text, id=id or None, at=at, name=name, parts=tuple(content.parts))
        )

    def _count(self, record: dict[str, Any]) -> None:
        tokens, model = record.get("tokens"), as_text(record.get("model"))
        if isinstance(tokens, dict):
            for key, value in tokens.items():
                self.tokens[key] += value if type(value) is int else 0
        if model:
            self.models[model] = None


def _role_of_user(content: Content, agent: str | None) -> str:
    """Who said what a record of the type `user` says: not always the user."""
    if not content.text.strip() and any(part.type == "tool_result" for part in content.parts):
        return "tool"
    if agent or (content.text.strip() and not is_typed(content.text)):
        return "system"
    return "user"


def _thought(thought: Any) -> Part:
    if not isinstance(thought, dict):
        return Part(type="thinking", data=thought)
    rest = {key: value for key, value in thought.items() if key not in ("subject", "description")}
    text = as_text(thought.get("description"))
    return Part(type="thinking", name=as_text(thought.get("subject")), text=text, data=rest or None)


def _covers(later: dict[str, Any], older: dict[str, Any]) -> bool:
    """Whether the later version of a message says everything that the older one said."""
    return all(_holds(later.get(key), value) for key, value in older.items() if key not in ("tokens", "timestamp"))


def _holds(later: Any, older: Any) -> bool:
    if older in (None, "", [], {}) or later == older:
        return True
    if isinstance(older, str) and isinstance(later, str):
        return later.startswith(older)
    if isinstance(older, list) and isinstance(later, list):
        return len(older) <= len(later) and all(map(_holds, later, older))
    if isinstance(older, dict) and isinstance(later, dict):
        same = "id" not in older or later.get("id") == older["id"]
        loose = ("status", "resultDisplay", "timestamp")  # of a call that was under way
        return same and all(key in loose or _holds(later.get(key), value) for key, value in older.items())
    return False
