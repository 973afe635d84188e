r"""The source `gemini_cli`: the sessions that Gemini CLI keeps below `~/.gemini/tmp`.

For each project there is a folder, named by the SHA-256 of the project's path and later by a slug; when that came, the
old folders were copied, so that the same session stands in two. In it::

    chats/session-2026-01-15T20-51-f7633853.json     until April 2026: one object, rewritten whole at each message
    chats/session-2026-04-23T12-52-0ab84937.jsonl    since then: lines are appended
    chats/<session id>/<id>.jsonl                    sub-agents of that session, `"kind":"subagent"`
    logs.json                                        what was typed, and nothing else
    checkpoint-<tag>.json                            what `/chat save` saved: `{"history":[...]}`

Both forms hold `{"sessionId","projectHash","startTime","lastUpdated","kind",...,"messages":[...]}`; in the lines the
messages stand alone, behind a first line that has the rest::

    {"sessionId":"0ab84937-...","projectHash":"9da8...","startTime":"...","lastUpdated":"...","kind":"main"}
    {"id":"8828dd6a-...","timestamp":"...","type":"user","content":[{"text":"..."}]}
    {"id":"52e62e67-...","timestamp":"...","type":"gemini","content":"","thoughts":[...],"tokens":{...},"model":"..."}
    {"id":"52e62e67-...", the same message again, with its `toolCalls` and their results}
    {"$set":{"lastUpdated":"..."}}     or with `messages`: these take the place of all there are
    {"$rewindTo":"8828dd6a-..."}       that message and all behind it are taken back; all, if there is no such message

How it is read:

1. A turn is a prompt and what follows. A message of the type `user` is no prompt if it is context or a notice that the
   program put in (`<session_context>`, `<hook_context>`, `<state_snapshot>`, `System: Please continue.`), a command
   (`/help`, `?`; a path is none) or only a tool's result. What was typed where that was turned into something longer
   (`displayContent`) is a part `display`. What is before the first prompt belongs to its turn.
2. A message is known by session and message id, a turn by the ids of its session and its first message: the same in
   every folder and in both forms. A message that comes again takes the place of the older version; what only an older
   version says is kept beside it.
3. Messages that were taken back keep their place; a note of the conversation lists them as `inactive` (turn ids) and
   `inactive_messages` (ids of others). The session's `summary` is the conversation's title.
4. A sub-agent's messages belong to the turn with the call that has its id in `agentId`, or else to the one in whose
   time it began; they bear its id as name, and the tasks it was given are no prompts.
5. `tokens` are those of each call of the API, with the whole context in `input` and the cached part of it too; a turn's
   usage is their sum.
6. `logs.json` is a poorer witness of the same prompts, under other ids. Where sessions stand beside it, what it says is
   noted of the conversation and makes no turns; where none are, each prompt is a turn.
7. A `.json` is read as a whole and from the beginning each time. Of a damaged one (torn while it was rewritten, for
   one) every message that is whole is taken if it says before the damage which session it is. A line of a `.jsonl` that
   is damaged costs what is damaged; an unfinished last one is left for later.
8. A cursor of a `.jsonl` is `{"bytes", "digest", "from"}`: if the file's first so many bytes still have that digest,
   turns without anything behind `from` are passed over. The file is gone through from its beginning all the same: only
   so can it be known what a version or a rewinding is of.
"""

import os
import re
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple, Self

from msgspec.structs import replace

from eventlog import ConversationNoted, TurnRecorded
from turnlog.errors import WrongUsage
from turnlog.sources.base import Chunk, Keep, SourceOptions, Stream, Unreadable, keep_nothing
from turnlog.sources.files import READ_BYTES, open_regular, refusal
from turnlog.sources.gemini_cli_logs import is_log, log_chunks
from turnlog.sources.gemini_cli_session import LINE_BYTES_MAX, Damage, Entry, Prefix, Session, Texts, read_lines
from turnlog.sources.gemini_cli_turns import Said
from turnlog.sources.gemini_content import as_text, as_time, read_object
from turnlog.sources.gemini_files import Filling, find_streams, head_of
from turnlog.sources.objects import CannotRead
from turnlog.text import clean

