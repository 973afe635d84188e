"""Errors that the kernel itself raises: files that may not grow, no more descriptors, and what strace injects."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

from promises import look
from rounds import Round, say
from sayings import Id, batch_of, event_of
from writers import parse

from eventlog import AppendFailed, EventLog, LogUnavailable

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None  # type: ignore[assignment]

_WRITER = Path(__file__).with_name("lone_writer.py")
_SECONDS_MAX = 30
_APPENDS = 12
_INJECTIONS = (
    "fdatasync:error=EIO",
    "pwrite64:error=ENOSPC",
    "pwrite64:error=EDQUOT",
    "openat:error=EMFILE",
    "fsync:error=EIO",
    "pwrite64:signal=SIGKILL",
    "fdatasync:signal=SIGKILL",
    "ftruncate:signal=SIGKILL",
)
"""What strace makes of a system call; openat only in the log's folder."""


def why_not_limits(_folder: Path) -> str:
    """Why there are no limits here; nothing if there are."""
    if resource is None:
        return "this system has no limits for processes"
    if not can_trace():
        say("limits: no strace here that may trace; only the limits of the process are used")
    return ""


def limits_round(this: Round) -> None:
    """One kind of error a round, by turn."""
    kinds: list[Callable[[Round], None]] = [_file_size, _open_files]
    if can_trace():
        kinds += [_injected, _injected]
    kinds[this.seed % len(kinds)](this)


@cache
def can_trace() -> bool:
    """Whether strace is here and may trace."""
    if shutil.which("strace") is None:
        return False
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "true"]
    return subprocess.run(command, check=False, capture_output=True, timeout=_SECONDS_MAX).returncode == 0  # noqa: S603


class _Appender:
    """Appends under a limit that is set anew each time; an error must be one that the limit explains."""

    def __init__(self, this: Round, reason: str) -> None:
        self.this = this
        self.acknowledged: dict[Id, int] = {}
        self._reason = reason
        self._number = 0

    def append(self, log: EventLog) -> None:
        """Append a batch, which may fail."""
        ids = batch_of("a", self._number, self.this.random.choice([1, 1, 2, 5]))
        self._number += 1
        try:
            seqs = log.append_many([event_of(identity) for identity in ids])
        except (AppendFailed, LogUnavailable) as error:
            self.judge(error)
        else:
            self.acknowledged.update(zip(ids, seqs, strict=True))

    def judge(self, error: AppendFailed | LogUnavailable) -> None:
        """An error names a file of this log and the system's reason."""
        self.this.crashes += 1
        if self._reason not in str(error) or str(self.this.directory) not in str(error):
            self.this.broken.append(f"the error does not say what happened to which file: {error}")

    def check(self, log: EventLog) -> None:
        """The limit is gone: the same object appends on, and nothing acknowledged is lost."""
        before = self.this.crashes
        self.append(log)
        if self.this.crashes != before:
            self.this.broken.append("the log does not go on after the cause is gone")
        log.close()
        look(self.this.directory, self.acknowledged, self.this.broken, whole_beginnings=True)
        self.this.events = len(self.acknowledged)


def _file_size(this: Round) -> None:
    """RLIMIT_FSIZE: the kernel writes up to the limit, and refuses what comes then."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    appender = _Appender(this, "File too large")
    log = this.build.open(this.directory, durability="os", segment_bytes=this.random.choice([600, 3000, 100_000]))
    appender.append(log)
    for _ in range(15):
        last = max((this.directory / "log").iterdir())
        room = this.random.choice([0, 1, 50, 200, 600, 5000])
        with _limited(resource.RLIMIT_FSIZE, last.stat().st_size + room):
            appender.append(log)
    appender.check(log)


def _open_files(this: Round) -> None:
    """RLIMIT_NOFILE: there is no descriptor left, or only some."""
    appender = _Appender(this, "Too many open files")
    log: EventLog | None = None
    for _ in range(15):
        with _limited(resource.RLIMIT_NOFILE, _lowest_free() + this.random.randrange(4)):
            try:
                log = log or this.build.open(this.directory, segment_bytes=600)
            except LogUnavailable as error:
                appender.judge(error)
            else:
                appender.append(log)
    appender.check(log or this.build.open(this.directory, segment_bytes=600))


def _lowest_free() -> int:
    descriptor = os.dup(0)
    os.close(descriptor)
    return descriptor


class _limited:  # noqa: N801 - used like a function
    """A limit of this process for a while."""

    def __init__(self, which: int, limit: int) -> None:
        self._which, self._limit = which, limit
        self._before = resource.getrlimit(which)

    def __enter__(self) -> None:
        resource.setrlimit(self._which, (self._limit, self._before[1]))

    def __exit__(self, *_error: object) -> None:
        resource.setrlimit(self._which, self._before)


def _injected(this: Round) -> None:
    """strace makes a system call of a small writer fail, once or some times, or kills the writer there."""
    injection = this.random.choice(_INJECTIONS)
    first = this.random.randint(1, 15)
    when = this.random.choice([f"{first}", f"{first}..{first + 2}"])
    (this.directory / "log").mkdir(parents=True)
    call = injection.partition(":")[0]
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={injection}:when={when}"]
    if call == "openat":  # not those of Python itself
        command += ["-P", str(this.directory / "log")]
    writer = [sys.executable, str(_WRITER), str(this.directory), str(this.seed), str(_APPENDS), this.build.broken or ""]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(  # noqa: S603 - our own writer
        [*command, *writer], check=False, capture_output=True, text=True, timeout=_SECONDS_MAX, env=environment
    )
    killed = "SIGKILL" in injection
    if done.returncode not in ((0, -signal.SIGKILL, 128 + signal.SIGKILL) if killed else (0,)):
        this.broken.append(f"a writer with {injection} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    acknowledged, errors = parse(done.stdout.splitlines())
    this.crashes += len(errors) or int(done.returncode != 0)
    this.events = len(acknowledged)
    for error in errors:
        if str(this.directory) not in error:
            this.broken.append(f"the error does not name the file: {error}")
    look(this.directory, acknowledged, this.broken, settled=False, whole_beginnings=True)
    last = Id("end", 0)
    with this.build.open(this.directory) as log:
        acknowledged[last] = log.append(event_of(last))
    look(this.directory, acknowledged, this.broken, whole_beginnings=True)
