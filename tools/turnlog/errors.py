"""What can go wrong in the programs, and what to do about it.

::

    TurnlogError           exit code 1
     ├─ WrongUsage         2   the command or a call was given something it cannot use
     │   └─ BadTurn        2   a turn that cannot be recorded
     ├─ Busy               75  another process holds the lease
     └─ ConfigError        78  the configuration, or a secret it refers to
"""

from typing import ClassVar


class TurnlogError(Exception):
    """The root: one sentence that says what happened, to which thing, and what to try."""

    exit_code: ClassVar[int] = 1


class WrongUsage(TurnlogError):
    """Something was asked for that cannot be done as asked, such as reading a file that is not there."""

    exit_code = 2


class BadTurn(WrongUsage, ValueError):
    """A turn that cannot be recorded, such as one without messages."""


class Busy(TurnlogError):
    """Another process does this job at the moment."""

    exit_code = 75


class ConfigError(TurnlogError):
    """The configuration, or something that it refers to, cannot be used."""

    exit_code = 78
