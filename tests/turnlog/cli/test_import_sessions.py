"""`turnlog import` of sessions and exports: since when, what is told meanwhile, Ctrl-C, limits, files that are none."""

import gzip
import json
import os
import pty
import select
import signal
import socket
import subprocess
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from eventlog import EventLog, TurnRecorded
from projections import content_digest

from ..sources.claude_code_samples import Script, talk, text, write
from ..sources.export_samples import talk as chat
from .support import DEADLINE_SECONDS, Cli


def long_session(turns: int, size: int = 10) -> Script:
    script = Script()
    for number in range(turns):
        script.user(f"question {number}")
        script.assistant(text(f"answer {number} " + "x" * size), mid=f"msg_{number}")
    return script


def counts_of(cli: Cli, *arguments: str) -> dict[str, Any]:
    return cli("import", "--json", *arguments).object


def turns_in(directory: Path) -> list[tuple[str, bytes]]:
    """The newest revision of each turn, in order."""
    log = EventLog.open(directory, read_only=True)
    found = {e.event.turn_id: e.event for e in log.read() if isinstance(e.event, TurnRecorded)}
    return [(turn_id, content_digest(turn)) for turn_id, turn in found.items()]


# --- since ------------------------------------------------------------------------------------------------------------


def test_what_was_said_before_since_is_left_out(cli: Cli, tmp_path: Path) -> None:
    """Neither turns nor what is noted of them; it is told, and a later import without it takes them in."""
    path = write(tmp_path, *talk().records)
    result = cli("import", "claude-code", str(path), "--json", "--since", "2026-02-03T10:00:08Z")
    assert (result.code, result.object["recorded"]) == (0, 2)
    assert result.sentence == "1 turns were said before --since, and are left out"
    result = cli("import", "claude-code", str(path), "--json", "--since", "2027-01-01")
    assert set(result.object.values()) == {0}
    later = cli.ok("import", "claude-code", str(path), "--json").object
    assert (later["recorded"], later["unchanged"]) == (1, 2)
    assert cli.refused(2, "import", "auto", str(path), "--since", "noon").startswith("invalid value for '--since'")


def test_nothing_is_noted_of_what_is_left_out(cli: Cli, tmp_path: Path) -> None:
    """A log into which nothing was taken has no events of the source."""
    path = write(tmp_path, *talk().records)
    cli("import", "claude-code", str(path), "--since", "2027-01-01")
    assert [entry.type for entry in cli.log().read()] == []


def test_watching_does_not_go_on_behind_what_was_left_out(cli: Cli, tmp_path: Path) -> None:
    """The cursor is kept by an import that left out nothing, and by no other."""
    path = write(tmp_path, *talk().records)
    cli("import", "claude-code", str(path), "--since", "2026-02-03T10:00:08Z")
    assert cli.events("SourceAdvanced") == []
    cli("import", "claude-code", str(path), "--since", "2026-01-01")
    assert len(cli.events("SourceAdvanced")) == 1


def test_a_turn_without_a_time_is_said_now(cli: Cli, tmp_path: Path) -> None:
    """It is recorded, whatever --since says."""
    records = [
        {"type": "message", "role": role, "content": [{"type": "text", "text": "hi"}]} for role in ("user", "assistant")
    ]
    path = tmp_path / "rollout.jsonl"
    path.write_text(
        "".join(
            json.dumps(record) + "\n"
            for record in [{"id": "x", "timestamp": "2025-01-01T00:00:00Z", "instructions": None}, *records]
        )
    )
    assert counts_of(cli, "codex", str(path), "--since", "2027-01-01")["recorded"] == 1


# --- dry runs, progress, Ctrl-C ---------------------------------------------------------------------------------------


def test_a_dry_run_tells_all_that_would_become_of_it(cli: Cli, tmp_path: Path) -> None:
    """What would be recorded, revised, unchanged and quarantined is what an import then does."""
    script = long_session(4)
    write(tmp_path, *script.records[:-1])
    counts_of(cli, "claude-code", str(tmp_path))
    script.user("one more")
    path = write(tmp_path, *script.records)
    path.write_bytes(path.read_bytes() + b'{"type": damaged\n')
    would = counts_of(cli, "claude-code", str(tmp_path), "--dry-run")
    assert would == {"recorded": 1, "revised": 1, "unchanged": 3, "quarantined": 1}
    assert counts_of(cli, "claude-code", str(tmp_path)) == would


def on_a_terminal(cli: Cli, *arguments: str) -> tuple[str, str]:
    """What a command prints on stdout, and what a person sees on the terminal that stderr is."""
    ours, theirs = pty.openpty()
    environ = {**os.environ, "COLUMNS": "160", "TERM": "xterm"}
    process = subprocess.Popen(cli.command(*arguments), stdout=subprocess.PIPE, stderr=theirs, env=environ)
    os.close(theirs)
    seen, deadline = b"", time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        is_over = process.poll() is not None  # looked at first: what it wrote last is there then
        if not select.select([ours], [], [], 0 if is_over else 1)[0]:
            if is_over:
                break
            continue
        try:
            data = os.read(ours, 65536)
        except OSError:  # Linux says so that the other end was closed
            break
        if not data:
            break
        seen += data
    os.close(ours)
    out, _ = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0, seen
    return out.decode(), seen.decode()


