"""Rollouts of Codex as files: compressed, growing, rewritten, damaged, hostile; and how they are found."""

import gzip
import json
import os
import random
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from turnlog.errors import WrongUsage
from turnlog.sources import codex, codex_files
from turnlog.sources.base import Chunk, Stream
from turnlog.sources.codex import Codex
from turnlog.sources.objects import LONE_DAMAGES_MAX
from turnlog.sources.registry import recognise

from .codex_support import (
    TASKS,
    THREAD,
    Record,
    Rollout,
    bring_in,
    content_of,
    conversations,
    read,
    sample,
    told,
    turns,
    unreadable,
)  # fmt: skip

zstandard = pytest.importorskip("zstandard", reason="the extra `sources` is not installed")

NAME = f"rollout-2026-06-17T10-00-00-{THREAD}.jsonl"


def packed(content: bytes, ending: str) -> bytes:
    return gzip.compress(content) if ending == ".gz" else bytes(zstandard.ZstdCompressor().compress(content))


def stream_of(path: Path, content: bytes) -> Stream:
    path.write_bytes(content)
    (stream,) = Codex(user="ann").discover([path])
    return stream


def read_on(stream: Stream, cursor: Any) -> list[Chunk]:
    return list(Codex(user="ann").read(stream, json.loads(json.dumps(cursor))))


