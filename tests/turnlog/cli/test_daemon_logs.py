"""`turnlog daemon logs`: the daemon's log on the command line."""

import json
import select
import signal
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from turnlog.config import DaemonConfig
from turnlog.daemon.log_lines import encode

from .support import DEADLINE_SECONDS, Cli


def _line(number: int, level: str = "info", **fields: Any) -> bytes:
    return encode({"at": f"2026-11-20T10:00:{number:02}.000Z", "level": level, "message": f"line {number}", **fields})


def _write(path: Path, *lines: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.writelines(line + b"\n" for line in lines)


@pytest.fixture
def log(cli: Cli) -> Path:
    """A log of 30 lines over two files, each fifth an error."""
    path = cli.directory / "daemon.log"
    lines = [_line(n, "error" if n % 5 == 0 else "info") for n in range(30)]
    _write(path.with_name("daemon.log.1"), *lines[:25])
    _write(path, *lines[25:])
    return path


def test_the_last_lines_are_printed_for_people(cli: Cli, log: Path) -> None:
    """Twenty of them, or as many as are wanted, oldest first, over all files."""
    printed = cli.ok("daemon", "logs").out.splitlines()
    assert len(printed) == 20
    assert printed[0] == "2026-11-20 10:00:10Z  ERROR     line 10"
    assert printed[-1] == "2026-11-20 10:00:29Z  INFO      line 29"
    assert cli.ok("daemon", "logs", "-n", "2").out.splitlines() == printed[-2:]
    assert cli.ok("daemon", "logs", "-n", "0").out == ""


def test_errors_alone(cli: Cli, log: Path) -> None:
    """As many as are wanted, from as far back as they are."""
    out = cli.ok("daemon", "logs", "--errors", "-n", "3").out
    assert [line.rpartition(" ")[2] for line in out.splitlines()] == ["15", "20", "25"]


def test_since_a_time(cli: Cli, log: Path) -> None:
    """All lines from then on; in UTC unless it says otherwise; -n bounds them all the same."""
    for since in ("2026-11-20T10:00:05Z", "2026-11-20T10:00:05", "2026-11-20T11:00:05+01:00"):
        assert len(cli.ok("daemon", "logs", "--since", since).out.splitlines()) == 25
    assert len(cli.ok("daemon", "logs", "--since", "2026-11-20", "-n", "4").out.splitlines()) == 4
    assert cli.ok("daemon", "logs", "--since", "2030-01-01").out == ""
    assert "is no time such as" in cli.refused(2, "daemon", "logs", "--since", "soon")


def test_json_is_the_lines_as_they_are(cli: Cli, log: Path) -> None:
    """Byte for byte."""
    lines = cli.ok("daemon", "logs", "--json", "-n", "5").out
    assert lines.encode() == log.read_bytes()


def test_a_line_that_is_none_is_printed_harmlessly(cli: Cli, log: Path) -> None:
    """What a full disk or another program left: nothing of it moves the cursor."""
    _write(log, b"torn \x1b[2J \xff", b'{"message": "\\u001b[2J", "at": 3, "level": []}')
    printed = cli.ok("daemon", "logs", "-n", "2").out
    assert "\x1b" not in printed
    assert len(printed.splitlines()) == 2


def test_without_a_log_it_says_so(cli: Cli) -> None:
    """That is no error; nothing is made."""
    result = cli("daemon", "logs")
    assert (result.code, result.out) == (0, "")
    assert result.sentence == f"nothing was logged yet: there is no {cli.directory / 'daemon.log'}"
    assert not cli.directory.exists()


def test_a_broken_configuration_does_not_hide_the_log(cli: Cli, log: Path) -> None:
    """It may say what is broken."""
    cli.configure(sync="nonsense = 1")
    result = cli("daemon", "logs", "-n", "1")
    assert result.code == 0
    assert "line 29" in result.out
    assert "going on without the configuration" in result.sentence


class _Follower:
    """`turnlog daemon logs -f` as a process."""

    def __init__(self, cli: Cli, *options: str) -> None:
        self.process = cli.start("daemon", "logs", "-f", *options)

    def line(self) -> str:
        """The next line that it prints, in bounded time."""
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], DEADLINE_SECONDS)
        assert readable, "nothing was printed"
        return self.process.stdout.readline().rstrip()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=DEADLINE_SECONDS)
        assert (out, err) == ("", "")
        return self.process.returncode


def test_lines_are_printed_as_they_come_whoever_renames_the_file(cli: Cli, log: Path) -> None:
    """Until Ctrl-C, which is no error; only those that are wanted."""
    follower = _Follower(cli, "-n", "1", "--errors", "--json")
    try:
        assert json.loads(follower.line())["message"] == "line 25"
        _write(log, _line(30), _line(31, "error"))
        assert json.loads(follower.line())["message"] == "line 31"
        log.rename(log.with_name("daemon.log.2026"))
        _write(log, _line(32, "error"))
        assert json.loads(follower.line())["message"] == "line 32"
        log.unlink()
        _write(log, _line(33, "critical"))
        assert json.loads(follower.line())["message"] == "line 33"
        assert follower.stop() == 0
    finally:
        follower.process.kill()
        follower.process.wait()


def test_what_logrotate_leaves_is_read(cli: Cli, log: Path, tmp_path: Path) -> None:
    """With the snippet of docs/daemon.md, by logrotate itself where it is installed."""
    snippet = (Path(__file__).parents[3] / "docs" / "daemon.md").read_text().split("```logrotate\n")[1].split("```")[0]
    assert "copytruncate" not in snippet
    assert "delaycompress" in snippet
    program = next((p for p in ("/usr/sbin/logrotate", "/sbin/logrotate") if Path(p).exists()), None)
    if program is None:
        pytest.skip("logrotate is not installed (Debian package logrotate)")
    settings = tmp_path / "logrotate.conf"
    settings.write_text(snippet.replace("/var/lib/turnlog/daemon.log", f'"{log}"'))
    settings.chmod(0o600)
    for number in range(40, 43):
        subprocess.run([program, "-f", "-s", tmp_path / "state", settings], check=True, timeout=60)
        _write(log, _line(number))
    names = {path.name for path in log.parent.glob("daemon.log*")}
    assert any(name.endswith(".gz") for name in names)
    messages = [line["message"] for line in cli.ok("daemon", "logs", "--json", "-n", "99").objects]
    assert messages[-8:] == [*(f"line {n}" for n in range(25, 30)), *(f"line {n}" for n in range(40, 43))]


def test_what_the_daemon_writes_is_what_is_printed(cli: Cli) -> None:
    """The reading and the writing side agree on the file and its lines."""
    import logging

    from turnlog.daemon.log_settings import log_settings
    from turnlog.daemon.logs import about, configure

    with configure(log_settings(cli.directory, DaemonConfig()), foreground=False):
        logging.getLogger("turnlog.daemon").error("not delivered", extra=about(turn_id="t 1", sink="team", attempt=7))
    printed = cli.ok("daemon", "logs", "--errors", "--since", f"{datetime.now(UTC):%Y-%m-%d}").out
    assert printed.rstrip().endswith('ERROR     not delivered turn_id="t 1" sink=team attempt=7')
