"""Recording: each turn once, by any number of threads and processes, however often and in whatever way it is said."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog import EventLog, LogClosed, Message, Part, TurnRecorded
from eventlog.codec import encode_event
from turnlog import BadTurn, Recorded, Recorder
from turnlog.recorder import make_turn

HI = ({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"})


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    with Recorder(tmp_path / "data", durability="os") as opened:
        yield opened


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def turns(recorder: Recorder) -> list[TurnRecorded]:
    return [entry.event for entry in recorder.log.read() if isinstance(entry.event, TurnRecorded)]


# --- one turn ---------------------------------------------------------------------------------------------------------


def test_a_turn_is_recorded_as_it_was_said(recorder: Recorder) -> None:
    """The answer tells its seq, id and revision; the log has every field."""
    recorded = recorder.record(
        user="ann", conversation="c", turn_id="t", source="s", messages=HI, model="m", usage={"in": 1},
        meta={"k": None}, delivered_to=["team"],
    )  # fmt: skip
    assert recorded == Recorded(seq=2, turn_id="t", revision=1, new=True)
    (turn,) = turns(recorder)
    assert (turn.user, turn.conversation, turn.turn_id, turn.source) == ("ann", "c", "t", "s")
    assert (turn.model, turn.usage, turn.meta, turn.delivered_to) == ("m", {"in": 1}, {"k": None}, ("team",))
    assert [(m.role, m.content) for m in turn.messages] == [("user", "Hi"), ("assistant", "Hello!")]
    assert (turn.revision, turn.supersedes) == (1, None)


def test_what_is_not_said_has_a_default(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new id each time; the user is the environment's when it is recorded; both times are now."""
    monkeypatch.setenv("USER_ID", "env")
    before = datetime.now(UTC)
    recorder.record(messages=said("a"))
    monkeypatch.delenv("USER_ID")
    recorder.record(messages=said("a"))
    first, second = turns(recorder)
    assert (first.user, second.user, first.conversation, first.source) == ("env", "default", "default", "live")
    assert first.turn_id != second.turn_id
    assert first.started_at is not None
    assert before <= first.started_at == first.ended_at <= datetime.now(UTC)


