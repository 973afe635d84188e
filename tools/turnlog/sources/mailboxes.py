"""The mailboxes of a configuration, and of the old workers' environment.

What reads mails is loaded when there is a mailbox.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from turnlog.clock import SystemClock
from turnlog.config import Config, SourceConfig, default_user
from turnlog.convert import convert
from turnlog.errors import ConfigError
from turnlog.sources.base import SourceOptions
from turnlog.sources.mailbox_hosts import mailbox_in

if TYPE_CHECKING:
    from turnlog.sources.mailbox import Mailbox
    from turnlog.sources.watching import Feed

MAILBOX = "mailbox"


def configured_mailboxes(config: Config, names: Sequence[str], environ: Mapping[str, str]) -> "list[Mailbox]":
    """Those that are configured; if none is, the one that the environment describes. None if others are named.

    Raises ConfigError.
    """
    if names and MAILBOX not in names:
        return []
    tables = [table for table in config.sources if is_mailbox(table)]
    where = str(config.path)
    if not tables and (options := mailbox_in(environ)):
        tables, where = [SourceConfig(MAILBOX, options)], "the environment"
    return [make_mailbox(table, f"{where}, source {table.type!r}", config.folder, environ) for table in tables]


def is_mailbox(table: SourceConfig) -> bool:
    """Whether a table is one of a mailbox."""
    return table.type == MAILBOX


def make_mailbox(table: SourceConfig, where: str, folder: Path, environ: Mapping[str, str]) -> "Mailbox":
    """The mailbox of a table that stands in a file in `folder`. Raises ConfigError."""
    from turnlog.sources.mailbox import Mailbox, MailboxOptions

    options = convert(table.options, MailboxOptions, where=where, error=ConfigError)
    importing = SourceOptions(options.owner or default_user(environ))
    return Mailbox(options, importing, folder=folder, clock=SystemClock())


def feeds_of(mailboxes: "Sequence[Mailbox]") -> "list[Feed]":
    """What a watcher follows of them."""
    if not mailboxes:
        return []
    from turnlog.sources.mailbox_feed import MailboxFeed

    return [MailboxFeed(mailbox) for mailbox in mailboxes]
