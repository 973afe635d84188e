"""What to send now: a pure function of (state, policy, now, limits)."""

from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from msgspec import Struct

from projections import Delivery, RetryPolicy, SinkState, eligible
from turnlog.sinks.base import Limits

Request = tuple[int, ...]
"""The ordinals of the turns that go out together, in order."""


class Weight(Struct, frozen=True):
    """What a turn adds to a request, in the sink's units, and when it was recorded."""

    size: int
    recorded_at: datetime


class Plan(Struct, frozen=True):
    """The requests that may begin now; `wait_until` is when one that lingers for more turns will be sent as it is."""

    requests: list[Request]
    wait_until: datetime | None = None


class Urgency(Struct, frozen=True):
    """What goes first: lanes with nothing older than the turn `live_from`, or with `backlog_first` all others."""

    live_from: int | None = None
    backlog_first: bool = False


def plan(
    state: Delivery,
    sink: SinkState,
    *,
    now: datetime,
    policy: RetryPolicy,
    limits: Limits,
    slots: int,
    weigh: Callable[[int], Weight],
    urgency: Urgency = Urgency(),  # noqa: B008 - frozen
    busy_users: Collection[str] = (),
) -> Plan:
    """At most `slots` requests for one sink, each within `limits`; `weigh` tells what a turn adds to one.

    A lane has turns in one request only, from its first open one on and without a gap: so its order holds whatever
    becomes of the other requests. A request is filled before the next is begun. `busy_users` have to wait where the
    limits say `one_user`.
    """
    if slots <= 0:
        return Plan([])
    requests = _Requests(state, sink, limits, slots, weigh, busy_users)
    lanes = eligible(state, sink, now, policy, live_from=urgency.live_from, backlog_first=urgency.backlog_first)
    for due in lanes:
        first = next(due, None)
        if first is None:
            continue
        request = requests.begin_lane(first)
        if request is None and requests.are_all_begun:
            break
        if request is None:
            continue
        for ordinal in due:
            if not requests.add(request, ordinal):
                break
    return requests.sent_by(now)


class _Packing:
    """A request that is being filled."""

    def __init__(self, limits: Limits) -> None:
        self.turns: list[int] = []
        self.is_full = False
        self.newest: datetime | None = None
        self._limits = limits
        self._turns_max = limits.turns
        self._lanes: set[int] = set()
        self._size = 0

    def take(self, ordinal: int, lane: int, weigh: Callable[[int], Weight], turns_max: int) -> bool:
        """Add a turn if it fits; an empty request takes any."""
        turns_max = min(self._turns_max, turns_max) if turns_max else self._turns_max
        fits = len(self.turns) < turns_max and (lane in self._lanes or len(self._lanes) < self._limits.conversations)
        if self.turns and not fits:  # it need not even be read
            self.is_full = True
            return False
        weight = weigh(ordinal)
        if self.turns and self._size + weight.size > self._limits.size:
            self.is_full = True
            return False
        self.turns.append(ordinal)
        self._turns_max = turns_max
        self.is_full = self.is_full or len(self.turns) >= turns_max
        self._lanes.add(lane)
        self._size += weight.size
        if self.newest is None or self.newest < weight.recorded_at:
            self.newest = weight.recorded_at
        return True


class _Requests:
    """The requests of one plan; lanes share one where they may: by source or by user, if the sink wants that."""

    def __init__(
        self,
        state: Delivery,
        sink: SinkState,
        limits: Limits,
        slots: int,
        weigh: Callable[[int], Weight],
        busy_users: Collection[str],
    ) -> None:
        self._begun: list[_Packing] = []
        self._state, self._sink, self._limits = state, sink, limits
        self._slots, self._weigh = slots, weigh
        self._busy_users = busy_users
        self._filling: dict[tuple[str, str], _Packing] = {}

    @property
    def are_all_begun(self) -> bool:
        """Whether there is no slot left for another request."""
        return len(self._begun) >= self._slots

    def begin_lane(self, ordinal: int) -> _Packing | None:
        """The request that takes a lane's first turn; None if there is none for it now."""
        source, user, _ = self._state.turns.lanes[self._state.turns.lane_id(ordinal)]
        limits = self._limits
        if limits.one_user and user in self._busy_users:
            return None
        key = (source if limits.one_source else "", user if limits.one_user else "")
        filling = self._filling.get(key)
        if filling is not None and self.add(filling, ordinal):
            return filling
        if self.are_all_begun or (limits.one_user and filling is not None):
            return None
        request = self._filling[key] = _Packing(limits)
        self._begun.append(request)
        self.add(request, ordinal)
        return request

    def add(self, request: _Packing, ordinal: int) -> bool:
        """Add a turn to a request if it fits."""
        attempt = self._sink.tries.get(ordinal)
        lane = self._state.turns.lane_id(ordinal)
        return request.take(ordinal, lane, self._weigh, attempt.turns_max if attempt else 0)

    def sent_by(self, now: datetime) -> Plan:
        """The requests that are full or have lingered for long enough, and when the next of the others has."""
        linger = timedelta(seconds=self._limits.linger_seconds)
        ready, later = [], []
        for request in self._begun:
            newest = request.newest or now
            due = newest + linger
            if (
                request.is_full or not linger or due <= now or newest > now
            ):  # of a clock that was set back nothing can be said
                ready.append(tuple(request.turns))
            else:
                later.append(due)
        return Plan(ready, min(later, default=None))
