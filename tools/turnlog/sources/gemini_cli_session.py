"""Where in a session's file each message stands, which of its versions are there, and whether it is on the branch.

A file is gone through once for that, keeping some hundred bytes a message; what the messages say is read when their
turn is made. The rules are Gemini CLI's own, told in `turnlog.sources.gemini_cli`.
"""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any, BinaryIO, NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from turnlog.sources.base import keep_nothing
from turnlog.sources.gemini_content import Content, as_text, read_object, salvage
from turnlog.sources.objects import EMPTY_LINES, TOGETHER, CannotRead, DamagedLines, objects_on

LINE_BYTES_MAX = 64 * 1024 * 1024
"""A longer line is damage; so is a larger `.json`, which must be read as a whole."""

_AHEAD_BYTES = 256 * 1024
_VERSIONS = 8  # so many are looked at to see whether a message was written before as it is now

_CONTEXT = ("<session_context>", "<hook_context>", "<state_snapshot>", "System: Please continue.")
"""What messages of the type `user` begin with that nobody typed."""

_SHOWN = ("image", "attachment")
"""Parts that are a prompt also without any text."""


class Place(Struct, frozen=True, gc=False):
    """Where a message stands in the file, and a check to know it again, but for its closing brace.

    One of a damaged file is here itself.
    """

    offset: int
    length: int
    check: int
    raw: bytes = b""


class Entry:
    """A message: its id, whether it is a prompt, and its versions in the order in which they were written."""

    __slots__ = ("id", "is_prompt", "places")

    def __init__(self, id: str, *, is_prompt: bool) -> None:  # noqa: A002 - what it is
        self.id = id
        self.is_prompt = is_prompt
        self.places: list[Place] = []


class Damage(NamedTuple):
    """A piece of the file that cannot be read."""

    position: str
    reason: str
    offset: int
    length: int


class _Glance(Struct):
    """What must be known of a record to say what it is."""

    id: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    role: str | UnsetType = UNSET
    session: str | UnsetType = msgspec.field(default=UNSET, name="sessionId")
    messages: Raw | UnsetType = UNSET
    history: Raw | UnsetType = UNSET
    set: Raw | UnsetType = msgspec.field(default=UNSET, name="$set")
    rewind: str | UnsetType = msgspec.field(default=UNSET, name="$rewindTo")


_GLANCE = msgspec.json.Decoder(_Glance)
_FIELDS = msgspec.json.Decoder(dict[str, Raw])
_LIST = msgspec.json.Decoder(list[Raw])


