"""`turnlog import`: exactly what is new, however often, whatever the old scripts did to the file meanwhile."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from turnlog.sources.registry import SOURCE_TYPES

from .support import NOBODY, ROOT, Cli, batch_sink, memory_sink, old_file

SAMPLE = ROOT / "data" / "save_data.jsonl"


def run_import(cli: Cli, path: Path, *options: str) -> dict[str, Any]:
    result = cli("import", "save-data", str(path), "--json", *options)
    assert result.code == 0
    return result.object


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "save_data.jsonl"


def test_the_sample_is_imported_once(cli: Cli) -> None:
    """The second time nothing is recorded, and the log has not grown."""
    first = run_import(cli, SAMPLE, "--user", "U")
    assert first["recorded"] >= 40
    assert (first["revised"], first["unchanged"], first["quarantined"]) == (0, 0, 1)
    size = (cli.directory / "log" / "00000000000000000001.jsonl").stat().st_size
    assert run_import(cli, SAMPLE, "--user", "U") == {**first, "recorded": 0, "unchanged": first["recorded"]}
    assert (cli.directory / "log" / "00000000000000000001.jsonl").stat().st_size == size
    assert {turn.user for turn in cli.events("TurnRecorded")} == {"U"}


def test_lines_that_were_appended_are_recorded_and_nothing_else(cli: Cli, path: Path) -> None:
    """With lines appended between two imports: exactly those."""
    shutil.copy(SAMPLE, path)
    known = run_import(cli, path, "--user", "U")["recorded"]
    more = old_file(path.with_name("more"), range(7)).read_bytes()
    with path.open("ab") as file:
        file.write(more)
    counts = run_import(cli, path, "--user", "U")
    assert (counts["recorded"], counts["revised"], counts["unchanged"]) == (7, 0, known)
    said = [turn.messages[0].content for turn in cli.events("TurnRecorded")][-7:]
    assert said == [f"问 {number}" for number in range(7)]


def test_a_file_that_was_rewritten_with_flags_flipped_holds_nothing_new(cli: Cli, path: Path) -> None:
    """`synced` and `retry_count` are no part of a turn; a line that was added meanwhile is."""
    old_file(path, range(20))
    assert run_import(cli, path)["recorded"] == 20
    old_file(path, range(21), synced=True, retries=3)
    assert run_import(cli, path) == {"recorded": 1, "revised": 0, "unchanged": 20, "quarantined": 0}


def test_already_synced_turns_are_never_owed_to_that_sink(cli: Cli, path: Path) -> None:
    """They count as delivered from the beginning; the others are pending, and every turn is at another sink."""
    old_file(path, range(3), synced=True)
    with path.open("a") as file:
        file.write(old_file(path.with_name("more"), range(10, 12)).read_text())
    cli.configure(batch_sink(NOBODY), memory_sink())
    assert run_import(cli, path, "--already-synced-to", "team")["recorded"] == 5
    assert cli.states("team") == {"delivered": 3, "pending": 2}
    assert cli.states("mem") == {"pending": 5}


def test_the_progress_mark_counts_only_where_it_is_asked_for(cli: Cli, path: Path) -> None:
    """Lines before the mark were imported elsewhere."""
    old_file(path, range(4))
    path.with_name("save_data.jsonl.progress").write_text("3\n")
    cli.configure(batch_sink(NOBODY))
    run_import(cli, path, "--already-synced-to", "team")
    assert cli.states("team") == {"delivered": 3, "pending": 1}


def test_a_dry_run_counts_and_writes_nothing(cli: Cli, path: Path) -> None:
    """Neither a log nor a folder; on a log that is there, what is known is told from what is new."""
    old_file(path, range(5))
    assert run_import(cli, path, "--dry-run")["recorded"] == 5
    assert not cli.directory.exists()
    run_import(cli, path)
    old_file(path, range(8))
    before = {file: file.read_bytes() for file in (cli.directory / "log").iterdir()}
    assert run_import(cli, path, "--dry-run") == {"recorded": 3, "revised": 0, "unchanged": 5, "quarantined": 0}
    assert {file: file.read_bytes() for file in (cli.directory / "log").iterdir()} == before


def test_several_files_are_several_conversations(cli: Cli, path: Path) -> None:
    """Each is named for its file; `--conversation` names one; the user comes from --user or USER_ID."""
    other = old_file(path.with_name("other.jsonl"), range(2))
    old_file(path, range(2))
    assert cli.ok("import", "save_data", str(path), str(other), "--user", "u").out.startswith("recorded 4, ")
    lanes = {(turn.user, turn.conversation, turn.source) for turn in cli.events("TurnRecorded")}
    assert lanes == {("u", "save_data", "save_data"), ("u", "other", "save_data")}


def test_the_user_is_the_environments_where_nobody_says(cli: Cli, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """USER_ID, as the old scripts had it, else `default`."""
    monkeypatch.setenv("USER_ID", "env-user")
    run_import(cli, old_file(path, range(1)))
    assert [turn.user for turn in cli.events("TurnRecorded")] == ["env-user"]


def test_quarantine_is_told_kept_and_counted_once(cli: Cli, path: Path) -> None:
    """The rest of the file is recorded; importing again counts it, and keeps it once."""
    old_file(path, range(2))
    with path.open("ab") as file:
        file.write(b"\xff\xfe broken\n" + json.dumps({"messages": []}).encode() + b"\n")
    for _ in range(2):
        result = cli("import", "save-data", str(path))
        assert (result.code, result.out.strip()[-13:]) == (0, "quarantined 2")
        assert result.sentence == "2 could not be read and are kept in quarantine; see `turnlog sources`"
    assert [event.position for event in cli.events("LineQuarantined")] == ["line 3", "line 4"]
    assert "line 3" in cli.ok("sources").out


def test_times_are_in_the_zone_that_is_named(cli: Cli, path: Path) -> None:
    """Naive times are this machine's, or `--timezone`'s, which is no part of a turn's identity."""
    old_file(path, range(1))
    run_import(cli, path, "--timezone", "Asia/Shanghai")
    assert run_import(cli, path, "--timezone", "Europe/Berlin")["unchanged"] == 1
    assert cli.events("TurnRecorded")[0].started_at.isoformat() == "2024-12-04T02:00:00+00:00"


