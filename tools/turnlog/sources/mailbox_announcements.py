"""Which mails announce that an export can be downloaded, by sender, subject and link together.

What the mails look like is from the programs' help pages and shared mails, 2025 and 2026: ChatGPT's come from
noreply@tm.openai.com ("Your data export is ready"), Claude's from addresses at anthropic.com; the links are void after
24 hours and work for the signed-in person alone. Anybody can write such words, so a mail that the receiving server
found to be forged is none, and a link counts only if it leads to a host of the program's own.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from urllib.parse import urlsplit

from msgspec import Struct

from eventlog import NoticeRaised
from turnlog.sources.mailbox_letters import Envelope, Link, Sender, is_within

LINK_LENGTH_MAX = 4096

_READY = re.compile(
    r"\b(data|exports?|archive)\b.*\b(ready|available)\b|(数据|資料|导出|匯出).*(就绪|就緒|准备|準備|完成|下载|下載)",
    re.IGNORECASE,
)
_DOWNLOAD = re.compile(r"export|download|estuary|导出|匯出|下载|下載", re.IGNORECASE)
_HELP = re.compile(r"(help|support|docs|community)\.")
_HOST = re.compile(r"[a-z0-9.-]+", re.ASCII)


class Announcer(Struct, frozen=True):
    """A program that announces exports: where its mails come from, where its links lead, how long they hold."""

    domains: tuple[str, ...]
    hosts: tuple[str, ...]
    valid: timedelta = timedelta(hours=24)


ANNOUNCERS: Mapping[str, Announcer] = MappingProxyType(
    {
        "chatgpt": Announcer(("openai.com",), ("openai.com", "chatgpt.com", "oaiusercontent.com")),
        "claude": Announcer(("anthropic.com", "claude.ai", "claude.com"), ("claude.ai", "claude.com", "anthropic.com")),
    }
)
"""By the name of the source that takes the export."""


def announcer(sender: Sender) -> str | None:
    """The program that a mail is from, unless the receiving server says that it is not."""
    if sender.authentic is False:
        return None
    return next((name for name, known in ANNOUNCERS.items() if sender.is_at(known.domains)), None)


def is_announcement(envelope: Envelope) -> bool:
    """Whether a mail may be one, by its header."""
    return announcer(envelope.sender) is not None and bool(_READY.search(envelope.subject))


def announcement(envelope: Envelope, links: Iterable[Link], *, received_at: datetime) -> NoticeRaised | None:
    """The notice that a mail is, if it is one.

    A link may lead through a mailer's counter, and is not passed on then; the notice is, if the mail is known to be the
    program's own.
    """
    program = announcer(envelope.sender)
    if program is None or not is_announcement(envelope):
        return None
    known = ANNOUNCERS[program]
    link = next((link.url for link in links if _is_download(link, known)), "")
    if not link and not envelope.sender.authentic:
        return None
    return NoticeRaised(
        source="mailbox", notice=envelope.name, kind="export_ready", program=program, title=envelope.subject, link=link,
        raised_at=received_at, expires_at=received_at + known.valid,
    )  # fmt: skip


def _is_download(link: Link, known: Announcer) -> bool:
    host = safe_host(link.url)
    if host is None or _HELP.match(host) or not any(is_within(host, own) for own in known.hosts):
        return False
    return bool(_DOWNLOAD.search(link.words) or _DOWNLOAD.search(link.url))


def safe_host(url: str) -> str | None:
    """The host of an https link that every program reads alike: no other scheme, no user, port or odd character."""
    if len(url) > LINK_LENGTH_MAX or not url.isascii() or not url.isprintable() or re.search(r"[\s\\<>\"]", url):
        return None
    try:
        split = urlsplit(url)
    except ValueError:
        return None
    netloc = split.netloc.lower()
    return netloc if split.scheme == "https" and _HOST.fullmatch(netloc) else None
