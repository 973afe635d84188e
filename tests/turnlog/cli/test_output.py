"""What people see: tables on a terminal, plain text in a pipe, and never a secret."""

import json
import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest

from .support import DEADLINE_SECONDS, TOKEN, Answering, Cli, Receiver, batch_sink, memory_sink, old_file

HUMAN = (
    "pending", "pending --json", "replay", "replay --json", "verify", "stats", "stats --json", "tail", "tail --json",
    "sinks", "sinks --json", "sources", "sources --json", "show 3", "show 3 --json", "config check",
    "config check --json", "sync --dry-run", "sync --once", "sync --once --json", "retry 3", "skip --sink team",
)  # fmt: skip


def on_a_terminal(cli: Cli, *arguments: str, **environ: str) -> str:
    """What a command prints on a terminal."""
    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": "xterm-256color", **environ}
    with subprocess.Popen(cli.command(*arguments), stdin=theirs, stdout=theirs, stderr=theirs, env=environ) as process:
        os.close(theirs)
        printed = b""
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:  # how Linux says that the other end is closed
                data = b""
            if not data:
                break
            printed += data
        os.close(ours)
        assert process.wait(DEADLINE_SECONDS) == 0
    return printed.decode()


def test_a_terminal_gets_colours_unless_it_wants_none(cli: Cli) -> None:
    """NO_COLOR leaves no colour, a dumb terminal and a pipe get plain columns; the words are the same."""
    cli.record("hi", turn_id="an-id", source="源")
    drawn = on_a_terminal(cli, "stats")
    assert "\x1b[1m" in drawn
    colours = {code for code in drawn.split("\x1b[")[1:] if code.startswith("3")}
    assert not colours, "the tables have no colours, only bold titles"
    plain = on_a_terminal(cli, "stats", NO_COLOR="1", TERM="dumb").replace("\r\n", "\n")
    assert "\x1b" not in plain
    assert plain == cli.ok("stats").out == cli.process("stats").out


@pytest.mark.parametrize("columns", ["20", "80", "500"])
def test_no_id_is_cut_off_on_a_terminal_of_any_width(cli: Cli, columns: str) -> None:
    """A turn's id is there to be copied; where it does not fit it goes on in the next line."""
    cli.configure(memory_sink())
    cli.record("hi", turn_id="0123456789" * 4)
    drawn = on_a_terminal(cli, "pending", COLUMNS=columns)
    assert "…" not in drawn
    digits = [c for line in drawn.splitlines()[1:] for c in line if c.isdigit()]
    assert len(digits) >= 40


def test_columns_line_up_where_characters_are_wide(cli: Cli) -> None:
    """A Chinese character takes two columns; the next column begins at the same place in every line."""
    cli.configure(memory_sink())
    for user in ("amy", "王小明", "é"):
        cli.record("hi", user=user, turn_id=user, conversation="CONV")
    lines = cli.ok("pending").out.splitlines()[1:]

    def width(text: str) -> int:
        return sum(2 if "\u4e00" <= c <= "\u9fff" else 1 for c in text)

    assert len({width(line[: line.index("CONV")]) for line in lines}) == 1


def test_control_characters_do_not_reach_the_terminal(cli: Cli, server: Answering) -> None:
    """Not those of ids, texts and users, nor those in a server's answer; JSON escapes them."""
    cli.configure(batch_sink(server.url, more="turns = 1"))
    evil = "\x1b[2J\x07\u202e\r\nx"
    cli.record(evil, turn_id=evil, user=evil, conversation=evil, source=evil)
    server.answer = lambda body: (422, json.dumps({"error": f"{evil}evil"}).encode())  # type: ignore[method-assign]
    assert cli("sync", "--once").code == 1
    for command in (*(c.split() for c in HUMAN if "sync" not in c), ["retry", "--", evil]):
        result = cli(*command)
        assert result.code in (0, 1), command
        for character in "\x1b\x07\u202e\r":
            assert character not in (result.out if "--json" not in command else "") + result.err, command


