import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from turnlog.errors import WrongUsage
from turnlog.sources.base import Chunk, Stream
from turnlog.sources.save_data import CHUNK_BYTES, CHUNK_TURNS_MAX, SaveData
from turnlog.testing.source_contract import ids_of, turns_of

EXCHANGE = '{"messages":[{"role":"user","content":"说"}]}'


def exchanges(*texts: str, synced: bool = False) -> str:
    records = ({"messages": [{"role": "user", "content": text}], "synced": synced} for text in texts)
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def many(*, synced: bool = False, text: str = "turn") -> str:
    """Three chunks of turns."""
    return exchanges(*(f"{text} {number}" for number in range(3 * CHUNK_TURNS_MAX)), synced=synced)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "save_data.jsonl"


def stream_of(path: Path) -> Stream:
    (stream,) = SaveData(user="ann").discover([path])
    return stream


def read(path: Path) -> list[Chunk]:
    return list(SaveData(user="ann").read(stream_of(path)))


# --- files ------------------------------------------------------------------------------------------------------------


def refusal(path: Path) -> str:
    """The sentence with which both discovering and reading refuse a path."""
    with pytest.raises(WrongUsage) as discovered:
        SaveData(user="ann").discover([path])
    with pytest.raises(WrongUsage) as attempted:
        list(SaveData(user="ann").read(Stream(name="s", path=path, size_bytes=0)))
    assert str(discovered.value) == str(attempted.value)
    return str(discovered.value)


