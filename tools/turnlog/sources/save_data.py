r"""The source `save_data`: the JSONL file that the old memory scripts wrote, and rewrote.

After each exchange a script appended one line to it, and later rewrote the file to flip a flag::

    {"messages":[{"role":"user","content":"..."},{"role":"assistant","content":"..."}],"synced":false,
     "retry_count":0,"timestamp":"2024-12-04T10:30:00"}

The oldest files have only `messages`; how far another program had got stands beside them in `FILE.progress`, a number
of lines. How such a file is read:

1. Each JSON object is one turn. A line holds one, or several with or without white space between them, or none. CRLF
   and byte order marks are passed over. Of a name that an object has twice, the last counts, as it did for the scripts.
2. A turn's identity is its user, conversation, timestamp and messages, as they stand in the file, and which occurrence
   of them it is. Flags, time zone and path are no part of it: they change while the turn stays the same.
3. Since flags change anywhere, in place, a cursor does not tell what is new; every reading begins at the beginning and
   yields every turn, with the same ids as before. Memory holds one chunk, one line, and 16 bytes or so a turn.
4. What cannot be read is set apart and the rest goes on: an object that is no turn alone; where a line is damaged,
   what follows the damage on that line with it, since nobody can tell where the next object begins.
5. The file may be growing. Whole objects on an unterminated last line are taken (a closing brace cannot be taken
   back); anything else there is left, uncounted, for the reading that finds it completed.
6. The file may be rewritten while it is read, so that the two halves of a line come from two versions of it. Before a
   stretch of lines is used, a file that was written to is read again from its beginning up to there; if it is not what
   it was, the reading starts over and passes over the turns that it has yielded. A script caught after emptying the
   file and before filling it looks like a short file: the next reading finds the rest.
7. The fields of a record stand in the turn's `meta`, those of a message that `Message` has no place for in a part of
   type `fields`, so that nothing is dropped. Numbers that JSON or 64 bits cannot hold are kept as text.
"""

import json
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from hashlib import blake2b
from math import isfinite
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple

from eventlog import ROLES, Message, Part, TurnRecorded
from turnlog.errors import WrongUsage
from turnlog.sources.base import Chunk, Stream, Unreadable
from turnlog.text import clean

CHUNK_TURNS_MAX = 500
CHUNK_BYTES = 4 * 1024 * 1024
"""A chunk ends with the object that reaches this many bytes of the file."""

NESTING_MAX = 100
"""Deeper objects are damage: how deep Python can follow depends on who calls, and identities must not."""

PASSES_MAX = 5
"""How often a reading starts over because the file was rewritten under it."""

_INK = re.compile("[^ \t\r\n\ufeff]")
_DIGITS = re.compile(r"[0-9]+(\.[0-9]*)?")
_LINE_COUNT = re.compile(rb"\s*([0-9]{1,18})\s*")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME_FIELDS = ("timestamp", "created_at", "at")


class SaveData:
    """Reads `save_data.jsonl` files, each one conversation of one user.

    `conversation` is the file's stem unless given. `already_synced_to` names the sink that has the turns whose record
    says `"synced": true` or whose line the progress mark covers. Naive times are in `timezone`, by default in this
    machine's. Raises WrongUsage for a name that is empty.
    """

    name: ClassVar[str] = "save_data"

    def __init__(
        self,
        *,
        user: str,
        conversation: str | None = None,
        already_synced_to: str | None = None,
        timezone: tzinfo | None = None,
    ) -> None:
        given = {"user": user, "conversation": conversation, "sink already synced to": already_synced_to}
        for what, value in given.items():
            if value == "":
                raise WrongUsage(f"the {what} is empty; give it a name or leave it out")
        self._user: str = clean(user)[0]
        self._conversation: str | None = clean(conversation)[0]
        self._already_synced_to: str | None = clean(already_synced_to)[0]
        self._timezone = timezone

    def discover(self, paths: Sequence[Path]) -> list[Stream]:
        """The files as streams, in order, each once. Raises WrongUsage for what is no readable file."""
        streams: dict[str, Stream] = {}
        for named in paths:
            path = Path(os.path.abspath(named))  # noqa: PTH100 - resolve() follows links; the user named the link
            with _open(path) as file:
                size_bytes = os.fstat(file.fileno()).st_size
            self._lines_synced(path)
            name = _as_text(path)
            streams.setdefault(name, Stream(name=name, path=path, size_bytes=size_bytes))
        return list(streams.values())

    def read(self, stream: Stream, cursor: Any = None) -> Iterator[Chunk]:
        """Every turn from the beginning, whatever the cursor (see the module). An empty file yields no chunk.

        A chunk's cursor is `{"bytes", "lines", "turns"}`, its fingerprint a digest of so many bytes. Raises WrongUsage
        if the file or its progress mark cannot be read.
        """
        del cursor  # the file may have been rewritten since, before it as well as behind it
        conversation = self._conversation or _as_text(Path(stream.path.stem))
        lines_synced = self._lines_synced(stream.path)
        maker = _TurnMaker(self._user, conversation, self._timezone, self._already_synced_to, lines_synced)
        yielded: Counter[bytes] = Counter()
        for _ in range(PASSES_MAX):
            try:
                with _open(stream.path) as file:
                    scan = _Pass(file, maker, yielded)
                    yield from scan.chunks()
            except OSError as error:
                raise _refusal(stream.path, error) from error
            if not scan.rewritten:
                return
            yielded |= scan.seen  # the larger count of each
        raise WrongUsage(
            f"{stream.name} is rewritten again and again while it is read; stop what writes it and try again"
        )

    def _lines_synced(self, path: Path) -> int:
        """How many lines the progress mark beside the file covers; 0 where nobody asks or there is none."""
        mark = path.with_name(path.name + ".progress")
        if self._already_synced_to is None or not os.path.lexists(mark):
            return 0
        with _open(mark) as file:
            content = file.read(1024)
        number = _LINE_COUNT.fullmatch(content)
        if number is None:
            raise WrongUsage(
                f"{_as_text(mark)} must hold a number of lines and nothing else; mend it, or remove it if no line of "
                f"{_as_text(path)} was imported elsewhere"
            )
        return int(number[1])


