"""Turns in columns, against a list of rows."""

from hypothesis import given
from hypothesis import strategies as st

from eventlog import TurnHeader
from projections import Turns

headers = st.builds(
    TurnHeader,
    turn_id=st.just("t"),
    supersedes=st.none() | st.integers(-3, 60),
    source=st.sampled_from("xy"),
    user=st.sampled_from("ab"),
    conversation=st.sampled_from("12"),
    delivered_to=st.lists(st.sampled_from("st"), max_size=2).map(tuple),
)


@given(st.lists(st.tuples(st.integers(1, 5), headers), max_size=20))
def test_columns_say_what_rows_say(steps: list[tuple[int, TurnHeader]]) -> None:
    """Every turn's ordinal, lane, elder and sinks are found again, and a seq without a turn has no ordinal."""
    turns, rows = Turns(), []
    seq = 0
    for step, header in steps:
        seq += step
        assert turns.add(seq, header) == len(rows)
        rows.append((seq, header))
    seqs = [seq for seq, _ in rows]
    assert len(turns) == len(rows)
    for ordinal, (seq, header) in enumerate(rows):
        assert turns.ordinal(seq) == ordinal
        assert turns.lanes[turns.lane_id(ordinal)] == (header.source, header.user, header.conversation)
        assert turns.had_by(ordinal) == header.delivered_to
        elder = seqs.index(header.supersedes) if header.supersedes in seqs[:ordinal] else None
        assert turns.older.get(ordinal) == elder
    for other in range(-2, seq + 3):
        assert (turns.ordinal(other) is None) == (other not in seqs)
        assert [seqs[o] for o in turns.since(other)] == [seq for seq in seqs if seq >= other]
    assert len(set(turns.lanes)) == len(turns.lanes)


def test_columns_grow_wider_when_they_must() -> None:
    """Seqs beyond four billion, and more than 255 kinds of imports, are found again like all before them."""
    turns = Turns()
    headers = [TurnHeader(turn_id="t", delivered_to=(f"s{number}",)) for number in range(300)]
    seqs = [2**32 - 150 + number for number in range(300)]
    for seq, header in zip(seqs, headers, strict=True):
        turns.add(seq, header)
    assert [turns.ordinal(seq) for seq in seqs] == list(range(300))
    assert [turns.had_by(ordinal) for ordinal in range(300)] == [header.delivered_to for header in headers]