def test_no_secret_is_ever_printed(cli: Cli, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by a command, nor in an error, nor in the log or a file beside it, in whatever way it fails."""
    cli.configure(receiver.sink(), batch_sink(receiver.url, name="env") + 'token = { env = "TEAM_TOKEN" }\n')
    monkeypatch.setenv("TEAM_TOKEN", f"{TOKEN}-wrong")
    cli.record("hi")
    printed = [cli.process("sync", "--once", "--json"), *(cli(*command.split()) for command in HUMAN)]
    receiver.kill()
    cli.record("ho")
    printed += [cli("sync", "--once"), cli("pending")]
    receiver.token.write_text(f"{TOKEN}\nand more")
    printed += [cli("sync", "--once"), cli("config", "check")]
    receiver.token.write_text(f"{TOKEN} 令牌")
    printed += [cli("sync", "--once"), cli("config", "check"), cli("sinks")]
    assert not [result for result in printed if TOKEN in result.out + result.err]
    assert printed[0].code == 1
    files = [path for path in cli.directory.rglob("*") if path.is_file()]
    assert len(files) >= 4
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]


def test_a_reader_that_goes_away_is_no_error(cli: Cli) -> None:
    """`turnlog tail -f | head -1` ends, and says nothing."""
    for number in range(3):
        cli.record(f"turn {number}")
    for command in (("tail", "-f"), ("tail", "-f", "--json"), ("tail", "-n", "99")):
        process = cli.start(*command)
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        for number in range(200):  # it finds out when it writes
            if process.poll() is not None:
                break
            cli.record(f"more {number}")
        assert process.stderr is not None
        with process.stderr:
            assert process.stderr.read() == ""
        assert process.wait(DEADLINE_SECONDS) in (0, 1)


def test_follow_prints_events_as_they_come_until_it_is_interrupted(cli: Cli) -> None:
    """First the last lines, then what is recorded; Ctrl-C ends it without a traceback."""
    cli.record("a", turn_id="a")
    cli.record("b", turn_id="b")
    process = cli.start("tail", "-f", "-n", "1")
    assert process.stdout is not None
    assert " b revision 1" in process.stdout.readline()
    cli.record("c", turn_id="c")
    assert " c revision 1" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.parametrize("command", ["replay", "replay --json", "tail --json"])
def test_a_full_disk_behind_a_pipe_is_told(cli: Cli, command: str) -> None:
    """What could not be printed is an error."""
    cli.record("hi")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            cli.command(*command.split()), stdout=full, stderr=subprocess.PIPE, timeout=DEADLINE_SECONDS, check=False
        )
    assert (done.returncode, done.stderr) == (1, b"turnlog: No space left on device\n")


def test_streams_that_are_closed_or_poor_stop_nothing(cli: Cli) -> None:
    """Without stdin or stdout, and where an encoding knows no Chinese."""
    for redirection, code in (("<&-", 0), (">&-", 0), ("2>&-", 0), ("<&- >&- 2>&-", 0)):
        script = f'"$@" {redirection}'
        done = subprocess.run(["sh", "-c", script, "sh", *cli.command("record", "hi")], check=False, timeout=60)
        assert done.returncode == code
    assert len(cli.events("TurnRecorded")) == 4
    result = cli.process("record", "你好", "--turn-id", "你", PYTHONIOENCODING="latin-1")
    assert (result.code, result.out, result.err) == (0, "6 \\u4f60\n", "")
    assert cli.process("tail", PYTHONIOENCODING="ascii").code == 0


def test_nothing_to_tell_is_told(cli: Cli, tmp_path: Path) -> None:
    """An empty list says that it is empty, to people only."""
    for command, words in (
        ("pending", "nothing is pending"), ("sinks", "no sink is configured"), ("sources", "no turns yet"),
    ):  # fmt: skip
        result = cli(command)
        assert (result.code, result.out) == (0, "")
        assert result.err.startswith(words)
        assert cli.ok(command, "--json").out == ""
    assert cli.ok("tail").out == cli.ok("tail", "--json").out == ""
    assert cli.ok("verify").out == "ok: 0 events in 0 segments\n"
    path = old_file(tmp_path / "old.jsonl", range(2))
    assert cli.ok("import", "save-data", str(path)).out == "recorded 2, revised 0, unchanged 0, quarantined 0\n"
    assert "would be recorded 0" in cli.ok("import", "save-data", str(path), "--dry-run").out
