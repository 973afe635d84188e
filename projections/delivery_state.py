"""What a delivery state holds: for each sink the state of every turn, and what is known of the unfinished ones."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from msgspec import Struct

from projections.queue import Queue
from projections.turns import Turns

NOT_OWED, PENDING, ATTEMPTING, RETRYING, DELIVERED, DEAD, SKIPPED, SUPERSEDED = range(8)

STATE_NAMES = (
    "not_owed",
    "pending",
    "attempting",
    "retrying",
    "delivered",
    "dead",
    "skipped",
    "superseded",
)
"""The names of the states by number; `not_owed` is out of scope and no state of a turn."""

OPEN = (PENDING, ATTEMPTING, RETRYING)
"""The states in which a turn keeps its place in its lane."""

UNDELIVERED = (PENDING, ATTEMPTING, RETRYING, DEAD)
"""The states that somebody may have to look at."""

OPERATOR = "operator"
"""The kind of a pause that only the operator ends."""

BLAMING_KINDS = ("failed", "rejected")
"""The kinds of failure that count against a turn; the others blame the sink or nobody."""

SINK_KINDS = ("unavailable", "throttled", "unauthorized")
"""The kinds of failure that are the sink's own: they pause it, and blame no turn."""


class Failure(Struct):
    """Why a turn is not delivered, as the last failed attempt told."""

    kind: str
    status: int | None
    message: str


class Try(Struct):
    """What happened to an unfinished or dead turn at a sink so far.

    `attempts` are the counted ones, `requests` all, `doubts` how often in a row nobody knew the outcome, `attempt` the
    seq of the last SyncAttempted. `counted` says whether the last failure was one of `attempts`: only then is there a
    backoff. `doubtful` says that the sink may have the turn, because the outcome of an attempt was unknown. `turns_max`
    above 0 limits the next request that it is sent in. `held` says that the operator is to decide. `then` is the state
    that an attempt under way ends in if it fails; a doubtful turn keeps its place until the sink has said whether it
    has it, and ends as `then` if not.
    """

    attempts: int = 0
    requests: int = 0
    doubts: int = 0
    doubtful: bool = False
    attempt: int = 0
    counted: bool = False
    failed_at: datetime | None = None
    retry_after: float = 0.0
    error: Failure | None = None
    turns_max: int = 0
    held: bool = False
    then: int = NOT_OWED


class Pause(Struct):
    """A sink takes nothing: since when and why; with `until` the pause ends by itself."""

    kind: str
    reason: str
    since: datetime
    until: datetime | None = None


class Buffer(Struct):
    """What a sink keeps for one user until it is flushed: how much, in its own units, up to which turn.

    `at` is when the last of it came, `again` how often a turn in it was delivered before.
    """

    at: datetime
    amount: int = 0
    up_to: int = 0
    again: int = 0


@dataclass
class SinkState:
    """Everything about one sink.

    `again` says how often a turn (by ordinal) was owed anew after it had been delivered; `buffers` are those of the
    sink's users, the one that was quiet for longest first; `relapses` counts pauses since the last success.
    """

    name: str
    kind: str = ""
    since_seq: int = 1
    retired: bool = False
    states: bytearray = field(default_factory=bytearray)
    counts: list[int] = field(default_factory=lambda: [0] * len(STATE_NAMES))
    lanes: dict[int, Queue] = field(default_factory=dict)
    tries: dict[int, Try] = field(default_factory=dict)
    open_attempts: dict[int, set[int]] = field(default_factory=dict)
    pause: Pause | None = None
    last_success_at: datetime | None = None
    relapses: int = 0
    again: dict[int, int] = field(default_factory=dict)
    buffers: dict[str, Buffer] = field(default_factory=dict)

    def set_state(self, ordinal: int, state: int) -> None:
        """Move a turn to another state and keep the counts."""
        self.counts[self.states[ordinal]] -= 1
        self.counts[state] += 1
        self.states[ordinal] = state

    def finish(self, ordinal: int, state: int, lane_id: int) -> None:
        """Move a turn to a state in which its lane goes on without it."""
        lane = self.lanes.get(lane_id)
        if lane is not None and self.states[ordinal] in OPEN:
            if lane[0] == ordinal:
                lane.popleft()
            else:
                lane.remove(ordinal)
            if not lane:
                del self.lanes[lane_id]
        self.set_state(ordinal, state)
        if state != DEAD:
            self.tries.pop(ordinal, None)

    def owe(self, ordinal: int, lane_id: int) -> None:
        """Owe a turn that has just come to be, as the last of its lane."""
        self.states.append(PENDING)
        self.counts[PENDING] += 1
        lane = self.lanes.get(lane_id)
        if lane is None:
            self.lanes[lane_id] = Queue((ordinal,))
        else:
            lane.append(ordinal)

    def reopen(self, ordinal: int, lane_id: int, *, behind: int | None = None) -> None:
        """Owe a turn: at its place in the lane, or right behind another that is open."""
        lane = self.lanes.setdefault(lane_id, Queue())
        if behind is not None and behind in lane:
            lane.insert(lane.index(behind) + 1, ordinal)
        elif not lane or lane[-1] < ordinal:
            lane.append(ordinal)
        else:  # behind all that is older: a revision may stand before what is older than itself
            younger = next((i for i, other in enumerate(reversed(lane)) if other < ordinal), len(lane))
            lane.insert(len(lane) - younger, ordinal)
        self.tries.pop(ordinal, None)
        self.set_state(ordinal, PENDING)

    def ordinals(self, states: Iterable[int]) -> Iterator[int]:
        """The turns in one of these states, oldest first."""
        wanted = bytes(states)
        return (ordinal for ordinal, state in enumerate(self.states) if state in wanted)

    def totals(self) -> dict[str, int]:
        """How many turns are in each of the seven states."""
        return dict(zip(STATE_NAMES[1:], self.counts[1:], strict=True))


@dataclass
class Delivery:
    """The state of all deliveries; `anomalies` counts events that make no sense where they stand, by what they are."""

    last_seq: int = 0
    turns: Turns = field(default_factory=Turns)
    sinks: dict[str, SinkState] = field(default_factory=dict)
    anomalies: Counter[str] = field(default_factory=Counter)

    def turn_state(self, sink: str, seq: int) -> str:
        """The name of a turn's state at a sink; `not_owed` if it has none there."""
        ordinal, state = self.turns.ordinal(seq), self.sinks.get(sink)
        return STATE_NAMES[state.states[ordinal] if state and ordinal is not None else NOT_OWED]