def test_messages_are_dicts_or_messages_in_any_mixture(recorder: Recorder) -> None:
    """In anything that can be gone through; every field of a message is taken."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    part = Part(type="tool_call", data={"path": "/"})
    mixed: list[Mapping[str, Any] | Message] = [
        {"role": "user", "content": "a", "at": at},
        Message(role="assistant", content="b", at=at, parts=(part,)),
        MappingProxyType({"role": "tool", "content": "c", "at": "2026-01-01T08:00:00+08:00"}),
        {"role": "assistant", "parts": [{"type": "thinking", "text": "hm"}], "at": datetime(2026, 1, 1)},
    ]
    recorder.record(messages=iter(mixed))
    (turn,) = turns(recorder)
    assert [message.at for message in turn.messages] == [at] * 4
    assert [message.content for message in turn.messages] == ["a", "b", "c", ""]
    assert turn.messages[1].parts == (part,)
    assert turn.messages[3].parts == (Part(type="thinking", text="hm"),)


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1)),
    st.none() | st.builds(timezone, st.timedeltas(timedelta(hours=-12), timedelta(hours=12))),
)
def test_times_are_utc_whatever_zone_they_carry(moment: datetime, zone: timezone | None) -> None:
    """One that carries none is UTC."""
    given_time = moment.replace(tzinfo=zone)
    turn = make_turn({"messages": [{"role": "user", "at": given_time}], "started_at": given_time})
    expected = given_time if zone else moment.replace(tzinfo=UTC)
    assert turn.started_at == turn.messages[0].at == expected
    assert turn.started_at.utcoffset() == timedelta(0)


# --- what cannot be recorded ------------------------------------------------------------------------------------------

BAD: dict[str, dict[str, Any]] = {
    "has no messages": {"messages": []},
    "must be a table of keys and values, not str": {"messages": ["hi"]},
    "Expected `str`, got `int` at `content`": {"messages": [{"role": "user", "content": 5}]},
    "a message has the role 'robot'": {"messages": [{"role": "robot"}]},
    "unknown key 'contents'; did you mean 'content'?": {"messages": [{"role": "user", "contents": "x"}]},
    "unknown key 'modle'; did you mean 'model'?": {"messages": HI, "modle": "m"},
    "turn_id must be a text that is not empty": {"messages": HI, "turn_id": ""},
    "user must be a text that is not empty": {"messages": HI, "user": ""},
    "conversation must be a text that is not empty": {"messages": HI, "conversation": ""},
    "Expected `str`, got `int` at `conversation`": {"messages": HI, "conversation": 5},
    "cannot be written as JSON: Encoding objects of type object": {"messages": HI, "usage": {"a": object()}},
    "cannot be written as JSON and read again": {"messages": HI, "meta": {"a": object()}},
    "Expected `object | null`, got `array` at `meta`": {"messages": HI, "meta": [1]},
    "nested more than": {"messages": HI, "meta": json.loads('{"a":' * 200 + "1" + "}" * 200)},
    "is out of range in UTC": {"messages": HI, "ended_at": datetime.min.replace(tzinfo=timezone(timedelta(hours=9)))},
}


@pytest.mark.parametrize("words", BAD)
def test_a_turn_that_cannot_be_recorded_is_refused(recorder: Recorder, words: str) -> None:
    """With one sentence, as a BadTurn, which is a ValueError; nothing is written, and the next turn is."""
    with pytest.raises(BadTurn) as caught:
        recorder.record(**BAD[words])
    assert words in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert turns(recorder) == []
    assert recorder.record(messages=HI).new


def test_the_log_sets_what_is_its_own(recorder: Recorder) -> None:
    """Callers do not choose a revision."""
    with pytest.raises(BadTurn, match="unknown key 'revision'"):
        recorder.record(messages=HI, revision=7)
    (recorded,) = recorder.record_many([TurnRecorded(turn_id="t", revision=7, messages=(Message("user", "a"),))])
    assert recorded.revision == turns(recorder)[0].revision == 1


def test_a_turn_made_by_hand_is_checked_as_well(recorder: Recorder) -> None:
    """Lone surrogates in an event that nobody cleaned are refused, not half written."""
    good = TurnRecorded(turn_id="good", messages=(Message("user", "a"),))
    bad = TurnRecorded(turn_id="bad", messages=(Message("user", "\ud800"),))
    bad_meta = TurnRecorded(turn_id="bad", meta={"\ud800": 1}, messages=(Message("user", "a"),))
    for wrong in (bad, bad_meta):
        with pytest.raises(BadTurn):
            recorder.record_many([good, wrong])
    assert turns(recorder) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from([
    "messages", "user", "conversation", "turn_id", "source", "started_at", "model", "usage", "meta", "delivered_to",
    "x",
])  # fmt: skip
MESSAGES = st.lists(st.dictionaries(st.sampled_from(["role", "content", "at", "parts", "id"]), JSON | st.just("user")))


@given(st.dictionaries(KEYS, JSON), st.none() | MESSAGES)
def test_whatever_json_is_said_it_is_a_turn_or_a_bad_turn(data: dict[str, Any], messages: Any) -> None:
    """No shape of data makes anything else; what is a turn can be written."""
    if messages is not None:
        data["messages"] = messages
    try:
        turn = make_turn(data)
    except BadTurn as error:
        assert "\n" not in str(error) or any("\n" in str(value) for value in data.values())
    else:
        assert encode_event(turn)


# --- again ------------------------------------------------------------------------------------------------------------


def test_the_same_turn_again_writes_nothing(recorder: Recorder) -> None:
    """Times, `meta` and who had it are no content; the answer is the seq that has it."""
    first = recorder.record(messages=HI, turn_id="t", meta={"a": 1})
    later = datetime(2030, 1, 1, tzinfo=UTC)
    again = recorder.record(messages=HI, turn_id="t", meta={"b": 2}, started_at=later, delivered_to=["x"])
    assert again == Recorded(first.seq, "t", 1, new=False)
    assert len(turns(recorder)) == 1


def test_other_content_is_the_next_revision(recorder: Recorder) -> None:
    """It says which seq it takes the place of; content that was there before is known, also of an older revision."""
    answers = [recorder.record(messages=said(text), turn_id="t") for text in "abcab"]
    assert [(a.seq, a.revision, a.new) for a in answers] == [
        (2, 1, True), (3, 2, True), (4, 3, True), (2, 1, False), (3, 2, False),
    ]  # fmt: skip
    assert [turn.supersedes for turn in turns(recorder)] == [None, 2, 3]


@pytest.mark.parametrize("change", [{"model": "m"}, {"usage": {"a": 1}}, {"messages": [*HI, {"role": "user"}]}])
def test_what_is_content(recorder: Recorder, change: dict[str, Any]) -> None:
    """Messages, model and usage."""
    recorder.record(messages=HI, turn_id="t")
    assert recorder.record(**{"messages": HI, "turn_id": "t", **change}).revision == 2


def test_a_batch_may_hold_one_turn_several_times(recorder: Recorder) -> None:
    """In its order: recorded, known, revised."""
    batch = [make_turn({"turn_id": "t", "messages": said(text)}) for text in "aabba"]
    other = make_turn({"turn_id": "u", "messages": said("a")})
    answers = recorder.record_many([*batch, other])
    assert [(a.turn_id, a.seq, a.revision, a.new) for a in answers] == [
        ("t", 2, 1, True), ("t", 2, 1, False), ("t", 3, 2, True), ("t", 3, 2, False), ("t", 2, 1, False),
        ("u", 4, 1, True),
    ]  # fmt: skip
    assert recorder.record_many([]) == []


def test_a_turn_keeps_its_user(recorder: Recorder) -> None:
    """Another user's turn with the same id is refused, and none of its batch is written."""
    recorder.record(messages=HI, turn_id="t", user="ann")
    fresh = make_turn({"messages": HI, "turn_id": "fresh"})
    with pytest.raises(
        BadTurn, match="is recorded for the user 'ann' in the conversation 'default', so it cannot be one of 'bob'"
    ):
        recorder.record_many([fresh, make_turn({"messages": HI, "turn_id": "t", "user": "bob"})])
    assert [turn.turn_id for turn in turns(recorder)] == ["t"]
    with pytest.raises(BadTurn, match="'ann' in 'elsewhere'"):
        recorder.record(messages=HI, turn_id="t", user="ann", conversation="elsewhere")


