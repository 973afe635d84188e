"""Payloads too large or too raw for a line, kept beside the log and named by their SHA-256."""

from hashlib import sha256
from pathlib import Path

from eventlog.errors import LogUnavailable
from eventlog.files import Files


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
        except KeyError:
            known = False  # not there, or damaged
        else:
            known = True
        try:
            if not known:
                self._files.write_file(self.path(digest), data)
            for folder in (self.path(digest).parent, self.directory, self.directory.parent):
                self._files.sync_folder(folder)  # whoever made it, or put the blob there, may have died before he could
        except OSError as error:
            raise LogUnavailable(self.path(digest), error) from error
        return digest

    def get(self, digest: str) -> bytes:
        """The content with this digest. Raises KeyError if it is not there or not what it was."""
        try:
            data = self.path(digest).read_bytes()
        except OSError as error:
            raise KeyError(digest) from error
        if sha256(data).hexdigest() != digest:
            raise KeyError(digest)
        return data
