import json
import tempfile
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventlog import ROLES, Message, Part, TurnRecorded
from turnlog.errors import WrongUsage
from turnlog.sources.base import Chunk, Source, Unreadable
from turnlog.sources.objects import NESTING_MAX
from turnlog.sources.save_data import SaveData
from turnlog.testing.source_contract import SourceContract, ids_of, read_all, turns_of

SAMPLE = Path(__file__).parents[3] / "data" / "save_data.jsonl"
OLD_LINE = (
    '{"messages":[{"role":"user","content":"你好"},{"role":"assistant","content":"你好！"}],'
    '"synced":false,"retry_count":0,"timestamp":"2024-12-04T10:30:00"}'
)
BOM = b"\xef\xbb\xbf"

properties = settings(deadline=None)  # they write files, and a disk may pause


class TestContract(SourceContract):
    def make_source(self) -> Source:
        return SaveData(user="ann", timezone=UTC)

    def write_sample(self, folder: Path) -> list[Path]:
        path = folder / "save_data.jsonl"
        path.write_bytes(SAMPLE.read_bytes())
        return [path]

    def cuts(self, content: bytes) -> list[int]:
        return list(range(0, len(content), 211))


def read(content: bytes | str, *, progress: str | None = None, **options: Any) -> list[Chunk]:
    """The chunks of a file of its own with this content."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "save_data.jsonl")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        if progress is not None:
            Path(folder, "save_data.jsonl.progress").write_text(progress)
        return read_all(SaveData(**{"user": "ann", "timezone": UTC, **options}), [path])


def unreadable_of(chunks: list[Chunk]) -> list[Unreadable]:
    return [piece for chunk in chunks for piece in chunk.unreadable]


def only_turn(content: bytes | str, **options: Any) -> TurnRecorded:
    chunks = read(content, **options)
    assert not unreadable_of(chunks)
    (turn,) = turns_of(chunks)
    return turn


def record(text: str = "hi", **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **fields}


def lines(*records: dict[str, Any]) -> str:
    return "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in records)


# --- properties -------------------------------------------------------------------------------------------------------

finite = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | finite | st.text(max_size=8)
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=4), v, max_size=3), max_leaves=6
)
messages = st.fixed_dictionaries({"role": st.sampled_from(ROLES), "content": st.text()})
records = st.fixed_dictionaries(
    {"messages": st.lists(messages, min_size=1, max_size=3)},
    optional={
        "synced": st.booleans(),
        "retry_count": st.integers(0, 5),
        "timestamp": st.datetimes().map(datetime.isoformat) | values,
        "note": values,
    },
)
endings = st.sampled_from(["\n", "\r\n", "\n\n", " \t\n", "\n\ufeff", "\n \n", " ", ""])
fragments = st.one_of(
    st.binary(max_size=12),
    records.map(lambda each: json.dumps(each, ensure_ascii=False).encode()),
    records.map(lambda each: json.dumps(each).encode()),
    st.sampled_from([b"\n", b"\r\n", b" ", BOM, b"{}", b"{", b"}", b"[1]", b"\xff", b"\xe4\xbd", b"NaN", b"1e999"]),
    st.sampled_from([b'{"messages":[]}', b'{"messages":NaN}', b'{"messages":[NaN]}', b'{"messages":["\\ud83d"]}']),
    st.sampled_from(
        [b'{"messages":[{"role":"user","content":"\\ud800"}]}', b'{"messages":[{"role":"x","content":""}]}']
    ),
    st.sampled_from([b"{" * 200, b'{"a":' * 200 + b"1" + b"}" * 200]),
)
files = st.lists(fragments, max_size=12).map(b"".join)


@properties
@given(st.lists(st.tuples(records, st.booleans(), endings), max_size=8))
def test_every_exchange_comes_back_as_it_was(exchanges: list[tuple[dict[str, Any], bool, str]]) -> None:
    """However objects are escaped and separated: as many turns, in order, same roles, texts and other fields."""
    content = "".join(json.dumps(each, ensure_ascii=escaped) + end for each, escaped, end in exchanges)
    chunks = read(content)
    written = [each for each, _, _ in exchanges]
    said = [[(message.role, message.content) for message in turn.messages] for turn in turns_of(chunks)]
    assert said == [[(m["role"], m["content"]) for m in each["messages"]] for each in written]
    meta = [{"messages": each["messages"], **turn.meta} for each, turn in zip(written, turns_of(chunks), strict=True)]
    assert meta == written
    assert not unreadable_of(chunks)
    assert len(set(ids_of(chunks))) == len(written)


@properties
@given(st.lists(records, max_size=6), st.data())
def test_flags_are_no_part_of_a_turn(before: list[dict[str, Any]], data: st.DataObject) -> None:
    """Whatever the scripts change beside messages and timestamp, and wherever the file stands, the ids stay."""
    kept = ("messages", "timestamp")
    flags = st.dictionaries(st.sampled_from(["synced", "retry_count", "note", "new"]), values)
    after = [{key: each[key] for key in kept if key in each} | data.draw(flags) for each in before]
    options: dict[str, Any] = {
        "timezone": timezone(timedelta(hours=8)),
        "already_synced_to": "memobase",
        "progress": "2",
    }
    assert ids_of(read(lines(*before))) == ids_of(read(lines(*after), **options))


@properties
@given(st.binary() | files)
def test_no_bytes_are_an_error(content: bytes) -> None:
    """Any content is read to turns that the log can hold, pieces of the content, and a tail left for later."""
    chunks = read(content)
    for turn in turns_of(chunks):
        assert msgspec.json.decode(msgspec.json.encode(turn), type=TurnRecorded) == turn
    for piece in unreadable_of(chunks):
        assert piece.raw in content
        assert piece.raw
        assert piece.reason.encode()
    done = chunks[-1].offset if chunks else 0
    assert b"\n" not in content[done:]
    for chunk in chunks:
        assert chunk.cursor["bytes"] == chunk.offset <= len(content)
        assert chunk.fingerprint == sha256(content[: chunk.offset]).hexdigest()


@properties
@given(files, st.data())
def test_what_was_read_of_a_growing_file_stays(content: bytes, data: st.DataObject) -> None:
    """Cut anywhere, a file gives the first of the whole file's turns and quarantine, and nothing else."""
    cut = data.draw(st.integers(0, len(content)))
    before, after = read(content[:cut]), read(content)
    assert turns_of(before) == turns_of(after)[: len(turns_of(before))]
    assert unreadable_of(before) == unreadable_of(after)[: len(unreadable_of(before))]


