"""Secrets: named in the configuration, read when they are used, never printed."""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
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

        Raises ConfigError if it is missing, empty, or nothing that could travel in a header.
        """
        value = (os.environ.get(self.env, "") if self.env else self._read(folder)).strip()
        if not value:
            raise ConfigError(f"the secret in {self} is missing or empty; set it and try again")
        if not (value.isascii() and value.isprintable()):
            raise ConfigError(f"the secret in {self} must be one line of plain ASCII characters")
        return value

    def path(self, folder: Path) -> Path | None:
        """The file that it is in, if it is in one."""
        return folder / os.path.expanduser(self.file) if self.file else None  # noqa: PTH111 - Path's own raises

    def _read(self, folder: Path) -> str:
        path = self.path(folder) or folder
        try:
            return (_lent(path) or path).read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise ConfigError(f"the secret in the file {path} cannot be read: {reason}") from error


def references(options: Mapping[str, Any]) -> Iterator[SecretRef]:
    """The secrets that the options of a sink or a source refer to; what is no reference is passed over."""
    for value in options.values():
        if isinstance(value, dict) and set(value) & {"env", "file"}:
            with suppress(msgspec.ValidationError):  # the configuration's trouble, and told there
                yield msgspec.convert(value, SecretRef)


def credential_name(path: Path) -> str:
    """Under which name systemd's LoadCredential= hands a service the file that it may not read itself."""
    from hashlib import sha256  # for services only

    return f"turnlog-{sha256(os.fsencode(os.path.abspath(path))).hexdigest()[:16]}"  # noqa: PTH100 - links stay


def _lent(path: Path) -> Path | None:
    """The copy of a file in $CREDENTIALS_DIRECTORY, if a service manager put one there (systemd.exec(5))."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    copy = Path(folder) / credential_name(path) if folder else None
    return copy if copy is not None and copy.is_file() else None
