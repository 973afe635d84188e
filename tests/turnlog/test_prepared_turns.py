"""Turns that are encoded before they are recorded."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog import Message, Part, TurnRecorded
from projections import content_digest, message_names
from turnlog import Recorder
from turnlog.errors import BadTurn
from turnlog.prepared_turns import prepare_turn
from turnlog.recorder import TurnRecorder

from ..eventlog.strategies import BY_TYPE

TURNS = BY_TYPE["TurnRecorded"]


@given(turn=TURNS)
def test_a_prepared_turn_is_the_turn(turn: TurnRecorded) -> None:
    """What was prepared is read back as the same turn, with its header, digest and last message's name."""
    prepared = prepare_turn(turn)
    again = prepared.turn()
    assert msgspec.json.encode(again) == msgspec.json.encode(turn)
    assert prepared.header == turn.header
    assert prepared.gist == (content_digest(turn), message_names(turn)[-1])


@given(turn=TURNS, revision=st.integers(1, 9), supersedes=st.none() | st.integers(1, 9))
def test_another_header_leaves_the_content(turn: TurnRecorded, revision: int, supersedes: int | None) -> None:
    """A changed turn is the one that is prepared with those fields, whether they are others or the same."""
    changed = prepare_turn(turn).changed(revision=revision, supersedes=supersedes)
    assert changed == prepare_turn(msgspec.structs.replace(turn, revision=revision, supersedes=supersedes))


@pytest.mark.parametrize(
    "part",
    [Part(5), Part("x", data=object()), Part("x", text="\ud800"), Part("x", data=msgspec.Raw(b"[1,\n2]"))],
    ids=["a type of a wrong type", "an object", "half a character", "a line break"],
)
def test_what_could_not_be_read_again_is_not_prepared(part: Any) -> None:
    """A turn that the log could not give back is refused before anything is written, with its reason."""
    with pytest.raises(BadTurn, match="cannot be written"):
        prepare_turn(TurnRecorded(turn_id="t", messages=(Message("user", "hi", parts=(part,)),)))


@given(turns=st.lists(TURNS, max_size=4))
def test_prepared_turns_are_recorded_as_turns_are(
    turns: list[TurnRecorded], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whoever encodes them, the log holds the same lines, but for when it took them."""

    def lines(folder: Path, *, prepared: bool) -> list[bytes]:
        with TurnRecorder(folder) as recorder:
            recorder.record_many([prepare_turn(turn) if prepared else turn for turn in turns], adopt=True)
            return [msgspec.json.encode(entry.event) for entry in recorder.log.read()]

    folder = tmp_path_factory.mktemp("logs")
    assert lines(folder / "a", prepared=True) == lines(folder / "b", prepared=False)


def test_one_turn_that_is_none_leaves_the_others_unwritten(tmp_path: Path) -> None:
    """A batch with a turn that cannot be written is refused as a whole, and the next one is taken."""
    good = TurnRecorded(turn_id="good", messages=(Message("user", "hi"),))
    bad = TurnRecorded(turn_id="bad", messages=(Message("user", "hi", parts=(Part("x", data=object()),)),))
    with Recorder(tmp_path) as recorder:
        with pytest.raises(BadTurn, match="'bad'"):
            recorder.record_many([good, bad])
        assert [recorded.new for recorded in recorder.record_many([good])] == [True]
