"""Conversations that branch, as turns.

A chat program keeps what was said as a tree: a prompt that was edited has a sibling, an answer made anew too. A turn is
a prompt and what hangs from it down to the next prompts, on all branches; so an edited prompt is a turn of its own, and
another answer is in the turn of its prompt. In a turn, a message that does not follow the one before it has a part
`branch`, whose `id` is the message that it does follow. What hangs from no prompt belongs to the first turn.

Turns come in the order of their prompts' times; one without a time has that of what it follows. Which turns and
messages are not on the branch that the program shows is told by a note, since that changes while they stay the same.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from eventlog import Message, Part, TurnRecorded

_BEGINNING = datetime.min.replace(tzinfo=UTC)


class Node(Struct, frozen=True):
    """One message of the program, and what it follows: none, one or several messages of a turn.

    `rest` is what else the program says of it, `unknown` names what nobody knows in it.
    """

    id: str
    parent: str | None
    is_prompt: bool
    messages: tuple[Message, ...]
    at: datetime | None = None
    model: str | None = None
    is_hidden: bool = False
    rest: dict[str, Any] = {}
    unknown: tuple[str, ...] = ()


class Tree:
    """The nodes of one conversation. Siblings are in the order in which they are given; ids are unique."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = {node.id: node for node in nodes}
        self._said: dict[str, str | None] = {}  # by node: itself, or the last before it, in which something is said
        self._time: dict[str, datetime] = {}
        self._turns: dict[str | None, list[Node]] = {}  # by prompt; what hangs from none is nobody's
        owner: dict[str, str | None] = {}
        for node in _from_the_root(nodes):
            parent = node.parent or ""
            owner[node.id] = node.id if node.is_prompt else owner.get(parent)
            self._said[node.id] = node.id if node.messages else self._said.get(parent)
            self._time[node.id] = node.at or self._time.get(parent, _BEGINNING)
            self._turns.setdefault(owner[node.id], []).append(node)
        self._give_lead_to_first()

    def _give_lead_to_first(self) -> None:
        prompts = [prompt for prompt in self._turns if prompt is not None]
        if prompts and None in self._turns:
            self._turns[prompts[0]] = [*self._turns.pop(None), *self._turns[prompts[0]]]

    def turns(self, name: Callable[[str | None], str], meta: dict[str, Any], **common: Any) -> Iterator[TurnRecorded]:
        """The turns in order. `name` gives the id of one by its prompt's, None if it has none."""
        for prompt in sorted(self._turns, key=lambda prompt: self._time.get(prompt or "", _BEGINNING)):
            nodes = self._turns[prompt]
            messages = tuple(self._messages(nodes))
            if messages:
                own = self._meta(prompt, nodes)
                times = [node.at for node in nodes if node.at and node.messages]
                yield TurnRecorded(
                    turn_id=name(prompt),
                    started_at=min(times, default=None),
                    ended_at=max(times, default=None),
                    model=next((node.model for node in nodes if node.model), None),
                    meta={**meta, **own},
                    messages=messages,
                    **common,
                )

    def aside(self, shown: str | None) -> dict[str, list[str]]:
        """The prompts that are not on the branch that ends with `shown`, and such messages of the turns that are."""
        path = set()
        while shown in self._nodes and shown not in path:
            path.add(shown)
            shown = self._nodes[shown].parent
        if not path:
            return {}
        prompts = [prompt for prompt in self._turns if prompt is not None and prompt not in path]
        messages = [
            node.id
            for prompt, nodes in self._turns.items()
            if prompt is None or prompt in path
            for node in nodes
            if node.messages and node.id not in path
        ]
        return {name: ids for name, ids in (("prompts", prompts), ("messages", messages)) if ids}

    @property
    def prompts(self) -> list[str]:
        """Those that begin a turn."""
        return [prompt for prompt in self._turns if prompt is not None]

    def _messages(self, nodes: Sequence[Node]) -> Iterator[Message]:
        last: str | None = None
        for node in nodes:
            if not node.messages:
                continue
            first, *rest = node.messages
            follows = self._said.get(node.parent or "")
            if last is not None and follows != last:
                first = replace(first, parts=(Part(type="branch", id=follows), *first.parts))
            yield first
            yield from rest
            last = node.id

    def _meta(self, prompt: str | None, nodes: Sequence[Node]) -> dict[str, Any]:
        models = defaultdict(list)
        for node in nodes:
            if node.model:
                models[node.model].append(node.id)
        follows = self._said.get(self._nodes[prompt].parent or "") if prompt else None
        unknown = Counter(kind for node in nodes for kind in node.unknown)
        meta = {
            "follows": follows,
            "models": dict(models) if len(models) > 1 else None,
            "hidden": [node.id for node in nodes if node.is_hidden],
            "messages": {node.id: node.rest for node in nodes if node.rest},
            "unknown": dict(sorted(unknown.items())),
        }
        return {name: value for name, value in meta.items() if value}


def _from_the_root(nodes: Sequence[Node]) -> Iterator[Node]:
    """Each node after what it follows, and before that one's next branch; nodes in a circle too, from the first on."""
    known = {node.id for node in nodes}
    branches: dict[str, list[Node]] = defaultdict(list)
    roots = []
    for node in nodes:
        if node.parent in known and node.parent is not None:
            branches[node.parent].append(node)
        else:
            roots.append(node)
    seen = set()
    for root in (*roots, *nodes):
        open_branches = [root]
        while open_branches:
            node = open_branches.pop()
            if node.id not in seen:
                seen.add(node.id)
                yield node
                open_branches.extend(reversed(branches[node.id]))
