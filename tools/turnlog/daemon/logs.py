"""The daemon's log: what it did, for whoever wants to know why.

It is the standard library's logging with a formatter for JSON. The libraries that Turnlog uses log there, so that one
place decides what of theirs may be written down; it costs 8 ms of start-up (structlog: 82 ms) and no dependency; and
all that structlog would add is the fields, which are the `extra` of a call here (`about`).

Where it goes: always into the file (see `log_file`); and to stderr, if the daemon runs in the foreground: under systemd
as plain lines with the journal's `<N>` for their priority and no time, which the journal has itself; on a terminal as
text; into a pipe, such as a container's, as the same JSON. What may stand in it is decided in `log_safety`.
"""

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TextIO

from eventlog.files import Files
from turnlog.clock import Clock, SystemClock
from turnlog.config import Config
from turnlog.daemon.log_file import LogFile
from turnlog.daemon.log_lines import encode, to_sentence, to_text
from turnlog.daemon.log_safety import OURS, Hooks, describe, safe_message, safe_value, tell_error
from turnlog.daemon.log_settings import LogSettings, log_settings

_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
"""The journal's priorities (sd-daemon(3)), from the level on; anything less is 7."""

_FIELDS, _EACH = "turnlog_fields", "turnlog_each"


def about(**fields: Any) -> dict[str, Any]:
    """The fields of a line, as the `extra` of a logging call: `logger.info("...", extra=about(sink="team"))`."""
    return {_FIELDS: fields}


def about_each(things: Sequence[Mapping[str, Any]], **fields: Any) -> dict[str, Any]:
    """The same for lines that differ in some fields: all the turns of a request cost one record and one write."""
    return {_FIELDS: fields, _EACH: things}


class Logs:
    """The log while it is open, as a context too; made by `configure`."""

    def __init__(self, settings: LogSettings, handlers: list[logging.Handler], hooks: Hooks) -> None:
        self.settings = settings
        self._handlers = handlers
        self._hooks = hooks

    def close(self) -> None:
        """Leave logging as it was before."""
        self._hooks.remove()
        for handler in self._handlers:
            logging.getLogger().removeHandler(handler)
            handler.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ConfiguredLogs:
    """Logs as the configuration that is in force says: call it with every one that is taken. Close it at the end."""

    def __init__(self, directory: Path, *, foreground: bool) -> None:
        self._directory = directory
        self._foreground = foreground
        self._logs: Logs | None = None

    def __call__(self, config: Config) -> None:
        """Log as this configuration says from now on. Raises OSError; then all goes on as before."""
        settings = log_settings(self._directory, config.daemon, config.folder)
        if self._logs is not None and self._logs.settings == settings:
            return
        Files().make_folder(settings.file.parent)
        self.close()
        self._logs = configure(settings, foreground=self._foreground)

    def close(self) -> None:
        """Leave logging as it was before."""
        if self._logs is not None:
            self._logs.close()
            self._logs = None


def configure(
    settings: LogSettings,
    *,
    foreground: bool,
    stderr: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
    clock: Clock | None = None,
) -> Logs:
    """Log from now on, into the file and, in the foreground, to stderr. After a reload: close the old, configure anew.

    The file is opened with the first line. Raises OSError if its folder cannot be made.
    """
    stderr = stderr or sys.stderr
    Files().make_folder(settings.file.parent)
    file = LogFile(
        settings.file,
        bytes_max=settings.bytes_max,
        seconds_max=settings.seconds_max,
        backups=settings.backups,
        clock=clock or SystemClock(),
    )
    to_stderr = StderrHandler(stderr, _form(stderr, environ))
    handlers: list[logging.Handler] = [FileHandler(file, to_stderr.complain)]
    handlers += [to_stderr] if foreground else []
    for handler in handlers:
        logging.getLogger().addHandler(handler)
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    for name in OURS:
        logging.getLogger(name).setLevel(level)
    return Logs(settings, handlers, Hooks(logging.getLogger("turnlog.daemon")))


