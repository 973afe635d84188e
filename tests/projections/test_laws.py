"""The laws of DESIGN section 4, over logs that could be and logs that could not."""

from hypothesis import given
from hypothesis import strategies as st

from eventlog import Entry
from projections import DELIVERY, Delivery, RetryPolicy, SinkState
from turnlog.testing import check_laws, logs, policies, wild_logs

from .model import Model, SinkModel
from .support import of


@given(data=st.data())
def test_a_log_that_turnlog_writes_keeps_every_law(data: st.DataObject) -> None:
    """Whatever turns, faults, crashes and operators do, and however patient the policy is, the laws hold."""
    policy = data.draw(policies())
    check_laws(data.draw(logs(policy)), policy)


@given(entries=wild_logs(), policy=policies())
def test_a_log_that_makes_no_sense_keeps_the_laws(entries: list[Entry], policy: RetryPolicy) -> None:
    """Events in any order, of unknown types, broken ones, outcomes without attempts: nothing crashes, the laws hold."""
    check_laws(entries, policy, wild=True)


@given(logs())
def test_a_log_that_turnlog_writes_has_no_anomalies(entries: list[Entry]) -> None:
    """Nothing that Turnlog writes surprises the fold: an anomaly always is somebody else's doing."""
    assert not of(entries).anomalies


@given(logs() | wild_logs())
def test_the_fold_says_what_the_model_says(entries: list[Entry]) -> None:
    """A second, naive implementation of the design agrees on every state, count and lane after every event."""
    state, model = DELIVERY.initial(), Model()
    for entry in entries:
        DELIVERY.apply(state, entry)
        if entry.seq > model.last_seq:
            model.apply(entry)
        assert state.sinks.keys() == model.sinks.keys()
        for name, sink in state.sinks.items():
            _compare(state, sink, model, model.sinks[name])


def _compare(state: Delivery, sink: SinkState, model: Model, expected: SinkModel) -> None:
    said = {seq: state.turn_state(sink.name, seq) for seq in state.turns.seqs}
    assert {seq: name for seq, name in said.items() if name != "not_owed"} == {
        seq: turn.state for seq, turn in expected.turns.items()
    }
    seqs = state.turns.seqs
    assert sorted([seqs[o] for o in lane] for lane in sink.lanes.values()) == model.lanes(expected)
    for ordinal, attempt in sink.tries.items():
        turn = expected.turns[seqs[ordinal]]
        assert (attempt.attempts, attempt.doubts) == (turn.counted, turn.doubts)
    assert (sink.pause.kind if sink.pause else None, sink.retired) == (expected.paused, expected.retired)
