"""What can go wrong with a log.

::

    EventLogError
     ├─ InvalidEvent     (also a ValueError) an event that breaks its own rules
     ├─ LogClosed        an append to a closed log
     ├─ ReadOnlyLog      an append to a log that was opened to read
     ├─ NewerFormat      the log was written by a newer version
     ├─ LogUnavailable   the folder cannot be opened, created or read
     └─ AppendFailed     the operating system refused a write or a sync

Damage inside a log is no exception: it is a `Problem`, a value (see `eventlog.reader`).
"""

from pathlib import Path


class EventLogError(Exception):
    """The root of every error that this package raises on purpose."""


class InvalidEvent(EventLogError, ValueError):
    """An event that breaks its own rules, such as a turn without messages."""


class LogClosed(EventLogError):
    """An append to a log after `close`."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.directory = directory

    def __str__(self) -> str:
        return f"the log in {self.directory} is closed; open it again to append"


class ReadOnlyLog(EventLogError):
    """An append to a log that was opened with `read_only=True`."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.directory = directory

    def __str__(self) -> str:
        return f"the log in {self.directory} was opened to read; open it without read_only to append"


class NewerFormat(EventLogError):
    """A segment says that it was written in a format that this version does not know."""

    def __init__(self, segment: Path, found: int, supported: int) -> None:
        super().__init__(segment, found, supported)
        self.segment, self.found, self.supported = segment, found, supported

    def __str__(self) -> str:
        return (
            f"{self.segment} is written in log format {self.found}, this version reads up to "
            f"{self.supported}; upgrade turnlog to read it"
        )


class LogUnavailable(EventLogError):
    """The folder of a log cannot be opened, created or read."""

    def __init__(self, path: Path, cause: Exception) -> None:
        super().__init__(path, cause)
        self.path, self.cause = path, cause

    def __str__(self) -> str:
        return f"the log at {self.path} cannot be used: {getattr(self.cause, 'strerror', None) or self.cause}"


class AppendFailed(EventLogError):
    """The operating system refused to write or to sync; the events of the call are not acknowledged.

    `events` is how many those are; 0 for a sync alone.

    Nothing that was acknowledged before is lost. After the cause is gone the same log appends on.
    """

    def __init__(self, path: Path, events: int, cause: OSError) -> None:
        super().__init__(path, events, cause)
        self.path, self.events, self.cause = path, events, cause

    def __str__(self) -> str:
        reason = self.cause.strerror or self.cause
        if self.events == 0:
            return f"what was appended last to {self.path} may not be on disk: {reason}"
        what = "1 event was" if self.events == 1 else f"{self.events} events were"
        return f"{what} not recorded in {self.path}: {reason}"
