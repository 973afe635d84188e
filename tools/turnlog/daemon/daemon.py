"""The daemon's life: one process for each log, that starts its parts, looks after them, answers, and ends in order.

The main thread does everything that changes something: what signals and the control socket ask for goes into one queue
and is done there, one after the other. Whatever is asked for often (the status) is answered where it is asked.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import Protocol

import msgspec
from msgspec.structs import replace

from eventlog.files import Files
from turnlog.config import Config
from turnlog.daemon import process
from turnlog.daemon.absent import STATUS_NAME, turnlog_version
from turnlog.daemon.assembly import Assembly
from turnlog.daemon.attention import attention
from turnlog.daemon.changes import changes
from turnlog.daemon.control import Answer, ControlServer, make_socket_folder, socket_path
from turnlog.daemon.figures import Counted, Figures
from turnlog.daemon.lock import DaemonLock, Holder, holder_of
from turnlog.daemon.monitoring.endpoint import Endpoint
from turnlog.daemon.notify import Notifier
from turnlog.daemon.parts import STUCK_SECONDS, Supervisor, told
from turnlog.daemon.status import SourceStatus, State, Status
from turnlog.errors import Busy, ConfigError, TurnlogError
from turnlog.places import Places, read_config
from turnlog.sync.checks import check_config
from turnlog.sync.engine import OnEvents

TICK_SECONDS = 1.0
"""How often the daemon looks after its parts."""

READY_SECONDS = 10.0
"""So long the parts may take to begin before the daemon says that it runs; they may read a long log first."""

_STARTING_TICK_SECONDS = 0.02
_LOCK_SECONDS = 1.0
"""So long the lock is tried: whoever asks whether a daemon runs holds it for an instant."""

_JUMP_SECONDS = 5.0

_logger = logging.getLogger("turnlog.daemon")


class Manager(Protocol):
    """A service manager that is told how the daemon is, as sd_notify(3) has it."""

    def ready(self) -> object:
        """It runs, or a reload is over."""

    def reloading(self) -> object:
        """A reload begins."""

    def stopping(self) -> object:
        """The end begins."""

    def status(self, text: str) -> object:
        """One line for people."""

    def alive(self) -> object:
        """Every part gets on."""


class Daemon:
    """The daemon of one log folder. `run` is its life; `status` may be asked for from any thread.

    `find` tells the places, again at every reload; `configured` is told every configuration that is taken, the first
    one too. `on_events` is told every event that the engine appends, in its thread. Raises ConfigError.
    """

    def __init__(
        self,
        find: Callable[[], Places],
        environ: Mapping[str, str],
        *,
        manager: Manager = Notifier({}),  # noqa: B008 - it tells nobody
        configured: Callable[[Config], object] = lambda _: None,
        on_events: OnEvents = lambda _: None,
        stuck_seconds: float = STUCK_SECONDS,
    ) -> None:
        self._find = find
        self._environ = environ
        self._manager = manager
        self._configured = configured
        self._places = find()
        self.directory = self._places.directory.absolute()
        self.config = load_checked(self._places, environ)
        self._assembly = Assembly(self.directory, environ, stuck_seconds, on_events)
        self._stuck_seconds = stuck_seconds
        self._endpoint = Endpoint(self.status, self.stuck)
        self._lock = DaemonLock(self.directory)
        self._commands: SimpleQueue[tuple[str, Answer]] = SimpleQueue()
        self._state: State = "starting"
        self._began, self._started_at = time.monotonic(), datetime.now(UTC)
        self._starting_since = self._began
        self._generation = 1
        self._reload_error: str | None = None
        self._problems: tuple[str, ...] = ()
        self._status_due = 0.0
        self._ticked = self._began
        self._clock_offset = _clock_offset()
        self._ready: Callable[[], object] = _nothing
        self._figures: Figures

    def run(self, ready: Callable[[], object] = lambda: None) -> None:
        """Run until it is told to stop, by a signal or on the control socket; `ready` is called when all parts run.

        Raises Busy if a daemon runs already, TurnlogError if there is no place for the socket, LogUnavailable.
        """
        Files().make_folder(self.directory)
        self._take_lock()
        try:
            path = socket_path(self.directory)
            make_socket_folder(path)
            self._figures = Figures(self.directory)
            threading.Thread(target=self.status, name="figures", daemon=True).start()  # reads a long log, if it must
            server = ControlServer(path, self._handle)
            try:
                started = process.start_of(os.getpid()) or ""
                self._holder = Holder(os.getpid(), started, str(path))
                self._lock.tell(self._holder)
                self._configured(self.config)
                self._endpoint.change(self.config.daemon)
                with self._signals():
                    self._assembly.start(self.config)
                    self._ready = ready
                    self._live()
                    self._end()
            finally:
                self._endpoint.close()
                server.close()
                self._figures.close()
        finally:
            self._lock.release()

    @property
    def supervisor(self) -> Supervisor:
        """What looks after the parts."""
        return self._assembly.supervisor

    def ask(self, command: str, answer: Answer = lambda _: None) -> None:
        """Have the main thread do `reload`, `drain` or `stop`; from any thread, and from a signal's handler."""
        self._commands.put((command, answer))

    def status(self) -> Status:
        """How everything is."""
        now, assembly = datetime.now(UTC), self._assembly
        delivery = assembly.delivery
        counted = self._figures.take(delivery.state if delivery else None, self.config, now)
        absent = delivery.absent if delivery else {}
        next_at = [at for at in (counted.sync.next_at, delivery.next_at if delivery else None) if at is not None]
        status = Status(
            state=self._state,
            at=now,
            directory=str(self.directory),
            version=turnlog_version(),
            running=True,
            pid=os.getpid(),
            started_at=self._started_at,
            uptime_seconds=time.monotonic() - self._began,
            config=str(self.config.path) if self.config.path else None,
            generation=self._generation,
            reload_error=self._reload_error,
            listening=self._endpoint.url,
            last_seq=counted.last_seq,
            events=counted.events,
            turns=counted.turns,
            sync=replace(counted.sync, next_at=min(next_at, default=None)),
            sources=self._sources(counted, now),
            sinks=tuple(replace(sink, trouble=absent.get(sink.sink)) for sink in counted.sinks),
            parts=(*self.supervisor.statuses(), *self._endpoint.statuses),
            notices=counted.notices,
            problems=self._problems,
            memory_bytes=process.memory_bytes(),
            cpu_seconds=process.cpu_seconds(),
        )
        return replace(status, attention=attention(status))

    def _sources(self, counted: Counted, now: datetime) -> tuple[SourceStatus, ...]:
        """What the log says of sources, and what their watchers do; two places of one source are one here."""
        sources = {source.source: source for source in counted.sources}
        for part in self._assembly.sources:
            known = sources.get(part.source, SourceStatus(part.source))
            looked_at, held = part.looked_at, part.held_since
            lag = max(0.0, (now - held).total_seconds()) if held else 0.0 if looked_at else None
            sources[part.source] = replace(
                known,
                watched=True,
                looked_at=max(filter(None, (known.looked_at, looked_at)), default=None),
                lag_seconds=max((value for value in (known.lag_seconds, lag) if value is not None), default=None),
            )
        return tuple(sources.values())

    # The life.

    def _take_lock(self) -> None:
        deadline = time.monotonic() + _LOCK_SECONDS
        while not self._lock.acquire():
            if time.monotonic() >= deadline:
                holder = holder_of(self.directory)
                who = f" (pid {holder.pid})" if holder and holder.pid else ""
                raise Busy(f"a daemon{who} runs already for {self.directory}; `turnlog daemon status` tells how it is")
            time.sleep(0.01)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT stop it, at the second time at once; SIGHUP has it read its configuration anew."""

        def stop(number: int, _: object) -> None:
            if self._state == "draining":  # whoever insists gets it: the next start settles what is in flight
                os._exit(128 + number)
            self.ask("stop")

        def reload(*_: object) -> None:
            self.ask("reload")

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, reload)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _live(self) -> None:
        while True:
            with suppress(Empty):
                timeout = _STARTING_TICK_SECONDS if self._state == "starting" else TICK_SECONDS
                command, answer = self._commands.get(timeout=timeout)
                if command == "stop":
                    answer({"ok": True})
                    return
                answer(self._reload() if command == "reload" else self._drain())
            self._tick()

    def stuck(self) -> list[str]:
        """What does not get on: parts, and the thread that looks after them, unless it waits for their end."""
        silent = time.monotonic() - self._ticked > self._stuck_seconds + TICK_SECONDS and self._state != "draining"
        return [*self.supervisor.stuck(), *(["the daemon's main thread"] if silent else [])]

    def _tick(self) -> None:
        self._ticked = time.monotonic()
        self._look_at_clock()
        self._look_at_folder()
        supervisor = self.supervisor
        if self._state in ("starting", "running"):
            supervisor.tend()
        is_late = time.monotonic() - self._starting_since >= READY_SECONDS
        if self._state == "starting" and (supervisor.is_ready or is_late):
            self._state = "running"
            _logger.info("the daemon runs, pid %d, for %s", os.getpid(), self.directory)
            self._manager.ready()
            self._ready()
            self._ready = _nothing  # it is told once, however often the parts begin anew
        if time.monotonic() >= self._status_due:
            self._status_due = time.monotonic() + self.config.daemon.status_seconds
            self._tell_status()
        self._endpoint.tend()
        if not (stuck := self.stuck()):
            self._manager.alive()
        else:
            self._manager.status(f"stuck: {', '.join(stuck)}")

    def _end(self) -> None:
        """Drain: what is in flight ends within the grace time, and what does not is written down as in doubt."""
        self._state = "draining"
        self._manager.stopping()
        _logger.info("stopping: what is in flight may take %g s to end", self.config.sync.grace_seconds)
        self._write_status(self.status())
        delivery = self._assembly.delivery
        deaf = self._assembly.stop()
        for name in deaf:
            _logger.warning("%s has not ended in time and is left alone", name)
        left = delivery.left if delivery else None
        _logger.info("stopped; turns that wait for the next start: %s", "unknown" if left is None else left)
        self._state = "not running"
        self._write_status(replace(self.status(), running=False, pid=None, parts=(), attention=None))

    # What is asked for.

    def _handle(self, command: str, answer: Answer) -> None:
        """In the thread of the control socket."""
        if command == "status":
            answer({"ok": True, "status": self.status()})
        elif command in ("reload", "drain", "stop"):
            self.ask(command, answer)
        else:
            answer({"ok": False, "error": f"no such command {command!r}; known: drain, reload, status, stop"})

    def _reload(self) -> dict[str, object]:
        """Read the configuration anew, and do as it says if there is nothing wrong with it; else all stays."""
        self._manager.reloading()
        try:
            places = self._find()
            if self._places.config_path is not None and places.config_path is None:
                raise ConfigError(f"the configuration {self._places.config_path} has gone")
            config = load_checked(places, self._environ)
        except TurnlogError as error:
            self._reload_error = str(error)
            _logger.error("the configuration is not taken, all goes on as before: %s", error)  # noqa: TRY400 - a sentence
            return {"ok": False, "error": str(error), "generation": self._generation}
        finally:
            self._manager.ready()
        different = changes(self.config, config)
        self._reload_error = None
        self._places, self.config = places, config
        self._generation += 1
        self._configured(config)
        self._endpoint.change(config.daemon)
        if self._state == "drained":
            self._resume()
        elif self._state != "waiting":
            self._assembly.change(config)
        _logger.info("configuration %d: %s", self._generation, "; ".join(different) or "nothing is different")
        return {"ok": True, "generation": self._generation, "changes": different}

    def _drain(self) -> dict[str, object]:
        """Begin nothing more, but stay and answer, until the configuration is read anew."""
        if self._state in ("starting", "running"):
            self._assembly.stop(wait=False)
            self._state = "drained"
            _logger.info("drained: nothing is begun until `turnlog daemon reload`")
        return {"ok": True}

    def _resume(self) -> None:
        self._state, self._starting_since = "starting", time.monotonic()
        self._assembly.start(self.config)

    # What may happen to it.

    def _look_at_clock(self) -> None:
        offset = _clock_offset()
        jump, self._clock_offset = offset - self._clock_offset, offset
        if abs(jump) >= _JUMP_SECONDS:
            what = "forward, or the machine slept," if jump > 0 else "back"
            _logger.warning("the clock was set %s by %.0f s; everything is looked at anew", what, abs(jump))

    def _look_at_folder(self) -> None:
        """Stop where the log's folder has gone (was removed, or is not mounted), and go on when a log is there again.

        A folder that is just empty is not taken for a log: it may be where one is to be mounted.
        """
        if self._lock.is_there:
            if self._state == "waiting":
                self._problems = ()
                _logger.info("the log's folder %s is there again", self.directory)
                self._figures.close()
                self._figures = Figures(self.directory)  # it may be another log
                self._resume()
            return
        if self._state != "waiting":
            self._state = "waiting"
            self._problems = (f"the log's folder {self.directory} has gone; waiting until it is there again",)
            _logger.error("%s", self._problems[0])
            self._assembly.stop(wait=False)
        if (self.directory / "log").is_dir():
            with suppress(OSError):
                if self._lock.acquire():
                    self._lock.tell(self._holder)

    def _tell_status(self) -> None:
        try:
            self._write_status(self.status())
        except Exception as error:  # noqa: BLE001 - a bug in what is told is no reason to deliver nothing
            _logger.error("the status cannot be told: %s", told(error))  # noqa: TRY400 - see `told`

    def _write_status(self, status: Status) -> None:
        """Into the log's folder, whole or not at all; it need not survive a power cut."""
        if self._state == "waiting":
            return
        path = self.directory / STATUS_NAME
        beside = path.with_name(f"{STATUS_NAME}.tmp")
        with suppress(OSError):  # no room: the socket tells all the same
            with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123 - a mode
                file.write(msgspec.json.encode(status) + b"\n")
            beside.replace(path)


def load_checked(places: Places, environ: Mapping[str, str]) -> Config:
    """The configuration of a place, in which everything can be used. Raises ConfigError with all that is wrong."""
    config = read_config(places, environ)
    if problems := check_config(config, environ):
        raise ConfigError("; ".join(problems))
    return config


def _clock_offset() -> float:
    return datetime.now(UTC).timestamp() - time.monotonic()


def _nothing() -> None:
    """Nobody waits for it to be ready."""
