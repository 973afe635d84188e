"""`turnlog import` of what was imported before: files that have not changed are not read, and the counts stay right."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from turnlog.errors import WrongUsage
from turnlog.sources import unchanged
from turnlog.sources.base import Chunk, Keep, SourceOptions, Stream, keep_nothing
from turnlog.sources.claude_code import ClaudeCode
from turnlog.sources.unchanged import settings_of

from ..sources.claude_code_samples import talk, write
from .support import Cli


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A session of three turns with a damaged line; no test waits until it is old."""
    monkeypatch.setattr(unchanged, "SETTLED_NANOSECONDS", 0)
    path = write(tmp_path, *talk().records)
    path.write_bytes(path.read_bytes() + b'{"type": damaged\n')
    return path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which files are read."""
    names: list[str] = []
    read = ClaudeCode.read

    def watched(self: ClaudeCode, stream: Stream, cursor: Any = None, *, keep: Keep = keep_nothing) -> Iterator[Chunk]:
        names.append(stream.path.name)
        return read(self, stream, cursor, keep=keep)

    monkeypatch.setattr(ClaudeCode, "read", watched)
    return names


def run_import(cli: Cli, path: Path, *options: str, source: str = "claude-code") -> dict[str, Any]:
    return cli("import", source, str(path), "--json", *options).object


@pytest.mark.parametrize("source", ["claude-code", "auto"])
def test_what_has_not_changed_is_counted_and_not_read(cli: Cli, path: Path, opened: list[str], source: str) -> None:
    """The counts are those of an import that reads it: its turns are unchanged, its damage is in quarantine."""
    first = run_import(cli, path, source=source)
    assert (first, opened) == ({"recorded": 3, "revised": 0, "unchanged": 0, "quarantined": 1}, [path.name])
    again = run_import(cli, path, source=source)
    assert (again, opened) == ({"recorded": 0, "revised": 0, "unchanged": 3, "quarantined": 1}, [path.name])


def test_who_asks_otherwise_has_it_read(cli: Cli, path: Path, opened: list[str]) -> None:
    """Another user, another time zone, a dry run, and --since read all of it, and count what they find."""
    run_import(cli, path, "--user", "amy")
    others = ["--user=bob", "--timezone=Asia/Tokyo", "--dry-run", "--since=2026-02-03T10:00:08Z"]
    found = [run_import(cli, path, "--user=amy", option) for option in others]
    assert [known["quarantined"] for known in found] == [1, 1, 1, 1]
    assert [sum(known.values()) for known in found] == [4, 4, 4, 3]
    assert len(opened) == 5


def test_what_since_left_out_is_not_taken_for_read(cli: Cli, path: Path, opened: list[str]) -> None:
    """The import that takes in the rest reads the file, and only then it need not be read again."""
    run_import(cli, path, "--since", "2026-02-03T10:00:08Z")
    assert run_import(cli, path)["recorded"] == 1
    assert run_import(cli, path)["unchanged"] == 3
    assert len(opened) == 2


def test_a_file_that_was_refused_is_tried_again(
    cli: Cli, path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside one that was read and is passed over."""
    bad = path.with_name("bad.jsonl")
    bad.write_bytes(path.read_bytes())
    read = ClaudeCode.read

    def refusing(source: ClaudeCode, stream: Stream, *rest: Any, **named: Any) -> Iterator[Chunk]:
        yield from read(source, stream, *rest, **named)
        if stream.path == bad:
            raise WrongUsage("it is rewritten again and again")

    monkeypatch.setattr(ClaudeCode, "read", refusing)
    results = [cli("import", "claude-code", "--json", str(path), str(bad)) for _ in range(2)]
    assert [result.code for result in results] == [1, 1]
    assert [result.object["unchanged"] for result in results] == [0, 3]
    assert (opened.count(path.name), opened.count(bad.name)) == (1, 2)


def test_settings_tell_what_a_reading_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user, the zone that was named or is this machine's, limits and a source's own options."""
    options = SourceOptions("amy")
    found = {settings_of(options), settings_of(SourceOptions("bob")), settings_of(options, {"conversation": "c"})}
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        found.add(settings_of(options))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert len(found) == 4
    assert settings_of(options) in found