# --- compressed files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".zst", ".gz"])
def test_compressed_rollouts_are_read_like_plain_ones(ending: str) -> None:
    """Also on from a cursor, and where several were joined to one file."""
    content = sample().content
    assert turns(packed(content, ending), name=NAME + ending) == turns(content)
    half = content.index(b"\n", len(content) // 2) + 1
    joined = packed(content[:half], ending) + packed(content[half:], ending)
    assert turns(joined, name=NAME + ending) == turns(content)
    cursor = read(content)[-1].cursor
    assert turns(joined, name=NAME + ending, cursor=cursor) == turns(content)[-1:]


@pytest.mark.parametrize("ending", [".zst", ".gz"])
def test_compressed_rollouts_that_end_too_soon_are_read_to_there(ending: str) -> None:
    """Lines that can be unpacked are taken in, wherever the file was cut."""
    whole = turns(sample())
    content = packed(sample().content, ending)
    for cut in range(5, len(content), 37):
        found = turns(content[:cut], name=NAME + ending)
        assert [turn.turn_id for turn in found] == [turn.turn_id for turn in whole[: len(found)]]


def test_damage_in_compressed_data_is_told() -> None:
    """The rest of the file is lost to it, what came before is not."""
    content = bytearray(packed(os.urandom(2**18).hex().encode() + b"\n" + sample().content, ".gz"))
    content[len(content) // 2] ^= 0xFF
    pieces = unreadable(bytes(content), name=NAME + ".gz")
    assert any("compressed data are damaged" in piece.reason for piece in pieces)


@pytest.mark.parametrize("ending", [".zst", ".gz"])
def test_many_damaged_lines_in_a_compressed_rollout_are_told_together(ending: str) -> None:
    """All of them; where the file was cut off, those before that, and the cut itself where it can be told."""
    damaged = b"".join(b"x%d\n" % random.getrandbits(60) for _ in range(2000))
    whole = packed(sample().content + damaged, ending)
    pieces = unreadable(whole, name=NAME + ending)
    assert len(pieces) < 200
    assert b"".join(piece.raw for piece in pieces).replace(b"\n", b"").endswith(damaged.replace(b"\n", b""))
    for cut in range(len(whole) // 4, len(whole) - 9, len(whole) // 9):
        assert all(piece.raw in damaged for piece in unreadable(whole[:cut], name=NAME + ending))


def test_a_compressed_rollout_may_be_cut_off_behind_a_damaged_line() -> None:
    """Where it is looked for more of them: all that was there is told, and that the file ends too soon."""
    content = sample().content + b"x\n" * LONE_DAMAGES_MAX
    pack = zlib.compressobj(wbits=31)
    pieces = unreadable(pack.compress(content) + pack.flush(zlib.Z_SYNC_FLUSH), name=NAME + ".gz")
    assert b"".join(piece.raw for piece in pieces).count(b"x") == LONE_DAMAGES_MAX
    assert "compressed data are damaged" in pieces[-1].reason


def test_without_the_extra_a_compressed_rollout_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a sentence that says what to install, whether it is named or found; it is recognised by its name."""
    path = tmp_path / (NAME + ".zst")
    path.write_bytes(packed(sample().content, ".zst"))
    monkeypatch.setitem(sys.modules, "zstandard", None)
    for named in (path, tmp_path):
        with pytest.raises(WrongUsage, match=r"needs the package zstandard; pip install 'turnlog\[sources\]'"):
            Codex(user="ann").discover([named])
    assert Codex.recognises(path)


def test_a_bomb_is_refused() -> None:
    """What unpacks to many times its size is no rollout."""
    with pytest.raises(WrongUsage, match="more than 200 times its size, as zip bombs do"):
        read(packed((b" " * 1023 + b"\n") * 2**15, ".zst"), name="bomb.jsonl.zst")


def test_a_plain_rollout_counts_for_its_compressed_copy(tmp_path: Path) -> None:
    """Where both lie in a folder; a compressed one alone is read."""
    (tmp_path / NAME).write_bytes(sample().content)
    (tmp_path / (NAME + ".zst")).write_bytes(packed(Rollout().session().content, ".zst"))
    (tmp_path / "rollout-x.jsonl.zst").write_bytes(packed(sample().content, ".zst"))
    found = Codex(user="ann").discover([tmp_path])
    assert [stream.path.name for stream in found] == [NAME, "rollout-x.jsonl.zst"]


# --- growth -----------------------------------------------------------------------------------------------------------


def test_a_cursor_goes_on_where_the_last_turn_begins(tmp_path: Path) -> None:
    """The turn that may have grown is read again, those before it are not."""
    stream = stream_of(tmp_path / NAME, sample().content)
    before = read_on(stream, None)
    grown = stream_of(stream.path, sample().turn(TASKS[2], "more", "re more").content)
    after = read_on(grown, before[-1].cursor)
    assert [told(turn)[0][1] for chunk in after for turn in chunk.turns] == ["bye", "more"]
    assert after[-1].cursor == read_on(grown, None)[-1].cursor


def test_reading_on_from_any_cut_gives_what_reading_all_gives(tmp_path: Path) -> None:
    """The turns behind the cursor are the same to the last byte, so are counts of tokens and notes of lines."""
    rollout = sample().event("thread_rolled_back", num_turns=1)
    rollout.event("token_count", info={"total_token_usage": {"a": 5}, "last_token_usage": {"a": 2}})
    content = rollout.turn(TASKS[2], "more", "re more").content + b"damaged\n"
    whole = {turn.turn_id: turn for turn in turns(content)}
    for cut in range(0, len(content), 61):
        stream = stream_of(tmp_path / NAME, content[:cut])
        cursor = [None, *(chunk.cursor for chunk in read_on(stream, None))][-1]
        rest = read_on(stream_of(stream.path, content), cursor)
        found = [turn for chunk in rest for turn in chunk.turns]
        assert found == [whole[turn.turn_id] for turn in found]
        assert found[-1].turn_id == list(whole)[-1]
        (damaged,) = [piece for chunk in rest for piece in chunk.unreadable]
        assert damaged.position == f"line {content.count(10)}"


@pytest.mark.parametrize("change", ["truncated", "replaced", "larger", "other format"])
def test_a_file_that_no_longer_begins_as_it_did_is_read_from_its_beginning(tmp_path: Path, change: str) -> None:
    """Whatever its size and inode are now."""
    content = sample().content
    stream = stream_of(tmp_path / NAME, content)
    cursor = read_on(stream, None)[-1].cursor
    other = {
        "truncated": content[:400],
        "replaced": content.replace(b"hello", b"olleh"),
        "larger": content.replace(b"hello", b"hello, and much more than that " * 50),
        "other format": b"{}\n" * 500,
    }[change]
    again = stream_of(stream.path, other)
    assert read_on(again, cursor) == read_on(again, None)


def test_a_file_that_is_rewritten_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that what was changed behind the reader's back is there in the end; appending is no rewriting."""
    monkeypatch.setattr(codex, "CHUNK_TURNS_MAX", 1)
    content = sample().content
    stream = stream_of(tmp_path / NAME, content)
    reading = Codex(user="ann").read(stream)
    first = next(reading)
    stream.path.write_bytes(content.replace(b"hello", b"olleh"))
    found = [first, *reading]
    assert [told(turn)[1][1] for chunk in found for turn in chunk.turns if told(turn)[0][0] == "system"] == [
        "hello", "olleh",
    ]  # fmt: skip
    appending = Codex(user="ann").read(stream)
    next(appending)
    with stream.path.open("ab") as file:
        file.write(Rollout(second=900).turn(TASKS[2], "more", "yes").content)
    assert [told(turn)[0][1] for chunk in appending for turn in chunk.turns] == ["and 你好", "bye", "more"]


def test_a_line_that_is_not_whole_waits(tmp_path: Path) -> None:
    """One that is whole and has no end is taken in."""
    content = sample().content
    assert turns(content[:-1]) == turns(content)
    for cut in range(2, 40):
        assert not unreadable(content[:-cut])


def test_chunks_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """They end with so many turns or bytes, and say how far the reading is; a turn may span several."""
    monkeypatch.setattr(codex, "CHUNK_BYTES", 1000)
    chunks = read(sample())
    assert len(chunks) > 3
    assert [turn for chunk in chunks for turn in chunk.turns] == turns(sample())
    assert [chunk.offset for chunk in chunks] == sorted({chunk.offset for chunk in chunks})


# --- damage -----------------------------------------------------------------------------------------------------------

LINE = b'{"timestamp":"2026-06-17T10:00:00Z","type":"event_msg","payload":{"type":"warning","message":"%s"}}'
DAMAGED = {
    "a torn line": LINE[:40] + b"\n" + LINE % b"after",
    "NULs": b"\0" * 100 + LINE % b"after",
    "invalid UTF-8": LINE % b"\xff" + b"\n" + LINE % b"after",
    "half a line before a whole one": (LINE % b"torn")[:60] + LINE % b"after",
    "a list": b"[1]\n" + LINE % b"after",
    "no JSON": b"Traceback (most recent call last):\n" + LINE % b"after",
    "nested a thousand deep": b'{"a":' * 1000 + b"1" + b"}" * 1000 + b"\n" + LINE % b"after",
    "nested in a known record": LINE.replace(b'"%s"', b"[" * 150 + b"]" * 150) + b"\n" + LINE % b"after",
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED.keys())
def test_damage_costs_what_is_damaged(damage: bytes) -> None:
    """It is told where and why, raw; what stands before and behind it, on the same line too, is read."""
    content = sample().content + damage + b"\n"
    (piece,) = unreadable(content)
    assert piece.raw in damage
    assert piece.position.startswith(f"line {sample().content.count(10) + 1}")
    *others, last = turns(content)
    assert others == turns(sample())[:-1]
    assert last.messages[-1].parts[0].data == {"message": "after"}


def test_two_objects_on_a_line_are_two() -> None:
    """With or without white space between them, also at the beginning of a turn."""
    content = sample().content
    assert turns(content.replace(b"\n", b" ", 4).replace(b"\n", b"")) == turns(content)
    cursor = read(content.replace(b"\n", b""))[-1].cursor
    assert turns(content.replace(b"\n", b""), cursor=cursor) == turns(content)[-1:]


def test_a_first_line_that_is_lost_costs_no_identity() -> None:
    """The file's name tells whose thread it is, also where the next line is that of a thread it was copied from."""
    content = sample().content
    torn = content[content.index(b"\n") + 1 :]
    assert [turn.turn_id for turn in turns(b"torn\n" + torn, name=NAME)] == [turn.turn_id for turn in turns(content)]
    assert {turn.conversation for turn in turns(torn, name=NAME)} == {THREAD}


def test_a_line_that_is_too_long_is_set_apart_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory holds no more of it than that; what follows is read."""
    monkeypatch.setattr(codex_files, "LINE_BYTES_MAX", 5000)
    monkeypatch.setattr(codex, "LINE_BYTES_MAX", 5000)
    content = content_of([{"timestamp": "", "type": "x", "payload": {"a": "b" * 12000}}]) + sample().content
    pieces = unreadable(content)
    assert [len(piece.raw) for piece in pieces] == [5000, 5000, 2052]
    assert [told(turn) for turn in turns(content)] == [told(turn) for turn in turns(sample())]


def envelopes(kind: str, payloads: Iterable[Record]) -> bytes:
    return content_of({"timestamp": "", "type": kind, "payload": payload} for payload in payloads)


def a_message(text: str) -> bytes:
    return envelopes("response_item", [{"type": "message", "role": "user", "content": [text]}])


MANY = range(5000)
HOSTILE = {
    "beginnings": b'{"timestamp":' * 80_000,
    "brackets": b"[" * 500_000 + b"{" * 500_000,
    "objects": b'{"a":1}' * 20_000,
    "no objects": b"x\n" * 50_000,
    "blanks": b" " * 500_000 + b"\n" * 200_000,
    "tags": a_message("<a_" * 300_000),
    "images": a_message("<image name=" * 80_000),
    "tasks": envelopes("event_msg", ({"type": "task_started", "turn_id": str(n)} for n in MANY)),
    "contexts": envelopes("turn_context", ({"model": str(n)} for n in MANY)),
    "names": envelopes("session_meta", ({"id": str(n)} for n in MANY)),
    "turns": content_of({"type": "message", "role": "user", "content": str(n)} for n in MANY),
    "mirrors": envelopes("event_msg", ({"type": "agent_message", "message": "x"} for n in MANY)),
    "thoughts": envelopes("event_msg", ({"type": "agent_reasoning", "text": "x"} for n in MANY)),
}


@pytest.mark.timeout(30)  # a trap takes minutes
@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_file_is_no_trap(content: bytes) -> None:
    """A megabyte of anything is read to its end, in time that grows with its size and not with its square."""
    assert read(content + b"\n")[-1].offset == len(content) + 1


# --- finding ----------------------------------------------------------------------------------------------------------


def test_a_folder_is_searched_for_rollouts(tmp_path: Path) -> None:
    """By structure, or by name where they are damaged; links out of it are not followed."""
    for name, content in {
        f"sessions/2026/06/17/{NAME}": sample().content,
        "archived_sessions/rollout-old.jsonl": sample().content,
        f"sessions/{NAME.replace('0001.', '0002.')}": b"torn",
        "session_index.jsonl": b'{"id":"a","thread_name":"n","updated_at":"x"}\n',
        "history.jsonl": b'{"session_id":"a","ts":1,"text":"hi"}\n',
        "config.toml": sample().content,
    }.items():
        (tmp_path / "home" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "home" / name).write_bytes(content)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "rollout-x.jsonl").write_bytes(sample().content)
    (tmp_path / "home" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "home" / "rollout-link.jsonl").symlink_to(tmp_path / "elsewhere" / "rollout-x.jsonl")
    found = Codex(user="ann").discover([tmp_path / "home"])
    assert [stream.path.relative_to(tmp_path / "home").parts[0] for stream in found] == [
        "archived_sessions", "session_index.jsonl", "sessions", "sessions",
    ]  # fmt: skip


def test_rollouts_are_recognised_by_their_structure(tmp_path: Path) -> None:
    """All generations, whatever their names; nothing else, and no file that is damaged from the start."""
    bare = {"id": THREAD, "timestamp": "2025-09-10T18:58:38.331Z", "instructions": None}
    known = {
        "envelopes": sample().content,
        "compressed": packed(sample().content, ".zst"),
        "bare": content_of([bare]),
        "item": content_of([{"type": "message", "role": "user", "content": []}]),
        "older": content_of([{"timestamp": "2025", "role": "user", "content": "hi"}]),
        "index": content_of([{"id": "a", "thread_name": "n", "updated_at": "x"}]),
    }
    others = {
        "empty": b"",
        "noise": b"\xff\xfe\n",
        "save_data": content_of([{"messages": [{"role": "user", "content": "hi"}], "timestamp": "x"}]),
        "claude_code": content_of([{"type": "user", "message": {"role": "user"}, "uuid": "u", "timestamp": "x"}]),
        "droid": content_of([{"type": "message", "role": "user", "text": "hi", "timestamp": "x"}]),
        "gemini": content_of([{"sessionId": "s", "messageId": 0, "type": "user", "message": "hi", "timestamp": "x"}]),
    }
    for name, content in (known | others).items():
        (tmp_path / name).write_bytes(content)
    assert [name for name in known | others if Codex.recognises(tmp_path / name)] == list(known)
    assert not Codex.recognises(tmp_path / "missing")
    assert recognise([tmp_path / "envelopes"])[0] == {"codex": [tmp_path / "envelopes"]}


def test_the_same_session_in_two_places_is_recorded_once(tmp_path: Path) -> None:
    """Archived, compressed, renamed or copied: the turns are those that are known."""
    paths = [tmp_path / NAME, tmp_path / "archived.jsonl", tmp_path / "cold.jsonl.zst"]
    paths[0].write_bytes(sample().content)
    assert bring_in(tmp_path / "log", paths[:1]).recorded == 3
    before = conversations(tmp_path / "log")
    paths[0].rename(paths[1])
    paths[2].write_bytes(packed(sample().content, ".zst"))
    counts = bring_in(tmp_path / "log", paths[1:])
    assert (counts.recorded, counts.revised, counts.unchanged) == (0, 0, 6)
    assert conversations(tmp_path / "log") == before


def test_damaged_data_are_recognised_by_their_name_alone(tmp_path: Path) -> None:
    """What cannot be unpacked is no crash; found by fuzzing."""
    damaged = packed(sample().content, ".gz")
    damaged = damaged[:20] + damaged[10:]
    for name, is_ours in ((NAME + ".gz", True), ("other.gz", False)):
        (tmp_path / name).write_bytes(damaged)
        assert Codex.recognises(tmp_path / name) is is_ours
