"""What to send now: a pure function of (state, policy, now, limits)."""

from collections.abc import Callable
from datetime import datetime

from projections import Delivery, RetryPolicy, SinkState, eligible
from turnlog.sinks.base import Limits

Request = tuple[int, ...]
"""The ordinals of the turns that go out together, in order."""


def plan(
    state: Delivery,
    sink: SinkState,
    *,
    now: datetime,
    policy: RetryPolicy,
    limits: Limits,
    slots: int,
    size_of: Callable[[int], int],
) -> list[Request]:
    """At most `slots` requests for one sink, each within `limits`; `size_of` tells what a turn adds to one, in bytes.

    A lane has turns in one request only, from its first open one on and without a gap: so its order holds whatever
    becomes of the other requests. A request is filled before the next is begun.
    """
    requests = _Requests(state, sink, limits, slots, size_of)
    for due in eligible(state, sink, now, policy):
        first = next(due, None)
        if first is None:
            continue
        request = requests.begin_lane(first)
        if request is None:
            break
        for ordinal in due:
            if not requests.add(request, ordinal):
                break
    return [tuple(request.turns) for request in requests.begun]


class _Packing:
    """A request that is being filled."""

    def __init__(self, limits: Limits) -> None:
        self.turns: list[int] = []
        self._limits = limits
        self._turns_max = limits.turns
        self._lanes: set[int] = set()
        self._size = 0

    def take(self, ordinal: int, lane: int, size: int, turns_max: int) -> bool:
        """Add a turn if it fits; an empty request takes any."""
        turns_max = min(self._turns_max, turns_max or self._turns_max)
        fits = (
            len(self.turns) < turns_max
            and len(self._lanes | {lane}) <= self._limits.conversations
            and self._size + size <= self._limits.size
        )
        if self.turns and not fits:
            return False
        self.turns.append(ordinal)
        self._turns_max = turns_max
        self._lanes.add(lane)
        self._size += size
        return True


class _Requests:
    """The requests of one plan: those that may share one, by source if the sink wants that, are packed together."""

    def __init__(
        self, state: Delivery, sink: SinkState, limits: Limits, slots: int, size_of: Callable[[int], int]
    ) -> None:
        self.begun: list[_Packing] = []
        self._state, self._sink, self._limits = state, sink, limits
        self._slots, self._size_of = slots, size_of
        self._filling: dict[str, _Packing] = {}

    def begin_lane(self, ordinal: int) -> _Packing | None:
        """The request that takes a lane's first turn; None if all are full."""
        lane = self._state.turns.lanes[self._state.turns.lane_id(ordinal)]
        key = lane[0] if self._limits.one_source else ""
        filling = self._filling.get(key)
        if filling is not None and self.add(filling, ordinal):
            return filling
        if len(self.begun) >= self._slots:
            return None
        request = self._filling[key] = _Packing(self._limits)
        self.begun.append(request)
        self.add(request, ordinal)
        return request

    def add(self, request: _Packing, ordinal: int) -> bool:
        """Add a turn to a request if it fits."""
        attempt = self._sink.tries.get(ordinal)
        lane = self._state.turns.lane_id(ordinal)
        return request.take(ordinal, lane, self._size_of(ordinal), attempt.turns_max if attempt else 0)
