"""What every service manager can be asked."""

from pathlib import Path
from typing import Protocol

from msgspec import Struct

from turnlog.daemon.service.program import Program
from turnlog.daemon.service.steps import Step


class Seen(Struct, frozen=True):
    """What a manager says of the service: started by itself after a boot or login? running? in its own word?

    `lingers` is whether it goes on when the user logs out; None where that is no question.
    """

    enabled: bool
    running: bool
    state: str
    lingers: bool | None = None


class Manager(Protocol):
    """systemd or launchd, for a user or for the whole system."""

    name: str
    scope: str
    path: Path
    """The file that it reads."""

    def missing(self) -> str | None:
        """Why it cannot be used here; None if it can."""

    def render(self, program: Program) -> bytes:
        """What the file must say. Raises WrongUsage for a path that it has no way to write."""

    def install_steps(self, program: Program) -> list[Step]:
        """Have the service known, started now, and started by itself from now on."""

    def uninstall_steps(self) -> list[Step]:
        """Have it stopped, and nothing left of it."""

    def installed(self) -> bool:
        """Whether there is something to uninstall."""

    def look(self) -> Seen:
        """How the service is."""

    def advice(self) -> list[str]:
        """What a person should know or do beside it."""