def test_what_another_process_recorded_is_known(tmp_path: Path) -> None:
    """Two recorders on one folder see each other's turns at once; so does one that is opened later."""
    with Recorder(tmp_path) as one, Recorder(tmp_path) as two:
        assert one.record(messages=HI, turn_id="t").new
        assert not two.record(messages=HI, turn_id="t").new
        assert two.record(messages=said("b"), turn_id="t").revision == 2
        assert one.record(messages=said("c"), turn_id="t").revision == 3
    with Recorder(tmp_path) as three:
        assert three.record(messages=HI, turn_id="t") == Recorded(2, "t", 1, new=False)


def test_a_dry_run_says_what_would_be(tmp_path: Path) -> None:
    """With the seqs that would be taken; nothing is made or written."""
    with Recorder(tmp_path / "none", dry_run=True) as dry:
        first = dry.record(messages=HI, turn_id="t")
        assert (first.new, dry.record(messages=HI, turn_id="t").new) == (True, False)
    assert not (tmp_path / "none").exists()
    with Recorder(tmp_path / "log") as recorder:
        recorder.record(messages=HI, turn_id="t")
        with Recorder(tmp_path / "log", dry_run=True) as dry:
            assert not dry.record(messages=HI, turn_id="t").new
            would_be = dry.record(messages=HI, turn_id="u")
        assert recorder.record(messages=HI, turn_id="u") == would_be


