"""Telling systemd how the service is: sd_notify(3), datagrams to the socket that $NOTIFY_SOCKET names.

The protocol is a promise of systemd's: lines of `KEY=VALUE` in one datagram. Where nobody listens nothing is sent, and
whatever goes wrong harms nobody: a service that cannot tell how it is goes on being what it is.
"""

import os
import socket
import time
from collections.abc import Mapping

_STATUS_CHARACTERS_MAX = 500

_SEND_SECONDS = 1.0


class Notifier:
    """Sends to the socket that an environment names; to nobody if it names none."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))

    def ready(self, status: str = "") -> bool:
        """The start, or a reload, is over. Returns, as all of these do, whether it was sent."""
        return self._send("READY=1", *_status(status))

    def reloading(self) -> bool:
        """A reload begins; `ready` ends it. The time is for `Type=notify-reload`, which wants to know when."""
        return self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str = "") -> bool:
        """The end begins."""
        return self._send("STOPPING=1", *_status(status))

    def status(self, text: str) -> bool:
        """One line for `systemctl status`."""
        return self._send(*_status(text))

    def alive(self) -> bool:
        """Feed the watchdog."""
        return self._send("WATCHDOG=1")

    def main_pid(self, pid: int) -> bool:
        """This process is the service from now on."""
        return self._send(f"MAINPID={pid}")

    def _send(self, *lines: str) -> bool:
        if self._address is None or not lines:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(_SEND_SECONDS)  # a manager that does not read keeps nobody waiting
                sender.sendto("\n".join(lines).encode(errors="replace"), self._address)
        except (OSError, AttributeError):  # nobody listens; there are no such sockets on this system
            return False
        return True


def watchdog_seconds(environ: Mapping[str, str] = os.environ) -> float | None:
    """Within how many seconds `alive` must come again; None if nobody waits for it. Send it at half of that.

    sd_watchdog_enabled(3): $WATCHDOG_USEC, unless $WATCHDOG_PID says that it is meant for another process.
    """
    meant = environ.get("WATCHDOG_PID")
    if meant and meant != str(os.getpid()):
        return None
    try:
        microseconds = int(environ.get("WATCHDOG_USEC", ""))
    except ValueError:
        return None
    return microseconds / 1_000_000 if microseconds > 0 else None


def _address(named: str) -> str | None:
    """A path, or the name of an abstract socket, with `@` for the kernel's NUL; None for others."""
    if named.startswith("@") and len(named) > 1:
        return "\0" + named[1:]
    return named if named.startswith("/") else None


def _status(text: str) -> list[str]:
    line = " ".join(text.split())[:_STATUS_CHARACTERS_MAX]
    return [f"STATUS={line}"] if line else []
