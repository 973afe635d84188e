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
    return [make_configured(config, table, environ) for table in all_sources(config, environ) if is_mailbox(table)]


def all_sources(config: Config, environ: Mapping[str, str]) -> list[SourceConfig]:
    """The sources of a configuration, and the mailbox that the environment describes, where no other is configured."""
    options = None if any(map(is_mailbox, config.sources)) else mailbox_in(environ)
    return [*config.sources, *([SourceConfig(MAILBOX, options)] if options else [])]


def make_configured(config: Config, table: SourceConfig, environ: Mapping[str, str]) -> "Mailbox":
    """The mailbox of one of `all_sources`. Raises ConfigError."""
    where = str(config.path) if table in config.sources else "the environment"
    return make_mailbox(table, f"{where}, source {table.type!r}", config.folder, environ)


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
