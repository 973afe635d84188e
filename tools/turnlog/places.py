"""Where things are on this machine: the log's folder and the configuration file."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from turnlog.config import FILE_NAME, Config, as_path, load, log_dir

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Places:
    """The folder of the log, and the configuration's file (None if there is none)."""

    directory: Path
    config_path: Path | None


def find_places(directory: str | None, config: str | None, environ: "Mapping[str, str]") -> Places:
    """Find both; `directory` and `config` are what the command line said.

    The folder: the command line, TURNLOG_DIR, the configuration's `log.dir`, the platform's state folder. The file:
    the command line, TURNLOG_CONFIG, `turnlog.toml` in the folder, the platform's configuration folder.
    A file that is named but not there is found out when it is read: what needs no configuration goes on.
    Raises ConfigError if only a file that cannot be read could tell the folder.
    """
    named = directory or environ.get("TURNLOG_DIR")
    folder = as_path(named) if named else None
    path = _config_path(config or environ.get("TURNLOG_CONFIG"), folder)
    if folder is None and path is not None:
        folder = log_dir(path)
    return Places(folder or _state_folder(), path)


def read_config(places: Places, environ: "Mapping[str, str]") -> Config:
    """The configuration of this place, with what the environment adds to it. Raises ConfigError."""
    return load(places.config_path, environ)


def _config_path(named: str | None, directory: Path | None) -> Path | None:
    if named:
        return as_path(named)
    beside = (directory or _state_folder()) / FILE_NAME
    if beside.is_file():
        return beside
    own = _config_folder() / FILE_NAME
    return own if own.is_file() else None


def _state_folder() -> Path:
    from platformdirs import user_state_path  # 15 ms that most commands can do without

    return user_state_path("turnlog", appauthor=False)


def _config_folder() -> Path:
    from platformdirs import user_config_path  # as above

    return user_config_path("turnlog", appauthor=False)