class _CannotRead(Exception):
    """A piece of the file is no turn; the argument is the reason, one sentence about "it"."""


class _Pass:
    """One way through a file: how far it is, which turns it has seen, and the chunk that it is filling."""

    def __init__(self, file: BinaryIO, maker: "_TurnMaker", yielded: Counter[bytes]) -> None:
        self.seen: Counter[bytes] = Counter()
        self.rewritten = False
        self._file = file
        self._stamp = _stamp(file)
        self._maker = maker
        self._yielded = yielded
        self._digest = blake2b(digest_size=16)
        self._line = self._bytes = self._lines = self._turn_count = self._chunk_start = 0
        self._turns: list[TurnRecorded] = []
        self._unreadable: list[Unreadable] = []

    def chunks(self) -> Iterator[Chunk]:
        """Everything to the end of the file, or up to where `rewritten` became true."""
        lines = _next_lines(self._file)
        while lines:
            self.rewritten = not self._is_unchanged(lines)
            if self.rewritten:
                break
            for line in lines:
                yield from self._take_line(line)
            # What follows an unterminated line now has been appended since, to that line.
            lines = _next_lines(self._file) if lines[-1].endswith(b"\n") else []
        if self._bytes > self._chunk_start:
            yield self._end_chunk()

    def _is_unchanged(self, lines: list[bytes]) -> bool:
        """Whether the file still begins with what was read of it, these lines included."""
        stamp = _stamp(self._file)
        if stamp == self._stamp:
            return True
        self._stamp = stamp
        expected = self._digest.copy()
        for line in lines:
            expected.update(line)
        return _digest_of_prefix(self._file, self._bytes + sum(map(len, lines))) == expected.digest()

    def _take_line(self, line: bytes) -> Iterator[Chunk]:
        self._line += 1
        done = 0
        for number, piece in enumerate(_pieces(line), 1):
            if piece.damage and not line.endswith(b"\n"):
                return  # left for the reading that finds the line completed
            if self._is_chunk_full():
                yield self._end_chunk()
            self._take_piece(piece, line[piece.start : piece.end], number)
            self._advance(line[done : piece.end])
            done = piece.end
        self._advance(line[done:])
        if self._is_chunk_full():
            yield self._end_chunk()

    def _take_piece(self, piece: "_Piece", raw: bytes, number: int) -> None:
        reason = piece.damage or self._take_record(piece.record)
        if reason:
            position = f"line {self._line}" if number == 1 else f"line {self._line}, object {number}"
            self._unreadable.append(Unreadable(position=position, reason=reason, raw=raw))

    def _take_record(self, record: dict[str, Any]) -> str:
        """Take the record's turn, or say why it has none."""
        try:
            identity = self._maker.identity(record)
            occurrence = self.seen[identity]
            turn = self._maker.turn(record, _turn_id(identity, occurrence), self._line)
        except _CannotRead as error:
            return str(error)
        self.seen[identity] = occurrence + 1
        self._turn_count += 1
        if occurrence >= self._yielded[identity]:
            self._turns.append(turn)
        return ""

    def _advance(self, raw: bytes) -> None:
        if raw:
            self._digest.update(raw)
            self._bytes += len(raw)
            self._lines = self._line

    def _is_chunk_full(self) -> bool:
        pieces = len(self._turns) + len(self._unreadable)
        return pieces >= CHUNK_TURNS_MAX or self._bytes - self._chunk_start >= CHUNK_BYTES

    def _end_chunk(self) -> Chunk:
        chunk = Chunk(
            turns=tuple(self._turns),
            unreadable=tuple(self._unreadable),
            cursor={"bytes": self._bytes, "lines": self._lines, "turns": self._turn_count},
            fingerprint=self._digest.hexdigest(),
            offset=self._bytes,
        )
        self._turns, self._unreadable, self._chunk_start = [], [], self._bytes
        return chunk


