"""The rows of Takeout's "My Activity", from its HTML and from its JSON, and the turns that they are.

What is told here of the two spellings is in `turnlog.sources.gemini_takeout`.
"""

import re
import unicodedata
from collections import Counter
from datetime import datetime, tzinfo
from hashlib import blake2b
from html import unescape
from typing import Any

from msgspec import Struct

from eventlog import Message, Part, TurnRecorded
from turnlog.sources.base import Keep
from turnlog.sources.gemini_content import Content, as_text, as_time, read_object
from turnlog.sources.gemini_takeout_dates import read_date
from turnlog.sources.gemini_takeout_html import Rendered, lines_of
from turnlog.sources.objects import CannotRead

_PROMPTS = ("Prompted", "Asked", "Said", "Answered")
_ACTIONS = ("Branched", "Created", "Added", "Used", "Gave", "Selected", "Cleared", "Shared", "Deleted", "Viewed")
"""With what a row's title begins, in exports in English; others say by an answer that they are prompts."""

_PRODUCT = re.compile("gemini|bard", re.IGNORECASE)
_CONVERSATION = re.compile(r"gemini\.google\.com/(?:u/\d{1,3}/)?(?:app|gem/[\w-]{1,64})/([0-9a-f]{8,64})(?![0-9a-f])")
_COUNTED = re.compile(r"(?:Attached \d+ files?|\d+ (?:generated|attached) (?:image|file|video)s?)\.?")
_BLANK = re.compile(r"(?:<br ?/?>|</div>|</body>|</html>|\s)*")
_TITLE = 'mdl-typography--title">'
_CELL = '<div class="content-cell'
_LINES_MAX = 64


class Row(Struct):
    """One activity, whichever file it stands in; `said` are its lines between title and time, with their links."""

    title: str
    time: datetime
    said: list[tuple[str, str]] = []
    answers: list[str] = []
    description: str = ""
    links: list[str] = []
    rest: dict[str, Any] = {}


def json_row(raw: bytes) -> Row | None:
    """The row that is this object; None if it is another product's. Raises CannotRead."""
    rest = read_object(raw)
    named = [rest.get("header"), *_items(rest.get("products"))]
    if not any(isinstance(name, str) and _PRODUCT.search(name) for name in named):
        return None
    title, time = rest.pop("title", ""), as_time(rest.get("time"))
    if time is None or not isinstance(title, str):
        raise CannotRead("it has no time that can be understood")
    del rest["time"]
    said = [(as_text(each.get("name")) or "", as_text(each.get("url")) or "") for each in _objects(rest, "subtitles")]
    files = [*_items(rest.pop("attachedFiles", None)), rest.pop("imageFile", None)]
    urls = {url for _, url in said}
    said += [(name, name) for name in dict.fromkeys(files) if isinstance(name, str) and name not in urls]
    answers = [as_text(each.get("html")) for each in _objects(rest, "safeHtmlItem")]
    links = [as_text(each.get("url")) or as_text(each.get("name")) for each in _objects(rest, "details")]
    links.append(as_text(rest.get("titleUrl")))
    return Row(
        title=title, time=time, said=said, answers=[html for html in answers if html], rest=rest,
        description=as_text(rest.pop("description", None)) or "", links=[link for link in links if link],
    )  # fmt: skip


def html_row(raw: bytes, zone: tzinfo | None) -> Row | None:
    """The row that is this cell of the page; None if it is another product's. Raises CannotRead."""
    try:
        header, *cells = raw.decode().replace("\r\n", "\n").split(_CELL)
    except UnicodeDecodeError as error:
        raise CannotRead(f"it is not valid UTF-8 (byte {error.start + 1} of it)") from error
    if not _PRODUCT.search(header.partition(_TITLE)[2].partition("<")[0]):
        return None
    if not cells:
        raise CannotRead("it has no content")
    lines = list(lines_of(cells[0].partition(">")[2]))
    for number, line in enumerate(lines[1 : 1 + _LINES_MAX], 1):
        text = line.partition("<")[0]
        time = read_date(unescape(text), zone)
        if time is not None:
            answer = "<br>".join([line[len(text) :], *lines[number + 1 :]])
            return _html_row(lines[:number], time, answer, cells[1:])
    raise CannotRead("none of its lines is a date in a language that is known")


