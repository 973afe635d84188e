r"""The source `gemini`: conversations with Gemini on the web, as Google Takeout gives them, and AI Studio's prompts.

Takeout has them under "My Activity", "Gemini Apps" (formerly Bard): `MyActivity.html`, or `MyActivity.json` if that was
asked for, in a folder or in one of the parts of a zip. Names are in the account's language, so a file is known by what
is in it. A row is a prompt and its answer, the newest first; accounts delete old rows. As JSON::

    {"header":"Gemini Apps","title":"Prompted what is auto-wah used for?","time":"2026-08-02T20:25:53.412Z",
     "products":["Gemini Apps"],"details":[{"name":...,"url":"https://gemini.google.com/app/995a37b426489105"}],
     "subtitles":[{"name":"Attached 1 file."},{"name":"-  a.png","url":"a-1f.png"}],"attachedFiles":["a-1f.png"],
     "safeHtmlItem":[{"html":"<p>..."}]}

and as HTML, with the time to a second in the account's language and zone, U+202F before PM::

    <div class="outer-cell ..."> ... <p class="mdl-typography--title">Gemini Apps<br></p> ...
    <div class="content-cell ... mdl-typography--body-1">Prompted&nbsp;what is auto-wah used for?<br>
    Aug 2, 2026, 10:25:53 PM CEST<br><p>...<br></div> ... <b>Details:</b> ... <a href="https://gemini.google.com/app/995a...">

How it is read:

1. There are no ids. A row is known by its UTC second and the text of its prompt, space and entities aside, and by which
   such row it is where several are alike. So the same row from both spellings, or from a later export, is one turn. The
   conversation's id, which the newer exports have, is no part of that: the same row had none in an older one.
2. The turn's conversation is that id, or else the day: `activity-2026-08-02`.
3. `Prompted`, `Asked`, `Said` and `Answered` are prompts, and in other languages any row with an answer. Other rows
   (`Created Gemini Canvas titled ...`, `Used`, `Gave` feedback, `Selected`, `Cleared` ...) are turns of a system
   message and the answer, if there is one. Rows of other products in the same file are not taken.
4. An answer is text, and a part `html` if it is more than text; drafts (several `safeHtmlItem`) stand one after another
   in one message, as they do in the HTML, which does not tell them apart; their number is in `meta`.
5. Attached files are told by name. What else a JSON row holds is in `meta`.
6. What the name of a zone means is the user's `--timezone` to say where it uses that name, see `gemini_takeout_dates`.
   A row in whose lines no date is understood is set apart.
7. Rows begin at marks that can stand nowhere else: a tag, which text cannot hold, and a `{` with a known name behind
   it, which a JSON string cannot. So a damaged row costs itself, and a file of any size is gone through once for the
   marks and once for the rows, from the oldest to the newest; memory holds some bytes a row and one chunk.
8. A zip is read as `archives` does it: a member at a time, copied to an unnamed file; a damaged one costs itself.

AI Studio's prompts are told in `gemini_studio`.
"""

import re
from array import array
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import tzinfo
from hashlib import blake2b
from itertools import islice, pairwise
from pathlib import Path
from typing import IO, Any, BinaryIO, ClassVar, NamedTuple, Self

from eventlog import ConversationNoted, TurnRecorded
from turnlog.config import ImportLimits
from turnlog.errors import WrongUsage
from turnlog.sources.archives import Archive, Member, is_archive, spooled
from turnlog.sources.base import Chunk, Keep, SourceOptions, Stream, Unreadable, keep_nothing
from turnlog.sources.files import file_stamp, open_regular, path_text, refusal
from turnlog.sources.gemini_files import Filling, find_streams, head_of
from turnlog.sources.gemini_studio import Found, is_prompt_file, read_prompt
from turnlog.sources.gemini_takeout_rows import Row, TurnMaker, html_row, json_row
from turnlog.sources.objects import CannotRead
from turnlog.text import clean

HEAD_BYTES = 1024 * 1024
"""A page begins with its styles, which are long."""

ROW_BYTES_MAX = 16 * 1024 * 1024
PROMPT_BYTES_MAX = 128 * 1024 * 1024
_SHOWN_BYTES = 64 * 1024
_BLOCK_BYTES = 1024 * 1024
_OVERLAP_BYTES = 256
_HEADS_MAX = 200
_ZIP = b"PK"

_HTML_ROW = re.compile(rb'<div class="outer-cell')
_JSON_ROW = re.compile(
    rb'(?<![^\[,\s])(\{\s{0,64}"(?:header|title|titleUrl|time|products|activityControls|subtitles|details'
    rb'|description|safeHtmlItem|attachedFiles|imageFile|audioFiles|locationInfos)"\s{0,64}:)'
)
_HTML_GEMINI = re.compile(rb'mdl-typography--title">[^<]{0,64}(?:Gemini|Bard)')
_JSON_GEMINI = re.compile(rb'"(?:header|products)"\s{0,64}:[\s\[]{0,64}"[^"]{0,64}(?:Gemini|Bard)')