def test_durability_is_one_of_two(tmp_path: Path) -> None:
    """With `fsync` every return comes after a sync, also of a known turn; with `os` only a segment's header does."""
    for durability, syncs in (("fsync", 2), ("os", 1)):
        calls = []
        with Recorder(tmp_path / durability, durability=durability) as recorder:  # type: ignore[arg-type]
            files = recorder.log._writer._files  # type: ignore[union-attr]
            sync = files.sync
            files.sync = lambda descriptor, sync=sync: (calls.append(descriptor), sync(descriptor))  # type: ignore[method-assign]
            recorder.record(messages=HI, turn_id="t")
        assert len(calls) == syncs
    with pytest.raises(ValueError, match="durability must be"):
        Recorder(tmp_path / "x", durability="never")  # type: ignore[arg-type]


def test_a_closed_recorder_says_so(tmp_path: Path) -> None:
    """Closing again does nothing."""
    recorder = Recorder(tmp_path)
    recorder.close()
    recorder.close()
    with pytest.raises(LogClosed):
        recorder.record(messages=HI)


# --- message by message -----------------------------------------------------------------------------------------------


def test_a_turn_in_progress_is_recorded_at_its_end(recorder: Recorder) -> None:
    """Each message has the time at which it was said; the turn began before the first and ended after the last."""
    with recorder.turn(user="ann", conversation="c", meta={"k": 1}, turn_id="t") as turn:
        turn.system("be kind")
        turn.user("hi", name="Ann")
        turn.tool("42", id="call-1")
        turn.assistant("hello")
        turn.message("user", "bye", parts=[{"type": "attachment", "digest": "d"}])
        assert turn.recorded is None
        assert turns(recorder) == []
    assert turn.recorded == Recorded(2, "t", 1, new=True)
    (event,) = turns(recorder)
    assert [message.role for message in event.messages] == ["system", "user", "tool", "assistant", "user"]
    assert (event.user, event.conversation, event.meta) == ("ann", "c", {"k": 1})
    times = [event.started_at, *(message.at for message in event.messages), event.ended_at]
    assert None not in times
    assert times == sorted(times)  # type: ignore[type-var]


@pytest.mark.parametrize("meta", [{}, {"meta": None}, {"meta": {"k": 1}}])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupted_turn_is_recorded_as_one(
    recorder: Recorder, error: type[BaseException], meta: dict[str, Any]
) -> None:
    """What was said is not lost, and the exception goes on."""
    with pytest.raises(error), recorder.turn(**meta) as turn:
        turn.user("and then")
        raise error
    assert turn.recorded is not None
    assert turns(recorder)[0].meta == {**(meta.get("meta") or {}), "interrupted": True}


def test_a_turn_in_which_nothing_was_said_is_not_recorded(recorder: Recorder) -> None:
    """Neither at its end nor when it is interrupted."""
    with recorder.turn() as turn:
        pass
    with pytest.raises(RuntimeError), recorder.turn():
        raise RuntimeError
    assert turn.recorded is None
    assert turns(recorder) == []


def test_a_turn_in_progress_that_cannot_be_recorded_says_why(recorder: Recorder) -> None:
    """At its end."""
    with pytest.raises(BadTurn, match="message 1: Expected `str`, got `int`"), recorder.turn() as turn:
        turn.user(5)  # type: ignore[arg-type]


# --- many at once -----------------------------------------------------------------------------------------------------

THREADS, EACH = 8, 50


