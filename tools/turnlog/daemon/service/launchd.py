"""launchd, on macOS: an agent of the user who asks, or a daemon of the system.

The keys are those of launchd.plist(5), the commands those of launchctl(1). A job must not fork, has absolute paths, and
is left at most `ExitTimeOut` to end. launchd knows no exit code after which it would not start a job again, so a broken
configuration is tried again, and refused again, every `ThrottleInterval`.
"""

import os
import plistlib
from pathlib import Path

from turnlog.daemon.service.manager import Seen
from turnlog.daemon.service.program import Program
from turnlog.daemon.service.steps import AwaitFailure, MakeFolder, Remove, Run, Step, Write, ask
from turnlog.errors import WrongUsage

LABEL = "io.turnlog.daemon"

SYSTEM_FOLDER = Path("/Library/LaunchDaemons")

STOP_SECONDS = 15
"""So much longer than its own grace time the daemon may take to stop."""

THROTTLE_SECONDS = 10

_ERRORS = "launchd.err"
"""Where what is said goes before the daemon's own log is open."""


class Launchd:
    """The manager of the system, or that of the user who asks."""

    name = "launchd"

    def __init__(self, *, system: bool) -> None:
        self.scope = "system" if system else "user"
        self._system = system
        self.folder = SYSTEM_FOLDER if system else Path.home() / "Library" / "LaunchAgents"
        self.path = self.folder / f"{LABEL}.plist"
        self._domain = "system" if system else f"gui/{os.getuid()}"
        self._service = f"{self._domain}/{LABEL}"

    def missing(self) -> str | None:
        """See `Manager.missing`."""
        answered = ask("launchctl", "print", self._domain)
        if answered.code == 0:
            return None
        return f"launchd has no {self._domain} here ({answered.said}); a user's is there while they are logged in"

    def render(self, program: Program) -> bytes:
        """See `Manager.render`."""
        job = {
            "Label": LABEL,
            "ProgramArguments": list(program.argv("daemon", "run")),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": THROTTLE_SECONDS,
            "ProcessType": "Background",
            "ExitTimeOut": round(program.grace_seconds) + STOP_SECONDS,
            "Umask": 0o077,
            "StandardOutPath": os.devnull,
            "StandardErrorPath": str(program.directory / _ERRORS),
        }
        if self._system:
            job["UserName"] = program.account
        try:
            return plistlib.dumps(job)
        except ValueError as error:  # control characters, and what is not Unicode
            raise WrongUsage(f"a path has characters that no property list can hold ({error})") from error

    def install_steps(self, program: Program) -> list[Step]:
        """See `Manager.install_steps`."""
        content = self.render(program)
        changed = not self.path.is_file() or self.path.read_bytes() != content
        loaded = self._loaded()
        folders = (program.directory, *program.writable)
        known = loaded and not changed
        return [
            *(MakeFolder(path, program.account) for path in folders),
            *([Write(self.path, content)] if changed else []),
            *(self._bootout() if loaded and changed else []),
            self._run("enable", self._service),
            *([] if known else [self._run("bootstrap", self._domain, str(self.path))]),
            self._run("kickstart", self._service),
        ]

    def uninstall_steps(self) -> list[Step]:
        """See `Manager.uninstall_steps`."""
        bootout = self._bootout() if self._loaded() else []
        errors = self._errors()
        return [*bootout, Remove(self.path, self.folder), *([Remove(errors, errors.parent)] if errors else [])]

    def installed(self) -> bool:
        """See `Manager.installed`."""
        return self.path.exists() or self._loaded()

    def look(self) -> Seen:
        """See `Manager.look`."""
        answered = ask("launchctl", "print", self._service)
        lines = (line.strip().partition(" = ") for line in answered.out.splitlines())
        state = next((value for key, _, value in lines if key == "state"), "not loaded")
        return Seen(self.path.exists() and not self._disabled(), state == "running", state)

    def advice(self) -> list[str]:
        """See `Manager.advice`."""
        return [] if self._system else ["it runs while you are logged in; `--system` has it run from boot on"]

    def _loaded(self) -> bool:
        return ask("launchctl", "print", self._service).code == 0

    def _disabled(self) -> bool:
        """Whether the user switched it off; `print-disabled` has a line `"label" => disabled` (older: `true`)."""
        lines = ask("launchctl", "print-disabled", self._domain).out.splitlines()
        return any(LABEL in line and line.rstrip().endswith(("disabled", "true")) for line in lines)

    def _bootout(self) -> list[Step]:
        """Have it stopped and forgotten, which goes on for a while after the command has ended."""
        return [self._run("bootout", self._service), AwaitFailure(("launchctl", "print", self._service))]

    def _run(self, *arguments: str) -> Run:
        return Run(("launchctl", *arguments))

    def _errors(self) -> Path | None:
        """The file that the job was told to complain into."""
        try:
            named = plistlib.loads(self.path.read_bytes()).get("StandardErrorPath")
        except (OSError, ValueError, AttributeError):  # it is not there, or no job
            return None
        return Path(named) if isinstance(named, str) and Path(named).name == _ERRORS else None
