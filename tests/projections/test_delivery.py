"""The delivery fold by example: each kind of failure, revisions, operators, sinks that come and go."""

from datetime import timedelta

import pytest

from eventlog import DeliveryRevoked, Event, SinkPaused, SinkResumed, SinkRetired, TurnRecorded
from projections import STATE_NAMES, Failure
from turnlog.testing.clock import START

from .support import SINK, attempted, delivery, enrolled, failed, retry, sendable, skip, states, succeeded, turn

# In every example the sink is enrolled at seq 1, and the turns follow from seq 2 on.
THREE = [enrolled(), turn("a"), turn("b"), turn("c")]


def revision(of: int, turn_id: str = "a", number: int = 2) -> Event:
    return turn(turn_id, text="more", revision=number, supersedes=of)


# Failures.


def test_nothing_is_owed_before_a_sink_is_enrolled() -> None:
    """A turn has no state at a sink that nobody enrolled."""
    state = delivery(turn("a"))
    assert not state.sinks
    assert state.turn_state(SINK, 1) == "not_owed"


def test_a_turn_is_pending_then_attempting_then_delivered() -> None:
    """A turn's plain life; when it is delivered nothing is remembered of its attempt."""
    events = [enrolled(), turn("a")]
    assert states(delivery(*events)) == {2: "pending"}
    assert states(delivery(*events, attempted(2))) == {2: "attempting"}
    state = delivery(*events, attempted(2), succeeded(3, 2))
    assert states(state) == {2: "delivered"}
    sink = state.sinks[SINK]
    assert (sink.tries, sink.lanes, sink.open_attempts) == ({}, {}, {})
    assert sink.last_success_at == START + timedelta(seconds=3)


@pytest.mark.parametrize("kind", ["unavailable", "throttled", "unauthorized"])
def test_a_sink_s_own_failure_blames_no_turn(kind: str) -> None:
    """After an outage the turn is pending as before, not counted, and due at once."""
    state = delivery(*THREE, attempted(2, 3), failed(5, 2, 3, kind=kind, status=503, error="no"))
    assert states(state) == {2: "pending", 3: "pending", 4: "pending"}
    assert state.sinks[SINK].tries[0].attempts == 0
    assert state.sinks[SINK].tries[0].error == Failure(kind, 503, "no")
    assert sendable(state) == [[2, 3, 4]]


def test_a_failure_is_counted_and_waited_for() -> None:
    """A failed turn is retrying, keeps its lane waiting, and is due after its backoff."""
    state = delivery(*THREE, attempted(2), failed(5, 2))
    assert states(state) == {2: "retrying", 3: "pending", 4: "pending"}
    assert state.sinks[SINK].tries[0].attempts == 1
    assert sendable(state, after=5.0) == []
    assert sendable(state, after=5.0 + 2.0) == [[2, 3, 4]]


def test_a_final_failure_is_death_and_the_lane_goes_on() -> None:
    """A dead turn is remembered with its error, and the turns behind it may be sent."""
    state = delivery(*THREE, attempted(2), failed(5, 2, kind="rejected", final=True, error="bad", status=422))
    assert states(state) == {2: "dead", 3: "pending", 4: "pending"}
    assert state.sinks[SINK].tries[0].error == Failure("rejected", 422, "bad")
    assert sendable(state) == [[3, 4]]


def test_whether_a_failure_is_final_is_in_the_event() -> None:
    """A hundred failures kill nobody if no event says so; one that says so does, whatever its kind."""
    events = list(THREE)
    for _ in range(100):
        events += [attempted(2), failed(len(events) + 1, 2)]
    assert states(delivery(*events))[2] == "retrying"
    assert states(delivery(*THREE, attempted(2), failed(5, 2, kind="in_doubt", final=True)))[2] == "dead"


def test_a_halved_request_blames_nobody_and_is_smaller_next_time() -> None:
    """With `turns_max` the failure is not counted, the turns are due at once, and the limit is remembered."""
    state = delivery(*THREE, attempted(2, 3, 4), failed(5, 2, 3, 4, turns_max=1))
    assert set(states(state).values()) == {"retrying"}
    assert [(t.attempts, t.turns_max) for t in state.sinks[SINK].tries.values()] == [(0, 1)] * 3
    assert sendable(state) == [[2, 3, 4]]


