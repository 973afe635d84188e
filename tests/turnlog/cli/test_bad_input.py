"""Whatever is wrong gets one clear sentence on stderr and the right exit code, and loses nothing."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from eventlog import SegmentOpened
from eventlog.codec import FORMAT, encode_line
from eventlog.writer import segment_checksum

from .support import DEADLINE_SECONDS, Cli, Witness, memory_sink, old_file

READING = (("pending",), ("replay",), ("verify",), ("stats",), ("tail",), ("sinks",), ("sources",), ("show", "2"))
WRITING = (("record", "hi"), ("sync", "--once"), ("sinks", "pause", "mem"))


def segment_of(cli: Cli) -> Path:
    (segment,) = (cli.directory / "log").iterdir()
    return segment


# --- folders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", READING[:-1], ids=" ".join)
def test_a_folder_that_is_not_there_reads_as_empty_and_is_not_made(cli: Cli, command: tuple[str, ...]) -> None:
    """Looking at nothing is no error and changes nothing."""
    assert cli(*command).code == 0
    assert not cli.directory.exists()
    assert cli.refused(2, "show", "2") == f"there is no turn '2' in {cli.directory}; `turnlog tail` shows what is there"


@pytest.mark.parametrize("command", READING + WRITING, ids=" ".join)
def test_a_file_where_the_folder_should_be_is_told(cli: Cli, tmp_path: Path, command: tuple[str, ...]) -> None:
    """It is named, the system's reason too; also where the folder cannot be made because of it."""
    (tmp_path / "file").write_text("content")
    for directory in (tmp_path / "file", tmp_path / "file" / "below"):
        assert str(tmp_path / "file") in Cli(directory).refused(1, *command)
    assert (tmp_path / "file").read_text() == "content"


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
@pytest.mark.parametrize("mode", [0o500, 0o000])
def test_a_folder_without_permission_is_told(cli: Cli, mode: int) -> None:
    """What needs to write, or even to read, says so; afterwards everything works."""
    cli.record("before")
    (cli.directory / "log").chmod(mode)
    segment = cli.directory / "log" / "00000000000000000001.jsonl"
    try:
        if mode == 0:
            assert "Permission denied" in cli.refused(1, "pending")
            assert "Permission denied" in cli.refused(1, "record", "hi")
    finally:
        (cli.directory / "log").chmod(0o700)
    segment.chmod(0o400)
    assert "Permission denied" in cli.refused(1, "record", "hi")
    segment.chmod(0o600)
    cli.record("after")
    assert cli.ok("verify", "--json").object["ok"]


