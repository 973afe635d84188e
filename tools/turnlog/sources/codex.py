r"""The source `codex`: rollouts, the files in which OpenAI's Codex keeps what was said in a thread.

Codex writes `$CODEX_HOME/sessions/YYYY/MM/DD/rollout-<local time>-<thread>.jsonl`, one JSON object a line, and appends.
Archiving moves a file to `archived_sessions/`, idle ones are compressed (`.jsonl.zst`), so that a path is no identity;
where a file lies beside its compressed copy, the plain one counts. `history.jsonl` holds prompts that rollouts hold
too, and is not read. There are three generations:

1. Bare: `{"id","timestamp","instructions","git"}`, then items of the model's history, without times.
2. Envelopes: `{"timestamp","type","payload"}`. An item (`response_item`) and an event (`event_msg`) say the same.
3. Paginated: each line has an `ordinal`, the events are `item_completed`, forks name their history (`history_base`).

How they are read:

1. A turn begins with what the user typed: a `user_message`, a `UserMessage`, or an item in the user's name, unless its
   `content_item_kinds`, or how it begins, say that the program wrote it (instructions, environment, ...). Those are
   system messages. What a task begins with before its prompt (context, instructions) is read with that prompt, and is
   held back until there is one. A thread with which another thread talks, and no user, is one turn without a prompt,
   in the conversation of the session that started it.
2. A turn's id is the program's (`turn_id`), with the number of the prompt where the user typed on while it ran; where
   there is none, the thread's, with the number and a digest of the prompt. So a turn is the same in every copy.
3. Forks and agents of the second generation begin with a copy of their parent's history, behind its `session_meta`,
   stamped with the time of copying. It ends with the first turn that was begun after the thread was made. Turns of the
   copy stay in the parent's conversation, without times; one that had not ended is left to the parent's rollout if that
   is read too. A note names the parent, and the first and last turn that both have.
4. What an item and an event both say is said once: the item's text and id, and the parts of both. Of an event that ends
   a call, the texts that the call's result holds too are left out. Ids by which the program finds its own records
   (`client_id`, the passed-on `turn_id`) and times beside the record's own are not kept.
5. Usage is the sum of what each request used; the cumulative count only tells an event from its repetition. Models,
   policies and directories of `turn_context`, limits, durations and the session's first record are in `meta`; what is
   large there is kept beside the log, once, and named by its digest.
6. Rolling back takes no turn away: a note lists the turns that are no longer active. Names of threads are notes too,
   also those in `session_index.jsonl`. Compaction keeps what it replaced the history with. An unknown record is kept as
   it is, in a part of type `record`, and counted in `meta["unknown"]`.
7. A cursor tells where the last turn began, what was known there, and a digest of the file up to there; a file that
   does not begin like that any more is read from its beginning. A last line that is not whole is left for later.

Facts are from openai/codex and from measurements on rollouts of 2025 and 2026.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import msgspec

from eventlog import TurnRecorded
from turnlog.config import ImportLimits
from turnlog.errors import WrongUsage
from turnlog.sources.base import (
    CHUNK_BYTES,
    CHUNK_TURNS_MAX,
    Chunk,
    Keep,
    SourceOptions,
    Stream,
    Unreadable,
    keep_nothing,
)
from turnlog.sources.codex_files import (
    LINE_BYTES_MAX,
    Rollout,
    check_readable,
    open_rollout,
    records_on,
    whole_record,
)
from turnlog.sources.codex_payloads import Payloads
from turnlog.sources.codex_reader import TurnReader
from turnlog.sources.codex_threads import State
from turnlog.sources.codex_turns import NAME, Mark
from turnlog.sources.files import path_text
from turnlog.sources.objects import EMPTY_LINES, TOGETHER, CannotRead
from turnlog.sources.packed import ENDINGS, unpacking_errors

PASSES_MAX = 5
"""How often a reading starts over because the file was rewritten under it."""

_RECOGNISED_BYTES_MAX = 1024 * 1024
_ENDINGS = (".jsonl", *(f".jsonl{ending}" for ending in ENDINGS))
_THREAD = re.compile(r"rollout-.*-([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\.jsonl")
_ENVELOPES = frozenset(("session_meta", "turn_context", "response_item", "event_msg", "compacted", "world_state"))
_CALL_FIELDS = dict.fromkeys(("function_call", "function_call_output"), "call_id")
_ITEM_FIELDS = {"message": "content", "reasoning": "summary", **_CALL_FIELDS}


class Codex:
    """Reads rollouts, each one thread of one user."""

    name: ClassVar[str] = NAME
    global_ids: ClassVar[bool] = True

    def __init__(self, *, user: str, limits: ImportLimits = ImportLimits()) -> None:  # noqa: B008 - frozen
        self._user = user
        self._limits = limits
        self._threads: set[str] = set()

    @classmethod
    def from_options(cls, options: SourceOptions) -> Self:
        """See `Source.from_options`."""
        return cls(user=options.user, limits=options.limits)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether the first object is one that a rollout, or the index of their names, begins with."""
        refusals: tuple[type[Exception], ...] = (WrongUsage, *unpacking_errors())
        try:
            with open_rollout(path) as rollout:
                line = rollout.first_line(_RECOGNISED_BYTES_MAX)
        except refusals:
            return _THREAD.match(path.name) is not None and path.name.endswith(ENDINGS)
        return any(_is_known(piece.record) for piece, _ in records_on(line))

    def discover(self, paths: Sequence[Path]) -> list[Stream]:
        """The rollouts that are named, and those in folders, in order, each once. Raises WrongUsage."""
        streams: dict[str, Stream] = {}
        for named in paths:
            path = Path(os.path.abspath(named))  # noqa: PTH100 - resolve() follows links; the user named the link
            for each in self._in_folder(path) if path.is_dir() else [path]:
                stream = Stream(name=path_text(each), path=each, size_bytes=check_readable(each), others=())
                streams.setdefault(stream.name, stream)
        self._threads |= {thread for stream in streams.values() if (thread := _thread_of(stream.path))}
        return list(streams.values())

    def read(self, stream: Stream, cursor: Any = None, *, keep: Keep = keep_nothing) -> Iterator[Chunk]:
        """The turns since `cursor`, the last one before it among them, since it may have grown.

        A chunk's cursor is `{"offset", "lines", "digest", "state"}`. Raises WrongUsage if the file cannot be read.
        """
        for _ in range(PASSES_MAX):
            with open_rollout(stream.path, self._limits) as rollout:
                payloads = Payloads(keep)
                scan = _Scan(rollout, self._reader(stream, payloads, State()), payloads)
                mark = _mark(cursor)
                if mark is not None and rollout.skip(mark.offset, mark.digest):
                    scan = _Scan(
                        rollout, self._reader(stream, payloads, mark.state), payloads, at=mark.offset, lines=mark.lines
                    )
                elif mark is not None:
                    cursor = None
                    continue
                yield from scan.chunks()
                if not rollout.is_rewritten(scan.at, rollout.hasher.hexdigest()):
                    return
                cursor = None
        raise WrongUsage(
            f"{stream.name} is rewritten again and again while it is read; stop what writes it and try again"
        )

    def _reader(self, stream: Stream, payloads: Payloads, state: State) -> TurnReader:
        thread = _thread_of(stream.path)
        if thread and not state.own:
            state = State(own=thread, thread=thread, conversation=thread)
        return TurnReader(self._user, payloads, self._threads, state)

    def _in_folder(self, folder: Path) -> list[Path]:
        found = sorted(
            path
            for path in folder.rglob("*")
            if path.name.endswith(_ENDINGS) and not path.is_symlink() and path.is_file()
        )
        plain = set(found)
        rollouts = [
            path
            for path in found
            if not (path.name.endswith(ENDINGS) and path.with_suffix("") in plain)
            and (_THREAD.match(path.name) or self.recognises(path))
        ]
        if not rollouts:
            raise WrongUsage(f"{path_text(folder)} is a folder that holds no rollout of Codex; name another, or a file")
        return rollouts