PASSES_MAX = 5
"""How often a reading starts over because the file was rewritten under it."""

NOTED_MAX = 1000
"""A note lists so many messages at most."""

_SESSION_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_KNOWN = ("sessionId", "projectHash", "startTime", "lastUpdated", "kind", "directories", "summary")
_COUNTERS = ("userMessageCount", "hasUserOrAssistantMessage")


class GeminiCli:
    """Reads sessions of Gemini CLI, each a conversation of `user`; see the module."""

    name: ClassVar[str] = "gemini_cli"
    global_ids: ClassVar[bool] = False

    def __init__(self, *, user: str = "default") -> None:
        self._user = clean(user)[0]

    @classmethod
    def from_options(cls, options: SourceOptions) -> Self:
        """See `Source.from_options`."""
        return cls(user=options.user)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether it begins as a session, a saved history or a log of prompts does."""
        head = head_of(path).removeprefix(b"\xef\xbb\xbf").lstrip()
        if is_log(head):
            return True
        marks = (b'"projectHash"', b'"messages"', b'"history"')
        return (
            head.startswith(b"{")
            and (b'"lastUpdated"' in head or all(mark in head for mark in (b'"history"', b'"role"', b'"parts"')))
            and any(mark in head for mark in marks)
        )

    def discover(self, paths: Sequence[Path]) -> list[Stream]:
        """Sessions and logs in files and folders; a sub-agent's file stands for the session that it belongs to."""
        streams = find_streams(paths, self.recognises, _may_be, "sessions of Gemini CLI")
        found = {stream.name: stream for stream in streams}
        for stream in streams:
            parents = _parents_of(stream.path)
            if parents:
                del found[stream.name]
                for parent in find_streams(parents, self.recognises, _may_be, "sessions of Gemini CLI"):
                    found.setdefault(parent.name, parent)
        beside = {folder: _agents_in(folder) for folder in {stream.path.parent for stream in found.values()}}
        return [replace(stream, others=beside[stream.path.parent]) for stream in found.values()]

    def read(self, stream: Stream, cursor: Any = None, *, keep: Keep = keep_nothing) -> Iterator[Chunk]:
        """The turns of the session, or those with something behind the cursor. Raises WrongUsage."""
        try:
            for _ in range(PASSES_MAX):
                with open_regular(stream.path, buffer_bytes=READ_BYTES) as file:
                    if is_log(file.read(4096).lstrip()):
                        yield from log_chunks(file, stream.path, self.name, self._user)
                        return
                    try:
                        yield from _Reading(file, stream, self._user, keep).chunks(cursor)
                        return
                    except LookupError:
                        continue  # what stood there when it was gone through stands there no more
        except OSError as error:
            raise refusal(stream.path, error) from error
        raise WrongUsage(f"{stream.name} is rewritten again and again while it is read; try again when it is at rest")


def _agents_in(folder: Path) -> tuple[Path, ...] | None:
    """The sub-agents' files of all sessions in a folder, as far as they are; None for a folder of another kind."""
    if folder.name != "chats":
        return None
    return tuple(sorted(path for path in folder.glob("*/*.json*") if path.is_file()))


class _Agent(NamedTuple):
    """A sub-agent's session and what its messages say."""

    ids: tuple[str, ...]
    session: Session
    texts: Texts