class _TurnMaker(NamedTuple):
    """What makes a turn of a record. Its methods raise _CannotRead."""

    user: str
    conversation: str
    timezone: tzinfo | None
    sink: str | None
    lines_synced: int

    def identity(self, record: dict[str, Any]) -> bytes:
        """A digest of what makes it this turn, but for its occurrence. Part of the turn ids; do not change."""
        messages = record.get("messages")
        if not isinstance(messages, list) or not messages:
            raise _CannotRead("it has no messages")
        what = [self.user, self.conversation, _storable(record.get("timestamp")), messages]
        try:
            canonical = json.dumps(what, sort_keys=True, separators=(",", ":"), allow_nan=False)
        except ValueError as error:
            raise _CannotRead("its messages hold NaN or Infinity, which JSON does not know") from error
        return blake2b(canonical.encode("ascii"), digest_size=16).digest()

    def turn(self, record: dict[str, Any], turn_id: str, line: int) -> TurnRecorded:
        """The turn of a record that has an identity."""
        record, replaced = clean(record)
        messages = record.pop("messages")
        is_synced = record.get("synced") is True or line <= self.lines_synced
        moment = _utc(record.get("timestamp"), self.timezone)
        meta = _storable(record)
        if replaced:
            meta[_unused("replaced_surrogates", meta)] = replaced
        return TurnRecorded(
            turn_id=turn_id,
            source=SaveData.name,
            user=self.user,
            conversation=self.conversation,
            started_at=moment,
            ended_at=moment,
            delivered_to=(self.sink,) if self.sink and is_synced else (),
            meta=meta,
            messages=tuple(_message(raw, number, self.timezone) for number, raw in enumerate(messages, 1)),
        )


def _message(raw: Any, number: int, timezone: tzinfo | None) -> Message:
    if not isinstance(raw, dict):
        raise _CannotRead(f"its message {number} is not an object")
    fields = dict(raw)
    role, content = fields.pop("role", None), fields.pop("content", None)
    if role not in ROLES:
        raise _CannotRead(f"its message {number} has the role {_brief(role)}; known are {', '.join(ROLES)}")
    if not isinstance(content, str):
        raise _CannotRead(f"its message {number} has the content {_brief(content)}, which is not text")
    names = {key: fields.pop(key) for key in ("id", "name") if isinstance(fields.get(key), str)}
    at = _take_time(fields, timezone)
    parts = (Part(type="fields", data=fields),) if fields else ()
    return Message(role=role, content=content, at=at, parts=parts, **names)


def _take_time(fields: dict[str, Any], timezone: tzinfo | None) -> datetime | None:
    """The first of the message's times that can be read; it stays in the fields unless it is the same as text."""
    for key in _TIME_FIELDS:
        moment = _utc(fields.get(key), timezone)
        if moment is not None:
            text = moment.isoformat()
            if fields[key] in (text, text.replace("+00:00", "Z")):
                del fields[key]
            return moment
    return None