class _Scan:
    """One way through a file; `at` is how many of its unpacked bytes were taken in, `_lines` how many lines."""

    def __init__(self, rollout: Rollout, reader: TurnReader, payloads: Payloads, at: int = 0, lines: int = 0) -> None:
        self.at = at
        self._rollout = rollout
        self._reader = reader
        self._take = reader.take
        self._payloads = payloads
        self._lines = lines
        self._hash = rollout.hasher.update
        self._chunk_start = at
        self._unreadable: list[Unreadable] = []

    def chunks(self) -> Iterator[Chunk]:
        """Everything to the end of the file, but for a last line that is not whole."""
        for raw in self._rollout.lines():
            if raw.endswith(b"\n") or _is_whole(raw):
                self._take_line(raw)
            elif len(raw) >= LINE_BYTES_MAX:
                self._lines += 1
                self._set_apart(raw, f"the line is longer than {LINE_BYTES_MAX} bytes")
                self._advance(raw)
            else:
                break
            if self.at - self._chunk_start >= CHUNK_BYTES or self._pieces() >= CHUNK_TURNS_MAX:
                yield self._end_chunk(())
        if self._rollout.damage:
            position = f"byte {self.at} of what is unpacked"
            self._unreadable.append(Unreadable(position=position, reason=self._rollout.damage, raw=b""))
        last = self._reader.last()
        if self.at > self._chunk_start or last or self._unreadable:
            yield self._end_chunk((last,) if last else ())

    def _take_line(self, raw: bytes) -> None:
        self._lines += 1
        if len(raw) < 5 and raw in EMPTY_LINES:
            self._advance(raw)
            return
        self._payloads.record_bytes = len(raw)
        record = whole_record(raw)
        if record is None:
            self._mend_line(raw)
            if raw.endswith(b"\n") and (run := self._rollout.damaged_behind(raw)):
                self._take_together(run)
            return
        try:
            self._take(record, self._place)
        except CannotRead as error:
            self._set_apart(raw, str(error))
        self._hash(raw)
        self.at += len(raw)

    def _take_together(self, run: bytes) -> None:
        """Many damaged lines."""
        first, self._lines = self._lines + 1, self._lines + run.count(b"\n")
        self._unreadable.append(Unreadable(f"lines {first} to {self._lines}", TOGETHER, run))
        self._advance(run)

    def _mend_line(self, raw: bytes) -> None:
        """A line on which there is not exactly one object."""
        done = 0
        if raw.isspace():
            self._advance(raw)
            return
        for number, (piece, replaced) in enumerate(records_on(raw), 1):
            self._advance(raw[done : piece.start])
            try:
                if piece.damage:
                    raise CannotRead(piece.damage)  # noqa: TRY301 - what cannot be kept is told likewise
                self._take(piece.record, self._place, replaced=replaced)
            except CannotRead as error:
                self._set_apart(raw[piece.start : piece.end], str(error), number)
            self._advance(raw[piece.start : piece.end])
            done = piece.end
        self._advance(raw[done:])

    def _place(self) -> tuple[int, int, str]:
        return self.at, self._lines - 1, self._rollout.hasher.hexdigest()

    def _set_apart(self, raw: bytes, reason: str, number: int = 1) -> None:
        position = f"line {self._lines}" if number == 1 else f"line {self._lines}, object {number}"
        self._unreadable.append(Unreadable(position=position, reason=reason, raw=raw))

    def _advance(self, raw: bytes) -> None:
        self._hash(raw)
        self.at += len(raw)

    def _pieces(self) -> int:
        return len(self._reader.closed) + len(self._unreadable)

    def _end_chunk(self, last: tuple[TurnRecorded, ...]) -> Chunk:
        reader = self._reader
        mark = reader.start((self.at, self._lines, self._rollout.hasher.hexdigest()))
        chunk = Chunk(
            turns=(*reader.closed, *last),
            unreadable=tuple(self._unreadable),
            cursor=mark._asdict() | {"state": msgspec.json.decode(msgspec.json.encode(mark.state))},
            fingerprint=mark.digest,
            offset=self._rollout.position_bytes,
            notes=tuple(reader.notes),
        )
        reader.closed, reader.notes, self._unreadable, self._chunk_start = [], [], [], self.at
        return chunk


