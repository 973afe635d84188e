"""What is examined: the folder, the configuration, the environment."""

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from turnlog.config import Config


class Subject(Struct, frozen=True):
    """An installation. `directory` is None where only a broken configuration could tell it.

    `config` is None if it cannot be read; then `config_problem` is the sentence that says why.
    """

    directory: Path | None
    config: Config | None
    config_problem: str
    environ: Mapping[str, str]
