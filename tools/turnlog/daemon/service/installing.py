"""Installing the daemon, removing it, and how it is: the same for every service manager."""

import os
import sys
from pathlib import Path

from msgspec import Struct

from turnlog.daemon.service.launchd import Launchd
from turnlog.daemon.service.manager import Manager, Seen
from turnlog.daemon.service.program import Program
from turnlog.daemon.service.steps import Prune, Step, perform
from turnlog.daemon.service.systemd import Systemd
from turnlog.errors import TurnlogError, WrongUsage

PLATFORM = sys.platform


class Autostart(Struct, frozen=True):
    """How the service is installed; the fields are those of `turnlog daemon autostart-status --json`.

    `current` is whether the file says what an installation would write now, None where there is none; `enabled` whether
    the daemon starts by itself; `lingers` whether it goes on when the user logs out, None where that is no question.
    `attention` is what is not as it should be, in sentences.
    """

    manager: str
    scope: str
    file: str
    installed: bool
    current: bool | None
    enabled: bool
    running: bool
    state: str
    lingers: bool | None
    attention: list[str]


def find_manager(*, system: bool) -> Manager:
    """This platform's service manager, be it there or not."""
    return Launchd(system=system) if PLATFORM == "darwin" else Systemd(system=system)


def plan_install(manager: Manager, program: Program) -> list[Step]:
    """The steps to install it. Raises TurnlogError where there is no manager, WrongUsage without the rights."""
    reason = manager.missing()
    if reason is not None:
        raise TurnlogError(
            f"{reason}; run `turnlog daemon run` under whatever starts programs here, or see the file with --dry-run"
        )
    _check_rights(manager)
    return manager.install_steps(program)


def plan_uninstall(manager: Manager, directory: Path) -> list[Step]:
    """The steps to remove it; none if nothing is there. A log's folder that is still empty goes with it.

    Raises WrongUsage without the rights.
    """
    if not manager.installed():
        return []
    _check_rights(manager)
    home, directory = Path.home(), directory.absolute()
    return [*manager.uninstall_steps(), Prune(directory, home if home in directory.parents else directory.parent)]


def carry_out(steps: list[Step]) -> None:
    """Perform the steps. Raises TurnlogError, OSError."""
    perform(steps)


def autostart(manager: Manager, program: Program) -> Autostart:
    """How it is installed. Raises WrongUsage for a path that the manager has no way to write."""
    installed = manager.path.exists()
    current = manager.path.read_bytes() == manager.render(program) if installed else None
    if not installed:
        seen = Seen(enabled=False, running=False, state="not installed")
    elif manager.missing():
        seen = Seen(enabled=False, running=False, state="no service manager")
    else:
        seen = manager.look()
    return Autostart(
        manager=manager.name,
        scope=manager.scope,
        file=str(manager.path),
        installed=installed,
        current=current,
        enabled=seen.enabled,
        running=seen.running,
        state=seen.state,
        lingers=seen.lingers,
        attention=_attention(manager, seen, current=current) if installed else [],
    )


def _attention(manager: Manager, seen: Seen, *, current: bool | None) -> list[str]:
    again = "turnlog daemon install" + (" --system" if manager.scope == "system" else "")
    attention = []
    if not current:
        attention.append(f"{manager.path} is not what an installation would write now; `{again}` writes it anew")
    if not seen.enabled:
        attention.append(f"it does not start by itself; `{again}` switches that on")
    if not seen.running:
        attention.append(f"it does not run ({seen.state}); `turnlog daemon logs --errors` may say why")
    return attention


def _check_rights(manager: Manager) -> None:
    folder = next((path for path in manager.path.parents if path.exists()), Path("/"))
    if not os.access(folder, os.W_OK):
        remedy = "try it with sudo" if manager.scope == "system" else "see to its permissions"
        raise WrongUsage(f"{folder} cannot be written by this user; {remedy}")
