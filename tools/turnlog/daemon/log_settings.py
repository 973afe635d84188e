"""Where the daemon's log is, and how much of it is kept."""

from pathlib import Path
from typing import Literal

from msgspec import Struct

from turnlog.config import DaemonConfig, as_path

FILE_NAME = "daemon.log"

Level = Literal["debug", "info", "warning", "error"]


class LogSettings(Struct, frozen=True):
    """Where the log is and how much of it is kept: at most `bytes_max` times `backups` + 1; 0 means no limit."""

    file: Path
    level: Level = "info"
    bytes_max: int = 10 * 1024 * 1024
    backups: int = 5
    seconds_max: float = 7 * 24 * 3600.0


def log_settings(directory: Path, section: DaemonConfig, folder: Path = Path()) -> LogSettings:
    """The settings in the section `[daemon]`: `log_file`, `log_level`, `log_max_bytes`, `log_backups`.

    Without a file in it the log is `daemon.log` in the log's folder. `folder` is where relative paths in the
    configuration begin.
    """
    file = folder / as_path(section.log_file) if section.log_file else directory / FILE_NAME
    return LogSettings(file, section.log_level, section.log_max_bytes, section.log_backups)
