"""Where people's mailboxes are: the IMAP servers of well-known providers, as their help pages name them, 2026."""

from collections.abc import Mapping
from typing import Any

_SERVERS = {
    "imap.gmail.com": ("gmail.com", "googlemail.com"),
    "outlook.office365.com": ("outlook.com", "hotmail.com", "live.com", "msn.com"),
    "imap.mail.me.com": ("icloud.com", "me.com", "mac.com"),
    "imap.mail.yahoo.com": ("yahoo.com", "ymail.com"),
    "imap.aol.com": ("aol.com",),
    "imap.gmx.net": ("gmx.de", "gmx.net"),
    "imap.qq.com": ("qq.com", "foxmail.com"),
    "imap.163.com": ("163.com",),
    "imap.126.com": ("126.com",),
    "imap.yeah.net": ("yeah.net",),
    "imap.fastmail.com": ("fastmail.com",),
}
_BY_DOMAIN = {domain: server for server, domains in _SERVERS.items() for domain in domains}


def imap_host(address: str) -> str:
    """The server of an address; where the provider is not known, a guess that mostly holds."""
    domain = address.rpartition("@")[2].lower()
    return _BY_DOMAIN.get(domain) or f"imap.{domain}"


def mailbox_in(environ: Mapping[str, str]) -> dict[str, Any] | None:
    """The options of the mailbox that the old workers' variables describe, or None.

    OPENAI_EMAIL_USERNAME and OPENAI_EMAIL_PASSWORD must both be set; OPENAI_EMAIL_HOST names the server where the
    address does not tell it.
    """
    user = environ.get("OPENAI_EMAIL_USERNAME")
    if not user or not environ.get("OPENAI_EMAIL_PASSWORD"):
        return None
    host = environ.get("OPENAI_EMAIL_HOST") or imap_host(user)
    return {"host": host, "user": user, "password": {"env": "OPENAI_EMAIL_PASSWORD"}}