def test_progress_is_drawn_on_a_terminal_and_for_no_program(cli: Cli, tmp_path: Path) -> None:
    """Bytes, turns, rate and the time that is left; nothing with --json."""
    write(tmp_path, *long_session(1200, size=3600).records)
    out, seen = on_a_terminal(cli, "import", "claude-code", str(tmp_path))
    assert out.startswith("recorded 1200, ")
    assert "importing" in seen
    for piece in (" MB", " turns", "B/s", ":"):
        assert piece in seen
    out, seen = on_a_terminal(cli, "import", "claude-code", str(tmp_path), "--json")
    assert (json.loads(out)["unchanged"], seen) == (1200, "")


def until_something_is_recorded(process: "subprocess.Popen[str]", folder: Path) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        if any(path.read_bytes().find(b'"type":"TurnRecorded"') >= 0 for path in folder.glob("log/*.jsonl")):
            return
        if process.poll() is not None:
            break
    raise AssertionError("nothing was recorded")


def test_ctrl_c_loses_nothing_and_the_next_import_goes_on(cli: Cli, tmp_path: Path) -> None:
    """What was recorded stays, without a traceback; two imports together are one."""
    path = write(tmp_path, *long_session(2500, size=2000).records)
    process = cli.start("import", "claude-code", str(path), "--json")
    until_something_is_recorded(process, cli.directory)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert (process.returncode, out, "Traceback" in err) == (130, "", False)
    early = turns_in(cli.directory)
    assert 0 < len(early) < 2500
    later = counts_of(cli, "claude-code", str(path))
    assert (later["recorded"], later["unchanged"]) == (2500 - len(early), len(early))
    once = Cli(tmp_path / "once")
    counts_of(once, "claude-code", str(path))
    assert turns_in(cli.directory) == turns_in(once.directory)
    assert cli.ok("verify", "--json").object["ok"]


# --- what is refused --------------------------------------------------------------------------------------------------


def bomb(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("conversations.json", json.dumps([chat(1)]) + " " * 2**25)
    return path


def test_the_limits_of_archives_are_configured(cli: Cli, tmp_path: Path) -> None:
    """Beyond one it is one sentence that names it; raised, the archive is read, with `auto` too."""
    path = str(bomb(tmp_path / "export.zip"))
    sentence = (
        f"{path} would unpack to more than 200 times its size, as zip bombs do; "
        "if you trust it, raise ratio_max in [import]"
    )
    assert cli.refused(2, "import", "chatgpt", path) == sentence
    assert cli("import", "auto", path).sentence == f"{sentence}; it is left out"
    cli.directory.mkdir(exist_ok=True)
    config = cli.directory / "turnlog.toml"
    config.write_text("[import]\nratio_max = 1000000\n")
    assert counts_of(cli, "auto", path)["recorded"] == 3
    config.write_text("[import]\nentry_bytes_max = 1000\n")
    assert "holds a file of more than 1000 bytes; entry_bytes_max in [import]" in cli.refused(
        2, "import", "gemini", path
    )
    config.write_text("[import]\nentries = 3\n")
    assert "unknown key 'entries'; did you mean 'entries_max'?" in cli.refused(78, "config", "check")
    config.write_text("[import]\nratio_max = 0\n")
    assert "[import]: ratio_max must be at least 1" in cli.refused(78, "config", "check")


def test_a_file_that_cannot_be_read_keeps_no_other_back(cli: Cli, tmp_path: Path) -> None:
    """The others are recorded; it is told, and the command ends 1."""
    write(tmp_path / "good", *talk().records)
    packed = tmp_path / "good" / "bad.jsonl.gz"
    packed.write_bytes(gzip.compress(long_session(2).content() + b" " * 2**25))
    result = cli("import", "claude-code", str(tmp_path), "--json")
    assert (result.code, result.object["recorded"]) == (1, 3)
    assert result.sentence.startswith(f"{packed} would unpack to more than 200 times its size")


@pytest.mark.parametrize("source", ["auto", "claude-code", "codex", "gemini-cli", "chatgpt", "claude", "gemini"])
def test_only_regular_files_within_the_folder_are_read(cli: Cli, tmp_path: Path, source: str) -> None:
    """Pipes, sockets, devices and links lie there, under the names of transcripts: nobody waits, or follows them."""
    folder, elsewhere = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    secret = write(elsewhere, *talk().records)
    for ending in (".jsonl", ".json", ".zip", ".html"):
        os.mkfifo(folder / f"pipe{ending}")
        (folder / f"link{ending}").symlink_to(secret)
        (folder / f"device{ending}").symlink_to("/dev/zero")
    (folder / "folder").symlink_to(elsewhere, target_is_directory=True)
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind(os.path.relpath(folder / "socket.jsonl"))
        result = cli("import", source, str(folder))
    assert result.code in (0, 2), result
    assert not cli.directory.exists() or not cli.events("TurnRecorded")
    assert "Traceback" not in result.err
