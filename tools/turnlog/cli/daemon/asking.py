"""What the commands that ask a running daemon for something have in common."""

from typing import Any

from turnlog.cli.app import App
from turnlog.cli.output import print_json
from turnlog.daemon.client import ask
from turnlog.daemon.lock import holder_of


def ask_daemon(app: App, command: str, *, as_json: bool) -> dict[str, Any] | None:
    """The daemon's answer; None if there is no daemon, after telling so. Raises NoAnswer."""
    holder = holder_of(app.directory)
    if holder is not None:
        return ask(holder.socket, command)
    if as_json:
        print_json({"ok": False, "running": False})
    else:
        print("no daemon runs; `turnlog daemon start` starts one")
    return None
