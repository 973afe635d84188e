"""What the commands say and ask of mailboxes."""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from projections import Notice
from turnlog.cli.output import ago, print_table
from turnlog.config import SourceConfig
from turnlog.errors import WrongUsage
from turnlog.sources.mailboxes import MAILBOX, make_mailbox

_OPTIONS = ("host", "port", "folder", "ca_file", "owner")


def mailbox_table(options: Mapping[str, Any], path: str | None) -> dict[str, Any]:
    """The `[[sources]]` table of a mailbox that the command line describes. Raises WrongUsage, ConfigError."""
    if path is not None:
        raise WrongUsage(f"a mailbox has a --host and a --user, and no path such as {path!r}")
    for name in ("host", "user", "password_ref"):
        if not options.get(name):
            raise WrongUsage(f"a mailbox needs --{name.replace('_', '-')}")
    named = {name: options[name] for name in _OPTIONS if options.get(name) is not None}
    if "ca_file" in named:
        named["ca_file"] = str(Path(named["ca_file"]).absolute())
    table = {"user": options["user"], **named, "password": _reference(options["password_ref"])}
    make_mailbox(SourceConfig(MAILBOX, table), "the mailbox", Path(), os.environ)
    return {"type": MAILBOX, **table}


def _reference(text: str) -> dict[str, str]:
    kind, _, where = text.partition(":")
    if kind not in ("env", "file") or not where:
        raise WrongUsage("--password-ref is env:NAME or file:PATH; the password itself is never written down")
    return {kind: where if kind == "env" else str(Path(where).absolute())}


def print_notices(notices: Sequence[Notice], now: datetime) -> None:
    """A table of what can be downloaded, and what to do with it."""
    rows = [(n.program, n.title, f"{ago(n.expires_at, now)}", n.link or "in the mail") for n in notices]
    print_table(("export of", "said", "expires", "link, for who is signed in"), rows)
    print("take in what you download with `turnlog import auto PATH`; a Downloads folder that is watched needs no more")
