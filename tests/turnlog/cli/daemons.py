"""A daemon as a process of its own, for the tests of the command line."""

import os
import signal
from typing import Any

from turnlog.daemon.lock import holder_of
from turnlog.daemon.process import send

from ..waiting import until
from .support import Cli


class Service:
    """The daemon of one log, asked by the command line as a person does."""

    def __init__(self, cli: Cli) -> None:
        self.cli = cli

    def start(self) -> int:
        """Start it, in a process as a shell does; its process id."""
        result = self.cli.process("daemon", "start", "--json")
        assert (result.code, result.err) == (0, ""), result
        return int(result.object["pid"])

    def status(self) -> dict[str, Any]:
        """The whole of it, from the daemon if it runs."""
        return self.cli("daemon", "status", "--json").object

    def sink(self, name: str = "team") -> dict[str, Any]:
        return next((sink for sink in self.status()["sinks"] if sink["sink"] == name), {})

    def part(self, name: str) -> dict[str, Any]:
        return next((part for part in self.status()["parts"] if part["name"] == name), {})

    def signal(self, number: int) -> None:
        holder = holder_of(self.cli.directory)
        assert holder is not None
        assert send(holder.pid, holder.started, number)

    def kill(self) -> None:
        """End it at once, if it runs."""
        holder = holder_of(self.cli.directory)
        if holder is not None and holder.pid:
            send(holder.pid, holder.started, signal.SIGKILL)
            until(lambda: holder_of(self.cli.directory) is None)

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.status()['pid']}/fd"))