@properties
@given(st.integers(0, len(SAMPLE.read_bytes())))
def test_the_sample_cut_anywhere_grows_whole_again(cut: int) -> None:
    """A line torn at any byte is neither a turn nor quarantined, and completed it is the turn it was to be."""
    content = SAMPLE.read_bytes()
    whole = read(content)
    before = read(content[:cut])
    ended = content[:cut].count(b"\n")
    lines_read = len(turns_of(before)) + len(unreadable_of(before))
    assert lines_read in (ended, ended + (content[cut : cut + 1] == b"\n"))
    assert ids_of(before) == ids_of(whole)[: len(ids_of(before))]


@properties
@given(st.lists(st.sampled_from("ab"), max_size=8), st.data())
def test_identical_exchanges_are_told_apart_by_occurrence(texts: list[str], data: st.DataObject) -> None:
    """Identical lines are as many turns; in another order the same ids come, and one line less is one id less."""
    ids = ids_of(read(lines(*map(record, texts))))
    assert len(set(ids)) == len(texts)
    assert set(ids_of(read(lines(*map(record, data.draw(st.permutations(texts))))))) == set(ids)
    assert set(ids_of(read(lines(*map(record, texts[:-1]))))) < set(ids) or not texts


# --- the demo's sample ------------------------------------------------------------------------------------------------


def test_the_sample_has_what_the_demo_shows() -> None:
    """Synced, never synced, retried, oldest-style, identical and Chinese and English turns, and one broken line."""
    chunks = read(SAMPLE.read_bytes(), already_synced_to="memobase")
    turns = turns_of(chunks)
    (broken,) = unreadable_of(chunks)
    assert chunks[-1].cursor == {"bytes": SAMPLE.stat().st_size, "lines": len(turns) + 1, "turns": len(turns)}
    assert len(turns) >= 45
    assert [turn.meta for turn in turns[:3]] == [{}, {}, {}]
    assert 0.25 < sum(turn.delivered_to == ("memobase",) for turn in turns) / len(turns) < 0.4
    assert {turn.meta.get("retry_count") for turn in turns} == {None, 0, 1, 2, 3, 4, 5}
    assert sum(first.messages == second.messages for first, second in pairwise(turns)) == 1
    assert 0.3 < sum(turn.messages[0].content.isascii() for turn in turns) / len(turns) < 0.7
    assert broken.position == "line 25"
    assert broken.reason == "it is not JSON: Unterminated string starting at (column 39)"