def test_doubt_adds_up_until_a_failure_is_counted() -> None:
    """`doubts` counts unknown outcomes in a row; a counted failure ends the row, but the turn stays doubtful."""
    twice = [*THREE, attempted(2), failed(5, 2, kind="in_doubt"), attempted(2), failed(7, 2, kind="in_doubt")]
    attempt = delivery(*twice).sinks[SINK].tries[0]
    assert (attempt.doubts, attempt.attempts, attempt.doubtful) == (2, 0, True)
    attempt = delivery(*twice, attempted(2), failed(9, 2)).sinks[SINK].tries[0]
    assert (attempt.doubts, attempt.attempts, attempt.doubtful) == (0, 1, True)


def test_a_backoff_ends_with_the_failure_that_asked_for_it() -> None:
    """After a counted failure and then an outage, the turn is retrying but due at once."""
    state = delivery(*THREE, attempted(2), failed(5, 2), attempted(2), failed(7, 2, kind="unavailable"))
    assert states(state)[2] == "retrying"
    assert sendable(state)


def test_an_outcome_may_come_in_pieces() -> None:
    """The turns of one attempt end one by one; the rest stays under way, and its lane waits."""
    state = delivery(*THREE, attempted(2, 3, 4), succeeded(5, 2))
    assert states(state) == {2: "delivered", 3: "attempting", 4: "attempting"}
    assert sendable(state) == []
    assert state.sinks[SINK].open_attempts == {5: {1, 2}}


# Outcomes that come late, twice, or for nothing.


@pytest.mark.parametrize("before", ["in_doubt", "unavailable", "rejected"])
def test_a_late_success_of_the_last_attempt_counts(before: str) -> None:
    """The sink's word for it, found by asking, delivers a turn that was thought failed, be it dead."""
    final = before == "rejected"
    lost = [*THREE, attempted(2), failed(5, 2, kind=before, final=final)]
    state = delivery(*lost, succeeded(5, 2, reconciled=True))
    assert states(state)[2] == "delivered"
    assert not state.sinks[SINK].tries
    assert not state.anomalies


def test_a_success_of_an_older_attempt_is_an_anomaly() -> None:
    """Only the last attempt's outcome moves a turn: the one under way will tell."""
    state = delivery(*THREE, attempted(2), failed(5, 2, kind="in_doubt"), attempted(2), succeeded(5, 2))
    assert states(state)[2] == "attempting"
    assert state.anomalies["a success without its attempt"] == 1


@pytest.mark.parametrize(
    "odd",
    [
        succeeded(99, 2),
        failed(99, 2),
        succeeded(5, 77),
        failed(5, 1),
        attempted(5),
        enrolled(),
        DeliveryRevoked(sink=SINK, turns=(99,)),
        SinkResumed(sink="nobody"),
        SinkRetired(sink="nobody"),
    ],
)
def test_what_makes_no_sense_is_an_anomaly_and_changes_nothing(odd: Event) -> None:
    """An outcome without its attempt, an event about no turn or no sink: counted, and passed over."""
    before, after = delivery(*THREE), delivery(*THREE, odd)
    assert after.anomalies.total() == 1
    assert after.sinks == before.sinks


def test_an_attempt_of_a_finished_turn_is_an_anomaly() -> None:
    """A delivered turn stays so whatever is attempted."""
    state = delivery(*THREE, attempted(2), succeeded(5, 2), attempted(2, 3), succeeded(7, 2, 3))
    assert states(state) == {2: "delivered", 3: "delivered", 4: "pending"}
    assert state.anomalies == {"a finished turn was attempted": 1, "a success without its attempt": 1}


def test_a_second_attempt_takes_over_from_an_open_one() -> None:
    """If two workers attempt a turn, the later attempt is the one whose outcome counts."""
    state = delivery(*THREE, attempted(2), attempted(2, 3))
    assert state.sinks[SINK].open_attempts == {6: {0, 1}}
    assert state.anomalies["a turn was attempted while another attempt was open"] == 1
    state = delivery(*THREE, attempted(2, 2), succeeded(5, 2, 2))
    assert states(state)[2] == "delivered"


# Revisions.


@pytest.mark.parametrize(
    ("events", "older"),
    [
        ([], "superseded"),
        ([attempted(2), failed(5, 2)], "superseded"),
        ([attempted(2), failed(5, 2, final=True)], "superseded"),
        ([attempted(2), succeeded(5, 2)], "delivered"),
        ([skip(2)], "skipped"),
        ([attempted(2)], "attempting"),
    ],
    ids=["pending", "retrying", "dead", "delivered", "skipped", "attempting"],
)
def test_a_revision_takes_the_place_of_what_is_unfinished(events: list[Event], older: str) -> None:
    """It supersedes what is pending, retrying or dead; what is finished stays so, and the revision is owed anew."""
    recorded = [*THREE, *events, revision(2)]
    seq = len(recorded)
    assert states(delivery(*recorded)) == {2: older, 3: "pending", 4: "pending", seq: "pending"}


