"""The messages of a turn that is being read: records that say the same thing twice become one message."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from eventlog import Message, Part

Key = tuple[str, str]
"""Who said what, but for white space."""

_ASCII_SPACE = bytes(byte for byte in range(128) if chr(byte).isspace())
_REPEATED = frozenset(("stdout", "stderr", "aggregated_output", "formatted_output", "output", "text", "message"))


def key_of(role: str, text: str) -> Key:
    """What two records have in common that say the same: they differ in how they join the blocks of a text."""
    if text.isascii():  # a tenth of the time
        return role, text.encode().translate(None, _ASCII_SPACE).decode()
    return role, "".join(text.split())


class Draft(Struct, eq=False):
    """A message to be.

    `key` is there where another record may say the same; `call` names the call whose end an event tells, where the
    call's result may say the same; a plain draft has nothing that others repeat. `is_prompt` tells what the user said
    from what was said in the user's name. A draft is gone when another has taken its place.
    """

    role: str
    content: str = ""
    id: str | None = None
    name: str | None = None
    parts: tuple[Part, ...] = ()
    at: datetime | None = None
    key: Key | None = None
    call: str | None = None
    is_prompt: bool = False
    is_plain: bool = False
    is_thought: bool = False
    is_gone: bool = False


class _Said(Struct, eq=False):
    """A draft, and from records of which kinds it came: each kind says a thing once."""

    draft: Draft
    origins: set[str]


class Script:
    """The drafts of a turn in order."""

    def __init__(self) -> None:
        self._drafts: list[Draft] = []
        self._said: dict[Key, list[_Said]] = {}
        self._matched: dict[tuple[Key, str], int] = {}

    def __bool__(self) -> bool:
        return bool(self._drafts)

    def add(self, draft: Draft, origin: str) -> None:
        """Take in what a record of some origin (`item`, `event` or `completed`) says, once.

        Where another record said it, what only one of them has is kept: the parts of both, the id and text of the item.
        """
        if draft.key is None:
            if not draft.is_thought:
                self.append(draft)
            elif keys := self._new_thoughts(draft, origin):
                self._keep(draft, keys, origin)
            elif draft.parts:
                self._drafts.append(draft)
        elif (said := self._unmatched(draft.key, origin)) and (said.draft.is_prompt or not draft.is_prompt):
            said.origins.add(origin)
            _merge(said.draft, draft, is_better=origin == "item")
        else:
            self._keep(draft, [draft.key], origin)

    def append(self, draft: Draft) -> None:
        """Take in what no other record says."""
        self._drafts.append(draft)

    def says(self, key: Key) -> bool:
        """Whether somebody said this in the turn."""
        return key in self._said

    def twin(self, draft: Draft, origin: str) -> Draft | None:
        """What a record of another origin has said before and this one repeats."""
        said = self._unmatched(draft.key, origin) if draft.key else None
        return said.draft if said else None

    def extend(self, other: "Script") -> None:
        """Take in all of another one behind this."""
        self._drafts += other._drafts
        for key, entries in other._said.items():
            self._said.setdefault(key, []).extend(entries)

    def messages(self) -> tuple[Message, ...]:
        """What was said, each thing once."""
        drafts = [draft for draft in self._drafts if not draft.is_gone]
        if any(draft.call for draft in drafts):
            results = {part.id: part.text for draft in drafts for part in draft.parts if part.type == "tool_result"}
            for draft in drafts:
                if result := results.get(draft.call) if draft.call else None:
                    draft.parts = tuple(
                        msgspec.structs.replace(part, data=_without(part.data, result)) for part in draft.parts
                    )
        return tuple([Message(d.role, d.content, d.id, d.at, d.name, d.parts) for d in drafts])

    def _keep(self, draft: Draft, keys: Iterable[Key], origin: str) -> None:
        self._drafts.append(draft)
        for key in keys:
            self._said.setdefault(key, []).append(_Said(draft, {origin}))

    def _unmatched(self, key: Key, origin: str) -> _Said | None:
        """The first that this origin has not said; those before it are not looked at again."""
        entries = self._said.get(key, ())
        at = self._matched.get((key, origin), 0)
        while at < len(entries) and origin in entries[at].origins:
            at += 1
        self._matched[key, origin] = at
        return entries[at] if at < len(entries) else None

    def _new_thoughts(self, draft: Draft, origin: str) -> list[Key]:
        """What nobody has thought before; what an event and an item say stands where the item stands.

        Events tell the thoughts of one item one by one.
        """
        keys = []
        for part in draft.parts:
            key = key_of("thinking", part.text) if part.type == "thinking" and part.text else None
            if key is None:
                continue
            said = self._unmatched(key, origin)
            if said is None:
                keys.append(key)
                continue
            said.origins.add(origin)
            loser = said.draft if origin == "item" else draft
            loser.parts = tuple(each for each in loser.parts if each != part)
            loser.is_gone = not loser.parts
            if origin == "item":
                said.draft = draft
        return keys


def _merge(said: Draft, draft: Draft, *, is_better: bool) -> None:
    first, second = (draft, said) if is_better else (said, draft)
    said.content = first.content
    said.id = first.id or second.id
    said.name = first.name or second.name
    known = {part.digest for part in first.parts if part.digest}
    new = (part for part in second.parts if part not in first.parts and part.digest not in known)
    said.parts = (*first.parts, *new)


def _without(value: Any, result: str) -> Any:
    """An event's data without the texts that the result of its call holds too."""
    if isinstance(value, dict):
        return {key: _without(item, result) for key, item in value.items() if not _is_repeated(key, item, result)}
    if isinstance(value, list):
        return [_without(item, result) for item in value]
    return value


def _is_repeated(key: str, value: Any, result: str) -> bool:
    return key in _REPEATED and isinstance(value, str) and value.strip() in result
