"""Which turns of a Claude Code session are on the branch that it is on now: who goes back and asks anew leaves one."""

from typing import Any

from turnlog.sources.claude_code_lines import Record
from turnlog.sources.claude_code_prompts import kind_of

_TURN_BITS = 32


class MustStartOver(Exception):
    """What was read before the cursor is needed after all."""


class Branches:
    """Takes in the records of a session; remembers each by its id, as small as can be: there may be half a million.

    `is_whole` says that reading began at the beginning of the file. Turns count from 0; what stands before the first
    prompt belongs to the turn -1, so that asking the first one anew leaves it.
    """

    def __init__(self, *, is_whole: bool) -> None:
        self.keys: list[str] = []
        self.is_whole = is_whole
        self._follows = [-1]
        self._last_linked = -1  # the last turn that a record can be linked to: a prompt from the queue has no id
        self._known: dict[int, int] = {}  # by a hash of the uuid: the turn, above it a gist of what was said
        self._summaries: dict[str, str] = {}
        self._gist = 0

    def is_known(self, record: Record) -> bool:
        """Whether the very same record was there before; what has no id is another one each time."""
        if record.uuid is None:
            return False
        self._gist = _gist(record)
        known = self._known.get(hash(record.uuid))
        return known is not None and known >> _TURN_BITS == self._gist

    def is_turn(self, uuid: str) -> bool:
        """Whether a record of this id was there before."""
        return hash(uuid) in self._known

    def add(self, uuid: str | None, turn: int) -> None:
        """Take in the record that was last asked about, as one of a turn."""
        if uuid is not None:
            self._known.setdefault(hash(uuid), self._gist << _TURN_BITS | turn + 1)
            if turn > self._last_linked:
                self._last_linked = turn

    def begin_turn(self, fields: dict[str, Any]) -> None:
        """Take in that a record begins a turn. Raises MustStartOver if nobody knows what it follows."""
        last = len(self._follows) - 1
        parent = fields.get("parentUuid") or fields.get("logicalParentUuid")
        follows = last
        if isinstance(parent, str):
            known = self._known.get(hash(parent))
            follows = last if known is None else known % 2**_TURN_BITS - 1
            if follows == self._last_linked:
                follows = last
            if not self.is_whole and (follows != last or known is None):
                raise MustStartOver
        self._follows.append(follows)

    def inactive(self) -> list[str]:
        """The keys of the turns that are on another branch than the last one, in order."""
        if not self.is_whole:
            return []
        active, turn = set(), len(self._follows) - 1
        while turn >= 0:
            active.add(turn)
            turn = self._follows[turn]
        return [key for number, key in enumerate(self.keys) if number not in active]

    def add_summary(self, fields: dict[str, Any]) -> None:
        """Take in a summary, which may be of another session."""
        leaf = fields.get("leafUuid")
        if isinstance(leaf, str):
            self._summaries[leaf] = fields["summary"]

    def summary(self) -> str | None:
        """The last summary that is of a record of this session."""
        found = [summary for leaf, summary in self._summaries.items() if hash(leaf) in self._known]
        return found[-1] if found else None


def _gist(record: Record) -> int:
    """A hash of what a record says, but for what differs between its copies."""
    message = record.fields.get("message")
    content = message.get("content") if type(message) is dict else record.fields.get("content")
    said = [record.kind, record.fields.get("subtype"), kind_of(record.fields.get("attachment"))]
    if type(content) is list:
        said += map(_gist_of_block, content)
    else:
        said.append(content)
    return hash(tuple([each for each in said if type(each) is str]))


def _gist_of_block(block: Any) -> Any:
    if type(block) is not dict:
        return block
    return block.get("id") or block.get("tool_use_id") or block.get("text") or block.get("thinking")
