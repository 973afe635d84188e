"""A turn that is being read: what was said, and what the program noted beside it."""

from collections import Counter
from contextlib import suppress
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from eventlog import Message, Part, TurnRecorded
from turnlog.sources.codex_messages import Script
from turnlog.sources.codex_payloads import Payloads
from turnlog.sources.codex_threads import State
from turnlog.sources.objects import CannotRead

NAME = "codex"

TOKENS_MAX = 2**50
"""What no model can have used is no count."""


class Mark(NamedTuple):
    """A place between two records: how many bytes are before it, with which digest, and how many lines, begun or not.

    `state` is what must be known to read on from there.
    """

    offset: int
    lines: int
    digest: str
    state: State


class TurnDraft:
    """A turn to be, or what precedes its prompt; `start` is where it must be read from again.

    `begun` and `ended` are the times of its first and its last record, `counted` is the newest count of tokens.
    """

    def __init__(self, begun: datetime | None, start: Mark) -> None:
        self.start = start
        self.begun = self.ended = begun
        self.turn_id = ""
        self.has_prompt = False
        self.is_ended = False
        self.first_task: str | None = None
        self.model: str | None = None
        self.script = Script()
        self.usage: dict[str, int] = {}
        self.limits: Any = None
        self.counted: dict[str, Any] = {}
        self.unknown: Counter[str] = Counter()
        self.replaced = 0
        self._meta: dict[str, Any] = {}
        self._lists: dict[str, dict[bytes, Any]] = {}  # by JSON: whether a value is known takes no search

    def note(self, name: str, value: Any) -> None:
        """Keep the newest number of this name beside the messages, if it is one."""
        if type(value) is int and abs(value) < 2**63:
            self._meta[name] = value

    def note_among(self, name: str, value: Any) -> None:
        """Keep a value among the others of this name, once."""
        self._lists.setdefault(name, {})[msgspec.json.encode(value)] = value

    def spend(self, tokens: dict[str, Any]) -> None:
        """Add what a request used."""
        usage = self.usage
        for name, number in tokens.items():
            if type(number) is int and -TOKENS_MAX < number < TOKENS_MAX:
                usage[name] = usage.get(name, 0) + number

    def absorb(self, other: "TurnDraft") -> None:
        """Take in what comes behind this."""
        self.script.extend(other.script)
        self.spend(other.usage)
        self.unknown.update(other.unknown)
        self.replaced += other.replaced
        self.model = self.model or other.model
        self.is_ended = self.is_ended or other.is_ended
        self.limits = other.limits or self.limits
        self.counted = other.counted or self.counted
        self.ended = other.ended or self.ended
        for name, value in other._meta.items():
            self.note(name, value)
        for name, values in other._lists.items():
            self._lists.setdefault(name, {}).update(values)

    def turn(self, state: State, user: str, payloads: Payloads) -> TurnRecorded | None:
        """The turn as it is now; None if there is nothing to tell of."""
        messages = self.script.messages()
        if not messages and self.usage:
            messages = (Message(role="system", parts=(Part(type="token_count", data=self.usage),)),)
        if not messages:
            return None
        self.note("context_window", self.counted.get("model_context_window"))
        model = self.counted.get("model")
        lists = {name: list(values.values()) for name, values in self._lists.items()}
        meta: dict[str, Any] = {"session": state.session, **self._meta, **lists}
        if state.started_by:
            meta["started_by"] = state.started_by
        if self.limits:
            with suppress(CannotRead):  # what is nested that deeply is no limit
                meta["rate_limits"] = payloads.value(self.limits)
        if self.unknown:
            meta["unknown"] = dict(self.unknown)
        if self.replaced:
            meta["replaced_surrogates"] = self.replaced
        return TurnRecorded(
            turn_id=self.turn_id,
            source=NAME,
            user=user,
            conversation=state.conversation,
            started_at=self.begun,
            ended_at=self.ended,
            model=self.model or (model if isinstance(model, str) else None) or self.start.state.model,
            usage=dict(sorted(self.usage.items())) or None,
            meta=meta,
            messages=messages,
        )


def identify(state: State, draft: TurnDraft, text: str) -> str:
    """The id of a turn that begins with this text ("" where it begins without a prompt). Part of what is recorded.

    It is the program's own for the turn, and the number of the prompt in it where the user typed while it ran. Old
    rollouts have none: there it is the thread's, the number of the prompt, and a digest of the prompt, since a copy of
    a copy does not say where one thread ends and the next begins.
    """
    if state.is_agent:
        return f"{NAME}:{state.thread}"
    task = state.task if not state.task_done else None
    if not state.has_turns:
        task = draft.first_task or task
    if task is not None:
        return f"{NAME}:{task}:{state.task_prompts}" if state.task_prompts else f"{NAME}:{task}"
    if not state.prompts:
        return f"{NAME}:{state.thread}:0"
    digest = blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()
    return f"{NAME}:{state.thread}:{state.prompts}:{digest}"
