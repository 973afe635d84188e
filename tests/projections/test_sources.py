"""How far each stream was read, and what could not be read in it."""

from datetime import timedelta

from hypothesis import given

from eventlog import Entry, LineQuarantined, SourceAdvanced, TurnHeader
from projections import SOURCES, Sources, fold_all
from turnlog.testing import make_entries, wild_logs
from turnlog.testing.clock import START

from .support import turn


def sources(entries: list[Entry]) -> Sources:
    (state,) = fold_all(entries, SOURCES)
    assert isinstance(state, Sources)
    return state


@given(wild_logs())
def test_sources_are_what_the_last_events_say(entries: list[Entry]) -> None:
    """Of each stream the last cursor and every quarantined piece; of each source every turn."""
    state = sources(entries)
    for name, source in state.sources.items():
        for stream_name, stream in source.streams.items():
            key = (name, stream_name)
            moves = [e for e in entries if isinstance(e.event, SourceAdvanced) and _key(e) == key]
            pieces = [e.seq for e in entries if isinstance(e.event, LineQuarantined) and _key(e) == key]
            assert stream.cursor == (moves[-1].view(SourceAdvanced).cursor if moves else None)
            assert stream.advanced_at == (moves[-1].at if moves else None)
            assert stream.quarantined == pieces
        assert source.quarantined == sum(len(stream.quarantined) for stream in source.streams.values())


def _key(entry: Entry) -> tuple[str, str]:
    return getattr(entry.event, "source", ""), getattr(entry.event, "stream", "")


def test_an_example() -> None:
    """Two streams of one source, with turns, a cursor that moved twice, and a line in quarantine."""
    entries = make_entries(
        [
            turn("a", source="chat"),
            SourceAdvanced(source="chat", stream="one", cursor={"offset": 1}, fingerprint="f"),
            LineQuarantined(source="chat", stream="two", position="line 7", reason="no JSON", raw="{"),
            turn("b", source="chat"),
            SourceAdvanced(source="chat", stream="one", cursor={"offset": 2}, fingerprint="g"),
        ]
    )
    source = sources(entries).sources["chat"]
    assert (source.turns, source.quarantined, source.last_turn_at) == (2, 1, START + timedelta(seconds=3))
    assert (source.streams["one"].cursor, source.streams["one"].fingerprint) == ({"offset": 2}, "g")
    assert source.streams["two"].quarantined == [3]


@given(wild_logs())
def test_turns_belong_to_one_source_each(entries: list[Entry]) -> None:
    """All turns that can be read at all are counted, each at its own source."""
    state = sources(entries)
    turns = [entry for entry in entries if isinstance(entry.event, TurnHeader)]
    assert sum(source.turns for source in state.sources.values()) >= len(turns)
    for entry in turns:
        assert state.sources[entry.view(TurnHeader).source].turns > 0
