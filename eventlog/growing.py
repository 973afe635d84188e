"""The segment that grows, as one handle on the log knows it."""

import errno
import os
from contextlib import suppress
from zlib import crc32

from eventlog.codec import decode_line
from eventlog.files import Files
from eventlog.segments import CHUNK_BYTES, Seal, Segment, seal_on, text_end

PAD_BYTES = 512 * 1024
"""By how much a segment is extended ahead: a sync need not write the file's length with every line then."""

_BLANKS = memoryview(b"\n" * PAD_BYTES)
_PEEK_BYTES = 4096
_CATCH_UP_BYTES = 1024 * 1024
_SUM_BYTES = 1024 * 1024


class OpenSegment:
    """How far a handle has read and written the growing segment, and how far it is durable.

    The text ends at `end`, where the next line goes; `known` is False as long as that must be looked for. `blank_ahead`
    says that blanks follow, and so that nobody has sealed it; `padded` that this handle wrote some of them.
    """

    def __init__(self, segment: Segment, files: Files, *, segment_bytes: int) -> None:
        self.segment = segment
        self.descriptor = files.open(segment.path)
        self.end = 0
        self.last_seq = segment.first_seq - 1
        self.known = False
        self.blank_ahead = False
        self.padded = False
        self.sync_error: OSError | None = None
        self._files = files
        self._segment_bytes = segment_bytes
        self._size = 0  # of the file, blanks included, as far as it is known
        self._synced_seq = self._own_seq = 0
        self._synced_end = 0
        self._seal = Seal()  # as far as it has got

    def __del__(self) -> None:
        if "descriptor" in self.__dict__:
            self._files.close(self.descriptor)

    @property
    def summed_up(self) -> bool:
        """Whether so little is missing of the checksum that others can wait for it under the lock."""
        return self.end - self._seal.length <= _SUM_BYTES

    def read_on(self) -> bool:
        """Take in what other writers appended since; False if the end must be looked for from behind."""
        if not self.known:
            return False
        data = os.pread(self.descriptor, _PEEK_BYTES, self.end)
        self.blank_ahead = data.startswith(b"\n")
        if self.blank_ahead:
            return True
        if not data:
            self._size = self.end
            return self._files.size(self.descriptor) == self.end
        if len(data) == _PEEK_BYTES and b"\n\n" not in data:
            data = os.pread(self.descriptor, _CATCH_UP_BYTES, self.end)
        text, blank, _ = data.partition(b"\n\n")
        if not blank and len(data) < _CATCH_UP_BYTES and text.endswith(b"\n"):
            text = text[:-1]
            self._size = self.end + len(data)
        elif not blank:  # a line without its end, or more than one wants to read
            return False
        self.blank_ahead = bool(blank)
        return self._take_lines(text)

    def _take_lines(self, text: bytes) -> bool:
        """Take in some lines if they are as many as their last one's seq says; readers look at the others."""
        last = decode_line(text[text.rfind(b"\n") + 1 :])
        if last is None or last.seq != self.last_seq + text.count(b"\n") + 1:
            return False
        self.place_end(self.end + len(text) + 1, last.seq)
        return True

    def place_end(self, end: int, last_seq: int) -> None:
        """Say where the text ends. If lines were taken away, their seqs stay taken."""
        self.known = False  # should an interrupt come between
        if end < self._seal.length:
            self._seal = Seal()
        self.end = end
        self.last_seq = max(self.last_seq, last_seq)
        self.known = True

    def write(self, lines: bytes, count: int, *, pad: bool) -> None:
        """Write `count` lines at the end; with `pad` also blanks behind them where there are none yet.

        Raises OSError; then nobody knows what of it was written.
        """
        end = self.end + len(lines)
        self.known = False
        done = self._files.write(self.descriptor, lines, self.end)
        if done < len(lines):
            self._files.write_all(self.descriptor, lines[done:], self.end + done)
        if end > self._size:
            self._size = self._files.size(self.descriptor)
            if pad and self._size == end:
                self._extend(end)
        seal = self._seal
        if seal.length == self.end:  # what is summed up now need not be read again
            self._seal = Seal(end, crc32(lines, seal.checksum), seal.whole)
        self.end = end
        self.last_seq += count
        self._own_seq = self.last_seq
        self.known = True

    def _extend(self, end: int) -> None:
        length = min(-end % PAD_BYTES or PAD_BYTES, self._segment_bytes - end)
        if length > 0:
            self.padded = True
            with suppress(OSError):  # it goes without
                self._size += self._files.write(self.descriptor, _BLANKS[:length], end)

    def cut(self) -> None:
        """Cut off the blanks. Raises OSError where they are none: then the end is to be looked for from behind."""
        size = self._files.size(self.descriptor)
        if text_end(self.descriptor, size) > self.end:
            self.known = False
            raise OSError(errno.EIO, "something else than blanks stands behind the last line")
        if size > self.end:
            self._files.cut(self.descriptor, self.end)
        self._synced_seq = 0  # the length is to be synced, too, whoever cut it
        self._size = self.end
        self.padded = self.blank_ahead = False

    def sync(self) -> None:
        """Return when everything up to `last_seq` is durable.

        Raises OSError. After an error nobody knows what the kernel dropped, so this segment is never trusted again
        (fsync(2) reports a lost write once and then forgets it): every later call raises the same error.
        """
        if self.sync_error is not None:
            raise self.sync_error
        if self._synced_seq < self.last_seq:
            try:
                self._files.sync(self.descriptor)
            except OSError as error:
                self.sync_error = error
                raise
            self._synced_seq, self._synced_end = self.last_seq, self.end

    @property
    def in_doubt(self) -> bool:
        """Whether this handle wrote lines that it has not synced."""
        return self._synced_seq < self._own_seq

    def rescue(self) -> None:
        """Try to make durable what a failed sync left in doubt.

        The kernel holds pages that it could not write for clean, though they are still as they should be: so what
        stands there is written again, byte for byte, and synced through a descriptor that knows of no error.
        """
        with suppress(OSError):
            descriptor = self._files.open(self.segment.path)
            try:
                if not seal_on(descriptor, Seal(self._synced_end), self.end).whole:
                    return
                offset = self._synced_end
                while offset < self.end:
                    data = os.pread(descriptor, min(CHUNK_BYTES, self.end - offset), offset)
                    self._files.write_all(descriptor, data, offset)
                    offset += len(data)
                self._files.sync(descriptor)
            finally:
                self._files.close(descriptor)

    def sum_up(self) -> Seal:
        """What a header says of this segment; what this handle wrote or has summed up before is not read again."""
        self._seal = seal_on(self.descriptor, self._seal, self.end)
        return self._seal
