"""What `MemobaseDouble` keeps and does, without HTTP: users, blobs, buffers, the model, and a ledger of it all."""

import threading
from collections import Counter, deque
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from time import monotonic
from typing import Any
from uuid import uuid4

from msgspec import Struct, field

from turnlog.testing.memobase_blobs import (
    Blob,
    Prompt,
    State,
    count_tokens,
    is_bad,
    is_special,
    parse_messages,
    prompt_line,
)
from turnlog.testing.memobase_rows import Effect, Reply, Stored, effect, envelope, inserted


class Options(Struct, frozen=True):
    """What a project, or its server, is set to. Tokens are those of `count_tokens`."""

    persistent_chat_blobs: bool = False
    inserts_per_second: float | None = None
    processing_seconds: float = 0.0
    auto_flush_tokens: int = 1024
    flush_tokens_max: int = 16_384


class Switches(Struct, forbid_unknown_fields=True):
    """What is the matter now. `crashing`: the server dies over what it is processing, which stays in processing."""

    database_down: bool = False
    redis_down: bool = False
    model_failing: bool = False
    quota_used_up: bool = False
    suspended: bool = False
    crashing: bool = False


class User(Struct):
    """A user as the server has it."""

    data: dict[str, Any]
    created_at: str
    updated_at: str


class _Shelf(Struct):
    """A user's blobs: all ever stored, those that can be read, those that no flush has taken; what the model made."""

    all: list[Blob] = field(default_factory=list)
    there: dict[str, Blob] = field(default_factory=dict)
    idle: list[Blob] = field(default_factory=list)
    memory: list[Prompt] = field(default_factory=list)


class Flushed(Struct, frozen=True):
    """How a flush went, and the results of the model."""

    effect: Effect = Effect()
    results: Sequence[object] = ()


def _now() -> str:
    return datetime.now(UTC).isoformat()


