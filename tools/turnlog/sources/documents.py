r"""JSON documents too large to hold: their objects one after the other, damaged or not.

An export is one document of up to gigabytes, mostly on one line: an array of objects, `{"conversations": [...]}`, or
one object alone. It is read in windows. Python's own JSON scanner says where an object ends, which measures faster than
finding that out before a faster decoder reads it, and faster than event parsers; it reads on after damage too:

* What lies between objects, in whatever order, is passed over: white space, commas, brackets of the outermost array.
* An object that cannot be read may only not have been read far enough. Where the error is at the window's end, or is a
  string without an end, the window is doubled, so that nothing is looked at more than twice or so.
* Any other error is damage. The next object that begins with a name, can be read, and is of the kind that the caller
  wants is where reading goes on; objects inside of the damaged one are not of that kind. What lies before is damaged.
* Bytes that are no UTF-8 stand as U+FFFD in an object that is whole otherwise; they are told apart.
"""

import codecs
import json
import re
from collections.abc import Callable, Iterator, Set
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from turnlog.sources.archives import Readable
from turnlog.sources.objects import DECODER, TOO_DEEP, CannotRead
from turnlog.text import clean

WINDOW_BYTES = 1024 * 1024
OBJECT_CHARS_MAX = 64 * 1024 * 1024
"""An object that is longer is damage."""

HEAD_BYTES = 256 * 1024
"""So much of a document tells what it is."""

_FAILURES_MAX = 20
"""So many beginnings are tried where one lies in the other, before all of them are given up together."""

_FIRST_TRY_CHARS = 4 * 1024
"""So far a beginning is followed at first: an error costs time in proportion to the text that it is in."""

_LEVELS_AT_LEAST = 500
"""What is too deep for Python's scanner has at least so many characters."""