class _Reading:
    """One way through a session."""

    def __init__(self, file: BinaryIO, stream: Stream, user: str, keep: Keep) -> None:
        self._path = stream.path
        self._user = user
        self._keep = keep
        self._file = file
        self._size = stream.size_bytes
        self._damaged: list[Unreadable] = []

    def chunks(self, cursor: Any) -> Iterator[Chunk]:
        """The chunks; raises LookupError if the file is rewritten meanwhile."""
        mark, digest, begin = _read_cursor(cursor)
        prefix = Prefix(mark)
        session, self._texts = _load(self._file, self._path, prefix)
        if prefix.at_mark != digest:
            begin = 0
        agents = self._agents(session)
        try:
            yield from self._fill(session, agents, prefix, begin)
        finally:
            for agent in agents:
                agent.texts.close()

    def _fill(self, session: Session, agents: list[_Agent], prefix: Prefix, begin: int) -> Iterator[Chunk]:
        filling, fingerprint, done = Filling(), prefix.hexdigest(), 0
        state = {"bytes": session.consumed, "digest": fingerprint}
        for damage in session.damage:
            if damage.offset >= begin and filling.add(self._unreadable(damage), damage.length):
                yield filling.end({**state, "from": begin}, fingerprint, 0)
        conversation = self._conversation(session)
        groups = session.groups()
        starts = [min(place.offset for entry in group for place in entry.places) for group in groups]
        for number, group in enumerate(groups):
            last_offset = max(place.offset for entry in group for place in entry.places)
            turn = self._turn(session, conversation, groups, number, agents) if last_offset >= begin or agents else None
            done = max(done, min(last_offset, self._size))
            while self._damaged:
                filling.add(self._damaged.pop(), 0)
            size = sum(place.length for entry in group for place in entry.places)
            if turn is not None and filling.add(turn, size) and number + 1 < len(groups):
                yield filling.end({**state, "from": min(starts[number + 1 :])}, fingerprint, done)
        if session.consumed:
            cursor = {**state, "from": starts[-1] if starts else 0}
            notes = _notes(session, conversation)
            yield filling.end(cursor, fingerprint, min(session.consumed, self._size), notes)

    def _turn(
        self, session: Session, conversation: str, groups: list[list[Entry]], number: int, agents: list[_Agent]
    ) -> TurnRecorded | None:
        said = Said(self._keep)
        for entry in groups[number]:
            said.take(self._versions(self._texts, entry), entry.id)
        following = groups[number + 1][0] if number + 1 < len(groups) else None
        for agent in [agent for agent in agents if self._belongs(agent, said, following)]:
            for entry in agent.session.entries.values():
                said.take(self._versions(agent.texts, entry), entry.id, agent.ids[0])
            agents.remove(agent)
            agent.texts.close()
        if not said.messages:
            return None
        started_at, ended_at = said.times()
        return TurnRecorded(
            turn_id=_turn_id(conversation, groups[number]),
            source=GeminiCli.name,
            user=self._user,
            conversation=conversation,
            started_at=started_at,
            ended_at=ended_at,
            model=next(reversed(said.models), None),
            usage=dict(sorted(said.tokens.items())) or None,
            meta=_meta(session, said),
            messages=tuple(said.messages),
        )

    def _versions(self, texts: Texts, entry: Entry) -> list[dict[str, Any]]:
        records = []
        for place in entry.places:
            raw = texts.at(place)
            try:
                records.append(read_object(raw, may_be_long=True))
            except CannotRead as error:
                self._damaged.append(Unreadable(f"byte {max(place.offset, 0)}", str(error), raw))
        return records

    def _belongs(self, agent: _Agent, said: Said, following: Entry | None) -> bool:
        """Whether a turn started the sub-agent: by the calls in it, or as it began before the next turn did."""
        if said.agents & set(agent.ids) or following is None:
            return True
        began = as_time(agent.session.header.get("startTime"))
        after = next((as_time(record.get("timestamp")) for record in self._versions(self._texts, following)), None)
        return began is not None and after is not None and began < after

    def _agents(self, session: Session) -> list[_Agent]:
        """The sub-agents of the session, whose files stand in a folder named by it."""
        name = as_text(session.header.get("sessionId")) or ""
        folder = self._path.parent / name
        if not _SESSION_ID.fullmatch(name) or folder.is_symlink() or not folder.is_dir():
            return []
        agents = []
        for path in sorted(path for path in folder.iterdir() if path.suffix in (".json", ".jsonl")):
            if path.is_symlink() or not path.is_file():
                continue
            own, texts = _load(open_regular(path), path, Prefix())
            ids = dict.fromkeys([path.stem, as_text(own.header.get("sessionId")) or path.stem])
            agents.append(_Agent(tuple(clean(list(ids))[0]), own, texts))
        return agents

    def _conversation(self, session: Session) -> str:
        """The session's id; what has none is named by its file and how it begins."""
        given = as_text(session.header.get("sessionId"))
        first = next(iter(session.entries.values()), None)
        if given or first is None:
            return given or "none"
        begin = blake2b(self._texts.at(first.places[0]), digest_size=8)
        return f"{clean(self._path.stem)[0]}-{begin.hexdigest()}"

    def _unreadable(self, damage: Damage) -> Unreadable:
        return Unreadable(damage.position, damage.reason, self._texts.slice(damage.offset, damage.length))


