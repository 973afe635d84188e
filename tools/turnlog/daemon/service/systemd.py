"""systemd: a unit for a user's own manager, or for the system's."""

import os
from pathlib import Path

from turnlog.daemon.service.manager import Seen
from turnlog.daemon.service.program import Program
from turnlog.daemon.service.steps import MakeFolder, Prune, Remove, Run, Step, Write, ask
from turnlog.daemon.service.systemd_unit import is_state, render_unit

UNIT = "turnlog.service"

SYSTEM_FOLDER = Path("/etc/systemd/system")

_USABLE = ("running", "degraded", "starting", "initializing", "maintenance", "stopping")
"""What `systemctl is-system-running` says where there is a manager; its exit code says how well it is."""


class Systemd:
    """The manager of the system, or that of the user who asks."""

    name = "systemd"

    def __init__(self, *, system: bool) -> None:
        self.scope = "system" if system else "user"
        self._system = system
        self._configuration = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        self.folder = SYSTEM_FOLDER if system else self._configuration / "systemd" / "user"
        self.path = self.folder / UNIT
        self._systemctl = ("systemctl", "--no-ask-password") if system else ("systemctl", "--user")

    def missing(self) -> str | None:
        """See `Manager.missing`."""
        answered = ask(*self._systemctl, "is-system-running")
        if answered.out in _USABLE:
            return None
        whose = "the system" if self._system else "this user"
        return f"no systemd manages the services of {whose} here ({answered.said})"

    def render(self, program: Program) -> bytes:
        """See `Manager.render`."""
        return render_unit(program, system=self._system).encode()

    def install_steps(self, program: Program) -> list[Step]:
        """See `Manager.install_steps`."""
        content = self.render(program)
        changed = not self.path.is_file() or self.path.read_bytes() != content
        folders = [path for path in (program.directory, *program.writable) if not (self._system and is_state(path))]
        return [
            *(MakeFolder(path, program.account) for path in folders),
            *([Write(self.path, content)] if changed else []),
            self._run("daemon-reload"),
            self._run("enable", UNIT),
            self._run("restart" if changed else "start", UNIT),
        ]

    def uninstall_steps(self) -> list[Step]:
        """See `Manager.uninstall_steps`."""
        above = self.folder if self._system else self._configuration.parent
        runtime = Path("/run" if self._system else os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
        left = [*self._links(), self.path]
        removed: list[Step] = [*(Remove(path, above) for path in left), Prune(runtime / "turnlog", runtime)]
        if self.missing():
            return removed
        disable = [self._run("disable", "--now", UNIT)] if self.path.exists() else []
        forget = Run((*self._systemctl, "reset-failed", UNIT), may_fail=True)  # there may be nothing to forget
        return [*disable, *removed, self._run("daemon-reload"), forget]

    def installed(self) -> bool:
        """See `Manager.installed`."""
        return any(path.is_symlink() or path.exists() for path in (self.path, *self._links()))

    def look(self) -> Seen:
        """See `Manager.look`."""
        state = ask(*self._systemctl, "is-active", UNIT).out or "unknown"
        enabled = ask(*self._systemctl, "is-enabled", UNIT).out
        lingers = None if self._system else self._lingers()
        return Seen(enabled == "enabled", state in ("active", "reloading"), state, lingers)

    def advice(self) -> list[str]:
        """See `Manager.advice`."""
        advice = []
        if not self._system and not self._lingers():
            advice.append("it runs while you are logged in; `loginctl enable-linger` has it run from boot on")
        dropped = self.path.with_name(f"{UNIT}.d")
        if dropped.is_dir():
            advice.append(f"{dropped} changes the unit, and is yours to keep or to remove")
        verified = ask("systemd-analyze", self._scope_option, "verify", "--recursive-errors=no", str(self.path))
        if verified.code not in (0, 127) and self.path.exists():
            advice.append(f"systemd-analyze finds fault with {self.path}: {verified.said}")
        return advice

    @property
    def _scope_option(self) -> str:
        return f"--{self.scope}"

    def _run(self, *arguments: str) -> Run:
        return Run((*self._systemctl, *arguments))

    def _links(self) -> list[Path]:
        """What `enable` makes."""
        target = "multi-user.target" if self._system else "default.target"
        return [self.folder / f"{target}.wants" / UNIT]

    def _lingers(self) -> bool:
        return ask("loginctl", "show-user", str(os.getuid()), "--property=Linger", "--value").out == "yes"