def test_a_revision_stands_in_its_elder_s_place_in_the_lane() -> None:
    """It goes before the turns that its elder was before; behind a delivered one it is the last."""
    assert sendable(delivery(*THREE, revision(2))) == [[5, 3, 4]]
    assert sendable(delivery(*THREE, revision(3, "b"))) == [[2, 5, 4]]
    assert sendable(delivery(*THREE, revision(2), revision(5, number=3))) == [[6, 3, 4]]
    assert sendable(delivery(*THREE, attempted(2), succeeded(5, 2), revision(2))) == [[3, 4, 7]]


@pytest.mark.parametrize(
    ("outcome", "ends"),
    [
        (succeeded(5, 2), "delivered"),
        (failed(5, 2), "superseded"),
        (failed(5, 2, final=True), "superseded"),
        (failed(5, 2, kind="unavailable"), "superseded"),
    ],
)
def test_one_that_is_attempting_finishes_first(outcome: Event, ends: str) -> None:
    """A revision waits for the attempt of its elder, which is delivered or, however it failed, superseded."""
    events = [*THREE, attempted(2), revision(2)]
    assert sendable(delivery(*events), after=60) == []
    state = delivery(*events, outcome)
    assert states(state)[2] == ends
    assert sendable(state, after=60) == [[6, 3, 4]]


IN_DOUBT = failed(5, 2, kind="in_doubt")


@pytest.mark.parametrize("events", [(attempted(2), revision(2), IN_DOUBT), (attempted(2), IN_DOUBT, revision(2))])
@pytest.mark.parametrize(
    ("outcomes", "ends"),
    [
        ((succeeded(8, 2),), "delivered"),
        ((failed(8, 2),), "superseded"),
        ((failed(8, 2, kind="in_doubt"),), "superseded"),
        ((failed(8, 2, kind="unavailable"), attempted(2), failed(10, 2)), "superseded"),
        ((failed(8, 2, kind="unavailable"), attempted(2), succeeded(10, 2)), "delivered"),
        ((skip(2),), "skipped"),
    ],
)
def test_one_in_doubt_keeps_its_place_until_the_sink_has_answered(
    events: tuple[Event, ...], outcomes: tuple[Event, ...], ends: str
) -> None:
    """The older one goes first, and ends as the sink says when it is asked; the revision goes behind it."""
    newer = 5 + events.index(next(event for event in events if isinstance(event, TurnRecorded)))
    before = [*THREE, *events]
    assert sendable(delivery(*before), after=60) == [[2, newer, 3, 4]]
    state = delivery(*before, *(() if ends == "skipped" else (attempted(2),)), *outcomes)
    assert states(state)[2] == ends
    assert sendable(state, after=60) == [[newer, 3, 4]]


def test_a_revision_in_another_conversation_waits_too() -> None:
    """A turn that moved is not sent while its elder is on its way in another lane: it might arrive first."""
    moved = turn("a", text="more", revision=2, supersedes=2, conversation="elsewhere")
    events = [*THREE, attempted(2), moved]
    assert sendable(delivery(*events), after=60) == []
    state = delivery(*events, failed(5, 2, kind="unavailable"))
    assert sorted(sendable(state)) == [[3, 4], [6]]


def test_a_revision_that_a_sink_has_already_is_delivered() -> None:
    """`delivered_to` finishes the revision and supersedes the elder, which need not be sent any more."""
    had = turn("a", revision=2, supersedes=2, delivered_to=(SINK,))
    assert states(delivery(*THREE, had)) == {2: "superseded", 3: "pending", 4: "pending", 5: "delivered"}


@pytest.mark.parametrize("supersedes", [2, 3, 99])
def test_a_turn_supersedes_only_what_was_there_before(supersedes: int) -> None:
    """A turn that claims to follow itself, or what is not there, is a turn like any other."""
    state = delivery(enrolled(), turn("a", supersedes=supersedes))
    assert states(state) == {2: "pending"}
    assert sendable(state) == [[2]]


# Operators.


