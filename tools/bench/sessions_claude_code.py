"""Sessions of Claude Code as its versions of 2026 write them.

Forty turns a session, some 25 lines a turn and 1.5 KB a line (the samples' mean is 1.7): prompts, thinking with its
signature, texts, tool calls each with its result in both forms, attachments, notices, snapshots, a sub-agent in its own
file in every eighth turn.
"""

from collections.abc import Iterator
from typing import Any

from speech import Speech

_TURNS = 40
_PROMPT = (10, 30, 120, 600, 4000, 9000)
_TEXT = (10, 40, 200, 500, 1600, 4000)
_THOUGHT = (0, 80, 300, 900, 1500, 4000)
_SIGNATURE = (200, 260, 400, 900, 1400, 3000)
_INPUT = (10, 40, 250, 800, 5000, 15_000)
_RESULT = (10, 40, 300, 1700, 16_000, 30_000)
_ATTACHED = (20, 60, 300, 4000, 12_000, 16_000)
_TOOLS = ("Bash", "Read", "Edit", "Grep", "Write", "TodoWrite")
_Record = dict[str, Any]


def claude_code_session(speech: Speech, number: int) -> Iterator[tuple[str, list[_Record]]]:
    """The file of a session, and those of its sub-agents."""
    session = _Session(speech, f"/home/dev/projects/project-{number % 12}")
    records = [record for turn in range(_TURNS) for record in session.turn(with_agent=turn % 8 == 5)]
    folder = f"projects/-home-dev-projects-project-{number % 12}"
    yield f"{folder}/{session.id}.jsonl", records
    for agent_id, lines in session.agents.items():
        yield f"{folder}/{session.id}/subagents/agent-{agent_id}.jsonl", lines


class _Session:
    def __init__(self, speech: Speech, folder: str) -> None:
        self.id = speech.uuid()
        self.agents: dict[str, list[_Record]] = {}
        self._speech = speech
        self._folder = folder
        self._last: str | None = None

    def turn(self, *, with_agent: bool) -> Iterator[_Record]:
        speech, prompt = self._speech, self._speech.text(_PROMPT)
        yield self._user(prompt)
        if speech.happens(0.6):
            yield self._snapshot()
        steps = 3 + speech.number(10)
        for step in range(steps):
            if speech.happens(0.3):
                yield self._attachment()
            yield from self._step()
            if with_agent and step == steps // 2:
                yield from self._delegate()
        yield self._assistant(self._message(), {"type": "text", "text": speech.text(_TEXT)}, is_last=True)
        yield self._system()
        yield {"type": "last-prompt", "lastPrompt": prompt[:200], "sessionId": self.id}

    def _step(self, agent: str | None = None) -> Iterator[_Record]:
        speech, message = self._speech, self._message()
        if speech.happens(0.25):
            thought = {"thinking": speech.text(_THOUGHT), "signature": speech.secret(_SIGNATURE)}
            yield self._assistant(message, {"type": "thinking", **thought}, agent=agent)
        if speech.happens(0.4):
            yield self._assistant(message, {"type": "text", "text": speech.text(_TEXT)}, agent=agent)
        tool, call = speech.random.choice(_TOOLS), speech.token("toolu")
        given = {"command": speech.text(_INPUT), "description": speech.text((8, 20, 40, 60, 80, 90))}
        yield self._assistant(message, {"type": "tool_use", "id": call, "name": tool, "input": given}, agent=agent)
        output = speech.text(_RESULT)
        result = {"stdout": output, "stderr": "", "interrupted": False, "isImage": False}
        yield self._result(call, output, result, agent)

    def _delegate(self) -> Iterator[_Record]:
        """A call of a sub-agent, whose work stands in a file of its own."""
        speech, call, agent = self._speech, self._speech.token("toolu"), f"a{self._speech.number(2**32):08x}"
        prompt, last = speech.text(_PROMPT), self._last
        given = {"description": "Look it up", "prompt": prompt, "subagent_type": "general-purpose"}
        asked = self._assistant(self._message(), {"type": "tool_use", "id": call, "name": "Task", "input": given})
        self._last, asked_at = None, self._last
        lines = [self._user(prompt, agent)]
        for _ in range(4 + speech.number(8)):
            lines += self._step(agent)
        answer = speech.text(_TEXT)
        lines.append(self._assistant(self._message(), {"type": "text", "text": answer}, agent=agent))
        self.agents[agent], self._last = lines, asked_at or last
        yield asked
        content = [{"type": "text", "text": answer}]
        result = {"status": "completed", "agentId": agent, "content": content, "totalDurationMs": 9000}
        yield self._result(call, content, result)

    # --- records ------------------------------------------------------------------------------------------------------

    def _record(self, kind: str, agent: str | None = None, **fields: Any) -> _Record:
        uuid, parent = self._speech.uuid(), self._last
        self._last = uuid
        return {
            "parentUuid": parent,
            "isSidechain": agent is not None,
            "userType": "external",
            "cwd": self._folder,
            "sessionId": self.id,
            "version": "2.1.98",
            "gitBranch": "main",
            "slug": "humble-fluttering-metcalfe",
            **({"agentId": agent} if agent else {}),
            "type": kind,
            **fields,
            "uuid": uuid,
            "timestamp": self._speech.moment(),
        }

    def _user(self, prompt: str, agent: str | None = None) -> _Record:
        return self._record("user", agent, message={"role": "user", "content": prompt})

    def _message(self) -> _Record:
        """What all lines of one message of the API have alike."""
        number = self._speech.number
        usage = {
            "input_tokens": number(2000),
            "cache_creation_input_tokens": number(9000),
            "cache_read_input_tokens": number(150_000),
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": number(9000)},
            "output_tokens": number(3000),
            "service_tier": "standard",
            "inference_geo": "not_available",
        }
        return {"id": self._speech.token("msg"), "usage": usage, "request": self._speech.token("req")}

    def _assistant(self, of: _Record, block: _Record, *, agent: str | None = None, is_last: bool = False) -> _Record:
        message = {
            "model": "claude-opus-4-6",
            "id": of["id"],
            "type": "message",
            "role": "assistant",
            "content": [block],
            "stop_reason": "end_turn" if is_last else None,
            "stop_sequence": None,
            "usage": of["usage"],
        }
        return self._record("assistant", agent, message=message, requestId=of["request"])

    def _result(self, call: str, content: Any, result: _Record, agent: str | None = None) -> _Record:
        block = {"tool_use_id": call, "type": "tool_result", "content": content, "is_error": False}
        message = {"role": "user", "content": [block]}
        return self._record("user", agent, message=message, toolUseResult=result, sourceToolAssistantUUID=self._last)

    def _attachment(self) -> _Record:
        speech = self._speech
        attached = {"type": "edited_text_file", "filename": "src/worker.py", "snippet": speech.text(_ATTACHED)}
        return self._record("attachment", attachment=attached, entrypoint="cli")

    def _system(self) -> _Record:
        took = self._speech.number(90_000)
        return self._record("system", subtype="turn_duration", durationMs=took, isMeta=False)

    def _snapshot(self) -> _Record:
        of = self._speech.uuid()
        snapshot = {"messageId": of, "trackedFileBackups": {}, "timestamp": self._speech.moment()}
        return {"type": "file-history-snapshot", "messageId": of, "snapshot": snapshot, "isSnapshotUpdate": False}