class MemobaseStore:
    """The server's behaviour. Every method may be called by any thread."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.switches = Switches()
        self.wrong: frozenset[str] = frozenset()
        self.ahead: deque[str] = deque()
        self.counters: Counter[str] = Counter()
        self.users: dict[str, User] = {}
        self.ledger: list[Blob] = []
        self.prompts: list[Prompt] = []
        self.lock = threading.RLock()
        self._shelves: dict[str, _Shelf] = {}
        self._over = threading.Event()
        self._background: list[threading.Thread] = []
        self._turn = threading.Lock()
        self._free_at = 0.0

    def close(self) -> None:
        """Let go of those who wait, for their turn or for the model."""
        self._over.set()
        for thread in self._background:
            thread.join()

    def count(self, *what: str) -> None:
        """Add one to each of the counters."""
        with self.lock:
            self.counters.update(what)

    @property
    def down(self) -> str | None:
        """The name of what is down."""
        return "Database" if self.switches.database_down else "Redis" if self.switches.redis_down else None

    # -- users

    def create_user(self, user: str, data: dict[str, Any]) -> Reply:
        """Create a user, or say that it exists: who comes first of those that race is told so, and nobody else."""
        with self.lock:
            if user in self.users:
                told = effect("user-exists", wrong="user-exists" in self.wrong)
                if told.errno:
                    return told.reply(echo=[user, data])
                self.delete_user(user)
            self.users[user] = User(data, now := _now(), now)
            return envelope({"id": user})

    def update_user(self, user: str, data: dict[str, Any]) -> bool:
        """Replace all of a user's data; whether there was one."""
        with self.lock:
            if found := self.users.get(user):
                self.users[user] = User(data, found.created_at, _now())
            return found is not None

    def delete_user(self, user: str) -> bool:
        """Delete a user and all that is theirs; whether there was one."""
        with self.lock:
            for blob in self._shelves.pop(user, _Shelf()).there.values():
                blob.state = "deleted"
            return self.users.pop(user, None) is not None

    # -- blobs

    def insert(self, user: str, blob_data: dict[str, Any], fields: dict[str, Any] | None, *, wait: bool) -> Reply:
        """Take a blob, or answer as the first row of the table that the request meets."""
        self._await_turn()
        with self.lock:
            messages = parse_messages(blob_data)
            row = self._row_met(user, messages, fields)
            told = Effect(stored="idle") if row is None else effect(row, wrong=row in self.wrong)
            blob = self._keep(user, messages or [], fields, told.stored)
            full = sum(idle.tokens for idle in self._shelf(user).idle) > self.options.auto_flush_tokens
        flushed = self.flush(user, wait=wait) if blob is not None and blob.state == "idle" and full else Flushed()
        answer = told if row is not None else flushed.effect
        data = inserted(blob.id if blob else None, flushed.results)
        return answer.reply(data=data, echo=[user, blob_data, fields])

    def _await_turn(self) -> None:
        """One server process inserts so many blobs in a second, one after the other, and no more."""
        if self.options.inserts_per_second is None:
            return
        with self._turn:
            now = monotonic()
            self._free_at = max(now, self._free_at) + 1 / self.options.inserts_per_second
        self._over.wait(self._free_at - now)

    def _row_met(self, user: str, messages: list[dict[str, str]] | None, fields: dict[str, Any] | None) -> str | None:
        if self.ahead:
            return self.ahead.popleft()
        if self.down:
            return "down"
        if self.switches.quota_used_up:
            return "quota"
        if messages is None:
            return "unparsable"
        if is_bad(messages, fields):
            return "bad-text"
        if user not in self.users:
            return "unknown-user"
        return "special-token" if is_special(messages, loosely="special-token" in self.wrong) else None

    def _shelf(self, user: str) -> _Shelf:
        return self._shelves.setdefault(user, _Shelf())

    def _keep(
        self, user: str, messages: list[dict[str, str]], fields: dict[str, Any] | None, stored: Stored
    ) -> Blob | None:
        if stored == "no":
            return None
        tokens = sum(count_tokens(prompt_line(message)) for message in messages)
        row = None if stored == "orphan" else str(uuid4())
        blob = Blob(len(self.ledger) + 1, str(uuid4()), row, user, messages, fields, tokens, stored, _now())
        self.ledger.append(blob)
        shelf = self._shelf(user)
        shelf.all.append(blob)
        shelf.there[blob.id] = blob
        if stored == "idle":
            shelf.idle.append(blob)
        self._settle(blob, stored)
        return blob

    def _settle(self, blob: Blob, state: State) -> None:
        blob.state = state
        if state == "deleted" or (state in ("done", "dropped") and not self.options.persistent_chat_blobs):
            self._shelf(blob.user).there.pop(blob.id, None)

    def blob_ids(self, user: str, page: int, page_size: int) -> list[str]:
        """A page of the blobs that can be read, in order of arrival."""
        with self.lock:
            return list(islice(self._shelf(user).there, page * page_size, (page + 1) * page_size))

    def blob(self, user: str, blob_id: str) -> Blob | None:
        """A blob that can be read."""
        with self.lock:
            return self._shelf(user).there.get(blob_id)

    def delete_blob(self, user: str, blob_id: str) -> None:
        """Delete a blob, if it is there, and its row in the buffer."""
        with self.lock:
            shelf = self._shelf(user)
            if blob := shelf.there.get(blob_id):
                if blob in shelf.idle:
                    shelf.idle.remove(blob)
                self._settle(blob, "deleted")

    def row_ids(self, user: str, status: str) -> list[str]:
        """The rows of the buffer with this status, in order of arrival."""
        with self.lock:
            return [blob.row for blob in self._shelf(user).all if blob.state == status and blob.row]

    # -- the model

    def flush(self, user: str, *, wait: bool) -> Flushed:
        """Take the user's idle blobs to the model; who waits learns how it went.

        Without `processing_seconds` all is over on return, also for those who do not wait; else they are let go at
        once, and the blobs are in processing for so long.
        """
        with self.lock:
            shelf = self._shelf(user)
            taken, shelf.idle = shelf.idle, []
            for blob in taken:
                blob.state = "processing"
        if taken and self.options.processing_seconds and not wait:
            thread = threading.Thread(target=self._process, args=(user, taken), kwargs={"wait": False}, daemon=True)
            with self.lock:
                self._background = [other for other in self._background if other.is_alive()] + [thread]
                thread.start()
            return Flushed()
        return self._process(user, taken, wait=wait) if taken else Flushed()

    def _process(self, user: str, taken: list[Blob], *, wait: bool) -> Flushed:
        if self._over.wait(self.options.processing_seconds) or self.switches.crashing:
            return Flushed(effect("no-answer", wrong=False)) if wait else Flushed()
        with self.lock:
            taken = [blob for blob in taken if blob.state == "processing"]  # the others were deleted meanwhile
            if not taken:
                return Flushed()
            if failure := self._failure(taken):
                told = effect(failure, wrong=wait and failure in self.wrong)
                for blob in taken:
                    self._settle(blob, "dropped" if told.stored == "dropped" else "failed")
                return Flushed(told) if wait else Flushed()
            prompt = self._tell_model(user, taken)
            self.prompts.append(prompt)
            self._shelf(user).memory.append(prompt)
            return Flushed(results=[{"event_id": prompt.id}] if wait else [])

    def _failure(self, taken: list[Blob]) -> str | None:
        if any(blob.tokens > self.options.flush_tokens_max for blob in taken):
            return "too-big"
        return "model-failed" if self.switches.model_failing else None

    def _tell_model(self, user: str, taken: list[Blob]) -> Prompt:
        """The newest blobs that fit in together are done; all before them are dropped, and nobody is told."""
        tokens, first = 0, len(taken)
        while first and tokens + taken[first - 1].tokens <= self.options.flush_tokens_max:
            first -= 1
            tokens += taken[first].tokens
        for index, blob in enumerate(taken):
            self._settle(blob, "done" if index >= first else "dropped")
        messages = [message for blob in taken[first:] for message in blob.messages]
        contents = [message["content"] for message in messages]
        return Prompt(str(uuid4()), user, "\n".join(map(prompt_line, messages)), contents)

    def memory(self, user: str) -> list[Prompt]:
        """What the user's profile, events and context are made of: what the model was told, call by call."""
        with self.lock:
            return list(self._shelf(user).memory)
