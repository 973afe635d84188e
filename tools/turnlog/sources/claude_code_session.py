"""Reading one session of Claude Code: its file line by line, and its sub-agents' files turn by turn.

See `claude_code` for what is done and why.
"""

from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

from eventlog import ConversationNoted, TurnRecorded
from turnlog.sources.base import CHUNK_BYTES, CHUNK_TURNS_MAX, Chunk, Unreadable
from turnlog.sources.claude_code_agents import AgentFile, Agents
from turnlog.sources.claude_code_branches import Branches, MustStartOver
from turnlog.sources.claude_code_lines import Lines, Record
from turnlog.sources.claude_code_outputs import Outputs
from turnlog.sources.claude_code_payloads import canonical
from turnlog.sources.claude_code_prompts import is_prompt, kind_of, texts_of
from turnlog.sources.claude_code_queue import Queue
from turnlog.sources.claude_code_records import STATES, Messages, is_queued_prompt, queued_text
from turnlog.sources.claude_code_turn import TurnBuilder
from turnlog.sources.files import digest_of_prefix, path_text
from turnlog.text import clean

_HELD_MAX = 4
"""How many turns wait for the sub-agents that they started."""

_UUID_LENGTH_MIN = 32
"""What is shorter does not name a record among those of all sessions."""

_TITLES = {"custom-title": "customTitle", "ai-title": "aiTitle"}