def lines_of(record: logging.LogRecord) -> list[dict[str, Any]]:
    """A record as the fields of its lines, of which there is at least one."""
    head = {
        "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "message": safe_message(record),
    }
    rest = _safe(getattr(record, _FIELDS, {}))
    if record.exc_info and record.exc_info[1] is not None:
        rest["error"] = tell_error(record.exc_info[1])
    return [{**head, **_safe(each), **rest} for each in _each(record)]


def _each(record: logging.LogRecord) -> Sequence[Mapping[str, Any]]:
    """What is different in each line of a record."""
    each: Sequence[Mapping[str, Any]] = getattr(record, _EACH, ({},))
    return each


def _safe(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: safe_value(key, value) for key, value in fields.items()}


def _encode(record: logging.LogRecord) -> bytes:
    return b"\n".join(map(encode, lines_of(record)))


class FileHandler(logging.Handler):
    """Writes lines of JSON. Where that fails it says so once, and counts what is lost until it can write again."""

    def __init__(self, file: LogFile, complain: Any) -> None:
        super().__init__()
        self._file = file
        self._complain = complain
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`. Never raises: a log that cannot be written stops nothing."""
        try:
            lines = _encode(record)
            if self._lost:
                self._file.write(_encode(_lost(self._lost)))
                self._lost = 0
            self._file.write(lines)
        except OSError as error:
            if not self._lost:
                self._complain(f"the log {self._file.path} cannot be written ({describe(error)}); going on without it")
            self._lost += len(_each(record))
        except Exception as error:  # noqa: BLE001 - a call with the wrong arguments, which is no reason to stop either
            with suppress(OSError):
                self._file.write(_encode(_unsayable(record, error)))

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


Form = Literal["journal", "text", "json"]


class StderrHandler(logging.Handler):
    """Writes to stderr in the form that whoever is there reads."""

    def __init__(self, stream: TextIO, form: Form) -> None:
        super().__init__()
        self._stream = stream
        self._form = form

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`. Never raises."""
        with suppress(Exception):  # nobody reads, or a call had the wrong arguments: the file has that
            self._write("\n".join(_render(fields, self._form, record.levelno) for fields in lines_of(record)))

    def complain(self, sentence: str) -> None:
        """Say that the file cannot be written; it is said here even in the background."""
        with suppress(Exception):
            self._write(f"{'<3>' if self._form == 'journal' else ''}turnlog: {sentence}")

    def _write(self, line: str) -> None:
        self._stream.write(f"{line}\n")
        self._stream.flush()


def _render(fields: Mapping[str, Any], form: Form, level: int) -> str:
    if form == "journal":
        priority = next((priority for least, priority in _PRIORITIES if level >= least), 7)
        return f"<{priority}>{to_sentence(fields)}"
    return to_text(fields) if form == "text" else encode(fields).decode()


def _form(stream: TextIO, environ: Mapping[str, str]) -> Form:
    if _is_journal(stream, environ.get("JOURNAL_STREAM", "")):
        return "journal"
    with suppress(OSError, ValueError):
        return "text" if stream.isatty() else "json"
    return "json"


def _is_journal(stream: TextIO, named: str) -> bool:
    """Whether stderr leads to the journal: $JOURNAL_STREAM is its `device:inode` (systemd.exec(5))."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return named == f"{status.st_dev}:{status.st_ino}"


def _lost(count: int) -> logging.LogRecord:
    message = "lines could not be written to this log and are lost: %d"
    return logging.LogRecord("turnlog.daemon", logging.ERROR, __file__, 0, message, (count,), None)


def _unsayable(record: logging.LogRecord, error: Exception) -> logging.LogRecord:
    message = "what was logged at %s:%d could not be written down (%s)"
    args = (record.module, record.lineno, type(error).__name__)
    return logging.LogRecord("turnlog.daemon", logging.ERROR, __file__, 0, message, args, None)
