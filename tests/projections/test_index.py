"""The index: each turn recorded once, whoever says it, and where it stands; derived from the log, whatever happens."""

import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventlog import Entry, EventLog, LogUnavailable, Message, SinkEnrolled, SourceAdvanced, TurnRecorded
from projections import Index, Place, content_digest, message_names
from turnlog import Recorder
from turnlog.errors import BadTurn
from turnlog.recorder import INDEX_NAME, Recorded
from turnlog.testing import wild_logs
from turnlog.testing.clock import START

from .support import turn

ANN = {"user": "ann", "conversation": "c"}


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def open_recorder(directory: Path, **options: Any) -> Recorder:
    return Recorder(directory, **{"durability": "os", **options})


def say(recorder: Recorder, text: str, **fields: Any) -> Recorded:
    return recorder.record(messages=[Message("user", text)], **{**ANN, **fields})


def contents(log: EventLog) -> list[tuple[str, int]]:
    """The turn ids and revisions that a log holds, in order."""
    events = (entry.event for entry in log.read())
    return [(event.turn_id, event.revision) for event in events if isinstance(event, TurnRecorded)]


# One turn, once.


def test_the_same_again_writes_nothing(tmp_path: Path) -> None:
    """A turn recorded again with the same content is told its seq, also by another recorder and after a restart."""
    with open_recorder(tmp_path) as recorder:
        first = say(recorder, "hi", turn_id="t")
        assert first == Recorded(first.seq, "t", 1, new=True)
        assert say(recorder, "hi", turn_id="t") == Recorded(first.seq, "t", 1, new=False)
        with open_recorder(tmp_path) as other:
            assert say(other, "hi", turn_id="t") == Recorded(first.seq, "t", 1, new=False)
            assert contents(other.log) == [("t", 1)]


def test_other_content_is_the_next_revision(tmp_path: Path) -> None:
    """A turn that grew supersedes its last revision; what an old copy of it says is known already."""
    with open_recorder(tmp_path) as recorder:
        first, second = say(recorder, "hi", turn_id="t"), say(recorder, "hi there", turn_id="t")
        assert (second.revision, second.new) == (2, True)
        assert say(recorder, "hi", turn_id="t") == Recorded(first.seq, "t", 1, new=False)
        third = say(recorder, "bye", turn_id="t")
        events = [entry.event for entry in recorder.log.read() if entry.type == "TurnRecorded"]
    assert [getattr(event, "supersedes", 0) for event in events] == [None, first.seq, second.seq]
    assert third.revision == 3


def test_times_and_meta_make_no_revision() -> None:
    """The digest is of what was said, by which model, at what cost; a new import may know other times."""
    said = turn("t", started_at=None, meta={})
    for same in (
        turn("t", meta={"file": "x"}, conversation="elsewhere"),
        turn("t", revision=7, source="other"),
        TurnRecorded(turn_id="t", messages=(Message("user", "hi", at=START),), ended_at=START),
    ):
        assert content_digest(same) == content_digest(said)
    for other in (turn("t", text="ho"), turn("t", model="m"), turn("t", usage={"tokens": 1})):
        assert content_digest(other) != content_digest(said)


def test_a_turn_of_another_user_is_refused(tmp_path: Path) -> None:
    """A turn id names one user's turn; another one's with the same id is a BadTurn that names both, and not written."""
    with open_recorder(tmp_path) as recorder:
        say(recorder, "hi", turn_id="t")
        for text in ("hi", "other"):
            with pytest.raises(BadTurn, match=r"'ann'.*'bob'"):
                say(recorder, text, turn_id="t", user="bob")
        assert contents(recorder.log) == [("t", 1)]


def test_a_turn_of_another_conversation_is_refused(tmp_path: Path) -> None:
    """Neither does a turn move: its revisions would be in one conversation and its elder in another."""
    with open_recorder(tmp_path) as recorder:
        say(recorder, "hi", turn_id="t")
        for text in ("hi", "other"):
            with pytest.raises(BadTurn, match=r"'c'.*'elsewhere'"):
                say(recorder, text, turn_id="t", conversation="elsewhere")
        assert contents(recorder.log) == [("t", 1)]


def test_one_batch_may_say_a_turn_twice(tmp_path: Path) -> None:
    """Within one call as over several: the same content once, other content as revisions, results in order."""
    said = [turn("t"), turn("u"), turn("t"), turn("t", text="more"), turn("u")]
    with open_recorder(tmp_path) as recorder:
        results = recorder.record_many(said)
        assert [(r.turn_id, r.revision, r.new) for r in results] == [
            ("t", 1, True),
            ("u", 1, True),
            ("t", 1, False),
            ("t", 2, True),
            ("u", 1, False),
        ]
        assert contents(recorder.log) == [("t", 1), ("u", 1), ("t", 2)]


