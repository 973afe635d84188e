"""Payloads too large or too raw for a line, kept beside the log and named by their SHA-256."""

import os
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from eventlog.errors import LogUnavailable
from eventlog.files import FILE_MODE, Files


class Blobs:
    """A content-addressed folder: `<directory>/ab/abcdef...`. The same content is stored once."""

    def __init__(self, directory: Path, files: Files | None = None) -> None:
        self.directory = directory
        self._files = files or Files()

    def path(self, digest: str) -> Path:
        """Where the blob with this digest stands or would stand."""
        return self.directory / digest[:2] / digest

    def put(self, data: bytes) -> str:
        """Store `data`; returns its digest when it is durable. Raises LogUnavailable."""
        digest = sha256(data).hexdigest()
        try:
            self.get(digest)
        except KeyError:  # not there, or damaged
            try:
                self._write(self.path(digest), data)
            except OSError as error:
                raise LogUnavailable(self.path(digest), error) from error
        return digest

    def _write(self, path: Path, data: bytes) -> None:
        self._files.make_folder(path.parent)
        unfinished = path.with_name(f"{path.name}.{uuid4().hex}.tmp")
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        try:
            self._files.write_all(descriptor, data)
            self._files.sync(descriptor)
        except OSError:
            unfinished.unlink()
            raise
        finally:
            self._files.close(descriptor)
        unfinished.replace(path)
        self._files.sync_folder(path.parent)

    def get(self, digest: str) -> bytes:
        """The content with this digest. Raises KeyError if it is not there or not what it was."""
        try:
            data = self.path(digest).read_bytes()
        except OSError as error:
            raise KeyError(digest) from error
        if sha256(data).hexdigest() != digest:
            raise KeyError(digest)
        return data
