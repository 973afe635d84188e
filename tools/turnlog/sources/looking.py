"""Looking whether the sources of a configuration are there and can be read: files, and mailboxes too."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct

from turnlog.config import Config, SourceConfig
from turnlog.errors import TurnlogError, WrongUsage
from turnlog.sources.configured import watched_source
from turnlog.sources.mailboxes import is_mailbox, make_configured
from turnlog.sources.watching import Watched

if TYPE_CHECKING:
    from turnlog.sources.mailbox import Mailbox

NOTHING = "nothing is there"


class Seen(Struct, frozen=True):
    """What is to be seen of a source; the fields are those of `turnlog sources check --json`.

    `path` is where it is, in words: paths, or a mailbox's address. `problem` is what keeps it from being read.
    """

    source: str
    path: str
    streams: int = 0
    problem: str | None = None


def look_of(config: Config, table: SourceConfig, environ: Mapping[str, str]) -> Callable[[], Seen]:
    """What looks at one of `all_sources`, a mailbox by logging in. Raises WrongUsage, ConfigError."""
    if is_mailbox(table):
        return partial(_look_at_mailbox, make_configured(config, table, environ))
    return partial(_look_at_files, watched_source(config, table, environ))


def _look_at_files(watched: Watched) -> Seen:
    name = watched.source.name
    paths = tuple(path for path in watched.paths if path.exists())
    told = ", ".join(map(str, paths or watched.paths))
    if not paths:
        return Seen(name, told, problem=NOTHING)
    closed = [path for path in paths if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0))]
    if closed:
        return Seen(name, told, problem=f"{closed[0]} cannot be read")
    try:
        return Seen(name, told, 0 if watched.drops else len(watched.source.discover(paths)))
    except WrongUsage as error:
        return Seen(name, told, problem=str(error))


def _look_at_mailbox(mailbox: "Mailbox") -> Seen:
    """It is logged in to, and the folder opened."""
    try:
        with mailbox.open() as session:
            session.extent()
    except TurnlogError as error:
        return Seen(mailbox.name, mailbox.stream, problem=str(error))
    return Seen(mailbox.name, mailbox.stream, 1)
