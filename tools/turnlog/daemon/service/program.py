"""What a service manager is to run: the daemon of one log, by its configuration, for one account."""

import os
import pwd
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from turnlog.config import Config, as_path
from turnlog.secrets import references

STDOUT = "-"


class Program(Struct, frozen=True):
    """The command, and what it must be able to touch. All paths are absolute.

    `writable` are folders beside the log's that a sink writes into. `credentials` are files with secrets that the
    account itself cannot read. `grace_seconds` is how long the daemon may take to end what is in flight.
    """

    python: str
    directory: Path
    config_path: Path | None
    account: str
    writable: tuple[Path, ...] = ()
    credentials: tuple[Path, ...] = ()
    grace_seconds: float = 10.0

    def argv(self, *command: str) -> tuple[str, ...]:
        """How to run a command of Turnlog on this log."""
        config = () if self.config_path is None else ("--config", str(self.config_path))
        return (self.python, "-m", "turnlog", "--dir", str(self.directory), *config, *command)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every path in it."""
        named = (Path(self.python), self.directory, *((self.config_path,) if self.config_path else ()))
        return (*named, *self.writable, *self.credentials)


def find_program(
    directory: Path, config: Config, environ: Mapping[str, str], *, system: bool, python: str = sys.executable
) -> Program:
    """The program for a log's folder and configuration, run by this very Python.

    The account is whoever installs it; for the whole system, the owner of the log's folder if that is there, else
    whoever called sudo.
    """
    account = _owner(directory, environ) if system else _name(os.geteuid())
    return Program(
        python=os.path.abspath(python),  # noqa: PTH100 - links stay: that of a virtual environment leads out of it
        directory=_absolute(directory),
        config_path=config.path and _absolute(config.path),
        account=account,
        writable=tuple(dict.fromkeys(_written(config))),
        credentials=tuple(_unreadable(config, account)) if system else (),
        grace_seconds=config.sync.grace_seconds,
    )


def environment_needed(config: Config) -> Iterator[tuple[str, str]]:
    """Each sink's name with an environment variable that it needs, which a service would not have."""
    for sink in config.sinks:
        for secret in references(sink.options):
            if secret.env:
                yield sink.name, secret.env


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - as above


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # an account without a name, as in a container
        return str(uid)


def _owner(directory: Path, environ: Mapping[str, str]) -> str:
    try:
        return _name(directory.stat().st_uid)
    except OSError:
        return environ.get("SUDO_USER") or _name(os.geteuid())


def _written(config: Config) -> Iterator[Path]:
    for sink in config.sinks:
        path = sink.options.get("path")
        if sink.type == "jsonl" and isinstance(path, str) and path != STDOUT:
            yield _absolute(config.folder / as_path(path)).parent


def _unreadable(config: Config, account: str) -> Iterator[Path]:
    """Files with secrets that are somebody else's than the account's."""
    for sink in config.sinks:
        for secret in references(sink.options):
            path = secret.path(config.folder)
            if path is not None and path.is_file() and _name(path.stat().st_uid) != account:
                yield _absolute(path)
