"""What takes the objects of a chat program's export, and makes turns and a note of a conversation."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from eventlog import ConversationNoted, TurnRecorded
from turnlog.sources.export_parts import Payloads, is_uuid, without
from turnlog.sources.times import utc
from turnlog.sources.trees import Node, Tree


class Taken(NamedTuple):
    """What an object of an export says."""

    turns: Sequence[TurnRecorded] = ()
    notes: Sequence[ConversationNoted] = ()


def updated_at(value: Any) -> dict[str, str]:
    """The field of `meta` that tells which of two exports' states of a turn is newer (see `projections.standing`)."""
    moment = utc(value)
    return {"updated_at": moment.isoformat(timespec="microseconds")} if moment else {}


class Taking(ABC):
    """Takes the objects of a stream of `source`, one after the other."""

    def __init__(self, source: str, user: str, payloads: Payloads) -> None:
        self.source = source
        self.payloads = payloads
        self._user = user
        self._first_in = _Membership()

    @abstractmethod
    def take(self, record: Mapping[str, Any], meta: Mapping[str, Any]) -> Taken:
        """The turns of an object, each with this meta, and its notes. Raises CannotRead for what is none of its own."""

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Let go of what was opened."""

    def note(self, conversation: str, notes: Mapping[str, Any], title: str | None = None) -> ConversationNoted:
        """A note, its fields in order; what is large in it is kept beside the log."""
        small = {name: self.payloads.small(notes[name]) for name in sorted(notes)}
        return ConversationNoted(source=self.source, conversation=conversation, title=title, notes=small)

    def conversation(
        self,
        name: str,
        nodes: Sequence[Node],
        *,
        title: str | None,
        shown: str,
        fields: Mapping[str, Any],
        meta: Mapping[str, Any],
    ) -> Taken:
        """The turns of a conversation, and the note of it: `fields`, and what is not on the branch to `shown`."""

        def turn_id(prompt: str | None) -> str:
            if prompt and is_uuid(prompt):
                return f"{self.source}:{prompt}"
            return f"{self.source}:{name}" + (f":{prompt}" if prompt else "")

        tree = Tree(nodes)
        common = {"source": self.source, "user": self._user, "conversation": name}
        turns = list(tree.turns(turn_id, dict(meta), **common))
        aside = tree.aside(shown)
        if "prompts" in aside:
            aside["turns"] = [turn_id(prompt) for prompt in aside.pop("prompts")]
        shares = self._first_in.shared(name, (turn.turn_id for turn in turns))
        return Taken(turns, [self.note(name, without({**fields, "aside": aside, "shares": shares}), title)])


class _Membership:
    """In which conversation each turn was met first: a branch or a share may have copied it with its id."""

    def __init__(self) -> None:
        self._first: dict[int, int] = {}  # hashes, since there may be a million of them

    def shared(self, conversation: str, turn_ids: Iterable[str]) -> list[str]:
        """The turns that another conversation had before."""
        here = hash(conversation)
        return [turn_id for turn_id in turn_ids if self._first.setdefault(hash(turn_id), here) != here]