# --- turns ------------------------------------------------------------------------------------------------------------


def test_an_old_line_is_this_turn() -> None:
    """The example of the old format, field by field; its id never changes, or everything is imported again."""
    moment = datetime(2024, 12, 4, 2, 30, tzinfo=UTC)
    assert only_turn(OLD_LINE, timezone=ZoneInfo("Asia/Shanghai")) == TurnRecorded(
        turn_id="save_data:44a811ae84d9afa333a6c73ee6afd992",
        source="save_data",
        user="ann",
        conversation="save_data",
        started_at=moment,
        ended_at=moment,
        meta={"synced": False, "retry_count": 0, "timestamp": "2024-12-04T10:30:00"},
        messages=(Message(role="user", content="你好"), Message(role="assistant", content="你好！")),
    )


def test_user_conversation_timestamp_and_messages_make_the_id() -> None:
    """Any of the four changed is another turn."""
    ids = {
        only_turn(lines(record())).turn_id,
        only_turn(lines(record()), user="bob").turn_id,
        only_turn(lines(record()), conversation="other").turn_id,
        only_turn(lines(record(timestamp="2024-12-04"))).turn_id,
        only_turn(lines(record("hi!"))).turn_id,
        only_turn('{"messages":[{"role":"user","content":"hi","mood":1}]}').turn_id,
    }
    assert len(ids) == 6


def test_the_order_of_names_and_the_escapes_make_no_other_id() -> None:
    """A script that writes the same JSON in another way writes the same turn."""
    first = '{"messages":[{"role":"user","content":"你"}],"timestamp":1}'
    second = '{ "timestamp": 1, "messages": [ {"content": "\\u4f60", "role": "user"} ] }\r\n'
    assert only_turn(first).turn_id == only_turn(second).turn_id


def test_fields_of_a_message_are_kept() -> None:
    """Id, name and time go where a message has a place for them, everything else into a part of its own."""
    message = {
        "role": "tool",
        "content": "",
        "id": "m1",
        "name": "clock",
        "timestamp": "soon",
        "created_at": "2024-12-04T10:30:00Z",
        "mood": {"calm": [1, 2.5]},
    }
    (read_message,) = only_turn(json.dumps({"messages": [message]})).messages
    at = datetime(2024, 12, 4, 10, 30, tzinfo=UTC)
    fields = Part(type="fields", data={"timestamp": "soon", "mood": {"calm": [1, 2.5]}})
    assert read_message == Message(role="tool", id="m1", name="clock", at=at, parts=(fields,))


@pytest.mark.parametrize("raw", ["2024-12-04T18:30:00+08:00", "2024-12-04 10:30", 1733308200, 1733308200.0])
def test_a_message_time_that_utc_text_cannot_give_back_stays_in_the_fields(raw: object) -> None:
    """An offset, a missing one, or a number is not the same as the moment it means; both are kept."""
    message = {"role": "user", "content": "hi", "at": raw, "id": 7, "name": None}
    (read_message,) = only_turn(json.dumps({"messages": [message]})).messages
    assert read_message.at == datetime(2024, 12, 4, 10, 30, tzinfo=UTC)
    assert read_message.parts == (Part(type="fields", data={"at": raw, "id": 7, "name": None}),)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ('"2024-12-04T10:30:00"', datetime(2024, 12, 4, 8, 30, tzinfo=UTC)),
        ('"2024-12-04T10:30:00.25+08:00"', datetime(2024, 12, 4, 2, 30, 0, 250_000, tzinfo=UTC)),
        ('"2024-12-04"', datetime(2024, 12, 3, 22, tzinfo=UTC)),
        ("1733308200", datetime(2024, 12, 4, 10, 30, tzinfo=UTC)),
        ("-0.5", datetime(1969, 12, 31, 23, 59, 59, 500_000, tzinfo=UTC)),
    ],
)
def test_times_are_utc(raw: str, expected: datetime) -> None:
    """A time with an offset means that, a naive one the given time zone, a number seconds since 1970."""
    turn = only_turn(
        f'{{"messages":[{{"role":"user","content":""}}],"timestamp":{raw}}}', timezone=timezone(timedelta(hours=2))
    )
    assert (turn.started_at, turn.ended_at) == (expected, expected)
    assert turn.meta == {"timestamp": json.loads(raw)}