def test_an_empty_file_holds_nothing(cli: Cli, path: Path) -> None:
    """It is no error."""
    path.touch()
    assert set(run_import(cli, path).values()) == {0}


def test_bad_input_is_one_sentence_and_records_nothing(cli: Cli, path: Path, tmp_path: Path) -> None:
    """Unknown source (with the nearest), missing file, a folder, a pipe, an unknown time zone, an empty name."""
    os.mkfifo(tmp_path / "pipe")
    old_file(path, range(3))
    file, folder, missing, pipe = (str(p) for p in (path, tmp_path, tmp_path / "none", tmp_path / "pipe"))
    refused = {
        ("save-dat", file): "unknown source 'save-dat'; did you mean 'save_data'?",
        ("zzz", file): f"unknown source 'zzz'; known: {', '.join(sorted([*SOURCE_TYPES, 'auto']))}",
        ("save-data", missing): f"{missing} cannot be read: No such file or directory",
        ("save-data", file, missing): f"{missing} cannot be read: No such file or directory",
        ("save-data", folder): f"{folder} is a folder; name the file in it that is to be read",
        ("save-data", pipe): f"{pipe} is not a regular file; save what it gives to one and name that",
        ("save-data", file, "--timezone", "Mars/Base"): "unknown time zone 'Mars/Base'; name one such as Europe/Berlin",
        ("save-data", file, "--conversation", ""): "the conversation is empty; give it a name or leave it out",
        ("save-data",): "missing argument 'PATH...' (see `turnlog import --help`)",
    }
    for arguments, sentence in refused.items():
        assert cli.refused(2, "import", *arguments) == sentence
    assert not cli.directory.exists()


def test_what_a_file_is_is_found_out_by_its_structure(cli: Cli, path: Path, tmp_path: Path) -> None:
    """`auto` takes what it knows, whatever it is called and wherever in a folder, and tells what it does not know."""
    folder = tmp_path / "things"
    folder.mkdir()
    old_file(folder / "renamed.bin", range(3))
    (folder / "notes.txt").write_text("nothing of ours")
    (folder / "elsewhere").symlink_to(old_file(path, range(5, 9)))
    result = cli("import", "auto", "--json", str(folder))
    assert (result.code, result.object["recorded"]) == (0, 3)
    assert result.sentence == f"{folder / 'notes.txt'} is of no format that is known, so it is left out"
    assert cli.ok("import", "save-data", "--json", str(folder / "renamed.bin")).object["unchanged"] == 3
