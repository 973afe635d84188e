"""Files of other programs: opened to be read only, told by names that any log can hold."""

import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO

from turnlog.errors import WrongUsage

READ_BYTES = 128 * 1024
"""How much is read at once of a file of lines that is read as a whole: lines are long, and a small buffer is slow."""


def file_stamp(file: BinaryIO) -> tuple[int, int]:
    """What changes when the file is written to."""
    status = os.fstat(file.fileno())
    return status.st_mtime_ns, status.st_size


def digest_of_prefix(file: BinaryIO, length: int) -> "hashlib._Hash":
    """The running digest of the file's first bytes; its position is then behind them."""
    digest = hashlib.sha256()
    file.seek(0)
    while length and (data := file.read(min(length, 2**20))):
        digest.update(data)
        length -= len(data)
    return digest


def open_regular(path: Path, *, buffer_bytes: int = -1) -> BinaryIO:
    """The regular file, open to be read, so much at a time. Raises WrongUsage with a sentence that names it."""
    try:
        mode = path.stat().st_mode  # before it is opened: opening a pipe waits for, or disturbs, who writes to it
        if stat.S_ISDIR(mode):
            raise WrongUsage(f"{path_text(path)} is a folder; name the file in it that is to be read")
        if not stat.S_ISREG(mode):
            raise WrongUsage(f"{path_text(path)} is not a regular file; save what it gives to one and name that")
        return path.open("rb", buffering=buffer_bytes)
    except (OSError, ValueError) as error:  # a name that no file can have is a ValueError
        raise refusal(path, error) from error


def refusal(path: Path, error: OSError | ValueError) -> WrongUsage:
    """The sentence for a file that the system does not give."""
    reason = error.strerror if isinstance(error, OSError) else error
    return WrongUsage(f"{path_text(path)} cannot be read: {reason}")


def path_text(path: Path) -> str:
    r"""The path as valid Unicode; bytes that are no UTF-8 stand in it as `\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