_RECORD = """
import sys
from turnlog import Recorder
with Recorder(sys.argv[1], durability="os") as recorder:
    print("ready", flush=True)
    sys.stdin.readline()
    new = [recorder.record(user="u", turn_id=f"t{i}", messages=[{"role": "user", "content": str(i)}]).new
           for i in range(60)]
    print(sum(new))
"""


def test_processes_that_record_the_same_turns_record_each_once(tmp_path: Path) -> None:
    """Looking up and appending are one step: of three processes saying sixty turns, one gets to write each."""
    command = [sys.executable, "-W", "error", "-c", _RECORD, str(tmp_path)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    new = [int(process.communicate(timeout=60)[0]) for process in processes]
    assert sum(new) == 60
    log = EventLog.open(tmp_path, read_only=True)
    assert sorted(contents(log)) == sorted((f"t{i}", 1) for i in range(60))
    assert log.verify().ok


# Disposable.


def _garbage(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1000)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _delete(path: Path) -> None:
    path.unlink()


def _execute(*statements: str) -> Any:
    def change(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    return change


DAMAGES = {
    "garbage": _garbage,
    "cut": _cut,
    "empty": _empty,
    "deleted": _delete,
    "an old version": _execute("UPDATE state SET version = version - 1", "DELETE FROM turns"),
    "of another log": _execute("UPDATE state SET checksum = '00000000'", "DELETE FROM turns"),
    "ahead of the log": _execute("UPDATE state SET last_seq = last_seq + 7", "DELETE FROM turns"),
    "no state": _execute("DELETE FROM state", "DELETE FROM turns"),
    "no table": _execute("DROP TABLE state", "DELETE FROM turns"),
    "foreign tables": _execute("DROP TABLE state", "CREATE TABLE turns_of_mine (id INTEGER PRIMARY KEY AUTOINCREMENT)"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_index_that_does_not_fit_is_made_anew(tmp_path: Path, damage: str) -> None:
    """Damaged, old, foreign, half made or gone: the index is derived from the log again, and nothing comes twice."""
    with open_recorder(tmp_path) as recorder:
        for number in range(50):
            say(recorder, "hi", turn_id=f"t{number}")
    path = tmp_path / INDEX_NAME
    for companion in ("-wal", "-shm"):
        path.with_name(path.name + companion).unlink(missing_ok=True)
    DAMAGES[damage](path)
    with open_recorder(tmp_path) as recorder:
        assert not any(say(recorder, "hi", turn_id=f"t{number}").new for number in range(50))
        assert say(recorder, "more", turn_id="t0").revision == 2
        assert len(contents(recorder.log)) == 51


def test_an_index_that_cannot_be_made_stops_no_recording(tmp_path: Path) -> None:
    """Where not even a new index can be written it is kept in memory, and each turn is recorded once all the same."""
    (tmp_path / INDEX_NAME).mkdir()
    for new in (True, False):
        with open_recorder(tmp_path) as recorder:
            assert say(recorder, "hi", turn_id="t").new is new
            assert not say(recorder, "hi", turn_id="t").new


def test_an_index_in_memory_is_the_same(tmp_path: Path) -> None:
    """What only reads the log has the same index without writing one."""
    with open_recorder(tmp_path) as recorder:
        seq = say(recorder, "hi", turn_id="t").seq
    (tmp_path / INDEX_NAME).unlink()
    index = Index(EventLog.open(tmp_path, read_only=True), None)
    index.refresh()
    known = index.find("t", content_digest(turn("t")))
    index.close()
    assert known is not None
    assert known.same == known.last
    assert (known.user, known.last.seq) == ("ann", seq)
    assert not (tmp_path / INDEX_NAME).exists()


def test_a_refresh_that_fails_is_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read when the log failed is rolled back and read again: no turn is missed."""
    with open_recorder(tmp_path) as recorder:
        seq = say(recorder, "hi", turn_id="t").seq
        index = Index(recorder.log, tmp_path / "other.sqlite")
        read = recorder.log.reader

        class Broken:
            def __init__(self, gt: int) -> None:
                self.reader = read(gt=gt)

            def read(self) -> Iterator[Entry]:
                yield from self.reader.read()
                raise LogUnavailable(tmp_path, OSError(5, "the disk broke"))

            def close(self) -> None:
                self.reader.close()

        monkeypatch.setattr(recorder.log, "reader", Broken)
        with pytest.raises(LogUnavailable, match="the disk broke"):
            index.refresh()
        monkeypatch.undo()
        index.refresh()
        assert index.last_seq == seq
        assert index.find("t", b"") is not None
        index.close()


def test_sinks_and_cursors_are_known(tmp_path: Path) -> None:
    """The index knows which sinks were ever enrolled, and how far each stream was read last."""
    with open_recorder(tmp_path) as recorder:
        recorder.append([SinkEnrolled(sink="s")])
        for cursor in ({"offset": 1}, {"offset": 2}):
            recorder.append([SourceAdvanced(source="x", stream="y", cursor=cursor)])
        recorder.index.refresh()
        assert (recorder.index.knows_sink("s"), recorder.index.knows_sink("z")) == (True, False)
        assert recorder.index.cursor("x", "y") == {"offset": 2}
        assert recorder.index.cursor("x", "z") is None


# Places, and the dry run.

TURN_IDS = ("a", "b", "c", "d")
said = st.builds(
    lambda turn_id, messages, source: TurnRecorded(
        turn_id=turn_id, conversation="c2" if turn_id == "d" else "c1", source=source, messages=messages
    ),
    st.sampled_from(TURN_IDS),
    st.lists(st.sampled_from([Message("user", "one"), Message("user", "two", id="m")]), min_size=1, max_size=3).map(
        tuple
    ),
    st.sampled_from(["live", "live", "chat"]),
)


class Places:
    """Where every turn stands, by looking at all of them."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.turns = {entry.seq: entry.event for entry in entries if isinstance(entry.event, TurnRecorded)}

    def place(self, seq: int) -> Place:
        turn = self.turns[seq]
        lane = [event for event in self.turns.values() if self.lane(event) == self.lane(turn)]
        rounds = list(dict.fromkeys(event.turn_id for event in lane))
        number = rounds.index(turn.turn_id)
        if number == 0:
            return Place(0, None, None)
        previous = [event for event in lane if event.turn_id == rounds[number - 1]]
        last = max(previous, key=lambda event: event.revision)
        return Place(number, last.turn_id, message_names(last)[-1])

    @staticmethod
    def lane(turn: TurnRecorded) -> tuple[str, str, str]:
        return turn.source, turn.user, turn.conversation


@settings(max_examples=30)
@given(st.lists(said, max_size=20), st.integers(0, 20))
def test_places_are_those_of_looking_at_everything(recorded: list[TurnRecorded], pause: int) -> None:
    """`round_index` and what came before are right for every turn, taken in bit by bit or in one go."""
    with folder() as directory, open_recorder(directory) as recorder:
        recorder.record_many(recorded[:pause])
        for each in recorded[pause:]:
            recorder.record_many([each])
        recorder.index.refresh()
        expected = Places(list(recorder.log.read()))
        again = Index(recorder.log, None)
        again.refresh()
        for seq in expected.turns:
            assert recorder.index.place(seq) == again.place(seq) == expected.place(seq)
        asked = [*expected.turns, 10**9]  # the last is no turn
        assert again.places(asked) == {seq: again.place(seq) for seq in asked}
        again.close()


@settings(max_examples=30)
@given(st.lists(said, max_size=8), st.lists(said, max_size=8))
def test_a_dry_run_says_what_the_real_run_does(before: list[TurnRecorded], now: list[TurnRecorded]) -> None:
    """Seqs, revisions and what is new are the same, also into an empty log, and a dry run writes nothing at all."""
    with folder() as directory:
        if before:
            with open_recorder(directory) as recorder:
                recorder.record_many(before)
        files = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
        with Recorder(directory, dry_run=True) as dry:
            would = [dry.record_many([each])[0] for each in now[:3]] + dry.record_many(now[3:])
        assert {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()} == files
        with open_recorder(directory) as recorder:
            assert [recorder.record_many([each])[0] for each in now[:3]] + recorder.record_many(now[3:]) == would


@settings(max_examples=30)
@given(wild_logs())
def test_no_log_breaks_the_index(entries: list[Entry]) -> None:
    """Whatever stands in a log, the index takes it in, and every turn has a place."""
    with folder() as directory:
        (directory / "log").mkdir()
        path = directory / "log" / f"{1:020}.jsonl"
        path.write_bytes(b"".join(entry.line + b"\n" for entry in entries))
        log = EventLog.open(directory, read_only=True)
        index = Index(log, None)
        index.refresh()
        taken = list(log.read())
        for entry in taken:
            if isinstance(entry.event, TurnRecorded):
                assert index.place(entry.seq).round_index >= 0
                assert index.find(entry.event.turn_id, content_digest(entry.event)) is not None
        assert index.last_seq == (taken[-1].seq if taken else 0)
        index.close()


@given(st.lists(st.sampled_from([None, "", "a", "b", "#0", "#1", "#2"]), min_size=1, max_size=4))
def test_every_message_has_a_name_of_its_own(ids: list[str | None]) -> None:
    """By its id where that is its alone, else by its position; an id that looks like a position is none."""
    said = TurnRecorded(turn_id="t", messages=tuple(Message("user", id=each) for each in ids))
    names = message_names(said)
    assert len(set(names)) == len(names) == len(ids)
    for position, (name, each) in enumerate(zip(names, ids, strict=True)):
        assert name == (each if each in ("a", "b") and ids.count(each) == 1 else f"#{position}")