def test_naive_times_are_local_by_default() -> None:
    """Without a time zone, a naive time is this machine's."""
    local = datetime(2024, 12, 4, 10, 30).astimezone(UTC)
    assert only_turn(OLD_LINE, timezone=None).started_at == local


NO_TIMES: tuple[Any, ...] = ("soon", "", "1712051030000", "0001-01-01T00:00:00+14:00", "\ud800", None, True, [])


@pytest.mark.parametrize("raw", [*map(json.dumps, NO_TIMES), "1e30", "1e999", "NaN", "-Infinity", "9" * 5000])
def test_a_time_that_means_nothing_is_none(raw: str) -> None:
    """A turn without a usable timestamp is a turn all the same, and keeps what stood there."""
    turn = only_turn(f'{{"messages":[{{"role":"user","content":""}}],"timestamp":{raw}}}')
    assert turn.started_at is None
    assert "timestamp" in turn.meta
    assert msgspec.json.encode(turn)


@pytest.mark.parametrize(
    "raw", ["NaN", "Infinity", "-Infinity", "1e999", "18446744073709551616", "-9223372036854775809", "9" * 5000]
)
def test_numbers_that_nothing_can_hold_are_kept_as_text(raw: str) -> None:
    """Beside the messages, what is no JSON number or needs more than 64 bits stands in meta as it was written."""
    turn = only_turn(f'{{"messages":[{{"role":"user","content":""}}],"note":[{raw}]}}')
    assert turn.meta == {"note": [raw]}


def test_lone_surrogates_are_replaced_and_counted() -> None:
    """Half a character becomes U+FFFD and is noted, also where the record has a field of the note's name."""
    turn = only_turn('{"messages":[{"role":"user","content":"a\\ud83d"}],"note":"\\ude00","replaced_surrogates":"x"}')
    assert turn.messages[0].content == "a\ufffd"
    assert turn.meta == {"note": "\ufffd", "replaced_surrogates": "x", "replaced_surrogates_": 2}
    assert only_turn('{"messages":[{"role":"user","content":"\\ud83d\\ude00"}]}').meta == {}


def test_turns_that_differ_only_in_half_a_character_are_not_the_same() -> None:
    """Identity looks at what the file says, before anything is replaced."""
    halves = [f'{{"messages":[{{"role":"user","content":"{half}"}}]}}' for half in ("\\ud800", "\\ud801", "\\ufffd")]
    assert len({only_turn(half).turn_id for half in halves}) == 3


# --- what cannot be read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"hello", "it is not a JSON object (column 1)"),
        (b"[1]", "it is not a JSON object (column 1)"),
        (b'{"a":1,}', "it is not JSON: Expecting property name enclosed in double quotes (column 8)"),
        (b"{}", "it has no messages"),
        (b'{"messages":[]}', "it has no messages"),
        (b'{"messages":"hi"}', "it has no messages"),
        (b'{"messages":["hi"]}', "its message 1 is not an object"),
        (
            b'{"messages":[{"content":"hi"}]}',
            "its message 1 has the role None; known are user, assistant, system, tool",
        ),
        (b'{"messages":[{"role":["user"],"content":"hi"}]}', "its message 1 has the role ['user']; known are"),
        (b'{"messages":[{"role":"user"}]}', "its message 1 has the content None, which is not text"),
        (b'{"messages":[{"role":"user","content":[1]}]}', "its message 1 has the content [1], which is not text"),
        (b'{"messages":[{"role":"user","content":"","x":NaN}]}', "its messages hold NaN or Infinity"),
        (b'{"messages":[{"role":"user","content":"\xe4\xbd"}]}', "it is not valid UTF-8 (byte 40 of the line)"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, f"it is nested more than {NESTING_MAX} levels deep"),
        (b"{" * 100_000, "it is not JSON: Expecting property name"),
        (b'{"a":[' * 100_000, f"it is nested more than {NESTING_MAX} levels deep"),
    ],
)
def test_a_line_that_is_no_turn_is_set_apart(line: bytes, reason: str) -> None:
    """It is kept byte for byte with its number and the reason, and the lines around it are turns."""
    good = OLD_LINE.encode()
    chunks = read(b"\r\n".join([good, b"", line, good, b""]))
    (piece,) = unreadable_of(chunks)
    assert (piece.position, piece.raw) == ("line 3", line)
    assert piece.reason.startswith(reason)
    assert len(turns_of(chunks)) == 2