def _mark(cursor: Any) -> Mark | None:
    """The mark that a cursor tells of; None if it tells of none, and everything is to be read."""
    try:
        state = msgspec.convert(cursor["state"], State)
        return Mark(int(cursor["offset"]), int(cursor["lines"]), str(cursor["digest"]), state)
    except (TypeError, KeyError, ValueError):  # a ValidationError is a ValueError
        return None


def _is_whole(raw: bytes) -> bool:
    """Whether a line without an end holds whole objects: a closing brace cannot be taken back."""
    return raw.endswith(b"}") and not any(piece.damage for piece, _ in records_on(raw))


def _thread_of(path: Path) -> str | None:
    named = _THREAD.match(path.name)
    return named[1] if named else None


def _is_known(record: dict[str, Any]) -> bool:
    kind = record.get("type")
    if kind is not None:
        if not isinstance(kind, str) or kind in _ENVELOPES:
            return isinstance(kind, str) and isinstance(record.get("payload"), dict) and "timestamp" in record
        return kind in _ITEM_FIELDS and _ITEM_FIELDS[kind] in record
    if {"id", "timestamp", "instructions"} <= record.keys() or {"id", "thread_name", "updated_at"} <= record.keys():
        return True
    if record.get("record_type") == "state":
        return True
    is_said = isinstance(record.get("content", record.get("message")), str) and record.get("role") in ("user", "system")
    return is_said and ("timestamp" in record or "created_at" in record) and "id" not in record