class Gemini:
    """Reads Takeout's activity in Gemini Apps and AI Studio's prompts of `user`; see the module.

    Abbreviations of zones in HTML are `timezone`'s where it has them.
    """

    name: ClassVar[str] = "gemini"
    global_ids: ClassVar[bool] = True

    def __init__(
        self,
        *,
        user: str = "default",
        timezone: tzinfo | None = None,
        limits: ImportLimits = ImportLimits(),  # noqa: B008 - frozen
    ) -> None:
        self._user = clean(user)[0]
        self._timezone = timezone
        self._limits = limits

    @classmethod
    def from_options(cls, options: SourceOptions) -> Self:
        """See `Source.from_options`."""
        return cls(user=options.user, timezone=options.timezone, limits=options.limits)

    def recognises(self, path: Path) -> bool:
        """Whether it is a page, an array or a zip with activity in Gemini, or a prompt of AI Studio."""
        head = head_of(path)
        if not head.startswith(_ZIP):
            return _kind_of(head_of(path, HEAD_BYTES) if head.lstrip()[:1] == b"<" else head) != ""
        try:
            with closing(Archive(path, self._limits)) as archive:
                return any(_kind_of(_head_in(member)) for member in islice(_wanted(archive), _HEADS_MAX))
        except (WrongUsage, OSError):
            return False

    def discover(self, paths: Sequence[Path]) -> list[Stream]:
        """Exports in files and folders, each a stream. Raises WrongUsage."""
        return find_streams(paths, self.recognises, _may_be, "activity in Gemini or prompts of AI Studio")

    def read(self, stream: Stream, cursor: Any = None, *, keep: Keep = keep_nothing) -> Iterator[Chunk]:
        """Every turn from the beginning, whatever the cursor: an export is a whole. Raises WrongUsage."""
        del cursor
        try:
            with open_regular(stream.path) as file:
                stamp, fingerprint = file_stamp(file), _digest(file)
                file.seek(0)
                filling, read = Filling(), 0
                state = {"bytes": stamp[1], "digest": fingerprint}
                notes: list[ConversationNoted] = []
                for found, size_bytes in self._found(file, stream, keep):
                    read = min(read + size_bytes, stream.size_bytes)
                    if isinstance(found, ConversationNoted):
                        notes.append(found)
                    elif filling.add(found, size_bytes):
                        yield filling.end(state, fingerprint, read, notes)
                        notes = []
                if file_stamp(file) != stamp:
                    raise WrongUsage(f"{stream.name} was written to while it was read; import it when it is complete")
        except OSError as error:
            raise refusal(stream.path, error) from error
        if stamp[1]:
            yield filling.end(state, fingerprint, min(stamp[1], stream.size_bytes), notes)

    def _found(self, file: BinaryIO, stream: Stream, keep: Keep) -> Iterator[tuple[Found, int]]:
        """What is in the file, with how many bytes it took there, or unpacked."""
        if is_archive(file):
            yield from self._found_in_zip(stream.path, keep)
            return
        head = file.read(_SHOWN_BYTES)
        file.seek(0)
        if stream.path.suffix == ".zip" and head:
            yield Unreadable("byte 0", "it does not begin as a zip file does", head), 0
        else:
            yield from self._found_in(path_text(Path(stream.path.name)), file, keep)

    def _found_in_zip(self, path: Path, keep: Keep) -> Iterator[tuple[Found, int]]:
        with closing(Archive(path, self._limits)) as archive:
            for name, reason in archive.problems:
                yield Unreadable(clean(name)[0], reason, clean(name)[0].encode()), 0
            for member in _wanted(archive):
                file, reason = spooled(member)
                with file:
                    if reason:
                        yield _within(Unreadable("byte 0", reason, clean(member.name)[0].encode()), member.name), 0
                    for found, size_bytes in self._found_in(member.name, file, keep):
                        yield _within(found, member.name), size_bytes

    def _found_in(self, name: str, file: IO[bytes], keep: Keep) -> Iterator[tuple[Found, int]]:
        first = file.read(_SHOWN_BYTES).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
        file.seek(0)
        ending = name.lower().rpartition(".")[2]
        if first != b"{" and (first in (b"[", b"<") or ending in ("html", "json")):
            maker, is_html = TurnMaker(self.name, self._user, keep), ending == "html" or first == b"<"
            yield from _Rows(file, maker, self._timezone, is_html=is_html).found()
        elif first == b"{":
            raw = file.read(PROMPT_BYTES_MAX + 1)
            if len(raw) > PROMPT_BYTES_MAX:
                yield Unreadable("byte 0", "it is too large to be read as a whole", raw[:_SHOWN_BYTES]), len(raw)
                return
            title = name.rpartition("/")[2].removesuffix(".json")
            size_bytes = len(raw)
            for found in read_prompt(raw, title, self.name, self._user, keep):
                yield found, size_bytes
                size_bytes = 0  # it was all read for the first


