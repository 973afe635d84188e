"""Whose thread a record of a rollout belongs to: the file's own, or one whose history was copied into it.

What must be known to read on from the middle of a file is one small value, `State`, which stands in cursors.
"""

import json
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from turnlog.sources.codex_items import text_or_none

_ACTIVE_MAX = 100
_PAUSE_SECONDS = 1.0
"""Copied history is written in one go; a longer pause ends it where no task says whose it is."""


class State(Struct, frozen=True, omit_defaults=True):
    """Where a reading stands before a record.

    `own` is the file's thread, `thread` the one whose history is being read, `session` and `own_session` what their
    first records say (the latter only while another's history is read); `created` (Unix seconds) is when the own thread
    was made. `conversation` is where turns belong, `started_by` the turn that started an agent's thread. `task` is the
    program's id of the current turn, `task_prompts` and `prompts` count prompts within it and the thread, `total` is
    the last cumulative count of tokens. `active` are the last turns that were not rolled back. History is a copy until
    the ordinal `copied_until`, where that is told; `copied_at` (Unix seconds) is when its last record was written.
    """

    own: str = ""
    thread: str = ""
    conversation: str = ""
    parent: str | None = None
    is_agent: bool = False
    is_copy: bool = False
    copied_until: int | None = None
    copied_at: float | None = None
    created: float | None = None
    session: dict[str, Any] = {}
    own_session: dict[str, Any] = {}
    task: str | None = None
    task_done: bool = False
    task_prompts: int = 0
    prompts: int = 0
    model: str | None = None
    started_by: str | None = None
    total: dict[str, Any] | None = None
    active: tuple[str, ...] = ()
    has_turns: bool = False

    def with_active(self, turn_id: str) -> "State":
        """With a turn begun."""
        return replace(self, active=(*self.active[1 - _ACTIVE_MAX :], turn_id), has_turns=True)


def own_thread(record: dict[str, Any]) -> str:
    """The thread of a file whose name does not tell: what the first record says, else a digest of that."""
    session = record.get("payload") if record.get("type") == "session_meta" else None
    if "type" not in record and "instructions" in record:
        session = record
    named = session if isinstance(session, dict) else {}
    if thread := text_or_none(named.get("id")) or text_or_none(named.get("session_id")):
        return thread
    encoded = json.dumps(record, sort_keys=True).encode("ascii")
    return blake2b(encoded, digest_size=16).hexdigest()


def agent_of(session: dict[str, Any]) -> bool:
    """Whether a thread is one that another thread, and no user, talks to."""
    source = session.get("source")
    return (isinstance(source, dict) and "subagent" in source) or session.get("thread_source") in (
        "subagent",
        "guardian_review",
    )


def parent_of(session: dict[str, Any]) -> str | None:
    """The thread whose history a thread begins with, or that started it."""
    return text_or_none(session.get("forked_from_id")) or text_or_none(session.get("parent_thread_id"))


def moment(value: Any) -> datetime | None:
    """The time that a record's `timestamp` means, in UTC; times without a zone are in UTC here."""
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
        if time.tzinfo is UTC:
            return time
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def made_at(identifier: Any) -> float | None:
    """When an identifier was made, in Unix seconds, if it is a UUID of version 7."""
    if not isinstance(identifier, str) or len(identifier) != 36 or identifier[14] != "7":
        return None
    try:
        return int(identifier[:8] + identifier[9:13], 16) / 1000
    except ValueError:
        return None


def ends_copy(state: State, record: dict[str, Any], time: datetime | None) -> bool:
    """Whether copied history, which the reading stands in, ends before this record.

    Copies are stamped with the time of copying, so that the own turns are told by having been started after the
    thread was made: by their id, else by `started_at`. Where no turn has an id, the first pause tells.
    """
    if state.copied_until is not None:
        ordinal = record.get("ordinal")
        return isinstance(ordinal, int) and ordinal >= state.copied_until
    payload = record.get("payload")
    task = payload.get("turn_id") if isinstance(payload, dict) and starts_task(record) else None
    if task is not None and isinstance(payload, dict):
        made = made_at(task)
        if made is not None and made_at(state.own) is not None:
            return made >= (made_at(state.own) or 0.0)
        started = payload.get("started_at")
        if isinstance(started, int | float) and state.created is not None:
            return started >= int(state.created)
    if state.task is not None or time is None or state.copied_at is None:
        return False
    return time.timestamp() - state.copied_at > _PAUSE_SECONDS


def starts_task(record: dict[str, Any]) -> bool:
    """Whether a record says which turn of the program the following ones belong to."""
    payload = record.get("payload")
    if not isinstance(payload, dict) or not isinstance(payload.get("turn_id"), str):
        return False
    return record.get("type") == "turn_context" or payload.get("type") in ("task_started", "turn_started")