def in_threads(work: Any) -> list[Any]:
    """Call `work(number)` in every thread, at the same time; the results, or the first error."""
    results: list[Any] = [None] * THREADS
    barrier = threading.Barrier(THREADS)

    def run(number: int) -> None:
        try:
            barrier.wait(30)
            results[number] = work(number)
        except BaseException as error:  # noqa: BLE001 - raised below
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


@pytest.mark.parametrize("shared", [True, False], ids=["one recorder", "a recorder each"])
def test_threads_record_different_turns(tmp_path: Path, shared: bool) -> None:
    """Every turn is there once, with a seq of its own, and each thread's are in its order."""
    recorders = [Recorder(tmp_path, durability="os") for _ in range(1 if shared else THREADS)]

    def work(number: int) -> list[int]:
        recorder = recorders[number % len(recorders)]
        return [recorder.record(messages=said(f"{number}-{i}"), turn_id=f"{number}-{i}").seq for i in range(EACH)]

    seqs = in_threads(work)
    assert sorted(chain.from_iterable(seqs)) == list(range(2, 2 + THREADS * EACH))
    assert all(own == sorted(own) for own in seqs)
    for recorder in recorders:
        recorder.close()
    with EventLog.open(tmp_path, read_only=True) as log:
        assert log.verify().ok


@pytest.mark.parametrize("shared", [True, False], ids=["one recorder", "a recorder each"])
def test_threads_record_the_same_turns(tmp_path: Path, shared: bool) -> None:
    """Each is written by one of them and known to all others, who get the same seq."""
    recorders = [Recorder(tmp_path, durability="os") for _ in range(1 if shared else THREADS)]

    def work(number: int) -> list[Recorded]:
        recorder = recorders[number % len(recorders)]
        return [recorder.record(messages=said(str(i)), turn_id=str(i)) for i in range(EACH)]

    for same in zip(*in_threads(work), strict=True):
        assert len({(answer.seq, answer.revision) for answer in same}) == 1
        assert sum(answer.new for answer in same) == 1
    assert len(turns(recorders[0])) == EACH
    for recorder in recorders:
        recorder.close()


PROGRAM = """
import sys
from turnlog import Recorder
own, folder = sys.argv[1:]
sys.stdin.readline()
with Recorder(folder, durability="os") as recorder:
    for i in range(100):
        for turn_id in (f"same-{i}", f"{own}-{i}"):
            answer = recorder.record(messages=[{"role": "user", "content": "hi"}], turn_id=turn_id)
            print(turn_id, answer.seq, answer.revision, answer.new)
"""


def test_processes_record_the_same_and_different_turns(tmp_path: Path) -> None:
    """Two at the same time: the same turn once for both, each its own, seqs without a hole, and a log that is ok."""
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    workers = [
        subprocess.Popen([*command, name, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in ("a", "b")
    ]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    answers = [[line.split() for line in worker.communicate(timeout=60)[0].splitlines()] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert [len(own) for own in answers] == [200, 200]
    seqs = [{turn_id: seq for turn_id, seq, *_ in own} for own in answers]
    assert all(seqs[0][f"same-{i}"] == seqs[1][f"same-{i}"] for i in range(100))
    assert sum(new == "True" for own in answers for *_, new in own) == 300
    with EventLog.open(tmp_path, read_only=True) as log:
        assert [entry.seq for entry in log.read()] == list(range(1, 302))
        assert log.verify().ok


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_files_belong_to_their_owner_alone(tmp_path: Path) -> None:
    """A conversation is private: files 0600, folders 0700, whatever the umask."""
    before = os.umask(0)
    try:
        with Recorder(tmp_path / "data") as recorder:
            recorder.record(messages=HI)
            modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "data").rglob("*")}
    finally:
        os.umask(before)
    assert {mode for name, mode in modes.items() if name not in ("log", "blobs")} == {0o600}
    assert modes["log"] == (tmp_path / "data").stat().st_mode & 0o777 == 0o700