class _Span(NamedTuple):
    """Where a row stands in its file."""

    start: int
    end: int


class _Rows:
    """The rows of one page or array."""

    def __init__(self, file: IO[bytes], maker: TurnMaker, zone: tzinfo | None, *, is_html: bool) -> None:
        self._file = file
        self._maker = maker
        self._zone = zone
        self._is_html = is_html
        self._marks = array("Q")
        self._size = 0
        self._end = b""

    def found(self) -> Iterator[tuple[Found, int]]:
        """The turns, from the oldest on, and what is no row."""
        self._find_marks()
        spans = [_Span(start, end) for start, end in pairwise([*self._marks, self._size])]
        if not self._is_html:
            yield from self._outside(spans[0].start if spans else self._size)
        for span in reversed(spans) if self._is_newest_first(spans) else spans:
            found = self._turn(span)
            if found is not None:
                yield found, span.end - span.start

    def _find_marks(self) -> None:
        """Find where rows begin; what lies across two blocks is seen in the second."""
        pattern, overlap = (_HTML_ROW, b"") if self._is_html else (_JSON_ROW, b"")
        while block := self._file.read(_BLOCK_BYTES):
            base = self._size - len(overlap)
            window = overlap + block
            for match in pattern.finditer(window):
                start = base + match.start(pattern.groups)
                if not self._marks or start > self._marks[-1]:
                    self._marks.append(start)
            self._size += len(block)
            overlap = window[-_OVERLAP_BYTES:]
        self._end = overlap

    def _outside(self, length: int) -> Iterator[tuple[Found, int]]:
        """What stands before the first row of an array, if it is more than its bracket."""
        self._file.seek(0)
        head = self._file.read(min(length, _SHOWN_BYTES))
        if head.removeprefix(b"\xef\xbb\xbf").split() not in ([], [b"["], [b"[]"], [b"[", b"]"]):
            yield Unreadable("byte 0", "it is no row of activity", head), 0

    def _is_newest_first(self, spans: list[_Span]) -> bool:
        """Whether to begin at the end; an export does, unless its first row is older than its last."""
        times = [row.time for span in (spans[:1] + spans[-1:]) if (row := self._row_or_none(span))]
        return len(times) < 2 or times[0] >= times[-1]

    def _row_or_none(self, span: _Span) -> Row | None:
        try:
            return self._row(self._raw(span))
        except CannotRead:
            return None

    def _turn(self, span: _Span) -> TurnRecorded | Unreadable | None:
        raw = self._raw(span)
        try:
            self._check(span)
            row = self._row(raw)
        except CannotRead as error:
            return Unreadable(f"byte {span.start}", str(error), raw)
        return None if row is None else self._maker.turn(row)

    def _check(self, span: _Span) -> None:
        """Raises CannotRead for a row that cannot be whole."""
        if span.end - span.start > ROW_BYTES_MAX:
            raise CannotRead("it is too long for a row")
        if self._is_html and span.end == self._size and not self._end.rstrip().endswith(b"</html>"):
            raise CannotRead("the page ends in the middle of it")

    def _row(self, raw: bytes) -> Row | None:
        return html_row(raw, self._zone) if self._is_html else json_row(raw)

    def _raw(self, span: _Span) -> bytes:
        length = span.end - span.start
        self._file.seek(span.start)
        raw = self._file.read(length if length <= ROW_BYTES_MAX else _SHOWN_BYTES)
        return raw if self._is_html else raw.rstrip(b" \t\r\n,]")


def _kind_of(head: bytes) -> str:
    """What a file that begins like this is, if it is any of them."""
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if is_prompt_file(head):
        return "prompt"
    if head.startswith(b"[") and _JSON_GEMINI.search(head):
        return "json"
    return "html" if head.startswith(b"<") and _HTML_ROW.search(head) and _HTML_GEMINI.search(head) else ""


def _is_wanted(name: str) -> bool:
    """Whether a member of a zip may be one of them, by its name."""
    return name.lower().endswith((".html", ".json")) or "google ai studio/" in name.lower()


def _wanted(archive: Archive) -> list[Member]:
    return sorted((member for member in archive.members if _is_wanted(member.name)), key=lambda member: member.name)


def _head_in(member: Member) -> bytes:
    try:
        return member.open().read(HEAD_BYTES)
    except CannotRead:
        return b""


def _may_be(path: Path, head: bytes) -> bool:
    """Whether to read a file that was named: what is damaged at its beginning may be an export all the same."""
    begins = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    return path.suffix in (".html", ".json", ".zip") or head.startswith(_ZIP) or begins in (b"{", b"[", b"<", b"")


def _within(found: Found, member: str) -> Found:
    """What could not be read, with the member of the archive that it is in."""
    if isinstance(found, Unreadable):
        return Unreadable(f"{clean(member)[0]}, {found.position}", found.reason, found.raw)
    return found


def _digest(file: IO[bytes]) -> str:
    digest = blake2b(digest_size=16)
    while block := file.read(_BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()
