"""Small transcripts of the tests' own, in the shapes that Claude Code writes."""

import json
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

from eventlog import Message, TurnRecorded
from turnlog.sources.claude_code import ClaudeCode
from turnlog.testing.source_contract import read_all, turns_of

SESSION = str(UUID(int=0xABC << 100))
OTHER = str(UUID(int=0xDEF << 100))


class Script:
    """Writes a session record by record; ids and times follow from the order."""

    def __init__(self, session: str = SESSION, *, first: int = 1, **envelope: Any) -> None:
        self.records: list[dict[str, Any]] = []
        self.parent: str | None = None
        self._session = session
        self._numbers = count(first)
        self._envelope = {"isSidechain": False, "userType": "external", "cwd": "/home/amy/p", "version": "2.1.60"}
        self._envelope |= {"gitBranch": "main", **envelope}

    def add(self, kind: str, **fields: Any) -> dict[str, Any]:
        """A record with an envelope, behind the one before."""
        number = next(self._numbers)
        record = {
            "parentUuid": self.parent,
            **self._envelope,
            "sessionId": self._session,
            "type": kind,
            **fields,
            "uuid": fields.get("uuid", str(UUID(int=number << 96 | 7))),
            "timestamp": f"2026-02-03T10:{number // 60:02d}:{number % 60:02d}.250Z",
        }
        self.parent = record["uuid"]
        self.records.append(record)
        return record

    def bare(self, kind: str, **fields: Any) -> dict[str, Any]:
        """A record of the session's state."""
        record = {"type": kind, "sessionId": self._session, **fields}
        self.records.append(record)
        return record

    def user(self, content: Any, **fields: Any) -> dict[str, Any]:
        return self.add("user", message={"role": "user", "content": content}, **fields)

    def assistant(self, *blocks: dict[str, Any], mid: str = "msg_1", **message: Any) -> dict[str, Any]:
        said = {"id": mid, "type": "message", "role": "assistant", "model": "claude-opus-4-6", "stop_reason": None}
        return self.add("assistant", message={**said, "content": list(blocks), **message}, requestId=f"req_{mid}")

    def call(self, call: str, name: str = "Bash", **given: Any) -> dict[str, Any]:
        return self.assistant({"type": "tool_use", "id": call, "name": name, "input": given})

    def result(self, call: str, content: Any = "ok", **fields: Any) -> dict[str, Any]:
        return self.user([{"tool_use_id": call, "type": "tool_result", "content": content}], **fields)

    def queue(self, operation: str, content: str | None = None) -> None:
        self.bare(
            "queue-operation",
            operation=operation,
            timestamp="2026-02-03T11:00:00.000Z",
            **({} if content is None else {"content": content}),
        )

    def queued(self, prompt: Any, mode: str = "prompt") -> dict[str, Any]:
        return self.add("attachment", attachment={"type": "queued_command", "prompt": prompt, "commandMode": mode})

    def content(self) -> bytes:
        return lines(*self.records)


def lines(*records: Any) -> bytes:
    return b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records)


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def talk(session: str = SESSION) -> Script:
    """Three turns, of all that is common."""
    script = Script(session)
    script.bare("permission-mode", permissionMode="default")
    script.add("attachment", attachment={"type": "skill_listing", "content": "- a skill", "skillCount": 1})
    script.user("Hi, 你好")
    script.assistant({"type": "thinking", "thinking": "Hm.", "signature": "sig="}, usage={"output_tokens": 1})
    script.assistant(text("Hello!"), usage={"output_tokens": 7})
    script.call("toolu_1", command="ls")
    script.result("toolu_1", toolUseResult={"stdout": "ok", "stderr": ""})
    script.user("<command-name>/clear</command-name>")
    script.user(
        [text("And now?"), {"type": "image", "source": {"type": "base64", "data": "aGk=", "media_type": "image/png"}}]
    )
    script.assistant(text("Now, too."), mid="msg_2")
    script.bare("ai-title", aiTitle="Greetings")
    script.queue("enqueue", "wait, also this")
    script.queue("remove")
    script.assistant(text("That as well."), mid="msg_3")
    script.add("system", subtype="turn_duration", durationMs=48286)
    return script


def write(folder: Path, *records: dict[str, Any], name: str = SESSION) -> Path:
    path = folder / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lines(*records))
    return path


def turns_in(*paths: Path) -> list[TurnRecorded]:
    return turns_of(read_all(ClaudeCode(user="amy"), paths))


def prompts_of(turns: list[TurnRecorded]) -> list[list[str]]:
    """What the person typed, by turn."""
    return [[message.content for message in turn.messages if message.role == "user"] for turn in turns]


def said_in(turn: TurnRecorded, role: str) -> list[Message]:
    return [message for message in turn.messages if message.role == role]