def _utc(value: Any, timezone: tzinfo | None) -> datetime | None:
    """The moment that an ISO 8601 text or a number of seconds since 1970 means, None if it means none."""
    try:
        if isinstance(value, str) and not _DIGITS.fullmatch(value):  # fromisoformat reads a year in any number
            moment = datetime.fromisoformat(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            moment = _EPOCH + timedelta(seconds=value)
        else:
            return None
        if moment.tzinfo is None and timezone is not None:
            moment = moment.replace(tzinfo=timezone)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _storable(value: Any) -> Any:
    """The value with NaN and the infinities as text."""
    if isinstance(value, float) and not isfinite(value):
        return json.dumps(value)
    if isinstance(value, dict):
        return {key: _storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_storable(item) for item in value]
    return value


def _unused(name: str, taken: dict[str, Any]) -> str:
    while name in taken:
        name += "_"
    return name


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _turn_id(identity: bytes, occurrence: int) -> str:
    """Part of what is recorded; do not change."""
    digest = blake2b(identity + occurrence.to_bytes(8, "big"), digest_size=16)
    return f"{SaveData.name}:{digest.hexdigest()}"


class _Piece(NamedTuple):
    """Part of a line, by its bytes: an object, or the damage that ends what can be read of the line."""

    start: int
    end: int
    record: dict[str, Any]
    damage: str = ""


def _pieces(line: bytes) -> Iterator[_Piece]:
    """The objects on a line in order, the damage last if there is any; white space lies between them."""
    line = line.rstrip(b"\r\n")
    text, damage = _decode(line)
    at = at_byte = 0
    while (start := _skip_blank(text, at)) < len(text) or damage:
        start_byte = at_byte + _width(text, at, start)
        try:
            record, at = _decode_object(text, start)
        except _CannotRead as error:
            yield _Piece(start_byte, len(line), {}, damage or str(error))
            return
        at_byte = start_byte + _width(text, start, at)
        yield _Piece(start_byte, at_byte, record)


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
        raise _CannotRead(f"it is not a JSON object (column {start + 1})")
    try:
        record, end = _DECODER.raw_decode(text, start)
    except RecursionError as error:
        raise _CannotRead(_TOO_DEEP) from error
    except json.JSONDecodeError as error:
        raise _CannotRead(f"it is not JSON: {error.msg} (column {error.pos + 1})") from error
    brackets = text.count("{", start, end) + text.count("[", start, end)
    if brackets > NESTING_MAX and _is_deeper_than(NESTING_MAX, record):
        raise _CannotRead(_TOO_DEEP)
    return record, end


def _is_deeper_than(levels: int, value: Any) -> bool:
    if not isinstance(value, dict | list):
        return False
    items = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper_than(levels - 1, item) for item in items)


def _integer(text: str) -> int | str:
    """A JSON integer, as text where 64 bits cannot hold it (Python refuses to convert very long ones at all)."""
    number = int(text) if len(text) <= 20 else None
    return number if number is not None and -(2**63) <= number < 2**64 else text


def _real(text: str) -> float | str:
    """A JSON number with a fraction or an exponent, as text where a float is too small for it."""
    number = float(text)
    return number if isfinite(number) else text


_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_real)
_TOO_DEEP = f"it is nested more than {NESTING_MAX} levels deep"


def _next_lines(file: BinaryIO) -> list[bytes]:
    """The next lines, a chunk or so of them, with their ends; the last one may have none. Empty at the end."""
    lines: list[bytes] = []
    size = 0
    while len(lines) < CHUNK_TURNS_MAX and size < CHUNK_BYTES:
        lines.append(file.readline())
        size += len(lines[-1])
        if not lines[-1].endswith(b"\n"):
            break
    return [line for line in lines if line]


def _stamp(file: BinaryIO) -> tuple[int, int]:
    """What changes when the file is written to."""
    status = os.fstat(file.fileno())
    return status.st_mtime_ns, status.st_size


def _digest_of_prefix(file: BinaryIO, length: int) -> bytes:
    """A digest of the file's first bytes; its position is then behind them."""
    digest = blake2b(digest_size=16)
    file.seek(0)
    while length and (data := file.read(min(length, 2**20))):
        digest.update(data)
        length -= len(data)
    return digest.digest()


def _open(path: Path) -> BinaryIO:
    """The regular file, open to be read. Raises WrongUsage with a sentence that names it."""
    try:
        mode = path.stat().st_mode  # before it is opened: opening a pipe waits for, or disturbs, who writes to it
        if stat.S_ISDIR(mode):
            raise WrongUsage(f"{_as_text(path)} is a folder; name the file in it that is to be read")
        if not stat.S_ISREG(mode):
            raise WrongUsage(f"{_as_text(path)} is not a regular file; save what it gives to one and name that")
        return path.open("rb")
    except (OSError, ValueError) as error:  # a name that no file can have is a ValueError
        raise _refusal(path, error) from error


def _refusal(path: Path, error: OSError | ValueError) -> WrongUsage:
    reason = error.strerror if isinstance(error, OSError) else error
    return WrongUsage(f"{_as_text(path)} cannot be read: {reason}")


def _as_text(path: Path) -> str:
    r"""The path as valid Unicode; bytes that are no UTF-8 stand in it as `\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
