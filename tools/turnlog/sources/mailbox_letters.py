"""A mail as bytes, taken apart: whose it is, what the receiving server says of that, its links and attachments.

The stdlib's parser is lenient, but not with everything that can be sent; whatever it stumbles over is one CannotRead.
"""

import re
from collections.abc import Iterator, Sequence
from email import message_from_bytes, policy
from email.message import EmailMessage
from hashlib import sha256
from html.parser import HTMLParser
from typing import NamedTuple

from msgspec import Struct

from turnlog.sources.objects import CannotRead
from turnlog.text import clean

_NAME_LENGTH_MAX = 250
_SUBJECT_LENGTH_MAX = 200
_TEXT_BYTES_MAX = 1024 * 1024
_NEVER_EXPORTS = ("image", "audio", "video")

_COMMENT_OR_QUOTED = re.compile(r"\"(?:\\.|[^\"\\])*\"|\((?:\\.|[^()\\])*\)")
_PROPERTY = re.compile(r"([\w.-]+)\s*=\s*([^\s;]+)")
_URL = re.compile(r"https?://[^\s<>\"'\])]+")


class Sender(Struct, frozen=True):
    """Who a mail says that it is from: an address in lower case, empty where there is not exactly one.

    `authentic` is what the receiving server found (RFC 8601): whether the mail was signed by, or handed in by, whom it
    names; None where it says nothing at all, as of mails that never left it.
    """

    address: str
    authentic: bool | None

    @property
    def domain(self) -> str:
        """What stands behind the `@`."""
        return self.address.rpartition("@")[2]

    def is_at(self, domains: Sequence[str]) -> bool:
        """Whether the address is at one of these domains, or below it."""
        return any(is_within(self.domain, domain) for domain in domains)


class Envelope(Struct, frozen=True):
    """A mail's header: a name that is its own, the sender, the subject."""

    name: str
    sender: Sender
    subject: str


class Link(NamedTuple):
    """Where a link leads, and the words that it stands on, or behind."""

    url: str
    words: str


class Attachment(NamedTuple):
    """A file in a mail."""

    name: str
    content: bytes


def is_within(host: str, domain: str) -> bool:
    """Whether a host is a domain, or below it."""
    return host == domain or host.endswith(f".{domain}")


def read_envelope(header: bytes) -> Envelope:
    """What the header says. Raises CannotRead."""
    try:
        message = message_from_bytes(header, policy=policy.default)
        name = _plain(message.get("message-id"), _NAME_LENGTH_MAX + 1)
        if not name or len(name) > _NAME_LENGTH_MAX:
            name = f"sha256:{sha256(header).hexdigest()}"
        return Envelope(name, _sender(message), _plain(message.get("subject"), _SUBJECT_LENGTH_MAX))
    except Exception as error:
        raise _unreadable(error) from error


def read_contents(raw: bytes) -> tuple[list[Link], list[Attachment]]:
    """The links in the texts of a mail, and the files in it that may be exports. Raises CannotRead."""
    try:
        parts = [part for part in message_from_bytes(raw, policy=policy.default).walk() if not part.is_multipart()]
        links = [link for part in parts if part.get_content_maintype() == "text" for link in _links(part)]
        return links, [attachment for part in parts for attachment in _attachments(part)]
    except Exception as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> CannotRead:
    return CannotRead(f"it is no mail that can be taken apart ({type(error).__name__})")


def _plain(value: object, length_max: int) -> str:
    text = " ".join(str(value or "").split())
    return str(clean("".join(c for c in text if c.isprintable()))[0])[:length_max]


def _sender(message: EmailMessage) -> Sender:
    named = message.get_all("from", [])
    addresses = [address.addr_spec for header in named for address in header.addresses]
    address = addresses[0].lower() if len(named) == len(addresses) == 1 else ""
    results = [str(header) for header in message.get_all("authentication-results", [])]
    return Sender(address, is_authentic(address, results))


def is_authentic(address: str, results: Sequence[str]) -> bool | None:
    """What the Authentication-Results in a header, from the top down, say of a sender; None if there are none.

    Those of the server that received the mail stand on top; what stands below under another name came with the mail.
    DMARC or a DKIM signature must have passed for the sender's domain, or the sender must have logged in.
    """
    read = [_results(text) for text in results]
    found = [result for server, given in read if server == read[0][0] for result in given]
    if not found:
        return None
    if any(result.get("dmarc") == "fail" for result in found):
        return False
    return any(_vouches(result, address) for result in found)


def _results(text: str) -> tuple[str, list[dict[str, str]]]:
    """The name of the server (empty where it gives none, as Microsoft's do), and each of its results.

    What is quoted or a comment is blotted out first: senders have a say in it, and may write results there.
    """
    while text != (text := _COMMENT_OR_QUOTED.sub("_", text)):
        pass
    first, *rest = text.split(";")
    named = "=" not in first
    pieces = rest if named else [first, *rest]
    results = [dict(reversed(_PROPERTY.findall(piece.lower()))) for piece in pieces]  # of a name twice the first counts
    return (first.split() or [""])[0].lower() if named else "", [result for result in results if result]


def _vouches(result: dict[str, str], address: str) -> bool:
    domain = address.rpartition("@")[2]
    if result.get("dmarc") == "pass":
        return _is_aligned(result.get("header.from", domain), domain)
    if result.get("dkim") == "pass":
        return _is_aligned(result.get("header.d") or result.get("header.i", ""), domain)
    return result.get("auth") == "pass" and address in (result.get("smtp.auth"), result.get("smtp.mailfrom"))


def _is_aligned(signed: str, domain: str) -> bool:
    """Whether a signature's domain and a sender's are of one organisation, as far as that can be told by the names."""
    signed = signed.rpartition("@")[2]
    return "." in signed and "." in domain and (is_within(signed, domain) or is_within(domain, signed))


def _text(part: EmailMessage) -> str:
    content = part.get_payload(decode=True)
    data = content[:_TEXT_BYTES_MAX] if isinstance(content, bytes) else b""
    try:
        return data.decode(part.get_content_charset("utf-8"), "replace")
    except (LookupError, ValueError):  # nobody's charset
        return data.decode("utf-8", "replace")


def _links(part: EmailMessage) -> Iterator[Link]:
    text = _text(part)
    if part.get_content_subtype() == "html":
        finder = _Anchors()
        finder.feed(text)
        finder.close()
        yield from finder.links
    else:
        before = 0
        for found in _URL.finditer(text):
            words = text[max(before, found.start() - _SUBJECT_LENGTH_MAX) : found.start()]
            yield Link(found.group().rstrip(".,;:!?"), words)
            before = found.end()


class _Anchors(HTMLParser):
    """Collects where the anchors of a document lead, with the words in them."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[Link] = []
        self._url: str | None = None
        self._words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self._url, self._words = (dict(attrs).get("href") or "").strip(), []

    def handle_data(self, data: str) -> None:
        if self._url is not None:
            self._words.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and self._url is not None:
            self.links.append(Link(self._url, " ".join(self._words)))
            self._url = None


def _attachments(part: EmailMessage) -> Iterator[Attachment]:
    name = part.get_filename() or ""
    if part.get_content_maintype() in _NEVER_EXPORTS or not (name or part.is_attachment()):
        return
    content = part.get_payload(decode=True)
    if isinstance(content, bytes) and content:
        yield Attachment(_plain(name, _SUBJECT_LENGTH_MAX) or "attachment", content)
