"""Errors of the operating system at every call of the file layer in turn, for once or for some time."""

import errno
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from promises import look
from rounds import Round
from sayings import Id, batch_of, event_of

from eventlog import AppendFailed, EventLog, LogUnavailable, SegmentOpened
from eventlog.blobs import Blobs
from eventlog.files import Files
from turnlog.testing.disks import os_error

ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.EMFILE)

_BLOB, _REOPEN = 0, -1


class FailingFiles(Files):
    """Fails at the call with the number `at` and those after it, `times` in all; counts the calls.

    With `same`, only calls of that kind fail after the first. With `short`, a write that is the first to fail writes
    half of its bytes instead. `distrusted` are the segments that could not be synced.
    """

    def __init__(self, at: int, times: int, number: int, *, same: bool, short: bool) -> None:
        self.calls = 0
        self.raised = 0
        self.distrusted: list[Path] = []
        self._at, self._left, self._number = at, times, number
        self._same, self._short = same, short
        self._kind = ""  # of the first call that failed
        self._paths: dict[int, Path] = {}

    @property
    def failing(self) -> bool:
        """Whether the cause has come and is not gone yet."""
        return self._kind != "" and self._left > 0

    def mend(self) -> None:
        """From here on there is no cause to fail."""
        self._left = 0

    def _fails(self, kind: str) -> bool:
        self.calls += 1
        if self.calls <= self._at or self._left == 0 or (self._same and self._kind not in ("", kind)):
            return False
        self._kind = self._kind or kind
        self._left -= 1
        return True

    def _step(self, kind: str) -> None:
        if self._fails(kind):
            self._raise()

    def _raise(self) -> None:
        self.raised += 1
        raise os_error(self._number)

    def open(self, path: Path) -> int:
        """Open or fail."""
        self._step("open")
        descriptor = super().open(path)
        self._paths[descriptor] = path
        return descriptor

    def write(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
        """Write, write less than asked, or fail."""
        before = self._kind
        if self._fails("write"):
            if before or not self._short:
                self._raise()
            data = data[: len(data) // 2]
        return super().write(descriptor, data, offset)

    def cut(self, descriptor: int, length: int) -> None:
        """Cut or fail."""
        self._step("cut")
        super().cut(descriptor, length)

    def sync(self, descriptor: int) -> None:
        """Say that it is synced, or fail."""
        if self._fails("sync"):
            self.distrusted.append(self._paths[descriptor])
            self._raise()

    def sync_folder(self, path: Path) -> None:  # noqa: ARG002 - a Files has it
        """Say that it is synced, or fail."""
        self._step("sync_folder")

    def rename(self, path: Path, target: Path) -> None:
        """Rename or fail."""
        self._step("rename")
        super().rename(path, target)

    def close(self, descriptor: int) -> None:
        """Close; a failing one closes all the same, as Linux does (close(2))."""
        super().close(descriptor)
        self._paths.pop(descriptor, None)
        self._step("close")


@dataclass
class _Play:
    """One run of a plan of appends, and what was acknowledged."""

    this: Round
    directory: Path
    files: FailingFiles
    segment_bytes: int
    acknowledged: dict[Id, int] = field(default_factory=dict)
    log: EventLog | None = None
    told: int = 0  # errors that the caller was told

    def run(self, plan: list[int]) -> None:
        """Do what a plan lists: append batches of so many events, `_BLOB`, `_REOPEN`; then append until all is well."""
        blobs = Blobs(self.directory / "blobs", self.files)
        for number, what in enumerate([*plan, *[1] * 8]):
            if number >= len(plan) and not self.files.failing:
                break
            try:
                self._step(number, what, blobs)
            except (AppendFailed, LogUnavailable) as error:
                self._judge(error)
        self.files.mend()
        self._finish(len(plan) + 8)

    def _step(self, number: int, what: int, blobs: Blobs) -> None:
        if what == _REOPEN and self.log is not None:
            self.log.close()
            self.log = None
            self.files.distrusted.clear()  # the next handle cannot know, nor does it acknowledge anew what was lost
        if self.log is None:
            self.log = self.this.build.open(self.directory, segment_bytes=self.segment_bytes, files=self.files)
        if what == _BLOB:
            data = b"blob %d" % number
            if blobs.get(blobs.put(data)) != data:
                self._object("a blob is not what was put")
        elif what > 0:
            self._append(number, what)

    def _append(self, number: int, parts: int) -> None:
        assert self.log is not None  # noqa: S101 - opened before
        ids = batch_of("a", number, parts)
        distrusted = {int(path.stem) for path in self.files.distrusted if path.parent.name == "log"}
        seqs = self.log.append_many([event_of(identity) for identity in ids])
        self.acknowledged.update(zip(ids, seqs, strict=True))
        where = [int(name[:20]) for name in os.listdir(self.directory / "log") if int(name[:20]) <= seqs[0]]
        if distrusted and max(where) in distrusted:
            self._object(f"event {ids[0]} was acknowledged in segment {max(where)}, which could not be synced before")

    def _finish(self, number: int) -> None:
        """The cause is gone: the same object appends on."""
        try:
            self._step(number, 1, Blobs(self.directory / "blobs", self.files))
        except (AppendFailed, LogUnavailable) as error:
            self._object(f"the log does not go on after the cause is gone: {error}")
        if self.log is not None:
            self.log.close()

    def _judge(self, error: AppendFailed | LogUnavailable) -> None:
        """An error names a file of this log and the system's reason."""
        self.told += 1
        if not self.files.raised and not self.files.distrusted:
            self._object(f"the caller was told of an error that nobody raised: {error}")
        if not error.path.is_relative_to(self.directory) or str(error.path) not in str(error):
            self._object(f"the error does not name the file: {error}")
        if not isinstance(error.cause, OSError) or error.cause.errno not in ERRORS:
            self._object(f"the error does not give the system's reason: {error!r}")

    def _object(self, sentence: str) -> None:
        self.this.broken.append(sentence)

    def check(self) -> None:
        """Nothing acknowledged is lost, nothing speaks against the log, and what was distrusted is not sealed."""
        seen = look(self.directory, self.acknowledged, self.this.broken)
        if seen is None:
            return
        names = {path.name for path in self.files.distrusted}
        for entry in seen.entries:
            header = entry.event
            if isinstance(header, SegmentOpened) and header.segment in names and header.checksum is not None:
                self._object(f"seq {entry.seq} seals {header.segment}, which could not be synced")


def errors_round(this: Round) -> None:
    """The same few appends again and again; each time an error comes one call later, until it comes after the end."""
    random = this.random
    plan = [random.choice([1, 1, 1, 2, 5, _BLOB, _REOPEN]) for _ in range(random.randint(2, 5))]
    segment_bytes = random.choice([300, 900, 5000])
    hook, sys.unraisablehook = sys.unraisablehook, _pass_over
    try:
        at = 0
        while not this.broken:
            files = _failing(this, random, at)
            play = _Play(this, this.folder / f"at-{at}", files, segment_bytes)
            play.run(plan)
            play.check()
            this.events += len(play.acknowledged)
            this.crashes += files.raised
            if at >= files.calls:
                return
            at += 1
    finally:
        sys.unraisablehook = hook


def _failing(this: Round, random: Random, at: int) -> FailingFiles:
    times, number = random.choice([1, 1, 2, 5]), ERRORS[(this.seed + at) % len(ERRORS)]
    same, short = random.random() < 0.5, random.random() < 0.5
    return this.build.files(FailingFiles, at, times, number, same=same, short=short)


def _pass_over(_what: object) -> None:
    """A file that cannot be closed is closed all the same; Python would tell of it on stderr."""