@pytest.mark.parametrize(
    "events",
    [
        [attempted(2), failed(5, 2)],
        [attempted(2), failed(5, 2, final=True)],
        [attempted(2), succeeded(5, 2)],
        [skip(2)],
    ],
    ids=["retrying", "dead", "delivered", "skipped"],
)
def test_retry_owes_a_turn_afresh(events: list[Event]) -> None:
    """Whatever became of it, it is pending with no attempts against it, at its place, and due at once."""
    state = delivery(*THREE, *events, retry(2))
    assert states(state)[2] == "pending"
    assert not state.sinks[SINK].tries
    assert sendable(state) == [[2, 3, 4]]


def test_retry_keeps_the_place_of_a_turn_that_has_one() -> None:
    """A revision that stands before older turns stays before them when it is retried."""
    state = delivery(*THREE, revision(2), attempted(5), failed(6, 5), retry(5))
    assert sendable(state) == [[5, 3, 4]]


def test_retry_puts_a_turn_behind_what_is_older() -> None:
    """Also when a revision stands at the front: the lane is 6 (for 2), 3, 5, and 4 goes between 3 and 5."""
    events = [*THREE, turn("d"), revision(2), skip(4), retry(4)]
    assert sendable(delivery(*events)) == [[6, 3, 4, 5]]


def test_retry_of_a_superseded_turn_is_an_anomaly() -> None:
    """Its revision stands for it."""
    state = delivery(*THREE, revision(2), retry(2))
    assert states(state)[2] == "superseded"
    assert state.anomalies["a turn was reopened that cannot be"] == 1


@pytest.mark.parametrize("events", [[], [attempted(2), failed(5, 2)], [attempted(2), failed(5, 2, final=True)]])
def test_skip_ends_a_turn_that_is_not_delivered(events: list[Event]) -> None:
    """Pending, retrying or dead, it is skipped and its lane goes on."""
    state = delivery(*THREE, *events, skip(2))
    assert states(state)[2] == "skipped"
    assert sendable(state) == [[3, 4]]


@pytest.mark.parametrize(
    ("outcome", "ends"),
    [(succeeded(5, 2), "delivered"), (failed(5, 2), "skipped"), (failed(5, 2, kind="in_doubt"), "skipped")],
)
def test_skip_during_an_attempt_waits_for_its_outcome(outcome: Event, ends: str) -> None:
    """What was sent may still arrive; if it did not, it is not sent again."""
    state = delivery(*THREE, attempted(2), skip(2))
    assert states(state)[2] == "attempting"
    assert states(delivery(*THREE, attempted(2), skip(2), outcome))[2] == ends


def test_the_operator_s_last_word_counts_during_an_attempt() -> None:
    """A skip that is taken back by a retry does not skip."""
    events = [*THREE, attempted(2), skip(2), retry(2), failed(5, 2)]
    assert states(delivery(*events))[2] == "retrying"


def test_a_revision_s_claim_outlives_skip_and_retry() -> None:
    """An attempting turn whose revision is there ends superseded, whatever the operator says of it meanwhile."""
    events = [*THREE, attempted(2), revision(2), skip(2), retry(2), failed(5, 2)]
    assert states(delivery(*events))[2] == "superseded"


def test_a_revoked_delivery_is_owed_again() -> None:
    """Only a delivered turn can be lost; revoking twice is once."""
    revoked = DeliveryRevoked(sink=SINK, turns=(2, 3))
    state = delivery(*THREE, attempted(2), succeeded(5, 2), revoked, revoked)
    assert states(state) == {2: "pending", 3: "pending", 4: "pending"}
    assert sendable(state) == [[2, 3, 4]]
    assert not state.anomalies


@pytest.mark.parametrize("events", [[skip(2)], [attempted(2), failed(5, 2, final=True)]], ids=["skipped", "dead"])
def test_what_was_not_delivered_cannot_be_lost(events: list[Event]) -> None:
    """A sink that says it lost a turn that is skipped or dead changes nothing."""
    before, after = delivery(*THREE, *events), delivery(*THREE, *events, DeliveryRevoked(sink=SINK, turns=(2,)))
    assert states(after) == states(before)
    assert after.anomalies["a turn was reopened that cannot be"] == 1


# Sinks that come and go.


def test_late_enrolment_owes_what_was_recorded_since() -> None:
    """From `since_seq` on, with only the last revisions pending, in order."""
    events = [turn("a"), turn("b"), turn("a", revision=2, supersedes=1), turn("c"), enrolled(since_seq=1)]
    state = delivery(*events)
    assert states(state) == {1: "superseded", 2: "pending", 3: "pending", 4: "pending"}
    assert sendable(state) == [[3, 2, 4]]
    late = {1: "not_owed", 2: "not_owed", 3: "pending", 4: "pending"}
    assert states(delivery(*events[:-1], enrolled(since_seq=3))) == late


