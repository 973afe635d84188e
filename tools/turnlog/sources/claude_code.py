r"""The source `claude_code`: the transcripts that Claude Code writes, one JSONL file for each session.

They stand in `~/.claude/projects/FOLDER/SESSION.jsonl`, and are deleted after 30 days. A line is one record::

    {"type":"user","uuid":"...","parentUuid":null,"sessionId":"...","timestamp":"...","cwd":"...",
     "message":{"role":"user","content":"..."}}

How such a file is read (facts about the format were measured on the files of 2025 and 2026):

1. A turn is what a person typed and all that follows until the next prompt, in the order of the file. Results of tools,
   context, commands with their output and notices of the program come as `user` records too, but begin no turn: results
   are messages of the role `tool`, the others of the role `system`. What stands before the first prompt belongs to the
   first turn, which may so have no prompt at all.
2. A prompt that was typed while the assistant worked begins a turn where the assistant was handed it: in old versions
   only the queue's operations tell of it, in new ones an attachment (see `claude_code_queue`).
3. A turn is known by the `uuid` of the record that begins it, which copies of a session, forks and resumed sessions
   keep; what has no uuid, by what it is and the turn before it. So the first turn is known by the first record, and
   stays the same turn when its prompt comes only after it was read. A fork may be read before the session that it was
   forked from: a turn stays in the conversation that it was recorded in first. Which other sessions have it is said
   by notes.
4. Each record is a message, with its `uuid` as id: text is the content, the rest are parts (see `claude_code_records`).
   What a session's records have alike, and what differs between copies, stands in the turn's `meta`. A record of a type
   that nobody knows is a part `record` with all it says, and is counted in `meta["unknown"]`.
5. Sub-agents' work belongs to the turn whose tool call started it, behind that call, wherever it stands: within the
   session's file, beside it, or in its folder (see `claude_code_agents`). Their messages bear the agent's id as name;
   what they were asked is of the role `system`, since no person said it.
6. The state of a session (titles, modes, snapshots of files, links, the queue) and the last tick of each thing that
   made progress are noted beside the turn that they came in, and are no part of it. Of what a sub-agent said, progress
   records repeat what its file has; where there is no such file, they are taken for it.
7. Asking anew from an earlier point keeps the turns that are left behind; a note lists them as inactive.
8. Usage is the largest of what the lines of one message say, added up over a turn (see `claude_code_usage`).
9. The files grow at their end. A cursor is the place where the last turn begins, with what must be known there, and a
   digest of all before it; if the file no longer begins so, if a sub-agent's file of an earlier turn has grown, or if a
   prompt goes back to before the cursor, everything is read again.
10. Compressed files (`.jsonl.gz`, `.jsonl.zst`) are read as what they were; where the plain one lies beside, it counts.
   What tools gave that was too large for the file is kept beside the log (see `claude_code_outputs`).
11. Damage costs what is damaged (see `claude_code_lines`). Memory holds the turns of one chunk, their sub-agents' work,
   and some 150 bytes for each record of the session.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import tzinfo
from pathlib import Path
from typing import Any, ClassVar, Self

from msgspec.structs import replace

from turnlog.config import ImportLimits
from turnlog.errors import WrongUsage
from turnlog.sources.base import Chunk, Keep, SourceOptions, Stream, Unreadable, keep_nothing
from turnlog.sources.claude_code_agents import Agents, Beside, beside_in, read_meta, transcript_of_meta, transcripts_in
from turnlog.sources.claude_code_lines import type_of
from turnlog.sources.claude_code_outputs import Outputs
from turnlog.sources.claude_code_payloads import Payloads
from turnlog.sources.claude_code_records import STATES, Messages
from turnlog.sources.claude_code_session import Session
from turnlog.sources.files import open_regular, path_text, refusal
from turnlog.sources.objects import objects_on
from turnlog.sources.packed import Unpacked, plain_path, unpacked, unpacking_errors
from turnlog.text import clean

PASSES_MAX = 5
"""How often a reading starts over because the file was rewritten under it."""

_RECOGNISED_BYTES_MAX = 1024 * 1024
_RECOGNISED_LINES_MAX = 20


class ClaudeCode:
    """Reads sessions of Claude Code, each one conversation. Naive times are in `timezone`, None for this machine's."""

    name: ClassVar[str] = "claude_code"
    global_ids: ClassVar[bool] = True

    def __init__(
        self,
        *,
        user: str = "default",
        timezone: tzinfo | None = None,
        limits: ImportLimits = ImportLimits(),  # noqa: B008 - frozen
    ) -> None:
        self._user: str = clean(user)[0]
        self._timezone = timezone
        self._agents = Agents(limits)
        self._known: dict[Path, tuple[int, int]] = {}  # sessions that were found in folders, by device and inode

    @classmethod
    def from_options(cls, options: SourceOptions) -> Self:
        """See `Source.from_options`."""
        return cls(user=options.user, timezone=options.timezone, limits=options.limits)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether one of the first lines is a record of a session, or the file says which sub-agent one is of."""
        refusals: tuple[type[Exception], ...] = (WrongUsage, *unpacking_errors())
        try:
            with open_regular(path) as file:
                content = unpacked(path, file)
                lines = [content.readline(_RECOGNISED_BYTES_MAX) for _ in range(_RECOGNISED_LINES_MAX)]
        except refusals:
            return False
        records = (piece.record for line in lines for piece in objects_on(line))
        return any(_is_record(record) for record in records) or bool(read_meta(path))

    def discover(self, paths: Sequence[Path]) -> list[Stream]:
        """The sessions, the one that was written to last comes last. Raises WrongUsage for what cannot be read.

        Folders are searched for their transcripts. A sub-agent's file stands for the session that it is of.
        """
        found: dict[str, tuple[int, Stream]] = {}
        beside: dict[Path, Beside] = {}
        for path in self._files(paths):
            status = self._status_of(path)
            name = path_text(path)
            folder = path.parent
            if folder not in beside:
                beside[folder] = beside_in(folder)
            others = self._agents.of(path, beside[folder])
            stream = Stream(name=name, path=path, size_bytes=status.st_size, others=others)
            found[name] = (status.st_mtime_ns, stream)
        return [found[name][1] for name in sorted(found, key=lambda name: (found[name][0], name))]

    def read(self, stream: Stream, cursor: Any = None, *, keep: Keep = keep_nothing) -> Iterator[Chunk]:
        """The turns from the cursor on, the last one before it included; see the module.

        Raises WrongUsage if a file of the session cannot be read.
        """
        messages, path = Messages(Payloads(keep), self._timezone), plain_path(stream.path)
        for _ in range(PASSES_MAX):
            try:
                opened, outputs = self._agents.open(stream.path), Outputs(path, keep)
                with opened.file as file:
                    session = Session(file, path, messages, self._agents, outputs, source=self.name, user=self._user)
                    yield from _as_packed(session.chunks(cursor), opened, stream)
            except OSError as error:
                raise refusal(stream.path, error) from error
            if not session.is_rewritten:
                return
            cursor = None
        raise WrongUsage(
            f"{stream.name} is rewritten again and again while it is read; stop what writes it and try again"
        )

    def _files(self, paths: Sequence[Path]) -> Iterator[Path]:
        for named in paths:
            path = Path(os.path.abspath(named))  # noqa: PTH100 - resolve() follows links; the user named the link
            if path.is_dir():
                found = [self._agents.session_file(each) for each in transcripts_in(path)]
                yield from (each for each in dict.fromkeys(found) if self._is_session(each))
            else:
                yield self._agents.session_file(transcript_of_meta(path))

    def _status_of(self, path: Path) -> os.stat_result:
        """Raises WrongUsage if the file cannot be read, as far as is worth knowing of thousands every few seconds."""
        if path in self._known:
            with suppress(OSError):
                return os.stat(path)  # noqa: PTH116 - quicker
        with open_regular(path) as file:
            return os.fstat(file.fileno())

    def _is_session(self, path: Path) -> bool:
        """Whether it is recognised; what was once is not looked into again each time."""
        try:
            status = os.stat(path)  # noqa: PTH116 - of thousands of files every few seconds
        except OSError:
            return False
        identity = status.st_dev, status.st_ino
        if self._known.get(path) != identity and self.recognises(path):
            self._known[path] = identity
        return self._known.get(path) == identity


def _as_packed(chunks: Iterator[Chunk], opened: Unpacked, stream: Stream) -> Iterator[Chunk]:
    """The chunks of a file that may be compressed: how far it is read is told of its bytes on the disk."""
    damage = (Unreadable("the end", opened.damage, opened.damage.encode()),) if opened.damage else ()
    ratio = min(1.0, stream.size_bytes / max(1, opened.size_bytes))
    for chunk in chunks:
        unreadable = (*damage, *chunk.unreadable)
        yield replace(chunk, unreadable=unreadable, offset=int(chunk.offset * ratio)) if ratio < 1 or damage else chunk
        damage = ()
    if damage:
        yield Chunk((), damage, None, "", 0)


def _is_record(record: dict[str, Any]) -> bool:
    """Whether an object is a record that only Claude Code writes."""
    kind = type_of(record)
    if kind in ("user", "assistant"):
        message = record.get("message")
        return (
            isinstance(message, dict) and message.get("role") == kind and ("content" in message or "usage" in message)
        )
    if kind in ("system", "attachment", "progress"):
        return "parentUuid" in record and "sessionId" in record
    return kind in STATES and bool(record.keys() & {"sessionId", "leafUuid", "messageId"})