def in_a_namespace(script: str, cli: Cli) -> "subprocess.CompletedProcess[str]":
    """Run a shell script where it may mount what it likes; `$turnlog` is the command, `$dir` its folder."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        pytest.skip("this system lets nobody mount")
    cli.directory.mkdir(parents=True, exist_ok=True)
    turnlog = " ".join(cli.command())
    return subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        env={**os.environ, "turnlog": turnlog, "dir": str(cli.directory)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )


def test_a_read_only_file_system_is_told(cli: Cli) -> None:
    """Recording says why it cannot; what is there can be looked at."""
    cli.record("before")
    done = in_a_namespace(
        'mount --bind "$dir" "$dir" && mount -o remount,bind,ro "$dir" || exit 99\n'
        "$turnlog record hi; echo $?; $turnlog replay --json",
        cli,
    )
    if done.returncode == 99:
        pytest.skip("this system does not mount read-only")
    assert done.stderr == f"turnlog: the log at {cli.directory} cannot be used: Read-only file system\n"
    code, state = done.stdout.splitlines()
    assert code == "1"
    assert '"turns":1' in state


# --- a full disk ------------------------------------------------------------------------------------------------------


def test_a_full_disk_in_the_middle_of_a_line_loses_nothing(cli: Cli) -> None:
    """What did not fit was not acknowledged and is told; when there is room again the same command goes on.

    Everything is printed from inside, for the file system is gone afterwards.
    """
    done = in_a_namespace(
        'mount -t tmpfs -o size=256k none "$dir" || exit 99\n'
        "long=$(head -c 9000 /dev/zero | tr '\\0' x)\n"
        'n=0; while $turnlog record --turn-id "t$n" "$long" >/dev/null 2>"$dir.err"; do n=$((n+1)); done\n'
        'echo $n; cat "$dir.err" >&2\n'
        "$turnlog verify >/dev/null; echo $?\n"
        'mount -o remount,size=2m "$dir"\n'
        '$turnlog record --turn-id "t$n" "$long" >/dev/null; echo $?\n'
        "$turnlog verify; $turnlog replay --json",
        cli,
    )
    if done.returncode == 99:
        pytest.skip("this system mounts no tmpfs")
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("turnlog: ")
    assert "No space left on device" in sentence
    count, code_before, code, report, state = done.stdout.splitlines()
    assert (code_before, code) == ("0", "0")
    assert int(count) >= 5
    assert report.startswith("ok: ")
    assert f'"turns":{int(count) + 1}' in state


def limited(cli: Cli, *arguments: str, file_bytes: int) -> "subprocess.CompletedProcess[str]":
    """Run a command that may not make a file longer than this; writes fail as on a full disk, but for the reason."""
    program = (
        "import resource, runpy, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({file_bytes}, resource.RLIM_INFINITY))\n"
        "runpy.run_module('turnlog', run_name='__main__')\n"
    )
    command = [sys.executable, "-W", "error", "-c", program, *cli.options, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)


@pytest.mark.parametrize("cut", [1, 150, 499])
def test_a_write_that_is_cut_short_is_no_turn(cli: Cli, cut: int) -> None:
    """Wherever in the line it was cut: told once, not acknowledged, and the same command works afterwards."""
    cli.ok("record", stdin=json.dumps({"turn_id": "before", "messages": [{"role": "user", "content": "x" * 2**20}]}))
    size = segment_of(cli).stat().st_size  # longer than the index is, so that only the log meets the limit
    witness = Witness(cli.directory)
    witness.look()
    done = limited(cli, "record", "--turn-id", "big", "x" * 500, file_bytes=size + cut)
    assert (done.returncode, done.stdout) == (1, "")
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("turnlog: ")
    assert sentence.endswith("File too large")
    witness.look()
    assert cli("verify").code == 0
    assert len(cli.events("TurnRecorded")) == 1
    cli.record("x" * 500, turn_id="big")
    witness.look()
    assert [turn.turn_id for turn in cli.events("TurnRecorded")] == ["before", "big"]
    assert cli.ok("verify", "--json").object["ok"]


def test_an_import_that_fills_the_disk_goes_on_where_it_was(cli: Cli, tmp_path: Path) -> None:
    """The next import records the rest, and nothing twice."""
    path = old_file(tmp_path / "old.jsonl", range(1500))
    done = limited(cli, "import", "save-data", str(path), file_bytes=300_000)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    counts = cli("import", "save-data", str(path), "--json").object
    assert counts["recorded"] + counts["unchanged"] == 1500
    assert counts["unchanged"] > 0
    assert [t.messages[0].content for t in cli.events("TurnRecorded")] == [f"问 {n}" for n in range(1500)]
    assert cli.ok("verify", "--json").object["ok"]


def test_the_limit_is_a_limit() -> None:
    """The two tests above would pass for another reason where files may not be limited."""
    assert hasattr(signal, "SIGXFSZ")
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", READING + WRITING, ids=" ".join)
def test_a_log_of_a_newer_format_is_left_alone(cli: Cli, command: tuple[str, ...]) -> None:
    """Every command says that it cannot read it and what to do, and writes nothing."""
    cli.configure(memory_sink())
    cli.record("hi")
    segment = segment_of(cli)
    newer = encode_line(SegmentOpened(format=FORMAT + 1), seq=1, at=datetime(2030, 1, 1, tzinfo=UTC))
    segment.write_bytes(newer + segment.read_bytes().split(b"\n", 1)[1])
    checksum = segment_checksum(segment)
    sentence = cli.refused(1, *command)
    assert sentence == (
        f"{segment} is written in log format {FORMAT + 1}, this version reads up to {FORMAT}; "
        "upgrade turnlog to read it"
    )
    assert segment_checksum(segment) == checksum


def test_a_corrupt_line_in_the_middle_stops_nothing(cli: Cli) -> None:
    """Reading goes on behind it, `verify` ends 1 and says where, recording and delivering work."""
    cli.configure(memory_sink())
    for text in ("one", "two", "six"):
        cli.record(text, turn_id=text)
    segment = segment_of(cli)
    offset = segment.read_bytes().index(b'{"crc', segment.read_bytes().index(b'"one"'))
    segment.write_bytes(segment.read_bytes().replace(b'"content":"two"', b'"content":"2wo"'))
    result = cli("verify", "--json")
    assert (result.code, [(p["kind"], p["offset"]) for p in result.object["problems"]]) == (1, [("checksum", offset)])
    assert "DAMAGED" in cli("verify").out
    assert "2wo" not in cli.ok("tail", "--json").out
    replayed = cli("replay", "--json")
    assert (replayed.code, replayed.object["turns"]) == (1, 2)
    assert f"at byte {offset}: " in replayed.sentence
    assert cli.record("new", turn_id="new") == 6
    assert cli.record("two", turn_id="two") == 7, "its first line is lost, so it is recorded anew"
    for command in (("pending",), ("stats",), ("sinks",), ("sources",)):
        result = cli(*command)
        assert (result.code, result.err.count("damaged")) == (0, 1), command
    assert cli("show", "six").code == 0
    synced = cli("sync", "--once", "--json")
    assert (synced.code, synced.object["delivered"], synced.err.count("damaged")) == (1, 4, 1)
    assert cli("verify").code == 1


def test_a_log_full_of_garbage_is_told_and_recording_goes_on(cli: Cli) -> None:
    """Nothing refuses to start: not over binary rubbish, nor over a foreign file, nor over an empty one."""
    (cli.directory / "log").mkdir(parents=True)
    (cli.directory / "log" / "notes.txt").write_text("mine")
    (cli.directory / "log" / "00000000000000000001.jsonl").write_bytes(bytes(range(256)) * 50 + b"\n")
    (cli.directory / "index.sqlite").write_bytes(b"rubbish" * 1000)
    assert cli("verify").code == 1
    cli.record("hi", turn_id="t")
    assert cli.ok("show", "t", "--json").object["turn_id"] == "t"
    assert (cli.directory / "log" / "notes.txt").read_text() == "mine"
    assert cli("verify").code == 1


def test_what_is_beside_the_log_is_disposable(cli: Cli) -> None:
    """A damaged, a foreign and a missing index are made anew; a turn that is known stays known."""
    cli.record("hi", turn_id="t")
    index = cli.directory / "index.sqlite"
    other = Cli(cli.directory.with_name("other"))
    other.record("ho", turn_id="other")
    for content in (
        b"",
        b"x",
        b"SQLite format 3\0" + b"\xff" * 5000,
        (other.directory / "index.sqlite").read_bytes(),
        None,
    ):
        for path in cli.directory.glob("index.sqlite*"):
            path.unlink()
        if content is not None:
            index.write_bytes(content)
        assert cli.ok("record", "--turn-id", "t", "hi").out == "2 t (already recorded)\n"
