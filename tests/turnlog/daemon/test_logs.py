"""The daemon's log: its lines, in which form they go where, and that nobody's words and no secret are in any."""

import io
import json
import logging
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import pytest

from eventlog import (
    EventLog,
    InvalidEvent,
    LineQuarantined,
    Message,
    SinkPaused,
    SyncAttempted,
    SyncFailed,
    TurnRecorded,
)
from turnlog.config import Config, DaemonConfig, load
from turnlog.daemon.log_events import EventTeller, TurnIds, log_entry
from turnlog.daemon.log_settings import LogSettings, log_settings
from turnlog.daemon.logs import ConfiguredLogs, Logs, about, configure
from turnlog.errors import BadTurn, ConfigError
from turnlog.sync.run import Hooks, sync_once

CANARIES = ("canary-of-a-text", "canary-of-an-answer", "canary-of-a-token", "canary-of-a-password", "canary-of-a-line")
TEXT, ANSWER, _, PASSWORD, LINE = CANARIES
TOKEN = "ghp_" + "canaryofatoken" * 3
URL = f"http://amy:{PASSWORD}@127.0.0.1:9/path"

Open = Callable[..., Logs]

_logger = logging.getLogger("turnlog.daemon")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "daemon.log"


@pytest.fixture
def open_logs(path: Path) -> Iterator[Open]:
    """Configures the log; it is closed at the end, and logging is as it was. pytest's own handlers hear nothing."""
    opened: list[Logs] = []

    def make(*, level: str = "info", foreground: bool = False, stderr: TextIO | None = None, **environ: str) -> Logs:
        if not opened:
            for handler in logging.getLogger().handlers[:]:
                logging.getLogger().removeHandler(handler)
        settings = LogSettings(path, level)  # type: ignore[arg-type]
        opened.append(configure(settings, foreground=foreground, stderr=stderr or io.StringIO(), environ=environ))
        return opened[-1]

    yield make
    for logs in opened:
        logs.close()


