"""What an installation does to the machine, one step after the other, as values."""

import pwd
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from eventlog.files import Files
from turnlog.clock import Clock, SystemClock
from turnlog.errors import TurnlogError

UNIT_MODE = 0o644
"""systemd and launchd refuse what others can write, and systemd warns of what they cannot read."""

ANSWER_SECONDS = 30
"""So long a question to a service manager may take."""

_POLL_SECONDS = 0.1

WORK_SECONDS = 600
"""So long it may take to start or stop a service; each has limits of its own, which are shorter."""


class MakeFolder(Struct, frozen=True):
    """Make a folder, 0700, that belongs to `account`, unless it is there."""

    path: Path
    account: str

    def __str__(self) -> str:
        return f"mkdir -p {shlex.quote(str(self.path))}"


class Write(Struct, frozen=True):
    """Put a file in its place."""

    path: Path
    content: bytes

    def __str__(self) -> str:
        return f"write {shlex.quote(str(self.path))}"


class Remove(Struct, frozen=True):
    """Remove a file or a link, if it is there, and the folders up to `above` (not that one) that are then empty."""

    path: Path
    above: Path

    def __str__(self) -> str:
        return f"rm -f {shlex.quote(str(self.path))}"


class Prune(Struct, frozen=True):
    """Remove a folder if it is empty, and those up to `above` (not that one) that are then."""

    path: Path
    above: Path

    def __str__(self) -> str:
        return f"rmdir --ignore-fail-on-non-empty {shlex.quote(str(self.path))}"


class Run(Struct, frozen=True):
    """Run a command; if it `may_fail`, what comes of it does not matter."""

    argv: tuple[str, ...]
    may_fail: bool = False

    def __str__(self) -> str:
        return shlex.join(self.argv)


class AwaitFailure(Struct, frozen=True):
    """Ask until the answer is no: what was to go is gone."""

    argv: tuple[str, ...]

    def __str__(self) -> str:
        return f"while {shlex.join(self.argv)}; do sleep {_POLL_SECONDS}; done"


Step = MakeFolder | Write | Remove | Prune | Run | AwaitFailure


class Answered(Struct, frozen=True):
    """How a command ended, and what it printed; the code is that of a shell where there is no such command."""

    code: int
    out: str
    err: str = ""

    @property
    def said(self) -> str:
        """What it said of itself, on one line."""
        return " ".join((self.err or self.out).split())


def perform(steps: Iterable[Step], *, clock: Clock | None = None) -> None:
    """Do them in order. Raises TurnlogError or OSError at the first that cannot be done."""
    clock = clock or SystemClock()
    for step in steps:
        if isinstance(step, MakeFolder):
            _make_folder(step)
        elif isinstance(step, Write):
            Files().write_file(step.path, step.content)
            step.path.chmod(UNIT_MODE)
        elif isinstance(step, Remove):
            _remove(step)
        elif isinstance(step, Prune):
            _prune(step.path, step.above)
        elif isinstance(step, AwaitFailure):
            _await(step, clock)
        else:
            _run(step)


def ask(*argv: str, seconds: float = ANSWER_SECONDS) -> Answered:
    """Run a command and take its answer, whatever it is. Raises TurnlogError if it does not answer in time."""
    try:
        done = subprocess.run(  # noqa: S603 - the managers' own commands, without a shell
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
        )
    except FileNotFoundError:
        return Answered(127, "", f"{argv[0]} is not installed")
    except subprocess.TimeoutExpired as error:
        raise TurnlogError(f"`{shlex.join(argv)}` did not end within {seconds:g} s; try it by hand") from error
    return Answered(done.returncode, *(text.decode(errors="replace").strip() for text in (done.stdout, done.stderr)))


def _run(step: Run) -> None:
    answered = ask(*step.argv, seconds=WORK_SECONDS)
    if answered.code and not step.may_fail:
        raise TurnlogError(f"`{step}` ended with {answered.code}: {answered.said or 'it does not say why'}")


def _await(step: AwaitFailure, clock: Clock) -> None:
    for _ in range(round(ANSWER_SECONDS / _POLL_SECONDS)):
        if ask(*step.argv).code:
            return
        clock.sleep(_POLL_SECONDS)
    raise TurnlogError(f"`{shlex.join(step.argv)}` still answers after {ANSWER_SECONDS} s; try again")


def _make_folder(step: MakeFolder) -> None:
    if step.path.is_dir():
        return
    missing = [folder for folder in (step.path, *step.path.parents) if not folder.exists()]
    Files().make_folder(step.path)
    with suppress(PermissionError):  # only root can give it away, and who is not root makes it for themselves
        for folder in missing:
            shutil.chown(folder, step.account, pwd.getpwnam(step.account).pw_gid)


def _remove(step: Remove) -> None:
    step.path.unlink(missing_ok=True)
    _prune(step.path.parent, step.above)


def _prune(folder: Path, above: Path) -> None:
    with suppress(OSError):
        while folder != above and above in folder.parents:
            folder.rmdir()
            folder = folder.parent
