"""Files full of damaged lines: nothing of them is lost, and they are told in few pieces."""

import tracemalloc
from pathlib import Path

import pytest

from turnlog.sources.base import CHUNK_TURNS_MAX, SourceOptions, Stream
from turnlog.sources.files import READ_BYTES, open_regular
from turnlog.sources.objects import LONE_DAMAGES_MAX, DamagedLines
from turnlog.sources.registry import source_type

BUFFER_BYTES = 4096
"""Files are read so much at a time, at least."""

FIRST = {
    "claude_code": '{"type":"user","uuid":"a1","sessionId":"s","message":{"role":"user","content":"a"}}',
    "codex": '{"timestamp":"2026-01-01T00:00:00Z","type":"session_meta","payload":{"id":"t"}}',
    "gemini_cli": '{"sessionId":"s","projectHash":"p","startTime":"","lastUpdated":"","kind":"main"}',
    "save_data": '{"messages":[{"role":"user","content":"a"}]}',
}
LAST = {
    "claude_code": '{"type":"user","uuid":"a2","sessionId":"s","message":{"role":"user","content":"z"}}',
    "codex": '{"timestamp":"2026-01-01T00:00:01Z","type":"event_msg","payload":{"type":"user_message","message":"z"}}',
    "gemini_cli": '{"id":"1","timestamp":"2026-01-01T00:00:00Z","type":"user","content":"z"}',
    "save_data": '{"messages":[{"role":"user","content":"z"}]}',
}


@pytest.mark.parametrize("name", list(FIRST))
@pytest.mark.parametrize("line", ["[", "{", '{"a":', "nonsense", "1", "\0\0", '{"a}'])
def test_many_damaged_lines_are_set_apart_together(tmp_path: Path, name: str, line: str) -> None:
    """Each is kept byte for byte, some hundred by themselves; the records around them are read."""
    count = 30_000
    path = tmp_path / "session.jsonl"
    path.write_text(f"{FIRST[name]}\n" + f"{line}\n" * count + f"{LAST[name]}\n", encoding="utf-8")
    source = source_type(name).from_options(SourceOptions())
    stream = Stream(name="s", path=path, size_bytes=path.stat().st_size)
    chunks = list(source.read(stream))
    pieces = [piece for chunk in chunks for piece in chunk.unreadable]
    kept = "\n".join(piece.raw.decode().removesuffix("\n") for piece in pieces)
    assert kept.split("\n") == [line] * count
    assert len(pieces) <= CHUNK_TURNS_MAX + LONE_DAMAGES_MAX + 2 * path.stat().st_size // BUFFER_BYTES
    assert pieces[-1].position.endswith(f" {count + 1}")
    said = [message.content for chunk in chunks for turn in chunk.turns for message in turn.messages]
    assert said[-1] == "z"
    assert chunks[-1].offset == path.stat().st_size


def test_a_whole_line_behind_damage_ends_the_look_ahead(tmp_path: Path) -> None:
    """Whoever alternates damage with records makes nobody take the file apart again and again."""
    path = tmp_path / "session.jsonl"
    path.write_bytes(b'{"type":1}\nx\n' * READ_BYTES)
    with open_regular(path, buffer_bytes=READ_BYTES) as file:
        damaged = DamagedLines()
        for _ in range(LONE_DAMAGES_MAX):
            damaged.note(b"x\n")
        tracemalloc.start()
        assert damaged.behind(file) == b""
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak_bytes < 3 * READ_BYTES
