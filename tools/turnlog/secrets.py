"""Secrets: named in the configuration, read when they are used, never printed."""

import os
from pathlib import Path

from msgspec import Struct

from turnlog.errors import ConfigError


class SecretRef(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a secret is: in an environment variable or in a file, and nowhere else."""

    env: str | None = None
    file: str | None = None

    def __post_init__(self) -> None:
        if (self.env is None) == (self.file is None):
            raise ValueError("a secret is { env = NAME } or { file = PATH }, one of them")

    def __str__(self) -> str:
        return f"the environment variable {self.env}" if self.env else f"the file {self.file}"

    def resolve(self, folder: Path) -> str:
        """The secret itself; a relative file is looked for in `folder`, that of the configuration.

        Raises ConfigError if it is missing or empty.
        """
        value = os.environ.get(self.env, "") if self.env else _read(folder / Path(self.file or "").expanduser())
        if not value.strip():
            raise ConfigError(f"the secret in {self} is missing or empty; set it and try again")
        return value.strip()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the secret in the file {path} cannot be read: {error}") from error