def _load(file: BinaryIO, path: Path, prefix: Prefix) -> tuple[Session, Texts]:
    """What is in a session's file, and its messages, to be read again there or in memory."""
    session = Session()
    file.seek(0)
    if path.suffix == ".jsonl" or _is_object(file.readline(LINE_BYTES_MAX)):
        file.seek(0)
        read_lines(file, session, prefix)
        return session, Texts(file)
    file.seek(0)
    content = file.read(LINE_BYTES_MAX + 1)
    file.close()
    if len(content) > LINE_BYTES_MAX:
        content = content[: 64 * 1024]
        session.damage.append(Damage("byte 0", "it is too large to be read as a whole", 0, len(content)))
        session.consumed = len(content)
    else:
        session.take_document(content)
    prefix.update(content)
    return session, Texts(BytesIO(content))


def _is_object(line: bytes) -> bool:
    try:
        return bool(read_object(line))
    except CannotRead:
        return False


def _turn_id(conversation: str, group: list[Entry]) -> str:
    """Part of what is recorded; do not change."""
    return f"{GeminiCli.name}:{conversation}:{group[0].id}"


def _meta(session: Session, said: Said) -> dict[str, Any]:
    header = session.header
    meta = {"project": header.get("projectHash"), "kind": header.get("kind"), "directories": header.get("directories")}
    meta["models"] = list(said.models) if len(said.models) > 1 else None
    meta["unknown"] = dict(said.unknown)
    return {key: value for key, value in meta.items() if value}


def _notes(session: Session, conversation: str) -> list[ConversationNoted]:
    """What is said of the session beside its turns: its title, what was taken back, fields that nobody knows."""
    inactive, messages = [], []
    for group in session.groups():
        if not any(entry.id in session.active for entry in group):
            inactive.append(_turn_id(conversation, group))
        else:
            messages += [entry.id for entry in group if entry.id not in session.active]
    rest = {key: value for key, value in session.header.items() if key not in _KNOWN and key not in _COUNTERS}
    notes = {"inactive": inactive[:NOTED_MAX], "inactive_messages": messages[:NOTED_MAX], "session": rest}
    notes = {key: value for key, value in notes.items() if value}
    title = as_text(session.header.get("summary")) or None
    if not session.entries or not (title or notes):
        return []
    return [ConversationNoted(source=GeminiCli.name, conversation=conversation, title=title, notes=notes)]


def _read_cursor(cursor: Any) -> tuple[int, str, int]:
    """How many bytes were consumed, their digest, and from where on something may be new; nothing of what is none."""
    if not isinstance(cursor, dict):
        return 0, "-", 0
    mark, digest, begin = cursor.get("bytes"), cursor.get("digest"), cursor.get("from")
    if isinstance(mark, int) and isinstance(digest, str) and isinstance(begin, int):
        return mark, digest, begin
    return 0, "-", 0


def _may_be(path: Path, head: bytes) -> bool:
    """Whether to read a file that was named: what is damaged at its beginning may be a session all the same."""
    return path.suffix in (".json", ".jsonl") or head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[", b"")


def _parents_of(path: Path) -> list[Path]:
    """The files of the session whose sub-agent's file this is; none if it is not one's."""
    folder = path.parent
    if folder.parent.name != "chats" or not _SESSION_ID.fullmatch(folder.name):
        return []
    ending = f"-{folder.name[:8]}"
    beside = (Path(entry.path) for entry in os.scandir(folder.parent) if entry.is_file(follow_symlinks=False))
    return sorted(path for path in beside if path.stem.endswith(ending) and path.suffix in (".json", ".jsonl"))
