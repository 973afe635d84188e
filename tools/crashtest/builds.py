"""The log under test: as it is, or broken on purpose, to see that these rounds notice it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from eventlog import Event, EventLog
from eventlog.files import Files

FilesT = TypeVar("FilesT", bound=Files)


class _SkipSync(Files):
    """Says that it synced."""

    def sync(self, descriptor: int) -> None:
        """Do nothing."""


class _ForgetFolderSync(Files):
    """Says that it synced a folder."""

    def sync_folder(self, path: Path) -> None:
        """Do nothing."""


class HastyLog(EventLog):
    """Acknowledges events before it writes them: that it does at the next append, or when it is closed."""

    _held: Sequence[Event] = ()

    def append(self, event: Event) -> int:
        """The seq that the event will have if nobody else writes."""
        return self.append_many((event,))[0]

    def append_many(self, events: Sequence[Event], *, sync: bool = True) -> range:
        """The seqs that the events will have if nobody else writes."""
        self._write_held(sync=sync)
        self._held = events
        first = max(self.last_seq(), 1) + 1  # behind the header of a new log
        return range(first, first + len(events))

    def sync(self) -> None:
        """What is held is not written."""

    def close(self) -> None:
        """Write what is held."""
        self._write_held(sync=True)
        super().close()

    def _write_held(self, *, sync: bool) -> None:
        held, self._held = self._held, ()
        if held:
            super().append_many(held, sync=sync)


BROKEN: dict[str, type[Files] | type[EventLog]] = {
    "skip-sync": _SkipSync,
    "acknowledge-early": HastyLog,
    "forget-folder-sync": _ForgetFolderSync,
}
"""The broken builds by what is wrong with them."""


class Build:
    """Opens logs; `broken` names what is wrong with it (None: nothing)."""

    def __init__(self, broken: str | None = None) -> None:
        self.broken = broken
        self._flaw = BROKEN[broken] if broken else None

    def open(self, directory: Path, **options: Any) -> EventLog:
        """The same as EventLog.open."""
        kind = self._flaw if self._flaw is HastyLog else EventLog
        assert issubclass(kind, EventLog)  # noqa: S101 - for mypy
        if "files" not in options:
            options["files"] = self.files(Files)
        return kind.open(directory, **options)

    def files(self, kind: Callable[..., FilesT], *arguments: Any, **options: Any) -> FilesT:
        """The file layer of this build, made of a class and what it takes."""
        if self._flaw is None or not issubclass(self._flaw, Files):
            return kind(*arguments, **options)
        assert isinstance(kind, type)  # noqa: S101 - for mypy
        broken = type(kind.__name__, (_only(self._flaw, kind),), {})
        return broken(*arguments, **options)  # type: ignore[no-any-return]


def _only(flaw: type[Files], kind: type[Files]) -> type[Files]:
    """A class that is `kind` but for the methods that `flaw` defines itself."""
    own = {name: value for name, value in vars(flaw).items() if callable(value)}
    return type(flaw.__name__, (kind,), own)