def test_what_is_no_readable_file_is_refused(tmp_path: Path) -> None:
    """Each refusal is one sentence that names the path; a pipe without a writer does not hang."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    assert refusal(tmp_path / "none") == f"{tmp_path}/none cannot be read: No such file or directory"
    assert refusal(tmp_path) == f"{tmp_path} is a folder; name the file in it that is to be read"
    assert refusal(tmp_path / "pipe").startswith(f"{tmp_path}/pipe is not a regular file")
    assert refusal(Path("/dev/null")).startswith("/dev/null is not a regular file")
    assert refusal(tmp_path / "file" / "x") == f"{tmp_path}/file/x cannot be read: Not a directory"
    assert refusal(tmp_path / "loop").startswith(f"{tmp_path}/loop cannot be read: Too many levels")
    assert refusal(tmp_path / ("x" * 300)).endswith("xxx cannot be read: File name too long")
    assert refusal(tmp_path / "nul\0").endswith("cannot be read: embedded null byte")


def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    """The sentence says whose permission is missing for what."""
    path = tmp_path / "secret.jsonl"
    path.write_text(EXCHANGE)
    path.chmod(0)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        assert refusal(path) == f"{path} cannot be read: Permission denied"
    finally:
        if is_root:
            os.seteuid(0)


@pytest.mark.parametrize("options", [{"user": ""}, {"conversation": ""}, {"already_synced_to": ""}])
def test_empty_names_are_refused(options: dict[str, Any]) -> None:
    """A turn must say whose it is and where it belongs."""
    with pytest.raises(WrongUsage, match="is empty"):
        SaveData(**{"user": "ann", **options})


def test_names_that_are_not_unicode_can_be_recorded(tmp_path: Path) -> None:
    """Stream, conversation and user are valid text whatever bytes the file system or the command line gave."""
    path = tmp_path / os.fsdecode(b"caf\xe9.jsonl")
    path.write_text(EXCHANGE)
    source = SaveData(user="ann\udce9")
    (stream,) = source.discover([path])
    (turn,) = turns_of(source.read(stream))
    assert stream.name == f"{tmp_path}/caf\\xe9.jsonl"
    assert (turn.conversation, turn.user) == ("caf\\xe9", "ann\ufffd")
    assert msgspec.json.encode(turn)


def test_streams_are_named_by_their_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However a file is named it is one stream, and each file is a conversation of its own."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.jsonl", "b.jsonl"):
        Path(name).write_text(EXCHANGE)
    source = SaveData(user="ann")
    streams = source.discover([Path("b.jsonl"), tmp_path / "a.jsonl", Path("x/../b.jsonl")])
    assert [stream.name for stream in streams] == [f"{tmp_path}/b.jsonl", f"{tmp_path}/a.jsonl"]
    assert [turn.conversation for stream in streams for turn in turns_of(source.read(stream))] == ["b", "a"]


# --- chunks, and files that change while they are read ----------------------------------------------------------------


def test_chunks_are_bounded_by_turns(path: Path) -> None:
    """A chunk holds so many turns and pieces at most, also where all of them are on one line."""
    path.write_text(many().replace("\n", "{} ") + "\n")
    chunks = read(path)
    assert {len(chunk.turns) + len(chunk.unreadable) for chunk in chunks} == {CHUNK_TURNS_MAX}
    assert [turn.messages[0].content for turn in turns_of(chunks)] == [f"turn {number}" for number in range(1500)]
    assert chunks[-1].cursor == {"bytes": path.stat().st_size, "lines": 1, "turns": 1500}


def test_chunks_are_bounded_by_bytes(path: Path) -> None:
    """A chunk ends with the object that fills it, however few turns that are."""
    path.write_text(exchanges(*["你" * 500_000] * 4))
    chunks = read(path)
    assert [len(chunk.turns) for chunk in chunks] == [2, 2]
    assert chunks[0].offset >= CHUNK_BYTES


@pytest.mark.timeout(30)
def test_long_lines_are_read(path: Path) -> None:
    """A text of ten megabytes, a torn one, a hundred thousand objects on a line: each takes a moment only."""
    path.write_text(exchanges("说" * 3_500_000) + '{"messages":"' + "x" * 10_000_000 + "\n\n" + EXCHANGE * 100_000)
    chunks = read(path)
    assert len(turns_of(chunks)) == 100_001
    assert len(turns_of(chunks)[0].messages[0].content) == 3_500_000
    assert [len(piece.raw) for chunk in chunks for piece in chunk.unreadable] == [10_000_013]
    assert chunks[-1].cursor == {"bytes": path.stat().st_size, "lines": 4, "turns": 100_001}


def test_a_file_rewritten_while_it_is_read_gives_each_turn_once(path: Path) -> None:
    """Flags flipped in place move every byte; no turn is made of halves, none is missed, none comes twice."""
    path.write_text(many(synced=False))
    expected = ids_of(read(path))
    reading = SaveData(user="ann").read(stream_of(path))
    chunks = [next(reading)]
    path.write_text(many(synced=True))
    chunks += reading
    assert ids_of(chunks) == expected
    assert not any(chunk.unreadable for chunk in chunks)
    assert chunks[-1].fingerprint == sha256(path.read_bytes()).hexdigest()


def test_a_file_rewritten_twice_gives_each_turn_once(path: Path) -> None:
    """Also when the second reading got less far than the first, because new turns stood in front."""
    early = exchanges(*(f"early {number}" for number in range(CHUNK_TURNS_MAX)))
    path.write_text(many())
    reading = SaveData(user="ann").read(stream_of(path))
    chunks = [next(reading), next(reading)]
    path.write_text(early + many(synced=True))
    chunks.append(next(reading))
    path.write_text(early + many())
    chunks += reading
    assert sorted(ids_of(chunks)) == sorted(ids_of(read(path)))


def test_an_unterminated_line_completed_while_it_is_read_is_left_for_later(path: Path) -> None:
    """What is appended behind it belongs to the same line, and the next reading finds it there."""
    path.write_text("\n".join([EXCHANGE] * CHUNK_TURNS_MAX))
    reading = SaveData(user="ann").read(stream_of(path))
    first = next(reading)
    with path.open("a") as file:
        file.write("{}\n")
    assert not list(reading)
    again = read(path)
    assert again[0] == first
    assert [piece.position for piece in again[1].unreadable] == [f"line {CHUNK_TURNS_MAX}, object 2"]


def test_a_file_appended_to_while_it_is_read_is_read_on(path: Path) -> None:
    """Growth is no rewriting: the reading goes on to the new end."""
    path.write_text(many())
    reading = SaveData(user="ann").read(stream_of(path))
    chunks = [next(reading)]
    with path.open("a") as file:
        file.write(exchanges("one more"))
    chunks += reading
    assert ids_of(chunks) == ids_of(read(path))
    assert [chunk.cursor["turns"] for chunk in chunks] == [500, 1000, 1500, 1501]


def test_a_file_that_never_holds_still_is_refused(path: Path) -> None:
    """A reading does not start over for ever."""
    path.write_text(many())
    reading = SaveData(user="ann").read(stream_of(path))
    versions = (path.write_text(many(text=f"version {number}")) for number, _ in enumerate(reading))
    with pytest.raises(WrongUsage, match="rewritten again and again"):
        list(versions)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that Linux has")
def test_a_file_that_fails_under_way_is_refused() -> None:
    """An error of the disk is a sentence that names the file; the first page of memory is a bad disk's like."""
    with pytest.raises(WrongUsage, match="/proc/self/mem cannot be read: Input/output error"):
        read(Path("/proc/self/mem"))
