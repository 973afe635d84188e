"""The endpoint as a part of the daemon: it listens where the configuration says, also while the others stop."""

import logging
import os
import socket
from collections.abc import Callable

from turnlog.config import DaemonConfig
from turnlog.daemon.monitoring.hosts import is_loopback
from turnlog.daemon.monitoring.pages import Get, Pages
from turnlog.daemon.parts import Part, Pulse
from turnlog.daemon.status import PartStatus, Status

NAME = "monitoring"

_AGAIN_SECONDS = 1.0
"""An address that cannot be had is tried again so soon."""

_STUCK_SECONDS = 60.0
_JOIN_SECONDS = 2.0
_BACKLOG = 64

_logger = logging.getLogger("turnlog.daemon")


class Endpoint:
    """Where the daemon can be asked over HTTP, if anywhere; one thread changes it, any may ask how it is."""

    def __init__(self, status: Callable[[], Status], stuck: Callable[[], list[str]]) -> None:
        self._pages = Pages(status, stuck)
        self._serving: tuple[_Serving, Part] | None = None

    @property
    def url(self) -> str | None:
        """Where it listens at the moment."""
        return self._serving[0].url if self._serving is not None else None

    @property
    def statuses(self) -> tuple[PartStatus, ...]:
        """How it is, among the parts; nothing where none is configured."""
        return (self._serving[1].status(),) if self._serving is not None else ()

    def change(self, config: DaemonConfig) -> None:
        """Listen where this configuration says; at once, or as soon as that can be."""
        self._pages.stalled_seconds = config.stalled_seconds
        at = None if config.listen == "off" else config.listen_at
        if self._serving is not None and self._serving[0].at == at:
            return
        self.close()
        if at is not None:
            serving = _Serving(at, self._pages.get)
            self._serving = serving, Part(NAME, serving.run, _STUCK_SECONDS)

    def tend(self) -> None:
        """Start it again if it broke; to be called every second."""
        if self._serving is not None:
            self._serving[1].tend()

    def close(self) -> None:
        """Answer nobody any more."""
        serving, self._serving = self._serving, None
        if serving is not None:
            serving[1].pulse.stop()
            serving[1].join(_JOIN_SECONDS)


class _Serving:
    """Serves one address, `at`; `url` is where, while it does."""

    def __init__(self, at: tuple[str, int], get: Get) -> None:
        self.at = at
        self.url: str | None = None
        self._get = get

    def run(self, pulse: Pulse) -> None:
        """Serve until the pulse is told to stop; wait for the address as long as somebody else has it."""
        from turnlog.daemon.monitoring.server import MonitoringServer  # http.server, where it is wanted

        while not pulse.stopping.is_set():
            try:
                listener = _listen(*self.at)
            except OSError as error:
                pulse.ready()
                pulse.wait_for(self._trouble(error))
                pulse.stopping.wait(_AGAIN_SECONDS)
                continue
            pulse.wait_for(None)
            server = MonitoringServer(listener, self.at[0], self._get)
            self.url = _url(listener)
            pulse.when_stopped(server.stop)
            pulse.ready()
            self._say()
            try:
                server.serve(pulse.beat)
            finally:
                self.url = None

    def _say(self) -> None:
        host, _ = self.at
        _logger.info("the monitoring listens at %s", self.url)
        if host != "localhost" and not is_loopback(host.strip("[]")):
            _logger.warning("the monitoring can be asked by whoever reaches %s; it tells counts and names", self.url)

    def _trouble(self, error: OSError) -> str:
        host, port = self.at
        why = error.strerror or str(error)
        if error.errno and not isinstance(error, socket.gaierror):  # create_server adds the address once more
            why = os.strerror(error.errno)
        return f"the monitoring cannot listen on port {port} of {host}: {why}; free it, or change `listen` in [daemon]"


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises OSError."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except UnicodeError as error:
        raise OSError(f"{host!r} is no name of a machine") from error
    family, _, _, _, address = found[0]
    return socket.create_server(address[:2], family=family, backlog=_BACKLOG)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