@pytest.fixture
def logged(path: Path) -> Callable[[], list[dict[str, Any]]]:
    """The lines in the file, each of which must be JSON."""
    return lambda: [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_has_a_time_a_level_a_message_and_its_fields(open_logs: Open, logged: Callable[[], Any]) -> None:
    """The time in UTC, to the millisecond; the file is its owner's."""
    logs = open_logs()
    before = datetime.now(UTC)
    _logger.warning("the %s is %d", "answer", 42, extra=about(sink="team", attempt=7))
    (line,) = logged()
    at = datetime.fromisoformat(line.pop("at"))
    assert abs((at - before).total_seconds()) < 60
    assert line == {"level": "warning", "message": "the answer is 42", "sink": "team", "attempt": 7}
    assert oct(logs.settings.file.stat().st_mode & 0o777) == "0o600"


@pytest.mark.parametrize(("level", "count"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_decides_what_is_written(open_logs: Open, logged: Callable[[], Any], level: str, count: int) -> None:
    """Of Turnlog's own; of other packages there are warnings and errors at any level."""
    open_logs(level=level)
    for said in (_logger.debug, _logger.info, _logger.warning, _logger.error):
        said("x")
    assert len(logged()) == count
    logging.getLogger("somebody.else").info("not this")
    assert len(logged()) == count


def test_a_message_is_one_line(open_logs: Open, logged: Callable[[], Any], path: Path) -> None:
    """Also for the terminal that it may be printed on."""
    open_logs()
    _logger.info("a\nb\x1b[2Jc", extra=about(note="d\ne"))
    assert path.read_bytes().count(b"\n") == 1
    (line,) = logged()
    assert line["message"] == "a b\N{REPLACEMENT CHARACTER}[2Jc"


def test_the_journal_gets_priorities_and_no_times(open_logs: Open, tmp_path: Path) -> None:
    """Where $JOURNAL_STREAM says that stderr is the journal's: the time and the level are the journal's own fields."""
    with (tmp_path / "journal").open("w+") as journal:
        status = os.fstat(journal.fileno())
        open_logs(level="debug", foreground=True, stderr=journal, JOURNAL_STREAM=f"{status.st_dev}:{status.st_ino}")
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
            _logger.log(level, "said\n<0>twice", extra=about(sink="team"))
        journal.seek(0)
        lines = journal.read().splitlines()
    assert lines == [f"<{priority}>said <0>twice sink=team" for priority in (7, 6, 4, 3, 2)]


@pytest.mark.parametrize("named", ["", "0:0", "nonsense", "1:2:3"])
def test_a_journal_that_is_not_stderrs_is_not_written_to(open_logs: Open, named: str) -> None:
    """A program may inherit the variable with another stderr: into a pipe goes JSON."""
    piped = io.StringIO()
    open_logs(foreground=True, stderr=piped, JOURNAL_STREAM=named)
    _logger.info("said")
    assert json.loads(piped.getvalue())["message"] == "said"


def test_a_terminal_gets_text(open_logs: Open) -> None:
    """With times and levels, and the fields behind."""
    ours, theirs = pty.openpty()
    with closing(os.fdopen(ours, "rb", buffering=0)) as reading, os.fdopen(theirs, "w") as terminal:
        open_logs(foreground=True, stderr=terminal)
        _logger.error("no", extra=about(sink="team"))
        shown = reading.read(1000).decode()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ  ERROR     no sink=team\r\n", shown)


def test_in_the_background_nothing_goes_to_stderr(open_logs: Open, capfd: pytest.CaptureFixture[str]) -> None:
    """It may be a terminal that the user works in."""
    open_logs(stderr=sys.stderr)
    _logger.error("x")
    assert capfd.readouterr() == ("", "")


def test_a_full_disk_is_told_once_and_stops_nothing(open_logs: Open, logged: Callable[[], Any], path: Path) -> None:
    """When there is room again the log says how many lines are lost."""
    piped = io.StringIO()
    path.symlink_to("/dev/full")
    open_logs(stderr=piped)
    for number in range(3):
        _logger.info("line %d", number)
    assert (
        piped.getvalue()
        == f"turnlog: the log {path} cannot be written (No space left on device); going on without it\n"
    )
    path.unlink()
    _logger.info("again")
    lost, again = logged()
    assert (lost["level"], lost["message"]) == ("error", "lines could not be written to this log and are lost: 3")
    assert again["message"] == "again"


def test_a_stderr_that_is_closed_stops_nothing(open_logs: Open, logged: Callable[[], Any]) -> None:
    """Nor does one that nobody reads any more."""
    closed = io.StringIO()
    open_logs(foreground=True, stderr=closed)
    closed.close()
    _logger.info("said")
    assert len(logged()) == 1


def test_closing_leaves_logging_as_it_was(open_logs: Open, path: Path) -> None:
    """What is configured after a reload is not written twice."""
    before = sys.excepthook, threading.excepthook, sys.unraisablehook
    open_logs(foreground=True).close()
    logs = open_logs()
    _logger.info("once")
    assert len(path.read_text().splitlines()) == 1
    logs.close()
    logs.close()
    assert (sys.excepthook, threading.excepthook, sys.unraisablehook) == before
    assert logging.getLogger().handlers == []


def test_the_configuration_says_where_it_is(tmp_path: Path) -> None:
    """`[daemon]` of the configuration; relative paths begin where it is; without one the log is beside the turns."""

    section = DaemonConfig(log_file="logs/d.log", log_level="debug", log_max_bytes=5, log_backups=1)
    assert log_settings(tmp_path, section, Path("/etc/t")) == LogSettings(Path("/etc/t/logs/d.log"), "debug", 5, 1)
    assert log_settings(tmp_path, Config().daemon) == LogSettings(tmp_path / "daemon.log")


def test_each_configuration_that_is_taken_decides_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the lines go from then on; the same one again changes nothing, nor does one that cannot be had."""
    files = {"one": tmp_path / "one.log", "two": tmp_path / "new" / "two.log", "bad": tmp_path / "one.log" / "bad.log"}
    monkeypatch.setattr("turnlog.daemon.logs.log_settings", lambda *chosen: LogSettings(files[chosen[1]]))
    configured: Any = ConfiguredLogs(tmp_path, foreground=False)
    with closing(configured):
        for name in ("one", "one", "two"):
            configured(_Named(name))
            _logger.info(name)
        with pytest.raises(NotADirectoryError):
            configured(_Named("bad"))
        _logger.info("still two")
    _logger.info("closed")
    told = {
        name: [json.loads(line)["message"] for line in files[name].read_text().splitlines()] for name in ("one", "two")
    }
    assert told == {"one": ["one", "one"], "two": ["two", "still two"]}


class _Named:
    """Stands for a configuration that has a section `[daemon]`."""

    folder = Path()

    def __init__(self, name: str) -> None:
        self.daemon = name


def _fail(error: Exception) -> None:
    raise error


def _errors() -> Iterator[Exception]:
    """Errors whose texts have somebody's words in them."""
    yield ValueError(f"cannot read {TEXT!r}")
    yield InvalidEvent(f"a message's content must be text, not {TEXT}")
    yield BadTurn(f"no turn: {TEXT}")
    yield KeyError(TEXT)
    yield UnicodeDecodeError("utf-8", TEXT.encode(), 0, 1, TEXT)
    yield OSError(5, TEXT)
    yield ConnectionError(f"{URL} refused {TEXT}")
    yield ConfigError(f"the sink at {URL} takes no {TOKEN}")
    outer = RuntimeError(TEXT)
    outer.__cause__ = ValueError(f"of {TEXT}")
    outer.add_note(TEXT)
    yield outer
    yield ExceptionGroup(TEXT, [ValueError(TEXT)])


def _log_every_way(log: EventLog) -> None:
    for error in _errors():
        try:
            _fail(error)
        except Exception as caught:
            _logger.exception("a part failed")
            _logger.warning("a part failed: %s", caught)
            _logger.warning(caught)
            _logger.warning("a part failed", extra=about(reason=caught), exc_info=caught)
            logging.getLogger("eventlog").warning("%(why)s", {"why": "x"}, exc_info=True)
    _logger.info("asking %s with %s", URL, TOKEN, extra=about(url=URL, header=f"Authorization: Bearer {TOKEN}"))
    _logger.info("%d turns", TEXT)
    _logger.info("%s and %s", *[TEXT])
    logging.getLogger("urllib3.connectionpool").warning("Retrying after %r: %s", TEXT, URL)
    logging.getLogger("asyncio").error(f"Task failed: {TEXT}", exc_info=ValueError(TEXT))
    thread = threading.Thread(target=_fail, args=(ValueError(TEXT),), name="delivery")
    thread.start()
    thread.join()
    ids = TurnIds(log)
    for entry in log.read():
        log_entry(_logger, entry, ids)
    ids.close()


@pytest.fixture
def private_log(tmp_path: Path) -> Iterator[EventLog]:
    """A log whose events hold what must not be told."""
    with EventLog.open(tmp_path / "data") as log:
        seq = log.append(
            TurnRecorded(turn_id="t1", messages=(Message(role="user", content=TEXT),), meta={"note": ANSWER})
        )
        attempt = log.append(SyncAttempted(sink="team", turns=(seq,)))
        log.append(
            SyncFailed(attempt=attempt, sink="team", turns=(seq,), kind="rejected", error=f"refused {TEXT} {ANSWER}")
        )
        log.append(SinkPaused(sink="team", kind="unavailable", reason=f"{URL} answered: {ANSWER}"))
        log.append(LineQuarantined(source="s", stream="f", position="1", reason=f"no JSON: {LINE}", raw=LINE))
        yield log


@pytest.mark.parametrize("form", ["json", "text", "journal"])
def test_no_words_and_no_secrets_are_in_any_log(
    open_logs: Open, private_log: EventLog, tmp_path: Path, path: Path, capfd: pytest.CaptureFixture[str], form: str
) -> None:
    """Whatever fails with whatever in its text, whoever logs it, in whichever form; and all of it is told."""
    with (tmp_path / "stderr").open("w+") as stderr:
        status = os.fstat(stderr.fileno())
        stream = f"{status.st_dev}:{status.st_ino}" if form == "journal" else ""
        stderr.isatty = lambda: form == "text"  # type: ignore[method-assign]
        open_logs(level="debug", foreground=True, stderr=stderr, JOURNAL_STREAM=stream)
        _log_every_way(private_log)
        stderr.seek(0)
        shown = stderr.read()
    written = path.read_text()
    for text in (shown, written, *capfd.readouterr()):
        assert [canary for canary in (*CANARIES, TOKEN) if canary in text] == []
    lines = [json.loads(line) for line in written.splitlines()]
    assert len(lines) >= 5 * 10 + 11
    told = {line["message"].partition(" (")[0] for line in lines}
    assert {"recorded", "sending", "not delivered", "the sink is paused; `turnlog sinks` tells why"} <= told
    assert "urllib3.connectionpool has a warning" in told


def test_an_error_is_told_by_its_type_and_places(open_logs: Open, logged: Callable[[], Any]) -> None:
    """Enough to find it: what it was, where it came through, and what it came from."""
    open_logs()
    try:
        try:
            _fail(ValueError(TEXT))
        except ValueError as error:
            raise KeyError(TEXT) from error
    except KeyError:
        _logger.exception("a part failed")
    (line,) = logged()
    error = line["error"]
    assert error["type"] == "KeyError"
    assert re.fullmatch(r"test_logs\.py:\d+ test_an_error_is_told_by_its_type_and_places", error["trace"][0])
    assert error["cause"]["type"] == "ValueError"
    assert error["cause"]["trace"][-1].endswith(" _fail")


def test_an_error_that_speaks_for_us_is_told_in_its_words(open_logs: Open, logged: Callable[[], Any]) -> None:
    """Of the configuration, of files: without the secrets in them."""
    open_logs()
    _logger.error("not applied: %s", ConfigError(f"the sink 'team': {URL} is no url"))
    _logger.error("not read: %s", FileNotFoundError(2, "made up", "/no/such/file"))
    first, second = (line["message"] for line in logged())
    assert first == "not applied: the sink 'team': http://amy:[redacted:url_password]@127.0.0.1:9/path is no url"
    assert second == "not read: /no/such/file: No such file or directory"


_UNCAUGHT = """
import sys
from pathlib import Path
from turnlog.daemon.log_settings import LogSettings
from turnlog.daemon.logs import configure
configure(LogSettings(Path(sys.argv[1])), foreground=False)
class Bad:
    def __del__(self):
        raise ValueError("canary-of-a-text")
bad = Bad()
del bad
raise RuntimeError("canary-of-a-text")
"""


def test_a_bug_that_ends_the_program_is_in_the_log_and_not_on_stderr(path: Path, logged: Callable[[], Any]) -> None:
    """Python would print its text."""
    done = subprocess.run([sys.executable, "-c", _UNCAUGHT, str(path)], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")
    unraisable, ended = logged()
    assert unraisable["error"]["type"] == "ValueError"
    assert (ended["level"], ended["error"]["type"]) == ("critical", "RuntimeError")
    assert TEXT not in path.read_text()


def test_a_delivery_is_told_from_beginning_to_end(open_logs: Open, tmp_path: Path, logged: Callable[[], Any]) -> None:
    """By a real engine: a line about a turn has its turn_id, and one about a delivery the sink and the attempt."""
    data = tmp_path / "data"
    with EventLog.open(data) as log:
        for number in range(3):
            log.append(TurnRecorded(turn_id=f"t{number}", messages=(Message(role="user", content=TEXT),)))
    config = tmp_path / "turnlog.toml"
    config.write_text('[[sinks]]\nname = "mem"\ntype = "memory"\n')
    open_logs(level="debug")
    with closing(EventTeller(_logger, EventLog.open(data, read_only=True))) as teller:
        assert sync_once(data, load(config), hooks=Hooks(events=teller)).counts.delivered == 3
    delivered = [line for line in logged() if line["message"] == "delivered"]
    assert sorted(line["turn_id"] for line in delivered) == ["t0", "t1", "t2"]
    (tmp_path / "daemon.log").unlink()
    log = EventLog.open(data, read_only=True)
    with closing(TurnIds(log)) as ids:
        for entry in log.read():
            log_entry(_logger, entry, ids)
    about_turns = [line for line in logged() if "turn_id" in line]
    for message in ("sending", "delivered"):
        lines = [line for line in about_turns if line["message"] == message]
        assert sorted(line["turn_id"] for line in lines) == ["t0", "t1", "t2"]
        assert {line["sink"] for line in lines} == {"mem"}
        assert all(isinstance(line["attempt"], int) for line in lines)
