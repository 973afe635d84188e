"""Recording turns: each once, however often it is said."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from eventlog import (
    ROLES,
    ConversationNoted,
    Durability,
    Encoded,
    Event,
    EventLog,
    InvalidEvent,
    Message,
    TurnRecorded,
    prepare,
)
from projections import Index, Known, Standing, standing
from turnlog.clock import as_utc
from turnlog.config import default_user
from turnlog.convert import convert
from turnlog.errors import BadTurn
from turnlog.ids import uuid7
from turnlog.prepared_turns import PreparedTurn, prepare_turn
from turnlog.recorded_turns import RecordedTurns
from turnlog.text import clean

INDEX_NAME = "index.sqlite"

MoreEvents = Callable[[Index], Sequence[Event]]


class Recorded(Struct, frozen=True):
    """What became of a turn: the seq that has its content, its id and revision, and whether that was written now."""

    seq: int
    turn_id: str
    revision: int
    new: bool


class TurnRecorder:
    """Records turns into the log in `directory`, which is created if need be.

    Safe for any number of threads and processes. `durability` is what a return from `record` promises: `fsync`
    (on disk) or `os`. With `dry_run` nothing is written: results say what would be, with seqs that would be taken.
    Raises LogUnavailable, NewerFormat.
    """

    def __init__(
        self, directory: str | PathLike[str], *, durability: Durability = "fsync", dry_run: bool = False
    ) -> None:
        self.log = EventLog.open(directory, durability=durability, read_only=dry_run)
        self.index = Index(self.log, None if dry_run else Path(directory) / INDEX_NAME)
        self.turns = RecordedTurns(self.log)
        self._dry_run = dry_run

    def record(
        self,
        *,
        messages: Iterable[Mapping[str, Any] | Message],
        user: str | None = None,
        conversation: str = "default",
        turn_id: str | None = None,
        source: str = "live",
        started_at: datetime | None = None,
        ended_at: datetime | None = None,
        **fields: Any,
    ) -> Recorded:
        """Record one turn; returns when it is durable.

        A message is a `Message` or a dict of its fields: `role` (user, assistant, system, tool), `content`, ...
        `user` None means the environment's USER_ID, else `default`. `turn_id` is the caller's idempotency key: the
        same one with the same content again writes nothing, with other content it is a new revision; None makes a
        new UUIDv7. Times that carry no zone are UTC; without any, both are now. `fields` are other fields of
        TurnRecorded: `model`, `usage`, `meta`, `delivered_to`.

        Raises BadTurn for a turn that cannot be recorded, AppendFailed if the system refuses.
        """
        said = {"messages": list(messages), "user": user, "conversation": conversation, "turn_id": turn_id}
        times = {"started_at": started_at, "ended_at": ended_at}
        return self.record_many([make_turn({**fields, **said, **times, "source": source})])[0]

    def record_many(
        self,
        turns: Iterable[TurnRecorded | PreparedTurn],
        *,
        more: MoreEvents | None = None,
        adopt: bool = False,
        keep_newest: bool = False,
        sync: bool = True,
    ) -> list[Recorded]:
        """Record turns in order, in one write and one sync; their `revision` and `supersedes` are set here.

        `more` names further events for the same write; it is called with the index while nobody else writes. With
        `adopt` a turn that is known stays with the user and in the conversation that it is known in. Otherwise raises
        BadTurn if they are others than before; AppendFailed if the system refuses. With `keep_newest` an older state
        of a turn (see `projections.standing`) is no revision: the newest stays. What it says otherwise than the newest
        is kept beside the log, and named by a note of the conversation. Without `sync` nothing of it is promised to be
        durable until `sync` is called.
        """
        ready = [turn if isinstance(turn, PreparedTurn) else prepare_turn(turn) for turn in turns]
        with self.index.locked():
            batch = _Batch(self, adopt=adopt, keep_newest=keep_newest)
            for turn in ready:
                batch.add(turn)
            batch.write(more(self.index) if more else ())
        if sync:
            self.sync()  # `unchanged` is an acknowledgement too: the turn may be another writer's, not synced yet
        return batch.results

    def sync(self) -> None:
        """Return when all that was recorded is as durable as this recorder promises. Raises AppendFailed."""
        if not self._dry_run:
            self.log.sync()

    def turn(self, *, conversation: str = "default", user: str | None = None, **fields: Any) -> "TurnInProgress":
        """A turn that is said message by message in a `with` block and recorded at its end, also when interrupted."""
        return TurnInProgress(self, {"conversation": conversation, "user": user, **fields})

    def close(self) -> None:
        """Let go of the files."""
        self.index.close()
        self.turns.close()
        self.log.close()

    def append(self, events: Sequence[Event | Encoded]) -> range:
        """Append events without waiting for the disk, under the index's lock; a dry run only pretends to."""
        if not self._dry_run:
            return self.log.append_many(events, sync=False)
        encoded = [event if isinstance(event, tuple) else prepare(event) for event in events]
        seqs = self.index.pretend(encoded)
        self.turns.pretend(seqs, encoded)
        return seqs

    def keep_blob(self, data: bytes) -> str:
        """Keep a payload beside the log; returns its SHA-256. A dry run keeps nothing."""
        return sha256(data).hexdigest() if self._dry_run else self.log.blobs.put(data)

    @property
    def blob_folder(self) -> Path | None:
        """Where `keep_blob` keeps payloads; None for a dry run."""
        return None if self._dry_run else self.log.blobs.directory

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Batch:
    """Turns on their way into the log: told apart first, then written together, under the index's lock."""

    def __init__(self, recorder: TurnRecorder, *, adopt: bool, keep_newest: bool) -> None:
        self.results: list[Recorded] = []
        self._recorder = recorder
        self._adopt = adopt
        self._keep_newest = keep_newest
        self._notes: list[ConversationNoted] = []
        self._new: dict[str, tuple[PreparedTurn, int]] = {}  # by turn_id, with the place of its result
        recorder.index.refresh()

    def add(self, turn: PreparedTurn) -> None:
        """Tell what a turn is; one that the batch has already is looked up again once that is written."""
        header = turn.header
        if header.turn_id in self._new:
            self.write(())
            self._recorder.index.refresh()
        known = self._recorder.index.find(header.turn_id, turn.gist.digest)
        if known is None:
            self._take(turn.changed(revision=1, supersedes=None))
            return
        if not self._adopt and (known.user, known.conversation) != (header.user, header.conversation):
            raise BadTurn(
                f"the turn {header.turn_id!r} is recorded for the user {known.user!r} in the conversation "
                f"{known.conversation!r}, so it cannot be one of {header.user!r} in {header.conversation!r}; "
                "give it a turn_id of its own"
            )
        where = {"user": known.user, "conversation": known.conversation}
        had = known.same
        if had is None and self._keep_newest and self._is_older(replace(turn.turn(), **where), known):
            had = known.last
        if had is None:
            self._take(turn.changed(**where, revision=known.last.revision + 1, supersedes=known.last.seq))
        else:
            self.results.append(Recorded(had.seq, header.turn_id, had.revision, new=False))

    def _take(self, turn: PreparedTurn) -> None:
        self._new[turn.header.turn_id] = (turn, len(self.results))
        self.results.append(Recorded(0, turn.header.turn_id, turn.header.revision, new=True))

    def _is_older(self, turn: TurnRecorded, known: Known) -> bool:
        newest = self._recorder.turns.get(known.last.seq)
        how = Standing.AFTER if newest is None else standing(turn, newest)
        if how is Standing.BEFORE:
            digest = self._recorder.keep_blob(msgspec.json.encode(turn))
            notes = {"turn": turn.turn_id, "older": {"digest": digest, "media_type": "application/json"}}
            note = ConversationNoted(source=turn.source, conversation=turn.conversation, notes=notes)
            self._notes += [note] if self._recorder.index.is_news(note) and note not in self._notes else []
        return how is not Standing.AFTER

    def write(self, more: Sequence[Event]) -> None:
        """Append what is new, and `more` behind it."""
        try:
            seqs = self._recorder.append([*(turn.encoded for turn, _ in self._new.values()), *self._notes, *more])
        except InvalidEvent as error:
            raise BadTurn(str(error)) from error
        for seq, (turn, place) in zip(seqs, self._new.values(), strict=False):
            self._recorder.index.appended(seq, turn.header, turn.gist)
            self.results[place] = Recorded(seq, turn.header.turn_id, turn.header.revision, new=True)
        self._new.clear()
        self._notes.clear()


