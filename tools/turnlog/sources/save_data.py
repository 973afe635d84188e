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
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, tzinfo
from hashlib import blake2b, sha256
from math import isfinite
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple, Self

from eventlog import ROLES, Message, Part, TurnRecorded
from turnlog.errors import WrongUsage
from turnlog.sources.base import (
    CHUNK_BYTES,
    CHUNK_TURNS_MAX,
    Chunk,
    Keep,
    SourceOptions,
    Stream,
    Unreadable,
    keep_nothing,
)
from turnlog.sources.files import digest_of_prefix, file_stamp, open_regular, path_text, refusal
from turnlog.sources.objects import TOGETHER, CannotRead, DamagedLines, Piece, objects_on
from turnlog.sources.times import utc
from turnlog.text import clean

_RECOGNISED_BYTES_MAX = 1024 * 1024

PASSES_MAX = 5
"""How often a reading starts over because the file was rewritten under it."""

_LINE_COUNT = re.compile(rb"\s*([0-9]{1,18})\s*")
_TIME_FIELDS = ("timestamp", "created_at", "at")


class SaveData:
    """Reads `save_data.jsonl` files, each one conversation of one user.

    `conversation` is the file's stem unless given. `already_synced_to` names the sink that has the turns whose record
    says `"synced": true` or whose line the progress mark covers, or, in place of that mark, `lines_synced`. Naive times
    are in `timezone`, by default in this machine's. Raises WrongUsage for a name that is empty.
    """

    name: ClassVar[str] = "save_data"
    global_ids: ClassVar[bool] = False

    def __init__(
        self,
        *,
        user: str,
        conversation: str | None = None,
        already_synced_to: str | None = None,
        lines_synced: int | None = None,
        timezone: tzinfo | None = None,
    ) -> None:
        given = {"user": user, "conversation": conversation, "sink already synced to": already_synced_to}
        for what, value in given.items():
            if value == "":
                raise WrongUsage(f"the {what} is empty; give it a name or leave it out")
        self._user: str = clean(user)[0]
        self._conversation: str | None = clean(conversation)[0]
        self._already_synced_to: str | None = clean(already_synced_to)[0]
        self._lines_given = lines_synced
        self._timezone = timezone

    @classmethod
    def from_options(cls, options: SourceOptions) -> Self:
        """See `Source.from_options`."""
        return cls(user=options.user, timezone=options.timezone)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether the first line is an object with a list of messages with roles, and nothing that others write."""
        try:
            with open_regular(path) as file:
                line = file.readline(_RECOGNISED_BYTES_MAX)
        except WrongUsage:
            return False
        record = next((piece.record for piece in objects_on(line)), {})
        messages = record.get("messages")
        first = messages[0] if isinstance(messages, list) and messages else None
        return isinstance(first, dict) and "role" in first and "content" in first and "type" not in record

    def discover(self, paths: Sequence[Path]) -> list[Stream]:
        """The files as streams, in order, each once. Raises WrongUsage for what is no readable file."""
        streams: dict[str, Stream] = {}
        for named in paths:
            path = Path(os.path.abspath(named))  # noqa: PTH100 - resolve() follows links; the user named the link
            with open_regular(path) as file:
                size_bytes = os.fstat(file.fileno()).st_size
            self._lines_synced(path)
            name = path_text(path)
            streams.setdefault(name, Stream(name=name, path=path, size_bytes=size_bytes))
        return list(streams.values())

    def read(self, stream: Stream, cursor: Any = None, *, keep: Keep = keep_nothing) -> Iterator[Chunk]:
        """Every turn from the beginning, whatever the cursor (see the module). An empty file yields no chunk.

        A chunk's cursor is `{"bytes", "lines", "turns"}`, its fingerprint a digest of so many bytes. Raises WrongUsage
        if the file or its progress mark cannot be read.
        """
        del keep  # a line is an event, whatever it holds
        del cursor  # the file may have been rewritten since, before it as well as behind it
        conversation = self._conversation or path_text(Path(stream.path.stem))
        lines_synced = self._lines_synced(stream.path)
        maker = _TurnMaker(self._user, conversation, self._timezone, self._already_synced_to, lines_synced)
        yielded: Counter[bytes] = Counter()
        for _ in range(PASSES_MAX):
            try:
                with open_regular(stream.path) as file:
                    scan = _Pass(file, maker, yielded)
                    yield from scan.chunks()
            except OSError as error:
                raise refusal(stream.path, error) from error
            if not scan.rewritten:
                return
            yielded |= scan.seen  # the larger count of each
        raise WrongUsage(
            f"{stream.name} is rewritten again and again while it is read; stop what writes it and try again"
        )

    def _lines_synced(self, path: Path) -> int:
        """How many lines the progress mark beside the file covers; 0 where nobody asks or there is none."""
        if self._lines_given is not None:
            return self._lines_given
        mark = path.with_name(path.name + ".progress")
        if self._already_synced_to is None or not os.path.lexists(mark):
            return 0
        with open_regular(mark) as file:
            content = file.read(1024)
        number = _LINE_COUNT.fullmatch(content)
        if number is None:
            raise WrongUsage(
                f"{path_text(mark)} must hold a number of lines and nothing else; mend it, or remove it if no line of "
                f"{path_text(path)} was imported elsewhere"
            )
        return int(number[1])


class _Pass:
    """One way through a file: how far it is, which turns it has seen, and the chunk that it is filling."""

    def __init__(self, file: BinaryIO, maker: "_TurnMaker", yielded: Counter[bytes]) -> None:
        self.seen: Counter[bytes] = Counter()
        self.rewritten = False
        self._file = file
        self._stamp = file_stamp(file)
        self._maker = maker
        self._yielded = yielded
        self._digest = sha256()
        self._damaged = DamagedLines()
        self._line_is_damaged = False
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
            yield from self._take_together()
            # What follows an unterminated line now has been appended since, to that line.
            lines_max = 1 if self._line_is_damaged else CHUNK_TURNS_MAX  # those behind damage may be told together
            lines = _next_lines(self._file, lines_max) if lines[-1].endswith(b"\n") else []
        if self._bytes > self._chunk_start:
            yield self._end_chunk()

    def _is_unchanged(self, lines: list[bytes]) -> bool:
        """Whether the file still begins with what was read of it, these lines included."""
        stamp = file_stamp(self._file)
        if stamp == self._stamp:
            return True
        self._stamp = stamp
        expected = self._digest.copy()
        for line in lines:
            expected.update(line)
        return digest_of_prefix(self._file, self._bytes + sum(map(len, lines))).digest() == expected.digest()

    def _take_line(self, line: bytes) -> Iterator[Chunk]:
        self._line += 1
        done = 0
        for number, piece in enumerate(objects_on(line), 1):
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

    def _take_together(self) -> Iterator[Chunk]:
        """Many damaged lines behind the last one, if they are there."""
        while self._line_is_damaged and (run := self._damaged.behind(self._file)):
            first, self._line = self._line + 1, self._line + run.count(b"\n")
            self._unreadable.append(Unreadable(f"lines {first} to {self._line}", TOGETHER, run))
            self._advance(run)
            if self._is_chunk_full():
                yield self._end_chunk()

    def _take_piece(self, piece: "Piece", raw: bytes, number: int) -> None:
        reason = piece.damage or self._take_record(piece.record)
        self._line_is_damaged = bool(reason)
        if reason:
            self._damaged.note(raw)
            position = f"line {self._line}" if number == 1 else f"line {self._line}, object {number}"
            self._unreadable.append(Unreadable(position=position, reason=reason, raw=raw))

    def _take_record(self, record: dict[str, Any]) -> str:
        """Take the record's turn, or say why it has none."""
        try:
            identity = self._maker.identity(record)
            occurrence = self.seen[identity]
            turn = self._maker.turn(record, _turn_id(identity, occurrence), self._line)
        except CannotRead as error:
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
    """What makes a turn of a record. Its methods raise CannotRead."""

    user: str
    conversation: str
    timezone: tzinfo | None
    sink: str | None
    lines_synced: int

    def identity(self, record: dict[str, Any]) -> bytes:
        """A digest of what makes it this turn, but for its occurrence. Part of the turn ids; do not change."""
        messages = record.get("messages")
        if not isinstance(messages, list) or not messages:
            raise CannotRead("it has no messages")
        what = [self.user, self.conversation, _storable(record.get("timestamp")), messages]
        try:
            canonical = json.dumps(what, sort_keys=True, separators=(",", ":"), allow_nan=False)
        except ValueError as error:
            raise CannotRead("its messages hold NaN or Infinity, which JSON does not know") from error
        return blake2b(canonical.encode("ascii"), digest_size=16).digest()

    def turn(self, record: dict[str, Any], turn_id: str, line: int) -> TurnRecorded:
        """The turn of a record that has an identity."""
        record, replaced = clean(record)
        messages = record.pop("messages")
        is_synced = record.get("synced") is True or line <= self.lines_synced
        moment = utc(record.get("timestamp"), self.timezone)
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
        raise CannotRead(f"its message {number} is not an object")
    fields = dict(raw)
    role, content = fields.pop("role", None), fields.pop("content", None)
    if role not in ROLES:
        raise CannotRead(f"its message {number} has the role {_brief(role)}; known are {', '.join(ROLES)}")
    if not isinstance(content, str):
        raise CannotRead(f"its message {number} has the content {_brief(content)}, which is not text")
    names = {key: fields.pop(key) for key in ("id", "name") if isinstance(fields.get(key), str)}
    at = _take_time(fields, timezone)
    parts = (Part(type="fields", data=fields),) if fields else ()
    return Message(role=role, content=content, at=at, parts=parts, **names)


def _take_time(fields: dict[str, Any], timezone: tzinfo | None) -> datetime | None:
    """The first of the message's times that can be read; it stays in the fields unless it is the same as text."""
    for key in _TIME_FIELDS:
        moment = utc(fields.get(key), timezone)
        if moment is not None:
            text = moment.isoformat()
            if fields[key] in (text, text.replace("+00:00", "Z")):
                del fields[key]
            return moment
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


def _next_lines(file: BinaryIO, lines_max: int = CHUNK_TURNS_MAX) -> list[bytes]:
    """The next lines, a chunk or so of them at most, with their ends; the last one may have none. Empty at the end."""
    lines: list[bytes] = []
    size = 0
    while len(lines) < lines_max and size < CHUNK_BYTES:
        lines.append(file.readline())
        size += len(lines[-1])
        if not lines[-1].endswith(b"\n"):
            break
    return [line for line in lines if line]
