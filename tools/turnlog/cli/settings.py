"""Changing the configuration file for a person: only what they ask for, with all else in it as it was."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from eventlog.files import Files
from turnlog.config import parse
from turnlog.errors import ConfigError, TurnlogError


def edit(path: Path, change: Callable[[Any], None]) -> None:
    """Apply `change` to the document in a file, which is made if it is not there; comments and order stay.

    The result is checked before it takes the file's place. Raises ConfigError, see `edited`.
    """
    changed = edited(path, change)
    try:
        Files().write_file(path.resolve(), changed.encode())  # a link stays one
    except OSError as error:
        raise ConfigError(f"the configuration {path} cannot be written: {error.strerror}") from error


def edited(path: Path, change: Callable[[Any], None]) -> str:
    """What the file would be after `edit`.

    Raises ConfigError if it would not be a configuration, or if what is there is none.
    """
    tomlkit = import_tomlkit(path)
    try:
        text = path.read_text(encoding="utf-8-sig") if path.exists() else ""
        document = tomlkit.parse(text)
        change(document)
        changed: str = tomlkit.dumps(document)
    except (OSError, ValueError) as error:
        raise ConfigError(f"the configuration {path} cannot be changed: {error}") from error
    parse(changed, path)
    return changed


def import_tomlkit(path: Path) -> Any:
    """The package that changes TOML and keeps its comments. Raises TurnlogError, naming the file, if it is missing."""
    try:
        import tomlkit
    except ImportError as error:
        raise TurnlogError(
            f"changing {path} needs the package tomlkit (pip install 'turnlog[sources]'), or edit it by hand"
        ) from error
    return tomlkit