class TurnInProgress:
    """Collects the messages of one turn; leaving the `with` block records them.

    An exception inside does not lose what was said: the turn is recorded with `meta["interrupted"]`, and the
    exception goes on. A turn in which nothing was said is not recorded. `recorded` tells what became of it.
    """

    def __init__(self, recorder: TurnRecorder, fields: dict[str, Any]) -> None:
        self.recorded: Recorded | None = None
        self._recorder = recorder
        self._fields = fields
        self._messages: list[dict[str, Any]] = []

    def message(self, role: str, content: str, **fields: Any) -> None:
        """Add a message; `fields` are other fields of Message. It is stamped with the time."""
        self._messages.append({"role": role, "content": content, "at": datetime.now(UTC), **fields})

    def user(self, content: str, **fields: Any) -> None:
        """The user said this."""
        self.message("user", content, **fields)

    def assistant(self, content: str, **fields: Any) -> None:
        """The assistant said this."""
        self.message("assistant", content, **fields)

    def system(self, content: str, **fields: Any) -> None:
        """The program said this to the assistant."""
        self.message("system", content, **fields)

    def tool(self, content: str, **fields: Any) -> None:
        """A tool answered this."""
        self.message("tool", content, **fields)

    def __enter__(self) -> Self:
        self._fields.setdefault("started_at", datetime.now(UTC))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._messages:
            return
        if kind is not None:
            self._fields["meta"] = {**(self._fields.get("meta") or {}), "interrupted": True}
        self.recorded = self._recorder.record(messages=self._messages, **self._fields)


