"""The service and the daemon. This is the one place that knows how to find them out: by files and by a lock."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from turnlog.config import as_path
from turnlog.doctor.findings import Finding
from turnlog.doctor.locks import describe_process, holders

DAEMON_LOCK = "daemon.lock"
UNIT = "turnlog.service"
AGENT = "io.turnlog.daemon.plist"


class Unit(Struct, frozen=True):
    """A file that a service manager reads, and the links in its folder that have it started by itself."""

    path: Path
    links: tuple[Path, ...]
    is_loaded_by_itself: bool = False

    @property
    def enabled(self) -> bool:
        """Whether it is started by itself."""
        return self.is_loaded_by_itself or any(link.is_symlink() for link in self.links)


def units(environ: Mapping[str, str]) -> list[Unit]:
    """Where the service may be installed, for the user and for the system."""
    home = as_path("~")
    if sys.platform == "darwin":
        folders = (home / "Library/LaunchAgents", Path("/Library/LaunchDaemons"))
        return [Unit(folder / AGENT, (), is_loaded_by_itself=True) for folder in folders]
    user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "systemd/user"
    return [
        Unit(folder / UNIT, (folder / f"{target}.wants" / UNIT,))
        for folder, target in ((user, "default.target"), (Path("/etc/systemd/system"), "multi-user.target"))
    ]


def check_service(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the daemon is installed as a service, and started by itself."""
    installed = [unit for unit in units(environ) if unit.path.is_file()]
    if not installed:
        yield Finding("service", "skip", "no service is installed", "if you want one: turnlog daemon install")
    for unit in installed:
        if unit.enabled:
            yield Finding("service", "ok", f"{unit.path} is installed and starts by itself")
        else:
            yield Finding("service", "warn", f"{unit.path} is installed and not enabled", "turnlog daemon install")


def check_daemon(directory: Path, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether a daemon works on this log; where a service is installed, one should."""
    lock = directory / DAEMON_LOCK
    pids = holders(lock) if lock.exists() else None
    if pids is not None:
        who = " and ".join(map(describe_process, pids)) or "it cannot be seen from here"
        yield Finding("daemon", "ok", f"a daemon works on {directory}: {who}")
    elif any(unit.path.is_file() for unit in units(environ)):
        remedy = "turnlog daemon start; `turnlog daemon logs --errors` tells why it ended"
        yield Finding("daemon", "warn", "a service is installed, and no daemon runs", remedy)
    else:
        yield Finding("daemon", "skip", "no daemon runs", "if you want one: turnlog daemon start")