def test_a_sink_may_be_enrolled_from_a_later_seq_on() -> None:
    """Turns before `since_seq` are never owed, the one at it and those behind it are."""
    state = delivery(enrolled(since_seq=3), turn("a"), turn("b"), turn("c"))
    assert states(state) == {2: "not_owed", 3: "pending", 4: "pending"}


def test_what_a_sink_had_before_is_delivered() -> None:
    """A turn that came with `delivered_to` is never sent to that sink, and to another it is."""
    had = turn("a", delivered_to=(SINK, "gamma"))
    state = delivery(enrolled(), enrolled("beta"), had, enrolled("gamma"))
    assert [state.turn_state(sink, 3) for sink in (SINK, "beta", "gamma")] == ["delivered", "pending", "delivered"]


def test_a_retired_sink_is_owed_nothing() -> None:
    """What was open leaves its scope, what was finished stays known; later events of it are anomalies."""
    events = [*THREE, attempted(2), succeeded(5, 2), attempted(3), SinkRetired(sink=SINK), turn("d")]
    state = delivery(*events, succeeded(7, 3))
    assert states(state) == {2: "delivered", 3: "not_owed", 4: "not_owed", 9: "not_owed"}
    assert state.anomalies.total() == 1
    assert sendable(state) == []


def test_enrolling_again_owes_what_is_not_finished() -> None:
    """The old successes count; the rest is owed from the new `since_seq` on, with nothing against it."""
    before = [*THREE, attempted(2), succeeded(5, 2), attempted(3), failed(7, 3), SinkRetired(sink=SINK)]
    state = delivery(*before, enrolled())
    assert states(state) == {2: "delivered", 3: "pending", 4: "pending"}
    assert not state.sinks[SINK].tries
    assert states(delivery(*before, enrolled(since_seq=4))) == {2: "delivered", 3: "not_owed", 4: "pending"}


def test_enrolling_again_brings_back_no_old_revision() -> None:
    """An older revision that comes into scope only now is superseded by the one that the sink has."""
    events = [turn("a"), enrolled(since_seq=2), turn("a", revision=2, supersedes=1), attempted(3), succeeded(4, 3)]
    state = delivery(*events, SinkRetired(sink=SINK), enrolled(since_seq=1))
    assert states(state) == {1: "superseded", 3: "delivered"}


# Pauses.


def test_a_pause_is_told_with_its_beginning() -> None:
    """The same trouble told again keeps its `since`; another one begins anew; resuming ends it."""
    first = SinkPaused(sink=SINK, kind="unavailable", reason="one")
    again = SinkPaused(sink=SINK, kind="unavailable", reason="two")
    pause = delivery(enrolled(), first, again).sinks[SINK].pause
    assert pause is not None
    assert (pause.reason, pause.since) == ("two", START + timedelta(seconds=1))
    other = delivery(enrolled(), first, SinkPaused(sink=SINK, kind="unauthorized")).sinks[SINK].pause
    assert other is not None
    assert other.since == START + timedelta(seconds=2)
    assert delivery(enrolled(), first, SinkResumed(sink=SINK)).sinks[SINK].pause is None


@pytest.mark.parametrize(("seconds", "over"), [(6, True), (7, False)])
def test_a_success_ends_only_a_pause_that_is_over(seconds: int, over: bool) -> None:
    """The success of a request that was under way when the sink asked for patience does not cut the wait short."""
    pause = SinkPaused(sink=SINK, kind="throttled", until=START + timedelta(seconds=seconds))
    state = delivery(*THREE, attempted(2), pause, succeeded(5, 2))  # the success comes six seconds after START
    assert (state.sinks[SINK].pause is None) is over


def test_lanes_take_turns() -> None:
    """The lane that was attempted goes behind those that wait, so none starves."""
    events = [enrolled(), turn("a", user="ann"), turn("b", user="bob"), turn("c", user="ann"), turn("d", user="bob")]
    assert sendable(delivery(*events)) == [[2, 4], [3, 5]]
    assert sendable(delivery(*events, attempted(2), succeeded(6, 2))) == [[3, 5], [4]]


def test_totals_name_the_seven_states() -> None:
    """The totals have each state of the design and nothing else, also where nothing is in it."""
    assert list(delivery(enrolled()).sinks[SINK].totals()) == list(STATE_NAMES[1:])
    assert len(STATE_NAMES[1:]) == 7
