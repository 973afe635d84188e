"""Where secrets are in a text that may be too long for memory: it comes in blocks, and is searched window by window."""

from collections.abc import Iterable, Iterator
from itertools import chain

from msgspec import Struct

from turnlog.redaction import find_secrets

OVERLAP = 64 * 1024
"""So much of a window is searched again with what comes next: a private key is shorter."""

BEFORE = 1024
"""So much of what was searched stays, for a secret may be known by what is before it: a header's name, a URL's user."""

WINDOW_MAX = 16 * 1024 * 1024
"""A secret that goes on for longer is told as it is so far."""


class Located(Struct, frozen=True):
    """A secret in a file: line and column count from 1, `length` in characters; all of its kind begin with `prefix`."""

    kind: str
    line: int
    column: int
    length: int
    prefix: str = ""


class _Cursor:
    """A position in the window, and the line and column that it is at in the whole text."""

    def __init__(self) -> None:
        self.at = 0
        self.line = self.column = 1

    def move(self, window: str, to: int) -> None:
        lines = window.count("\n", self.at, to)
        self.line += lines
        self.column = to - window.rindex("\n", self.at, to) if lines else self.column + to - self.at
        self.at = to


def locate_secrets(blocks: Iterable[str]) -> Iterator[Located]:
    """Every secret in a text, in order.

    It is held in memory a block and `OVERLAP` characters at a time; a secret that is longer than that and stands across
    a block's end may be missed, or be told as several.
    """
    window, cursor = "", _Cursor()
    for block in chain(blocks, (None,)):
        window += block or ""
        whole = block is None or len(window) > WINDOW_MAX
        end = len(window) if whole else max(cursor.at, len(window) - OVERLAP)
        for secret in find_secrets(window):
            if secret.start < cursor.at:
                continue
            if secret.end > end:
                end = min(end, secret.start)  # it may go on in the next block
                break
            cursor.move(window, secret.start)
            yield Located(secret.kind, cursor.line, cursor.column, secret.end - secret.start, secret.prefix)
            cursor.move(window, secret.end)
        cursor.move(window, end)
        cut = max(0, cursor.at - BEFORE)
        window, cursor.at = window[cut:], cursor.at - cut