class Session:
    """A session as its file tells it; see the module. `active` are the ids of what was not taken back."""

    def __init__(self) -> None:
        self.header: dict[str, Any] = {}
        self.entries: dict[str, Entry] = {}
        self.active: dict[str, None] = {}
        self.damage: list[Damage] = []
        self.consumed = 0
        self._nameless = 0

    def groups(self) -> list[list[Entry]]:
        """The messages of each turn: a prompt and what follows; what is before the first prompt belongs to it."""
        groups: list[list[Entry]] = []
        has_prompt = False
        for entry in self.entries.values():
            if not groups or (entry.is_prompt and has_prompt):
                groups.append([])
            has_prompt = has_prompt or entry.is_prompt
            groups[-1].append(entry)
        return groups

    def take_line(self, line: bytes, offset: int, number: int) -> None:
        """Take in a line of a `.jsonl`; one without its end is taken as far as it is whole."""
        for at, raw, glance, damage in _records_on(line):
            if damage and not line.endswith(b"\n"):
                return
            reason = damage or self._take_record(raw, offset + at, glance)
            if reason:
                self.damage.append(Damage(f"line {number}", reason, offset + at, len(raw)))
            self.consumed = offset + at + len(raw)
        if line.endswith(b"\n"):
            self.consumed = offset + len(line)

    def take_document(self, content: bytes) -> None:
        """Take in a `.json`: one object with all messages, or as much of it as can be told apart."""
        self.consumed = len(content)
        document = content.removeprefix(b"\xef\xbb\xbf")
        try:
            document.decode()
            self._take_fields(document, len(content) - len(document))
        except (CannotRead, ValueError, RecursionError) as error:
            self.damage.append(Damage("byte 0", _reason(document, error), 0, len(content)))
            self._salvage(document.decode("utf-8", "replace"))

    def _salvage(self, text: str) -> None:
        """A damaged `.json`: its messages, if it says before the damage which session they are of."""
        self.entries.clear()
        head = text[: max(0, text.find('"messages"'))] + '"messages":[]}'
        self.header = _without_messages(next(iter(salvage(head, lambda _: True)), {}))
        if as_text(self.header.get("sessionId")):
            for record in salvage(text, _is_message):
                self._take_message(msgspec.json.encode(record), -1)

    def _take_record(self, raw: bytes, offset: int, glance: _Glance | None) -> str:
        """Take in an object of a line, or say why it cannot be."""
        try:
            glance = glance or _careful_glance(raw)
            if glance.rewind is not UNSET:
                self._rewind(glance.rewind)
            elif glance.set is not UNSET:
                change = bytes(glance.set)
                self._take_fields(change, offset + raw.index(change))
            elif glance.type is UNSET and (glance.session, glance.messages, glance.history) != (UNSET, UNSET, UNSET):
                self._take_fields(raw, offset)
            else:
                self._take_message(raw, offset, glance)
        except (CannotRead, ValueError, RecursionError) as error:
            return _reason(raw, error)
        return ""

    def _take_fields(self, raw: bytes, offset: int) -> None:
        """Take in what is said of the session itself; messages among it take the place of those on the branch.

        Raises CannotRead, ValueError, RecursionError for what is no such object.
        """
        fields = _FIELDS.decode(raw)
        lists = {key: _LIST.decode(fields.pop(key)) for key in ("messages", "history") if key in fields}
        self.header.update(read_object(msgspec.json.encode(fields) if lists else raw))
        at = 0
        for raws in lists.values():
            self.active = {}
            for message in map(bytes, raws):
                at = raw.index(message, at)
                self._take_message(message, offset + at)
                at += len(message)

    def _take_message(self, raw: bytes, offset: int, glance: _Glance | None = None) -> None:
        """A message is new, or another version of one that is there, which puts it on the branch again."""
        glance = glance or _careful_glance(raw)
        name = glance.id or f"#{self._nameless}"
        self._nameless += not glance.id
        entry = self.entries.get(name)
        if entry is None:
            entry = self.entries[name] = Entry(name, is_prompt=_is_prompt(glance, raw))
        self.active[name] = None
        place = Place(offset, len(raw), hash(raw[:-1]), raw if offset < 0 else b"")
        last = entry.places[-1] if entry.places else None
        if last is not None and hash(raw[: last.length - 1]) == last.check:
            entry.places[-1] = place  # the same as before, or that with more fields
        elif all(known.check != place.check for known in entry.places[-_VERSIONS:]):
            entry.places.append(place)

    def _rewind(self, to: str) -> None:
        """What follows that message, and it, leave the branch; all do if it is not there."""
        last = ""
        while self.active and last != to:
            last, _ = self.active.popitem()


class Prefix:
    """The digest of a file as far as it was consumed, and what it was at `mark` bytes."""

    def __init__(self, mark: int = 0) -> None:
        self.at_mark = ""
        self._digest = sha256()
        self._mark = mark
        self._bytes = 0

    def update(self, data: bytes) -> None:
        """Take in what comes next."""
        split = self._mark - self._bytes
        if 0 < split <= len(data):
            self._digest.update(data[:split])
            self.at_mark = self._digest.hexdigest()
            self._digest.update(data[split:])
        else:
            self._digest.update(data)
        self._bytes += len(data)

    def hexdigest(self) -> str:
        """The digest of all of it."""
        return self._digest.hexdigest()


