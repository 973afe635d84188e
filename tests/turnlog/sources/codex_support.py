"""Rollouts to test with, record by record, and what became of them."""

import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from eventlog import ConversationNoted, Message, Part, TurnRecorded
from turnlog.recorder import TurnRecorder
from turnlog.sources.base import Chunk, Unreadable
from turnlog.sources.codex import Codex
from turnlog.sources.importing import ImportCounts, import_streams

Record = dict[str, Any]

THREAD = "01900000-0000-7000-8000-000000000001"
FORK = "01900001-0000-7000-8000-000000000002"
TASKS = [f"0190000{number}-0000-7000-9000-00000000000{number}" for number in range(9)]
"""Ids of turns; the first was begun before FORK was made, those from the second on after it."""


class Rollout:
    """Writes records with rising times, in any of the three generations."""

    def __init__(self, thread: str = THREAD, *, second: int = 0) -> None:
        self.records: list[Record] = []
        self._thread = thread
        self._seconds = second

    def add(self, kind: str, /, **payload: Any) -> "Rollout":
        self._seconds += 2
        stamp = f"2026-06-17T10:{self._seconds // 60:02}:{self._seconds % 60:02}.000Z"
        self.records.append({"timestamp": stamp, "type": kind, "payload": payload})
        return self

    def session(self, thread: str | None = None, **fields: Any) -> "Rollout":
        defaults = {"timestamp": "2026-06-17T10:00:00.000Z", "cwd": "/work", "originator": "codex-tui", "source": "cli"}
        return self.add("session_meta", **{"id": thread or self._thread, **defaults, **fields})

    def event(self, kind: str, /, **fields: Any) -> "Rollout":
        return self.add("event_msg", type=kind, **fields)

    def item(self, kind: str, /, **fields: Any) -> "Rollout":
        return self.add("response_item", type=kind, **fields)

    def said(self, role: str, text: str, **fields: Any) -> "Rollout":
        block = {"type": "output_text" if role == "assistant" else "input_text", "text": text}
        return self.item("message", role=role, content=[block], **fields)

    def begin(self, task: str, *, model: str = "gpt-5.5") -> "Rollout":
        self.event("task_started", turn_id=task, model_context_window=1000)
        return self.add("turn_context", turn_id=task, cwd="/work", model=model)

    def prompt(self, text: str) -> "Rollout":
        self.said("user", text)
        return self.event("user_message", message=text, images=[], local_images=[], text_elements=[])

    def answer(self, text: str) -> "Rollout":
        self.event("agent_message", message=text, phase="final_answer")
        return self.said("assistant", text, phase="final_answer")

    def end(self, task: str, text: str | None = None) -> "Rollout":
        return self.event("task_complete", turn_id=task, last_agent_message=text, duration_ms=5)

    def turn(self, task: str, prompt: str, answer: str) -> "Rollout":
        return self.begin(task).prompt(prompt).answer(answer).end(task, answer)

    def copy(self, other: "Rollout", upto: int | None = None) -> "Rollout":
        """What another rollout holds, as if it had been copied here in one go."""
        stamp = self.records[-1]["timestamp"]
        self.records += [{**record, "timestamp": stamp} for record in other.records[:upto]]
        return self

    def __repr__(self) -> str:
        return f"<Rollout {self.records}>"

    @property
    def content(self) -> bytes:
        return content_of(self.records)


def content_of(records: Iterable[Record]) -> bytes:
    return b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records)


def sample() -> Rollout:
    """Three turns, the second typed while the first ran, with calls, thoughts and counts."""
    rollout = Rollout().session(base_instructions={"text": "be good"}).begin(TASKS[0]).said("developer", "be brief")
    rollout.prompt("hello").event("agent_reasoning", text="**hm**")
    rollout.item("reasoning", id="rs_1", summary=[{"type": "summary_text", "text": "**hm**"}], encrypted_content="xx")
    rollout.item("function_call", name="shell", arguments='{"cmd":"ls"}', call_id="c1")
    rollout.event("exec_command_end", call_id="c1", stdout="a.txt\n", exit_code=0)
    rollout.item("function_call_output", call_id="c1", output="Output:\na.txt\n")
    tokens = {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}
    for _ in range(2):
        rollout.event(
            "token_count", info={"total_token_usage": tokens, "last_token_usage": tokens}, rate_limits={"a": 1}
        )
    rollout.prompt("and 你好").answer("fine").end(TASKS[0], "fine")
    return rollout.turn(TASKS[1], "bye", "so long")


def read(content: bytes | Rollout, *, name: str = "sample.jsonl", cursor: Any = None) -> list[Chunk]:
    """The chunks of a file of its own with this content."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content if isinstance(content, bytes) else content.content)
        source = Codex(user="ann")
        (stream,) = source.discover([path])
        return list(source.read(stream, cursor))


def turns(content: bytes | Rollout, **options: Any) -> list[TurnRecorded]:
    return [turn for chunk in read(content, **options) for turn in chunk.turns]


def notes(content: bytes | Rollout, **options: Any) -> list[ConversationNoted]:
    return [note for chunk in read(content, **options) for note in chunk.notes]


def unreadable(content: bytes | Rollout, **options: Any) -> list[Unreadable]:
    return [piece for chunk in read(content, **options) for piece in chunk.unreadable]


def only_turn(rollout: Rollout) -> TurnRecorded:
    (turn,) = turns(rollout)
    return turn


def told(turn: TurnRecorded) -> list[tuple[str, str]]:
    """Who said what, without messages that have no text."""
    return [(message.role, message.content) for message in turn.messages if message.content]


def parts(turn: TurnRecorded, kind: str) -> list[Part]:
    return [part for message in turn.messages for part in message.parts if part.type == kind]


def message_of(turn: TurnRecorded, kind: str) -> Message:
    """The message with a part of this type."""
    (found,) = [message for message in turn.messages if any(part.type == kind for part in message.parts)]
    return found


def bring_in(directory: Path, paths: Sequence[Path]) -> ImportCounts:
    source = Codex(user="ann")
    with TurnRecorder(directory, durability="os") as recorder:
        return import_streams(recorder, source, source.discover(paths))


def log_of(directory: Path) -> dict[str, TurnRecorded]:
    """The newest revision of every turn that is recorded, by id, in the order of their first ones."""
    with TurnRecorder(directory, durability="os") as recorder:
        events = [entry.event for entry in recorder.log.read(gt=0)]
    return {event.turn_id: event for event in events if isinstance(event, TurnRecorded)}


def conversations(directory: Path) -> dict[str, list[Any]]:
    """What was said in each conversation: ids and messages of the newest revisions."""
    found: dict[str, list[Any]] = {}
    for turn in log_of(directory).values():
        found.setdefault(turn.conversation, []).append((turn.turn_id, turn.messages, turn.model, turn.usage))
    return found
