"""`turnlog demo`: it shows what it claims, and cleans up."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from turnlog.cli.demo import sample_path

from .support import Cli, Receiver, owed


def test_the_demo_loses_nothing_and_delivers_nothing_twice(tmp_path: Path) -> None:
    """Its claims hold in the folder that it keeps: the log's, and the receiver's, counted again here."""
    kept = Cli(tmp_path / "kept")
    result = Cli(tmp_path / "unused").process("demo", "--keep", str(kept.directory))
    assert (result.code, result.err) == (0, "")
    assert "None lost, none twice." in result.out
    assert "\x1b" not in result.out
    listening = re.search(r"listens on (\S+),", result.out)
    assert listening
    turns = kept.events("TurnRecorded")
    due = [turn for turn in turns if "receiver" not in turn.delivered_to]
    assert f"{len(turns)} turns recorded, 1 line could not be read" in result.out
    assert f"Imported once more: 0 recorded, {len(turns)} known." in result.out
    killed = re.search(r"killed after (\d+) turns. (\d+) wait, and none is blamed", result.out)
    more = re.search(r"The receiver is back: (\d+) more delivered, 0 left", result.out)
    assert killed
    assert more
    assert int(killed[1]) + int(killed[2]) == len(due)
    assert int(killed[1]) > 0
    assert int(killed[2]) == int(more[1]) > 0
    assert kept.states("receiver") == {"delivered": len(turns)}
    assert kept.ok("pending", "--json").out == ""
    assert kept.ok("verify", "--json").object["ok"]
    receiver = Receiver(kept.directory)
    receiver.store = kept.directory / "receiver.sqlite"
    assert receiver.messages() == owed(kept, "receiver")
    assert f"Counted at the receiver: {receiver.messages().total()} messages" in result.out
    assert len(result.out.splitlines()) > len(turns), "every turn is told"
    assert not (tmp_path / "unused").exists()


def test_without_a_folder_to_keep_nothing_is_left(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It works in a temporary folder, and no process stays."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    result = cli.process("demo", TMPDIR=str(temporary))
    assert (result.code, result.err) == (0, "")
    assert list(temporary.iterdir()) == []
    assert str(temporary).encode() not in b"".join(commands_that_run())


def commands_that_run() -> Iterator[bytes]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            yield path.read_bytes()


def test_a_folder_that_holds_something_is_left_alone(cli: Cli, tmp_path: Path) -> None:
    """A file, or a folder that is not empty, is refused before anything is started; an empty one is used."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("precious")
    for path in (tmp_path / "full", tmp_path / "full" / "mine"):
        sentence = f"{path} is there already; name a folder that does not exist or is empty"
        assert cli.refused(2, "demo", "--keep", str(path)) == sentence
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]


def test_a_folder_that_cannot_be_made_is_told(cli: Cli, tmp_path: Path) -> None:
    """One sentence."""
    (tmp_path / "file").touch()
    assert str(tmp_path / "file") in cli.refused(1, "demo", "--keep", str(tmp_path / "file" / "below"))


def test_the_sample_holds_what_it_is_to_show() -> None:
    """At least 40 lines in two languages: synced before, never synced, tried again, and one that is broken."""
    lines = sample_path().read_text(encoding="utf-8").splitlines()
    records, broken = [], 0
    for line in lines:
        try:
            records.append(json.loads(line))
        except ValueError:
            broken += 1
    assert len(lines) >= 40
    assert broken == 1
    assert {record.get("synced") for record in records} >= {True, False, None}
    assert any(record.get("retry_count") for record in records)
    said = "".join(message["content"] for record in records for message in record["messages"])
    assert re.search(r"[\u4e00-\u9fff]", said)
    assert re.search(r"[A-Za-z]{5}", said)