def read_lines(file: BinaryIO, session: Session, digest: Prefix) -> None:
    """Take in a `.jsonl` from its beginning to its end; `digest` is fed what is consumed."""
    offset = number = 0
    damaged = DamagedLines()
    while line := file.readline(LINE_BYTES_MAX):
        number += 1
        length = len(line)
        if length == LINE_BYTES_MAX and not line.endswith(b"\n"):
            digest.update(line)
            for more in iter(lambda: file.readline(LINE_BYTES_MAX), b""):
                digest.update(more)
                length += len(more)
                if more.endswith(b"\n"):
                    break
            session.damage.append(Damage(f"line {number}", "it is too long to be read", offset, LINE_BYTES_MAX))
            session.consumed = offset + length
        elif length < 5 and line in EMPTY_LINES:
            digest.update(line)
            session.consumed = offset + length
        else:
            known = len(session.damage)
            session.take_line(line, offset, number)
            digest.update(line[: max(0, session.consumed - offset)])
            if not line.endswith(b"\n"):
                return  # what is appended from now on belongs to this line
            if len(session.damage) > known:
                damaged.note(line)
                run = damaged.behind(file)
                first, number = number + 1, number + run.count(b"\n")
                if run:
                    session.damage.append(Damage(f"lines {first} to {number}", TOGETHER, offset + length, len(run)))
                digest.update(run)
                length += len(run)
                session.consumed = offset + length
        offset += length


class Texts:
    """What stands in a file at places that are asked for mostly in order: read ahead, and known again."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._start = 0
        self._window = b""

    def at(self, place: Place) -> bytes:
        """The bytes at a place. Raises LookupError if others stand there by now."""
        if place.offset < 0:
            return place.raw
        begin = place.offset - self._start
        if not 0 <= begin <= len(self._window) - place.length:
            self._file.seek(place.offset)
            self._start, begin = place.offset, 0
            self._window = self._file.read(max(place.length, _AHEAD_BYTES))
        raw = self._window[begin : begin + place.length]
        if hash(raw[:-1]) != place.check:
            raise LookupError
        return raw

    def slice(self, offset: int, length: int) -> bytes:
        """The bytes there, whatever they are."""
        self._file.seek(offset)
        return self._file.read(length)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _records_on(line: bytes) -> Iterator[tuple[int, bytes, _Glance | None, str]]:
    """The objects of a line with where they begin, and the damage that ends it; mostly it is one object."""
    stripped = line.strip(b" \t\r\n")
    if not stripped:
        return
    try:
        yield len(line) - len(line.lstrip(b" \t\r\n")), stripped, _GLANCE.decode(stripped), ""
    except (ValueError, RecursionError):
        for piece in objects_on(line):
            yield piece.start, line[piece.start : piece.end], None, piece.damage


def _careful_glance(raw: bytes) -> _Glance:
    """A glance at a record in which something may be of the wrong type. Raises CannotRead."""
    try:
        return _GLANCE.decode(raw)
    except (ValueError, RecursionError):
        record = read_object(raw)
    texts = {key: record[key] for key in ("id", "type", "role", "sessionId", "$rewindTo")
             if isinstance(record.get(key), str)}  # fmt: skip
    change = {"$set": Raw(msgspec.json.encode(record["$set"]))} if isinstance(record.get("$set"), dict) else {}
    return msgspec.convert({**texts, **change}, _Glance)


def _reason(raw: bytes, error: Exception) -> str:
    """Why the bytes cannot be read, in the words of the careful way to read them if it fails too."""
    if isinstance(error, CannotRead):
        return str(error)
    try:
        read_object(raw)
    except CannotRead as why:
        return str(why)
    return f"it is not what it should be: {error}"


def _is_prompt(glance: _Glance, raw: bytes) -> bool:
    """Whether somebody typed it to be answered: no context that a program put in, no command, no tool's result."""
    if (glance.type if glance.type is not UNSET else glance.role) != "user":
        return False
    content = Content(keep_nothing)
    try:
        record = read_object(raw)
    except CannotRead:
        return False
    content.take(record.get("content", record.get("parts")))
    return is_typed(content.text) if content.text.strip() else any(p.type in _SHOWN for p in content.parts)


def is_typed(text: str) -> bool:
    """Whether the text is a prompt, as far as it can tell."""
    text = text.strip()
    return bool(text) and not text.startswith(_CONTEXT) and not _is_command(text)


def _is_command(text: str) -> bool:
    """`/chat save x`, `?`; a path with which a prompt begins is none."""
    word = text.split(None, 1)[0]
    return text == "?" or (word.startswith("/") and word[1:].replace("-", "").replace(":", "").isalnum())


def _is_message(record: dict[str, Any]) -> bool:
    return isinstance(record.get("type"), str) and isinstance(record.get("id"), str) and "timestamp" in record


def _without_messages(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in ("messages", "history")}
