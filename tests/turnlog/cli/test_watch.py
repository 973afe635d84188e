"""`turnlog watch` as a process: what is written to a file is in the log a moment later."""

import json
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from eventlog import EventLog, TurnRecorded

from ..sources.claude_code_samples import Script, text
from .support import DEADLINE_SECONDS, Cli


def line(text: str) -> str:
    return json.dumps({"messages": [{"role": "user", "content": text}], "timestamp": "2026-11-20T10:00:00"}) + "\n"


def until_recorded(cli: Cli, text: str) -> None:
    """Follow the log until this was said in it."""
    stop = threading.Event()
    timer = threading.Timer(DEADLINE_SECONDS, stop.set)
    timer.start()
    try:
        for entry in EventLog.open(cli.directory, read_only=True).follow(stop=stop):
            if isinstance(entry.event, TurnRecorded) and entry.event.messages[0].content == text:
                return
    finally:
        timer.cancel()
        timer.join()
    raise AssertionError(f"{text!r} was not recorded")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_is_appended_is_recorded(cli: Cli, tmp_path: Path, number: int) -> None:
    """When the next turn begins, or by itself when it is quiet; a signal ends it with what it has done."""
    path = tmp_path / "talk.jsonl"
    path.write_text(line("one"))
    cli.directory.mkdir()
    table = f'[[sources]]\ntype = "save_data"\npath = "{path}"\nuser = "amy"\nsettle_seconds = 0.2\n'
    (cli.directory / "turnlog.toml").write_text(table)
    process = cli.start("watch", "--json")
    until_recorded(cli, "one")
    with path.open("a") as file:
        file.write(line("two") + line("three"))
    until_recorded(cli, "three")
    process.send_signal(number)
    out, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0, err
    counts = json.loads(out)
    assert (counts["recorded"], counts["revised"], counts["quarantined"]) == (3, 0, 0)
    assert {turn.user for turn in cli.events("TurnRecorded")} == {"amy"}


def test_no_turn_is_lost_whatever_becomes_of_a_session(cli: Cli, tmp_path: Path) -> None:
    """It is renamed, truncated and written anew, replaced by a rewritten file: each turn is recorded, once."""
    script, path = Script(), tmp_path / "sessions" / "one.jsonl"
    path.parent.mkdir()
    cli.directory.mkdir()
    table = f'[[sources]]\ntype = "claude_code"\npath = "{path.parent}"\nsettle_seconds = 0.2\n'
    (cli.directory / "turnlog.toml").write_text(table)
    process = cli.start("watch", "--json")
    for number, mishap in enumerate(["", "rename", "truncate", "replace"]):
        if mishap == "rename":
            path = path.rename(path.with_name("other.jsonl"))
        elif mishap == "truncate":
            path.write_bytes(b"")
        elif mishap == "replace":
            script.records[0]["cwd"] = "/elsewhere"
            path = path.replace(path.with_name("replaced"))
        script.user(f"question {number}")
        script.assistant(text(f"answer {number}"), mid=f"msg_{number}")
        path = path.with_name("other.jsonl" if number else "one.jsonl")
        path.write_bytes(script.content())
        until_recorded(cli, f"question {number}")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert (process.returncode, "Traceback" in err) == (0, False)
    newest = {turn.turn_id: [message.content for message in turn.messages] for turn in cli.events("TurnRecorded")}
    assert list(newest.values()) == [[f"question {n}", f"answer {n}"] for n in range(4)]


def test_a_source_that_is_none_is_refused(cli: Cli) -> None:
    """And so is having none, or one that has no place of its own."""
    assert "unknown source 'clode'" in cli.refused(2, "watch", "clode")
    assert "no source is configured" in cli.refused(2, "watch")
    assert "name one with path" in cli.refused(78, "watch", "save-data")
    assert subprocess.run(cli.command("watch", "--help"), check=True, capture_output=True, timeout=60).stdout


def test_sources_are_added_and_removed_in_the_file(cli: Cli, tmp_path: Path) -> None:
    """What a person wrote there stays, comments too; the file is made if there is none."""
    talk = tmp_path / "talk.jsonl"
    talk.write_text(line("one"))
    assert cli("sources", "add", "save-data", str(talk), "--user", "amy").code == 0
    path = cli.directory / "turnlog.toml"
    assert path.read_text() == f'[[sources]]\ntype = "save_data"\npath = "{talk}"\nuser = "amy"\n'
    path.write_text("# mine\n[sync]\nmax_attempts = 7 # many\n\n" + path.read_text())
    assert "is there already" in cli.refused(2, "sources", "add", "save_data", str(talk))
    assert cli("sources", "add", "save_data", str(tmp_path / "other.jsonl")).code == 0
    rows = cli("sources", "check", "--json")
    assert rows.code == 1
    assert [(row["streams"], row["problem"]) for row in rows.objects] == [(1, None), (0, "nothing is there")]
    assert cli("sources", "remove", "save_data", str(tmp_path / "other.jsonl")).code == 0
    assert cli.ok("sources", "check", "--json").object["source"] == "save_data"
    assert cli("sources", "remove", "save-data").code == 0
    assert path.read_text().startswith("# mine\n[sync]\nmax_attempts = 7 # many\n")
    assert "[[sources]]" not in path.read_text()
    assert "no source 'save_data'" in cli.refused(2, "sources", "remove", "save_data")


def test_a_configuration_that_is_broken_is_not_changed(cli: Cli) -> None:
    """Nor is one that would be broken by it."""
    cli.directory.mkdir()
    path = cli.directory / "turnlog.toml"
    path.write_text("[sync\n")
    assert "cannot be changed" in cli.refused(78, "sources", "add", "save_data", "x")
    assert path.read_text() == "[sync\n"