class Session:
    """One reading of a session's file. `is_rewritten` says that the file was rewritten while it was read."""

    def __init__(
        self,
        file: BinaryIO,
        path: Path,
        messages: Messages,
        agents: Agents,
        outputs: Outputs,
        *,
        source: str,
        user: str,
    ) -> None:
        self.is_rewritten = False
        self._file, self._path = file, path
        self._messages, self._agents, self._outputs = messages, agents, outputs
        self._source, self._user = source, user
        self._id = ""
        self._begin(None)

    def chunks(self, cursor: Any) -> Iterator[Chunk]:
        """Everything from the cursor on, or from the beginning if it does not fit the file."""
        self._begin(cursor if self._fits(cursor) else None)
        try:
            yield from self._chunks()
        except MustStartOver:
            self._begin(None)
            yield from self._chunks()

    def _fits(self, cursor: Any) -> bool:
        if not isinstance(cursor, dict) or not isinstance(cursor.get("offset"), int):
            return False
        return bool(digest_of_prefix(self._file, cursor["offset"]).hexdigest() == cursor.get("digest"))

    def _begin(self, cursor: dict[str, Any] | None) -> None:
        known = cursor or {"offset": 0, "line": 0}
        digest = digest_of_prefix(self._file, known["offset"])
        self._lines = Lines(self._file, offset=known["offset"], line=known["line"], digest=digest)
        self._id = known.get("session", "")
        self._titles: dict[str, str] = dict(known.get("titles", {}))
        self._queue = Queue(self._file, known.get("queue", []))
        self._branches = Branches(is_whole=not known["offset"])
        self._known_agents: dict[str, int] = dict(known.get("agents", {}))
        self._pending: list[AgentFile] | None = None
        self._taken: dict[str, tuple[int, int]] = {}  # by an agent file's name: the turn that has it, and its size
        self._previous = known.get("previous", "")
        self._open = [TurnBuilder(0, known if cursor else self._place(0, 0), cursor_turn=0)]
        self._turns: list[TurnRecorded] = []
        self._notes: list[ConversationNoted] = []
        self._unreadable: list[Unreadable] = []
        self._bytes = 0

    # --- chunks -------------------------------------------------------------------------------------------------------

    def _chunks(self) -> Iterator[Chunk]:
        for piece in self._lines.read():
            if isinstance(piece, Record):
                self._bytes += piece.size_bytes
                self._take(piece)
                if len(self._open) > 1:
                    self._close_turns()
            else:
                self._unreadable.append(piece)
            if len(self._turns) + len(self._unreadable) >= CHUNK_TURNS_MAX or self._bytes >= CHUNK_BYTES:
                self.is_rewritten = not self._lines.is_unchanged()
                if self.is_rewritten:
                    return
                if self._turns or self._unreadable:
                    yield self._chunk(self._open[0])
        self.is_rewritten = not self._lines.is_unchanged()
        if not self.is_rewritten:
            yield from self._last_chunk()

    def _last_chunk(self) -> Iterator[Chunk]:
        last = self._open[-1]
        while self._open:
            self._finish(self._open.pop(0))
            if len(self._open) > 0 and self._bytes >= CHUNK_BYTES:
                yield self._chunk(self._open[0])
        title = self._titles.get("custom-title") or self._titles.get("ai-title") or self._branches.summary()
        if title:
            self._note(title=clean(title)[0])
        inactive = [f"{self._source}:{key}" for key in self._branches.inactive()]
        if inactive:
            self._note(notes={"inactive": inactive})
        if self._branches.is_whole and (outputs := self._outputs.untold()):
            self._note(notes={"outputs": outputs})
        if self._turns or self._unreadable or self._notes or self._lines.offset:
            yield self._chunk(last)

    def _chunk(self, going_on: TurnBuilder) -> Chunk:
        """What there is now; who reads on begins with the turn `going_on`."""
        where, first = going_on.cursor, going_on.cursor_turn
        agents = self._known_agents | {name: size for name, (turn, size) in self._taken.items() if turn < first}
        chunk = Chunk(
            turns=tuple(self._turns),
            unreadable=tuple(self._unreadable),
            cursor={**where, "agents": agents},
            fingerprint=where["digest"],
            offset=self._lines.offset,
            notes=tuple(self._notes),
        )
        self._turns, self._unreadable, self._notes, self._bytes = [], [], [], 0
        return chunk

    def _place(self, offset: int, line: int) -> dict[str, Any]:
        """A cursor: from here on, with what is known here."""
        return {
            "offset": offset,
            "line": line,
            "digest": self._lines.digest.hexdigest(),
            "session": self._id,
            "previous": self._previous,
            "queue": self._queue.waiting(),
            "titles": dict(self._titles),
        }

    # --- records ------------------------------------------------------------------------------------------------------

    def _take(self, record: Record) -> None:
        fields, kind = record.fields, record.kind
        if not self._id and isinstance(session := fields.get("sessionId"), str):
            self._id = session
        if self._branches.is_known(record) or not fields:
            return
        if kind in STATES:
            self._take_state(record, kind)
        elif kind == "progress":
            self._take_progress(record)
        elif fields.get("isSidechain") is True:
            self._take_side(record)
        else:
            self._say(record)
        current = self._open[-1]
        self._branches.add(record.uuid, current.number if current.has_prompt else current.number - 1)

    def _say(self, record: Record) -> None:
        """Something of the conversation itself: a prompt, which begins a turn, or what follows it."""
        fields, kind = record.fields, record.kind
        typed = is_prompt(fields) if kind == "user" else kind == "attachment" and is_queued_prompt(fields)
        if typed:
            if self._open[-1].has_prompt:
                self._begin_turn(record)
            self._open[-1].has_prompt = True
        current = self._open[-1]
        if not current.key:
            self._name_turn(current, record)
        current.add(record, self._messages, typed=typed)
        if kind == "user":
            self._take_results(fields, current)

    def _begin_turn(self, record: Record) -> None:
        self._branches.begin_turn(record.fields)
        last = self._open[-1]
        self._previous = last.key
        number = last.number + 1
        if record.is_first:
            self._open.append(TurnBuilder(number, self._place(record.start, record.line - 1), cursor_turn=number))
        else:  # nobody can begin to read in the middle of a line, or where something only seems to stand
            self._open.append(TurnBuilder(number, last.cursor, cursor_turn=last.cursor_turn))

    def _name_turn(self, turn: TurnBuilder, record: Record) -> None:
        """Give a turn its identity: that of the record that begins it. Part of the turn ids; do not change."""
        fields = record.fields
        uuid, before = record.uuid, self._previous or self._session()
        if record.kind == "attachment" and is_queued_prompt(fields):
            turn.key = derive(before, queued_text(fields))
        elif uuid is None or len(uuid) < _UUID_LENGTH_MIN or self._branches.is_turn(uuid):
            turn.key = derive(before, canonical(fields.get("message") or fields.get("attachment") or record.kind))
        else:
            turn.key = uuid
        session = fields.get("sessionId")
        turn.conversation = session if isinstance(session, str) and session else self._session()
        self._branches.keys.append(turn.key)

    def _session(self) -> str:
        return self._id or path_text(Path(self._path.stem))

    def _take_results(self, fields: dict[str, Any], current: TurnBuilder) -> None:
        """Note which calls are answered, and by which sub-agents."""
        message = fields.get("message")
        content = message.get("content") if isinstance(message, dict) else None
        result = fields.get("toolUseResult")
        agent_id = result.get("agentId") if isinstance(result, dict) else None
        for block in content if isinstance(content, list) else []:
            call = block.get("tool_use_id") if kind_of(block) == "tool_result" else None
            if isinstance(call, str):
                asker = self._asker(call) or current
                asker.waiting.discard(call)
                if isinstance(agent_id, str):
                    asker.agents[agent_id] = call

    def _asker(self, call: Any) -> TurnBuilder | None:
        """The turn that a tool call is of."""
        return next((turn for turn in self._open if call in turn.calls), None) if isinstance(call, str) else None

    def _take_side(self, record: Record) -> None:
        """A sub-agent's line within the session's own file."""
        fields = record.fields
        message = fields.get("message")
        prompt = "\n".join(texts_of(message.get("content"))) if isinstance(message, dict) else ""
        turn, thread = self._open[-1], None
        for turn in reversed(self._open):
            thread = turn.thread_of(fields.get("parentUuid"))
            if thread is None and record.kind == "user" and not fields.get("parentUuid"):
                thread = turn.call_for(prompt)
            if thread is not None:
                break
        else:
            turn = self._open[-1]
        if not turn.key:
            self._name_turn(turn, record)
        thread = thread or f"agent {fields.get('agentId') or record.uuid or ''}"
        turn.add(record, self._messages, thread=thread)

    def _take_state(self, record: Record, kind: str) -> None:
        fields = record.fields
        self._open[-1].states.append(self._messages.state(record))
        title = fields.get(_TITLES.get(kind, ""))
        if isinstance(title, str) and title:
            self._titles[kind] = title
        if kind == "summary" and isinstance(fields.get("summary"), str):
            self._branches.add_summary(fields)
        if kind == "queue-operation" and (taken := self._queue.take(fields, record.start)) is not None:
            self._say(self._delivered(record, taken))

    def _delivered(self, record: Record, text: str) -> Record:
        """What was taken out of the queue for the assistant, in the form that newer versions write it in."""
        last, mode = self._open[-1], self._queue.mode(text)
        if mode == "prompt":
            key = derive(last.key or self._session(), text)
        else:
            last.notices += 1
            key = derive(last.key or self._session(), text, str(last.notices))
        command = {"type": "queued_command", "prompt": text, "commandMode": mode}
        fields = {**record.fields, "type": "attachment", "attachment": command, "uuid": key}
        for name in ("operation", "content"):
            fields.pop(name, None)
        return record.saying(fields, is_first=False)

    def _take_progress(self, record: Record) -> None:
        """A tick of something that goes on: of each, the last one is kept, and what a sub-agent said meanwhile."""
        fields = record.fields
        data = fields.get("data")
        if not isinstance(data, dict):
            data = {"data": data}
        said, call = data.get("message"), fields.get("parentToolUseID")
        if isinstance(said, dict):
            turn = self._asker(call) or self._open[-1]
            copy = {**said, "isSidechain": True, "agentId": data.get("agentId")}
            thread = call if isinstance(call, str) and call else f"agent {data.get('agentId')}"
            turn.add_copy(record.saying(copy), thread)
        tick = {key: value for key, value in data.items() if key not in ("message", "normalizedMessages")}
        what = [call, *(str(data.get(key)) for key in ("type", "hookName", "command", "status", "query", "agentId"))]
        self._open[-1].ticks[str(what)] = self._messages.noted({"parentToolUseID": call, **tick}, record)

    # --- turns --------------------------------------------------------------------------------------------------------

    def _close_turns(self) -> None:
        """Finish the turns that nothing can be added to: behind them another has begun, their sub-agents are done."""
        while len(self._open) > 1 and (not self._open[0].waiting or len(self._open) > _HELD_MAX):
            self._finish(self._open.pop(0))

    def _finish(self, turn: TurnBuilder) -> None:
        if turn.key:
            self._take_agents(turn)
            finished = turn.finish(self._messages, source=self._source, user=self._user)
            self._turns.append(self._outputs.added_to(finished))
        beside = {"records": turn.states, "progress": list(turn.ticks.values())}
        found = {name: values for name, values in beside.items() if values}
        if found:
            self._note(notes={"turn": f"{self._source}:{turn.key}", **found} if turn.key else found)

    def _note(self, *, title: str | None = None, notes: dict[str, Any] | None = None) -> None:
        conversation = self._session()
        self._notes.append(
            ConversationNoted(source=self._source, conversation=conversation, title=title, notes=notes or {})
        )

    def _take_agents(self, turn: TurnBuilder) -> None:
        """Read the files of the sub-agents that the turn started, and of those that these started."""
        if self._pending is None:
            self._pending = self._agent_files(turn)
        following = self._open[0] if self._open else None
        is_found = True
        while is_found:
            is_found = False
            for agent in list(self._pending):
                thread = self._thread_for(agent, turn)
                if thread is not None:
                    is_found = True
                    self._read_agent(agent, turn, thread)
        for agent in list(self._pending):  # nobody knows their call: time tells
            is_before = agent.started and following and following.started and agent.started < following.started
            if following is None or is_before:
                self._read_agent(agent, turn, f"agent {agent.agent_id}")

    def _agent_files(self, turn: TurnBuilder) -> list[AgentFile]:
        found = self._agents.files(self._path, self._session(), self._messages)
        new = [agent for agent in found if agent.name not in self._known_agents]
        for agent in found:
            has_grown = self._known_agents.get(agent.name, agent.size_bytes) != agent.size_bytes
            if has_grown and agent not in new:
                raise MustStartOver
        if not self._branches.is_whole and any(
            agent.started and turn.started and agent.started < turn.started for agent in new
        ):
            raise MustStartOver
        return new

    def _thread_for(self, agent: AgentFile, turn: TurnBuilder) -> str | None:
        if agent.call is not None:
            return agent.call if agent.call in turn.calls else None
        return turn.agents.get(agent.agent_id) or turn.call_for(agent.prompt)

    def _read_agent(self, agent: AgentFile, turn: TurnBuilder, thread: str) -> None:
        assert self._pending is not None  # noqa: S101 - they were listed before
        self._pending.remove(agent)
        self._taken[agent.name] = (turn.number, agent.size_bytes)
        if agent.about:
            turn.add_about(agent.agent_id, agent.about)
        with self._agents.open(agent.path).file as file:
            for piece in Lines(file).read():
                if isinstance(piece, Unreadable):
                    where = f"{path_text(Path(agent.name))}, {piece.position}"
                    self._unreadable.append(Unreadable(where, piece.reason, piece.raw))
                    continue
                self._bytes += piece.size_bytes
                self._take_of_agent(piece, turn, thread, agent.agent_id)

    def _take_of_agent(self, record: Record, turn: TurnBuilder, thread: str, agent_id: str) -> None:
        kind = record.kind
        if record.uuid is not None and turn.has(record.uuid):
            return
        if kind in STATES:
            turn.states.append(self._messages.state(record))
        elif kind == "progress":
            data = record.fields.get("data")
            tick = data if isinstance(data, dict) else {"data": data}
            turn.ticks[f"{agent_id} {len(turn.ticks)}"] = self._messages.noted(tick, record)
        else:
            named = record if record.fields.get("agentId") else record.saying({**record.fields, "agentId": agent_id})
            turn.add(named, self._messages, thread=thread)


def derive(before: str, what: str | bytes, more: str = "") -> str:
    """An id for what has none of its own: what it is, behind what it stands. Part of the turn ids; do not change."""
    content = what.encode() if isinstance(what, str) else what
    return blake2b(b"\0".join((before.encode(), content, more.encode())), digest_size=16).hexdigest()