_DECODER = json.JSONDecoder(parse_int=DECODER.parse_int, parse_float=DECODER.parse_float, parse_constant=str)
_BETWEEN = re.compile(r"[\s,\[\]}\ufeff]*")
_WRAPPER = re.compile(r'[\s\ufeff]*\{\s*"conversations"\s*:\s*(?=\[)')
_BEGINNING = re.compile(r'\{\s*"\w+"\s*:')
_TOKEN = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)(?:"(\s*:)?|\\?\Z)|[{}\[\]]', re.DOTALL)
_NOT_UTF8 = re.compile("[\udc80-\udcff]+")
_CUT_CHARS = 32  # an error so near to the end may be of a number, name or escape that goes on


class Element(NamedTuple):
    """An object of a document, by its number from 1; or damage, with what was read there; or both."""

    number: int
    record: dict[str, Any]
    damage: str = ""
    raw: bytes = b""
    replaced: int = 0
    """Characters that the log cannot hold and that stand as U+FFFD in the record."""


class Document:
    """One document, read from its beginning.

    `is_wanted` tells the objects that reading may go on with after damage. `bytes_read` and `digest` are of all that
    was read of the file so far.
    """

    def __init__(self, file: Readable, is_wanted: Callable[[Set[str]], bool], digest: Any = None) -> None:
        self.bytes_read = 0
        self.digest = digest or blake2b(digest_size=16)
        self._file = file
        self._is_wanted = is_wanted
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._text = ""
        self._at = 0
        self._is_end = False
        self._failure = ""

    def elements(self) -> Iterator[Element]:
        """All there is, in order."""
        self._grow()
        if wrapper := _WRAPPER.match(self._text):
            self._at = wrapper.end()
        number = 0
        while self._skip_between():
            self._forget()
            number += 1
            record, end, reason = self._decode()
            if not reason:
                yield self._take(number, record, end)
                continue
            record, start, end = self._find_next()
            raw = _bytes(self._text[self._at : start].rstrip(" \t\r\n,"))
            yield Element(number, {}, self._failure or reason, raw)
            self._at, self._failure = start, ""
            if start < end:
                number += 1
                yield self._take(number, record, end)
        if self._failure:
            yield Element(number + 1, {}, self._failure)

    def _take(self, number: int, record: dict[str, Any], end: int) -> Element:
        text = self._text[self._at : end]
        self._at = end
        if text.isascii() and "\\ud" not in text and "\\uD" not in text:
            return Element(number, record)
        try:
            msgspec.json.encode(record)  # the fastest way to find half a character
            return Element(number, record)
        except UnicodeEncodeError:
            pass
        except RecursionError:
            return Element(number, {}, TOO_DEEP, _bytes(text))
        try:
            record, replaced = clean(record)
        except ValueError as error:
            return Element(number, {}, str(error), _bytes(text))
        bad = "".join(_NOT_UTF8.findall(text))
        damage = f"{len(bad)} bytes in it are not valid UTF-8; the rest of it was read" if bad else ""
        return Element(number, record, damage, _bytes(bad), replaced)

    def _forget(self) -> None:
        """Leave behind what was read, once in a while: where an error is, is counted from the window's beginning."""
        if self._at > max(WINDOW_BYTES, len(self._text)) // 64:
            self._text, self._at = self._text[self._at :], 0

    def _skip_between(self) -> bool:
        """Go to where the next object begins, or should; False at the end."""
        while True:
            between = _BETWEEN.match(self._text, self._at)
            self._at = between.end() if between else self._at
            if self._at < len(self._text):
                return True
            if self._is_end:
                return False
            self._grow()

    def _decode(self) -> tuple[dict[str, Any], int, str]:
        """The object that begins here and its end, or why there is none."""
        while True:
            record, end, reason = _decode_at(self._text, self._at)
            if end >= 0 or self._is_end:
                return record, end, reason
            if self._is_full():
                return {}, end, f"it is longer than {OBJECT_CHARS_MAX} characters"
            self._grow()

    def _is_full(self) -> bool:
        return len(self._text) - self._at > OBJECT_CHARS_MAX

    def _find_next(self) -> tuple[dict[str, Any], int, int]:
        """The next object that is wanted, where it begins and ends; the same twice if there is none before the end."""
        search, failures = self._at + 1, 0
        while True:
            beginning = _BEGINNING.search(self._text, search)
            if beginning is None:
                if self._is_end or self._is_full():
                    return {}, len(self._text), len(self._text)
                search = max(search, len(self._text) - _CUT_CHARS) - self._at
                self._grow()
                continue
            start = beginning.start()
            record, end, reason = _try_at(self._text, start)
            if not reason and self._is_wanted(record.keys()):
                return record, start, end
            if end < 0 and not self._is_end and not self._is_full():
                search = start - self._at
                self._grow()
                continue
            failures = failures + 1 if reason else 0
            is_passed_over = not reason or reason == TOO_DEEP or failures > _FAILURES_MAX
            search = max(start + 1, end) if is_passed_over else start + 1

    def _grow(self) -> None:
        """Let the window begin here, and be twice as long as before."""
        self._text = self._text[self._at :]
        self._at = 0
        try:
            data = self._file.read(max(WINDOW_BYTES, len(self._text)))
        except CannotRead as error:
            data, self._failure = b"", str(error)
        self.bytes_read += len(data)
        self.digest.update(data)
        self._is_end = not data
        self._text += self._decoder.decode(data, final=self._is_end)


def keys_at_head(head: bytes) -> Iterator[set[str]]:
    """The names that the first objects of a document have, as far as its first bytes tell."""
    text = head.decode("utf-8", "replace")
    wrapper = _WRAPPER.match(text)
    start, depth = wrapper.end() if wrapper else 0, 0
    keys: set[str] = set()
    for token in _TOKEN.finditer(text, _BETWEEN.match(text, start).end()):  # type: ignore[union-attr]
        mark = token[0][0]
        if mark in "{[":
            depth += 1
        elif mark in "}]":
            depth = max(0, depth - 1)
            if depth == 0 and keys:
                yield keys
                keys = set()
        elif depth == 1 and token[2]:
            keys.add(token[1])
    if keys:
        yield keys


def _decode_at(text: str, start: int) -> tuple[dict[str, Any], int, str]:
    """The object that begins at `start`, its end, and no reason; or a reason, and where the error is.

    The end is -1 where the text may only not go far enough.
    """
    if not text.startswith("{", start):
        return {}, start, "it is not a JSON object"
    try:
        record, end = _DECODER.raw_decode(text, start)
        return record, end, ""
    except RecursionError:
        return {}, start + _LEVELS_AT_LEAST, TOO_DEEP
    except json.JSONDecodeError as error:
        is_cut = error.pos > len(text) - _CUT_CHARS or error.msg.startswith("Unterminated string")
        return {}, -1 if is_cut else error.pos, f"it is not JSON: {error.msg}"


def _try_at(text: str, start: int) -> tuple[dict[str, Any], int, str]:
    """The same for a beginning that may be none."""
    chars = _FIRST_TRY_CHARS
    while True:
        record, end, reason = _decode_at(text[start : start + chars], 0)
        if end >= 0:
            return record, start + end, reason
        if start + chars >= len(text):
            return record, end, reason
        chars *= 16


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
