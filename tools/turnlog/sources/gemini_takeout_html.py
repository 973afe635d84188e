"""HTML that an answer is written in, made one: the same answer in the HTML and the JSON of an export is the same text.

It is read with the standard library's `html.parser`: it knows the entities and takes any tag soup, and what Google
wrote was sanitised before. Its repairs of unfinished tags take quadratic time in versions that are still in use, so
what is no whole tag is made text first, by an expression that never looks at a character twice.
"""

import re
from collections.abc import Iterator
from html import escape
from html.parser import HTMLParser
from typing import Any

TAGS_MAX = 20_000
"""An answer with more tags is taken for text: no answer has so many, and each takes some microseconds."""

_TAG = re.compile(
    r"<(?!/?[A-Za-z][A-Za-z0-9]*+"
    r"(?:\s++[A-Za-z_:][A-Za-z0-9_:.-]*+(?:\s*+=\s*+(?:\"[^\"<]*+\"|'[^'<]*+'|[^\s\"'=<>`]++))?)*"
    r"\s*+/?>)"
)
_BREAK = re.compile(r"<br ?/?>")
_BREAKS = re.compile(r"(?:<br>|\s)*")
_VOID = {"br", "hr", "img", "input", "wbr", "col", "source"}
_BLOCKS = {"p", "div", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "table", "tr", "blockquote", "pre", "hr"}
_TIGHT = {"li", "tr"}
_SPACE = re.compile(r"[ \t\r\n]+")
_OPEN_MAX = 32  # how far an end looks for its beginning; nothing that is written to be read is nested deeper


class Rendered(HTMLParser):
    """HTML as plain `text`, and as `html` in one spelling; `links` are the targets with their texts.

    Space means nothing within blocks and is kept outside of them, where answers stand that were never HTML.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.links: list[tuple[str, str]] = []
        self._text: list[str] = []
        self._html: list[str] = []
        self._open: list[str] = []
        self._links_open: list[tuple[str, int]] = []
        if html.count("<") > TAGS_MAX:
            self.handle_data(html)
        else:
            self.feed(_TAG.sub("&lt;", html))
            self.close()
        self.html = _trim("".join(self._html))
        text = "".join(self._text)
        self.text = text.strip() if self.is_plain else _tidy(text)

    @property
    def is_plain(self) -> bool:
        """Whether the text says all that the HTML does."""
        return "<" not in self.html.replace("<br>", "")

    def set_cdata_mode(self, *_: Any, **__: Any) -> None:
        """See HTMLParser. What a script holds is text like any other."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See HTMLParser."""
        named = "".join(f' {name}="{escape(value or "")}"' for name, value in attrs)
        self._html.append(f"<{tag}{named}>")
        if tag in _BLOCKS:
            self._break(tag)
        elif tag == "br":
            self._text.append("\n")
        elif tag in ("td", "th"):
            self._text.append("" if self._text and self._text[-1].endswith("\n") else " | ")
        elif tag == "img":
            self._text.append(dict(attrs).get("alt") or "")
        if tag == "a":
            self._links_open.append((dict(attrs).get("href") or "", len(self._text)))
        if tag == "li":
            self._text.append("- ")
        elif tag == "pre":
            self._text.append("```\n")
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """See HTMLParser. The end of what never began is passed over."""
        if tag not in self._open[-_OPEN_MAX:]:
            return
        while True:
            last = self._open.pop()
            self._html.append(f"</{last}>")
            if last == "pre":
                self._text.append("\n```")
            if last in _BLOCKS:
                self._break(last)
            if last == "a":
                href, start = self._links_open.pop()
                self.links.append((href, "".join(self._text[start:])))
            if last == tag:
                return

    def handle_data(self, data: str) -> None:
        """See HTMLParser."""
        is_free = "pre" in self._open[-_OPEN_MAX:] or not any(tag in _BLOCKS for tag in self._open[-_OPEN_MAX:])
        if not is_free:
            data = _SPACE.sub(" ", data)
            if not data.strip() and (not self._text or self._text[-1].endswith("\n")):
                data = ""
        self._text.append(data)
        self._html.append(escape(data, quote=False))

    def _break(self, tag: str) -> None:
        self._text.append("\n" if tag in _TIGHT else "\n\n")


def lines_of(html: str) -> Iterator[str]:
    """What stands between the breaks, as HTML."""
    yield from _BREAK.split(html)


def _tidy(text: str) -> str:
    """The text without the space that blocks leave behind: at most one empty line between them."""
    lines = "\n".join(line.rstrip(" \t") for line in text.split("\n"))
    return re.sub(r"\n{3,}+", "\n\n", lines).strip()


def _trim(html: str) -> str:
    """The HTML without breaks and space around it."""
    html = _BREAKS.sub("", html, count=1) if html.startswith(("<br>", " ", "\n", "\t", "\r")) else html
    end = len(html)
    while html.endswith(("<br>", " ", "\n", "\t", "\r"), 0, end):
        end -= 4 if html.endswith("<br>", 0, end) else 1
    return html[:end]
