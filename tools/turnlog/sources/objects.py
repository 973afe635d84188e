"""JSON objects on the lines of files that nobody can be sure of: what is there is read, what is not is said."""

import json
import re
from collections.abc import Iterator
from itertools import chain
from math import isfinite
from typing import IO, Any, NamedTuple

import msgspec

NESTING_MAX = 100
"""Deeper objects are damage: how deep Python can follow depends on who calls, and identities must not."""

_NO_OPENINGS = bytes(byte for byte in range(256) if byte not in b"{[")
_INK = re.compile("[^ \t\r\n\ufeff]")


SHORT_BYTES = 64
"""Lines that are shorter are told together, where many of them are damaged."""

LONE_DAMAGES_MAX = 100
"""So many damaged short lines of a file are told one by one."""

EMPTY_LINES = frozenset((b"\n", b"\r\n", b"{}\n", b"{}\r\n"))
"""Lines that say nothing."""


class CannotRead(Exception):
    """A piece of a file is not what it should be; the argument is the reason, one sentence about "it"."""


class Piece(NamedTuple):
    """Part of a line, by its bytes: an object, or the damage that ends what can be read of the line."""

    start: int
    end: int
    record: dict[str, Any]
    damage: str = ""


def objects_on(line: bytes) -> Iterator[Piece]:
    """The objects on a line in order, the damage last if there is any; white space lies between them."""
    line = line.rstrip(b"\r\n")
    text, damage = _decode(line)
    at = at_byte = 0
    while (start := _skip_blank(text, at)) < len(text) or damage:
        start_byte = at_byte + _width(text, at, start)
        try:
            record, at = _decode_object(text, start)
        except CannotRead as error:
            yield Piece(start_byte, len(line), {}, damage or str(error))
            return
        at_byte = start_byte + _width(text, start, at)
        yield Piece(start_byte, at_byte, record)


def _skip_blank(text: str, at: int) -> int:
    ink = _INK.search(text, at)
    return ink.start() if ink else len(text)


def _decode(line: bytes) -> tuple[str, str]:
    """The line's text up to where it is no longer UTF-8, and what is wrong there."""
    try:
        return line.decode(), ""
    except UnicodeDecodeError as error:
        return line[: error.start].decode(), f"it is not valid UTF-8 (byte {error.start + 1} of the line)"


def _width(text: str, start: int, end: int) -> int:
    return end - start if text.isascii() else len(text[start:end].encode())


def _decode_object(text: str, start: int) -> tuple[dict[str, Any], int]:
    """The object that begins at `start`, and where it ends."""
    if not text.startswith("{", start):
        raise CannotRead(f"it is not a JSON object (column {start + 1})")
    try:
        record, end = DECODER.raw_decode(text, start)
    except RecursionError as error:
        raise CannotRead(TOO_DEEP) from error
    except json.JSONDecodeError as error:
        raise CannotRead(f"it is not JSON: {error.msg} (column {error.pos + 1})") from error
    brackets = text.count("{", start, end) + text.count("[", start, end)
    if brackets > NESTING_MAX and is_deeper_than(NESTING_MAX, record):
        raise CannotRead(TOO_DEEP)
    return record, end


class DamagedLines:
    """Counts the damaged lines of a file, so that a million of them cost no more than reading them."""

    def __init__(self) -> None:
        self._count = 0
        self._is_short = False

    def note(self, line: bytes) -> None:
        """Count a line that is damaged."""
        self._is_short = len(line) < SHORT_BYTES
        self._count += self._is_short

    def behind(self, file: IO[bytes]) -> bytes:
        """The lines that follow the last one and are to be told with each other: short ones without an object on them.

        They are taken out of the file, which is buffered; so many of them at most as are in its buffer.
        """
        if self._count < LONE_DAMAGES_MAX or not self._is_short:
            return b""
        length, ahead = 0, file.peek(1)  # type: ignore[attr-defined]
        while (end := ahead.find(b"\n", length, length + SHORT_BYTES)) >= 0 and not _is_object(ahead[length:end]):
            length = end + 1
        return file.read(length)


def _is_object(line: bytes) -> bool:
    try:
        return line[:1] == b"{" and len(line) > 5 and type(msgspec.json.decode(line)) is dict
    except ValueError:
        return False


def may_be_deep(line: bytes) -> bool:
    """Whether there are brackets enough in a line for an object that is nested too deeply: a quick first look."""
    return len(line) > NESTING_MAX < len(line.translate(None, _NO_OPENINGS))


def is_deeper_than(levels: int, value: Any) -> bool:
    """Whether objects and lists are nested more than so many levels deep."""
    held = [value] if type(value) is dict or type(value) is list else []
    for _ in range(levels):
        if not held:
            return False
        items = chain.from_iterable([each.values() if type(each) is dict else each for each in held])
        held = [item for item in items if type(item) is dict or type(item) is list]
    return bool(held)


def _integer(text: str) -> int | str:
    """A JSON integer, as text where 64 bits cannot hold it (Python refuses to convert very long ones at all)."""
    number = int(text) if len(text) <= 20 else None
    return number if number is not None and -(2**63) <= number < 2**64 else text


def _real(text: str) -> float | str:
    """A JSON number with a fraction or an exponent, as text where a float is too small for it."""
    number = float(text)
    return number if isfinite(number) else text


DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_real)
"""Reads numbers that the log cannot hold as text."""

TOGETHER = "they are no JSON objects, as many lines before them"
"""Why lines are set apart that are told together."""

TOO_DEEP = f"it is nested more than {NESTING_MAX} levels deep"