class _Said(Struct, frozen=True):
    """A turn as callers and `turnlog record` spell it: every field of TurnRecorded that is not the log's own."""

    messages: list[Any]
    user: str | None = None
    conversation: str = "default"
    turn_id: str | None = None
    source: str = "live"
    started_at: datetime | None = None
    ended_at: datetime | None = None
    model: str | None = None
    usage: dict[str, Any] | None = None
    meta: dict[str, Any] | None = None
    delivered_to: list[str] | None = None


def make_turn(said: Mapping[str, Any]) -> TurnRecorded:
    """The event of a turn that a caller describes as plain data, see `Recorder.record`. Raises BadTurn."""
    turn_id = said.get("turn_id")
    where = f"the turn {turn_id!r}" if turn_id else "the turn"
    messages = said.get("messages")
    if messages is None:
        messages = ()
    if not isinstance(messages, list | tuple):
        raise BadTurn(f"{where}: messages must be a list, not {type(messages).__name__}")
    try:
        cleaned, replaced = clean({**said, "messages": [_plain(message) for message in messages]})
    except ValueError as error:
        raise BadTurn(f"{where}: {error}") from error
    turn = convert(cleaned, _Said, where=where, error=BadTurn)
    if not turn.messages:
        raise BadTurn(f"{where} has no messages; a turn has at least one")
    now = datetime.now(UTC)
    try:
        return TurnRecorded(
            turn_id=uuid7() if turn.turn_id is None else turn.turn_id,
            source=turn.source,
            user=default_user() if turn.user is None else turn.user,
            conversation=turn.conversation,
            started_at=_utc(turn.started_at or now, where),
            ended_at=_utc(turn.ended_at or now, where),
            delivered_to=tuple(turn.delivered_to or ()),
            model=turn.model,
            usage=turn.usage,
            meta={**(turn.meta or {}), **({"replaced_surrogates": replaced} if replaced else {})},
            messages=tuple(_message(message, where, i) for i, message in enumerate(turn.messages)),
        )
    except InvalidEvent as error:
        raise BadTurn(f"{where}: {error}") from error


def _plain(message: Any) -> Any:
    return msgspec.to_builtins(message, builtin_types=(datetime,)) if isinstance(message, Message) else message


def _utc(value: datetime, where: str) -> datetime:
    try:
        return as_utc(value)
    except OverflowError as error:
        raise BadTurn(f"{where}: the time {value.isoformat()} is out of range in UTC") from error


def _message(message: Any, where: str, position: int) -> Message:
    here = f"{where}, message {position + 1}"
    if isinstance(message, Mapping):
        if isinstance(message.get("role"), str) and message["role"] not in ROLES:
            raise BadTurn(f"{here}: a message has the role {message['role']!r}; it must be one of {', '.join(ROLES)}")
        if isinstance(message.get("at"), datetime | str):
            at = convert({"at": message["at"]}, _At, where=here, error=BadTurn).at
            message = {**message, "at": _utc(at, where)}
    return convert(message, Message, where=here, error=BadTurn)


class _At(Struct, frozen=True):
    at: datetime