def test_deep_nesting_within_the_limit_is_read() -> None:
    """An object of exactly the deepest nesting is a turn that the log can hold."""
    turn = only_turn(
        '{"messages":[{"role":"user","content":""}],"deep":' + "[" * (NESTING_MAX - 1) + "]" * (NESTING_MAX - 1) + "}"
    )
    assert msgspec.json.decode(msgspec.json.encode(turn), type=TurnRecorded) == turn


def test_objects_on_one_line_are_judged_one_by_one() -> None:
    """No turn among them is set apart alone; from damage on, the rest of the line goes with it."""
    good = OLD_LINE.encode()
    chunks = read(good + b"{}" + good + b" " + good + b"{oops " + good + b" \r\n" + good)
    assert len(turns_of(chunks)) == 4
    first, second = unreadable_of(chunks)
    assert (first.position, first.reason, first.raw) == ("line 1, object 2", "it has no messages", b"{}")
    assert (second.position, second.raw) == ("line 1, object 5", b"{oops " + good + b" ")


def test_objects_before_bytes_that_are_not_utf8_are_taken() -> None:
    """Invalid UTF-8 spoils the object it is in and what follows, not what stands before."""
    chunks = read(OLD_LINE.encode() + b' {"a":"\xff"}\n' + OLD_LINE.encode() + b"\xfe\n")
    assert len(turns_of(chunks)) == 2
    assert [piece.raw for piece in unreadable_of(chunks)] == [b'{"a":"\xff"}', b"\xfe"]
    assert {piece.reason.split(" (")[0] for piece in unreadable_of(chunks)} == {"it is not valid UTF-8"}


@pytest.mark.parametrize("tail", [b'{"messages"', b"hello", b"12", b"\xe4", b"[", b'{"a":' * 101 + b"1" + b"}" * 101])
def test_an_unfinished_last_line_is_left_for_later(tail: bytes) -> None:
    """What may yet be completed is no turn, not quarantined and not counted; whole objects before it are taken."""
    good = OLD_LINE.encode()
    (chunk,) = read(good + b"\n" + good + b" " + tail)
    assert len(chunk.turns) == 2
    assert not chunk.unreadable
    assert chunk.cursor == {"bytes": 2 * len(good) + 1, "lines": 2, "turns": 2}
    assert not read(tail)


# --- what was delivered before ----------------------------------------------------------------------------------------


def test_synced_turns_are_marked_as_delivered() -> None:
    """With a sink named, `"synced": true` and the lines up to the progress mark say that it has the turn."""
    content = "\n" + lines(
        record("a"), record("b"), record("c", synced=True), record("d", synced=False), record("e", synced=1)
    )
    chunks = read(content, progress=" 2\n", already_synced_to="memobase")
    has_it = {turn.messages[0].content: turn.delivered_to for turn in turns_of(chunks)}
    assert has_it == {"a": ("memobase",), "b": (), "c": ("memobase",), "d": (), "e": ()}
    assert not any(turn.delivered_to for turn in turns_of(read(content, progress="2")))


@pytest.mark.parametrize("mark", ["", "two", "-1", "1 2", "1_0", "٣", "9" * 19])
def test_a_broken_progress_mark_is_refused(mark: str) -> None:
    """It is refused by name where it matters, before anything is read, and ignored where it does not."""
    with pytest.raises(WrongUsage, match=r"save_data\.jsonl\.progress must hold a number of lines"):
        read(OLD_LINE, progress=mark, already_synced_to="memobase")
    assert turns_of(read(OLD_LINE, progress=mark))