def _html_row(before: list[str], time: datetime, answer: str, cells: list[str]) -> Row:
    titles = [Rendered(line) for line in before]
    said = titles[_count_of_title_lines(titles) :]
    title = titles[: len(titles) - len(said)]
    beside = [Rendered(cell.partition(">")[2]) for cell in cells]
    attached = [(text, url) for cell, each in zip(cells, beside, strict=True) if "text-right" in cell.partition(">")[0]
                for url, text in each.links]  # fmt: skip
    lines = [(line.text, line.links[0][0] if line.links else "") for line in said]
    return Row(
        title="\n".join(line.text for line in title),
        time=time,
        said=[*lines, *(pair for pair in attached if pair[1] not in {url for _, url in lines})],
        answers=[] if _BLANK.fullmatch(answer) else [answer],
        links=[url for each in [*titles[:1], *beside] for url, _ in each.links],
    )


def _count_of_title_lines(lines: list[Rendered]) -> int:
    """How many of the lines before the time are the title: those behind it link to files, or count them."""
    count = len(lines)
    while count > 1 and lines[count - 1].links:
        count -= 1
    if count > 1 and (count < len(lines) or _COUNTED.fullmatch(lines[count - 1].text)):
        count -= 1
    return count


class TurnMaker:
    """Makes turns of rows, and numbers those that nothing else tells apart."""

    def __init__(self, source: str, user: str, keep: Keep) -> None:
        self._source = source
        self._user = user
        self._keep = keep
        self._seen: Counter[bytes] = Counter()

    def turn(self, row: Row) -> TurnRecorded:
        """The turn that a row is."""
        action, text, is_prompt = _split_title(row)
        key = _identity(row.time, text)
        self._seen[key] += 1
        occurrence = f":{self._seen[key]}" if self._seen[key] > 1 else ""
        ids = dict.fromkeys(found for link in row.links for found in _CONVERSATION.findall(link))
        meta: dict[str, Any] = {"action": action, "row": row.rest}
        meta |= {"drafts": len(row.answers)} if len(row.answers) > 1 else {}
        meta |= {"conversations": list(ids)} if len(ids) > 1 else {}
        return TurnRecorded(
            turn_id=f"{self._source}:{key.hex()}{occurrence}",
            source=self._source,
            user=self._user,
            conversation=next(iter(ids), f"activity-{row.time:%Y-%m-%d}"),
            started_at=row.time,
            ended_at=row.time,
            meta={name: value for name, value in meta.items() if value},
            messages=tuple(self._messages(row, "user" if is_prompt else "system", text)),
        )

    def _messages(self, row: Row, role: str, text: str) -> list[Message]:
        at = row.time.replace(microsecond=0)
        content = Content(self._keep)
        for name, url in row.said:
            tidy = " ".join(name.split()).removeprefix("- ")
            content.add(Part(type="attachment", name=tidy, data={"url": url}) if url else Part(type="note", text=tidy))
        messages = [Message(role=role, content=text, at=at, parts=tuple(content.parts))]
        if row.answers:
            answer, content = Rendered("<br>".join(row.answers)), Content(self._keep)
            if not answer.is_plain:
                content.add(Part(type="html", text=answer.html))
            messages.append(Message(role="assistant", content=answer.text, at=at, parts=tuple(content.parts)))
        if row.description:
            messages.append(Message(role="assistant", content=row.description, at=at))
        return messages


def _split_title(row: Row) -> tuple[str, str, bool]:
    """What was done, the text of a prompt without that and of anything else with it, and whether it is a prompt."""
    title = row.title.replace("\u00a0", " ").strip()
    action = title.split(None, 1)[0] if title else ""
    if action in _PROMPTS:
        return action, title[len(action) :].strip(), True
    if action in _ACTIONS or not (row.answers or row.description):
        return action, title, False
    return "", title, True


def _identity(time: datetime, text: str) -> bytes:
    """A digest of the second and the prompt, but for spelling. Part of the turn ids; do not change."""
    plain = " ".join(unicodedata.normalize("NFC", unescape(text)).split())
    what = f"{time:%Y-%m-%dT%H:%M:%S}\0{plain}"
    return blake2b(what.encode("utf-8", "replace"), digest_size=16).digest()


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _objects(row: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Take the objects out of a list in a row; what else is in it stays there."""
    items = _items(row.get(key))
    if all(isinstance(item, dict) for item in items):
        row.pop(key, None)
    return [item for item in items if isinstance(item, dict)]
