"""What to send now, as a pure function."""

from collections import Counter
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from eventlog import Entry, Message, SinkEnrolled, TurnRecorded
from projections import DELIVERY, Delivery, RetryPolicy, SinkState, eligible, fold_all
from turnlog.sinks.base import Limits
from turnlog.sync.planner import Request, Weight, plan
from turnlog.testing import logs, make_entries, wild_logs
from turnlog.testing.clock import START

from .support import SINK, Bench

POLICY = RetryPolicy(max_attempts=3)

limits = st.builds(
    Limits,
    turns=st.integers(1, 6),
    conversations=st.integers(1, 3),
    size=st.integers(1, 400),
    one_source=st.booleans(),
)


def size_of(ordinal: int) -> int:
    return 10 + ordinal * 37 % 200


def weigh(ordinal: int) -> Weight:
    return Weight(size_of(ordinal), START)


def record(users: list[str]) -> list[Entry]:
    """An enrolled sink, and a turn of each of these users, in their order."""
    said = (Message("user", "hi"),)
    turns = [TurnRecorded(turn_id=str(i), user=user, source=user[0], messages=said) for i, user in enumerate(users)]
    return make_entries([SinkEnrolled(sink=SINK), *turns])


@given(
    entries=logs(POLICY) | wild_logs() | st.lists(st.sampled_from(["ann", "alf", "bob"]), max_size=20).map(record),
    limits=limits,
    slots=st.integers(0, 4),
    seconds=st.sampled_from([0, 5, 100, 10_000]),
)
def test_a_plan_keeps_every_rule(entries: list[Entry], limits: Limits, slots: int, seconds: float) -> None:
    """Whatever the state: within the limits, lanes in order and whole, each turn once; something if there is any."""
    (state,) = fold_all(entries, DELIVERY)
    now = (entries[-1].at if entries else START) + timedelta(seconds=seconds)
    for sink in state.sinks.values():
        lanes = [lane for lane in map(list, eligible(state, sink, now, POLICY)) if lane]
        arguments = {"now": now, "policy": POLICY, "limits": limits, "slots": slots, "weigh": weigh}
        requests = plan(state, sink, **arguments).requests
        assert plan(state, sink, **arguments).requests == requests
        assert len(requests) <= slots
        assert bool(requests) == bool(lanes and slots)
        for request in requests:
            _check_limits(state, sink, request, limits)
        _check_lanes(state, requests, lanes)


def _check_limits(state: Delivery, sink: SinkState, request: Request, limits: Limits) -> None:
    at_most = [sink.tries[o].turns_max for o in request if o in sink.tries and sink.tries[o].turns_max > 0]
    assert len(request) <= min([limits.turns, *at_most])
    if len(request) > 1:
        assert sum(map(size_of, request)) <= limits.size
        assert len({state.turns.lane_id(o) for o in request}) <= limits.conversations
    if limits.one_source:
        assert len({state.turns.lanes[state.turns.lane_id(o)][0] for o in request}) == 1


def _check_lanes(state: Delivery, requests: list[Request], lanes: list[list[int]]) -> None:
    """A lane is in one request only, from its first eligible turn on, without a gap."""
    assert max(Counter(o for request in requests for o in request).values(), default=1) == 1
    homes = Counter(lane for request in requests for lane in {state.turns.lane_id(o) for o in request})
    assert max(homes.values(), default=1) == 1
    for request in requests:
        for lane_id in {state.turns.lane_id(o) for o in request}:
            sent = [o for o in request if state.turns.lane_id(o) == lane_id]
            assert any(lane[: len(sent)] == sent for lane in lanes)


def requests_of(bench: Bench, limits: Limits, slots: int) -> list[list[int]]:
    state = bench.state
    requests = plan(
        state,
        state.sinks[SINK],
        now=bench.clock.now(),
        policy=bench.policy,
        limits=limits,
        slots=slots,
        weigh=lambda _: Weight(10, START),
    ).requests
    return [[state.turns.seqs[o] for o in request] for request in requests]


def test_a_request_is_filled_before_the_next_is_begun(bench: Bench) -> None:
    """Small lanes share a request; a second connection is used for what does not fit the first."""
    ann, bob, cas = (bench.record(2, user=user) for user in ("ann", "bob", "cas"))
    assert requests_of(bench, Limits(turns=100), slots=4) == [ann + bob + cas]
    assert requests_of(bench, Limits(turns=4), slots=4) == [ann + bob, cas]
    assert requests_of(bench, Limits(turns=4), slots=1) == [ann + bob]
    assert requests_of(bench, Limits(turns=3), slots=4) == [ann + bob[:1], cas]
    assert requests_of(bench, Limits(size=40), slots=4) == [ann + bob, cas]
    assert requests_of(bench, Limits(conversations=1), slots=2) == [ann, bob]


def test_a_lane_never_skips_a_turn(bench: Bench) -> None:
    """What does not fit ends its lane's share of the request, although a later turn would fit."""
    bench.record(3)
    state = bench.state
    arguments = {"now": bench.clock.now(), "policy": POLICY, "limits": Limits(size=100), "slots": 1}
    weights = [Weight(size, START) for size in (10, 1000, 10)]
    assert plan(state, state.sinks[SINK], weigh=weights.__getitem__, **arguments).requests == [(0,)]


def test_sources_are_packed_apart_where_the_sink_wants_that(bench: Bench) -> None:
    """Each source has a request of its own that its lanes share, as far as there are connections."""
    one, two, three = (bench.record(1, user=str(i), source=source) for i, source in enumerate(["x", "y", "x"]))
    limits = Limits(one_source=True)
    assert requests_of(bench, limits, slots=4) == [one + three, two]
    assert requests_of(bench, Limits(), slots=4) == [one + two + three]


def test_a_turn_larger_than_a_request_goes_alone(bench: Bench) -> None:
    """An empty request takes any turn."""
    first, second = bench.record(2)
    assert requests_of(bench, Limits(size=5), slots=4) == [[first]]
    assert requests_of(bench, Limits(size=0, turns=1), slots=0) == []
    bench.run()
    assert bench.sink.taken == [first, second]
