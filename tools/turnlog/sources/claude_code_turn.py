"""A turn of a Claude Code session as it is put together: the conversation, and the sub-agents' beside it.

Sub-agents' messages stand behind the message whose tool call started them, in threads: a thread is named by the tool
call, or by the agent where nobody knows the call.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from eventlog import Message, TurnRecorded
from turnlog.sources.claude_code_lines import Record
from turnlog.sources.claude_code_payloads import canonical
from turnlog.sources.claude_code_prompts import blocks_of, kind_of
from turnlog.sources.claude_code_records import META, Messages
from turnlog.sources.claude_code_usage import UsageTally

MAIN = ""
"""The thread of the conversation itself."""

_STARTERS = ("Task", "Agent")
"""The tools that start a sub-agent."""


class TurnBuilder:
    """Takes in the records of one turn. `cursor` is where reading may begin anew to come upon it, `cursor_turn` the
    number of the turn that begins there: this one, or one before it.
    """

    def __init__(self, number: int, cursor: dict[str, Any], *, cursor_turn: int) -> None:
        self.number = number
        self.cursor, self.cursor_turn = cursor, cursor_turn
        self.key = ""
        self.conversation = ""
        self.has_prompt = False
        self.started: datetime | None = None
        self.calls: set[str] = set()
        """The ids of its tool calls."""
        self.waiting: set[str] = set()
        """The calls of sub-agents that are not answered yet."""
        self.agents: dict[str, str] = {}
        """Which call an agent answers."""
        self.states: list[Any] = []
        self.ticks: dict[str, Any] = {}
        self.notices = 0
        self._copies: list[tuple[str, Record]] = []
        self._ended: datetime | None = None
        self._threads: dict[str, list[Message]] = {}
        self._thread_of: dict[str, str] = {}
        self._ids: set[str] = set()
        self._asked: dict[str, list[str]] = {}  # calls by their prompts, the first one last
        self._meta: dict[str, dict[str, None]] = {}
        self._last_values: list[Any] = []
        self._about: dict[str, Any] = {}
        self._models: dict[str, str] = {}  # the last by thread kind
        self._all_models: dict[str, None] = {}
        self._usage = UsageTally()
        self._unknown: Counter[str] = Counter()
        self._replaced = 0

    def add(self, record: Record, messages: Messages, *, thread: str = MAIN, typed: bool = False) -> None:
        """Take in what somebody said; `typed` says that a person typed it."""
        fields = record.fields
        name = None if thread == MAIN else _name(fields)
        said = self._threads.setdefault(thread, [])
        previous = said[-1].id if said else None
        message = messages.message(record, name=name, typed=typed, previous=previous, unknown=self._unknown)
        said.append(message)
        if message.id is not None:
            self._ids.add(message.id)
            if thread != MAIN:
                self._thread_of[message.id] = thread
        self._take_time(message.at)
        self._take_meta(fields)
        self._replaced += record.replaced
        if record.kind == "assistant" and isinstance(fields.get("message"), dict):
            self._take_answer(fields["message"], thread)

    def add_copy(self, record: Record, call: str) -> None:
        """Take in what a progress record repeats of a sub-agent, in case nothing else has it."""
        self._copies.append((call, record))

    def add_about(self, agent_id: str, about: dict[str, Any]) -> None:
        """Take in what a sub-agent's .meta.json says."""
        self._about[agent_id] = about

    def has(self, uuid: str | None) -> bool:
        """Whether a message is here already."""
        return uuid in self._ids

    def thread_of(self, uuid: Any) -> str | None:
        """The sub-agent's thread that a message is in, None if it is in none of this turn."""
        return self._thread_of.get(uuid) if isinstance(uuid, str) else None

    def call_for(self, prompt: str) -> str | None:
        """A tool call with this prompt that no thread is of yet."""
        calls = self._asked.get(prompt.strip(), [])
        while calls and calls[-1] in self._threads:
            calls.pop()
        return calls[-1] if calls else None

    def finish(self, messages: Messages, *, source: str, user: str) -> TurnRecorded:
        """The turn. Each message of its threads stands in it once."""
        for call, record in self._copies:
            if not self.has(record.uuid):
                self.add(record, messages, thread=call)
        meta: dict[str, Any] = {name: list(found) for name, found in self._meta.items()}
        meta.update({name: found[0] for name, found in meta.items() if len(found) == 1})
        more = {"models": list(self._all_models) if len(self._all_models) > 1 else [], "agents": self._about}
        counts = {"unknown": dict(sorted(self._unknown.items())), "replaced_surrogates": self._replaced}
        meta.update({name: value for name, value in (more | counts).items() if value})
        return TurnRecorded(
            turn_id=f"{source}:{self.key}",
            source=source,
            user=user,
            conversation=self.conversation,
            started_at=self.started,
            ended_at=self._ended,
            model=self._models.get("main") or self._models.get("side"),
            usage=self._usage.total(),
            meta=meta,
            messages=tuple(self._in_order()),
        )

    def _in_order(self) -> Iterator[Message]:
        threads = dict(self._threads)
        waiting = [iter(threads.pop(MAIN, []))]
        while waiting or threads:
            if not waiting:
                waiting.append(iter(threads.pop(next(iter(threads)))))
            message = next(waiting[-1], None)
            if message is None:
                waiting.pop()
                continue
            yield message
            calls = [part.id for part in message.parts if part.type == "tool_call"] if threads else []
            waiting += [iter(threads.pop(call)) for call in reversed(calls) if call is not None and call in threads]

    def _take_time(self, at: datetime | None) -> None:
        if at is not None:
            self.started = self.started or at
            self._ended = max(self._ended or at, at)

    def _take_meta(self, fields: dict[str, Any]) -> None:
        values = [*map(fields.get, META)]
        if values == self._last_values:
            return
        self._last_values = values
        for name, value in zip(META.values(), values, strict=True):
            if value:
                text = value if isinstance(value, str) else canonical(value).decode()
                self._meta.setdefault(name, {})[text] = None

    def _take_answer(self, message: dict[str, Any], thread: str) -> None:
        self._usage.add(message.get("usage"), message.get("id"))
        model = message.get("model")
        if isinstance(model, str) and model and model != "<synthetic>":
            self._models["main" if thread == MAIN else "side"] = model
            self._all_models[model] = None
        for block in blocks_of(message.get("content")):
            call = block.get("id") if kind_of(block) == "tool_use" else None
            if isinstance(call, str):
                given = block.get("input")
                prompt = given.get("prompt") if isinstance(given, dict) else None
                self.calls.add(call)
                if isinstance(prompt, str):
                    self._asked.setdefault(prompt.strip(), []).insert(0, call)
                if block.get("name") in _STARTERS and thread == MAIN:
                    self.waiting.add(call)


def _name(fields: dict[str, Any]) -> str:
    """Under what name a sub-agent speaks."""
    agent_id = fields.get("agentId")
    return agent_id if isinstance(agent_id, str) and agent_id else "sidechain"
