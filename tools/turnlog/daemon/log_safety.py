"""What may stand in the daemon's log: no words of a conversation, no secrets.

A message of Turnlog's own is a sentence that the code wrote; secrets that are known by their shape are taken out of it.
An error that is passed along says what it says only if it is one of those that speak of files, sinks and settings; of
any other there is its type and the places that it came through, for an error's text may quote what it choked on. What
other packages log is not repeated: their name, level and place are.
"""

import logging
import os
import sys
import threading
import traceback
from types import TracebackType
from typing import Any

from eventlog import EventLogError, InvalidEvent
from turnlog.errors import BadTurn, TurnlogError
from turnlog.redaction import redact_text
from turnlog.text import one_line

OURS = ("turnlog", "eventlog", "projections")

_IDENTIFIERS = frozenset(("turn_id", "sink", "source", "kind"))
"""Fields that say which thing it is: they must be what they are elsewhere."""


def safe_message(record: logging.LogRecord) -> str:
    """What a record says, on one line."""
    if record.name.partition(".")[0] not in OURS:
        return f"{record.name} has a {record.levelname.lower()} ({record.module}:{record.lineno})"
    args = record.args
    safe: Any = tuple(map(_safe_argument, args)) if isinstance(args, tuple) else args
    message = _safe_argument(record.msg)
    return one_line(redact_text(str(message) % safe if safe else str(message))[0])


def safe_value(key: str, value: Any) -> Any:
    """A field's value."""
    if isinstance(value, BaseException):
        return describe(value)
    return redact_text(value)[0] if isinstance(value, str) and key not in _IDENTIFIERS else value


def describe(error: BaseException) -> str:
    """An error in a sentence: its own if it is one that quotes nobody, else its type and place."""
    if isinstance(error, TurnlogError | EventLogError) and not isinstance(error, InvalidEvent | BadTurn):
        return redact_text(str(error))[0]
    if isinstance(error, OSError) and error.errno:
        said = os.strerror(error.errno)  # not `error.strerror`, which whoever raised it may have made up
        return f"{error.filename}: {said}" if error.filename else said
    trace = _places(error)
    return f"{type(error).__name__}{trace and f' at {trace[-1]}'}"


def tell_error(error: BaseException) -> dict[str, Any]:
    """Types and places of an error and of what it came from: `{"type": ..., "trace": [...], "cause": {...}}`."""
    told: dict[str, Any] = {"type": type(error).__name__, "trace": _places(error)}
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return {**told, "cause": tell_error(cause)} if cause is not None else told


class Hooks:
    """Has errors that nobody caught logged as all others are, where Python would print their text on stderr."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._before = sys.excepthook, threading.excepthook, sys.unraisablehook
        sys.excepthook, threading.excepthook, sys.unraisablehook = self._program, self._thread, self._unraisable

    def remove(self) -> None:
        """Leave it to Python again."""
        sys.excepthook, threading.excepthook, sys.unraisablehook = self._before

    def _program(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            self._before[0](kind, error, trace)
        else:
            self._logger.critical("the program ended by a bug: %s", error, exc_info=error)

    def _thread(self, happened: threading.ExceptHookArgs) -> None:
        error, thread = happened.exc_value, happened.thread
        if error is not None and not isinstance(error, SystemExit):
            self._logger.critical("the thread %s ended by a bug: %s", thread and thread.name, error, exc_info=error)

    def _unraisable(self, happened: "sys.UnraisableHookArgs") -> None:
        if (error := happened.exc_value) is not None:
            self._logger.error("a bug where nobody could be told: %s", error, exc_info=error)


def _safe_argument(value: Any) -> Any:
    return describe(value) if isinstance(value, BaseException) else value


def _places(error: BaseException) -> list[str]:
    """Where an error came through, outermost first: `codex_items.py:120 read_item`."""
    frames = ((frame.f_code, line) for frame, line in traceback.walk_tb(error.__traceback__))
    return [f"{code.co_filename.rpartition('/')[2]}:{line} {code.co_name}" for code, line in frames]
