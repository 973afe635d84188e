"""Reading streams ahead, in processes of their own, while this one records what they gave.

Reading takes most of an import's time, and a Python process has one core. A worker is started as a program, not forked
and not by importing the main module again, so that it does not matter who embeds this; it reads one stream after the
other and sends its chunks with their turns encoded, as the log has them. What it gives is what reading here gives, in
the same order. So most of what the others read meanwhile must wait: a little of it in memory, more in unnamed files.
With little to read, or one core, everything is read here; so it is if a worker cannot be had or is lost.
"""

import errno
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any

import msgspec

from eventlog import Blobs
from turnlog.sources.base import Keep, Source, Stream, keep_nothing
from turnlog.sources.prepared import PreparedChunk, prepare_chunk

BYTES_MIN = 16 * 1024 * 1024
"""Less is read sooner than a worker is there."""

WORKERS_MAX = 4
"""More of them give more than one process can record."""

_STREAMS_AHEAD = 4  # a worker
_BYTES_AHEAD = 256 * 1024 * 1024
_MEMORY_BYTES = 4 * 1024 * 1024  # a stream
_PATIENCE_SECONDS = 10
_HEAD = struct.Struct("<Qc")
_CHUNK, _END, _ERROR, _LOST = b"c", b".", b"!", b"-"
_PROGRAM = "import sys; sys.path[:] = sys.argv[1:]; from turnlog.sources.ahead import serve; serve()"

Reading = Iterator[tuple[Stream, Iterator[PreparedChunk]]]
"""Streams in order, each with its chunks; those of one are to be taken before the next is asked for."""


@contextmanager
def read_ahead(source: Source, streams: Sequence[Stream], keep: Keep, blobs: Path | None) -> Iterator[Reading]:
    """The streams with their chunks; what is too large for events goes to `keep`, or to the folder `blobs` (None:
    nowhere) from the workers, which is to be the same. Raises what `Source.read` raises.
    """
    workers = workers_for(streams)
    setup = _pickled((source, blobs)) if workers else None
    if setup is None:
        yield ((stream, map(prepare_chunk, source.read(stream, keep=keep))) for stream in streams)
        return
    team = _Team(setup, streams, workers)
    try:
        yield ((stream, team.chunks(number, source, keep)) for number, stream in enumerate(streams))
    finally:
        team.stop()


def workers_for(streams: Sequence[Stream]) -> int:
    """How many processes are to read these; 0 for none but this one."""
    cores = os.cpu_count() or 1
    if cores < 2 or not sys.executable or getattr(sys, "frozen", False):
        return 0
    if sum(stream.size_bytes for stream in streams) < BYTES_MIN:
        return 0
    return min(cores, len(streams), WORKERS_MAX)


def _pickled(value: Any) -> bytes | None:
    """None if it cannot be sent: a source may hold what belongs to this process."""
    try:
        return pickle.dumps(value)
    except (pickle.PicklingError, TypeError, AttributeError):
        return None


class _Frames:
    """What was sent of a stream and was not taken yet: first in, first out, from some bytes on in a file."""

    def __init__(self) -> None:
        self._heads: deque[tuple[bytes, int]] = deque()
        self._bodies = SpooledTemporaryFile(_MEMORY_BYTES)  # noqa: SIM115 - `close` closes it
        self._taken = self._put = 0

    def __bool__(self) -> bool:
        return bool(self._heads)

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait."""
        return self._put - self._taken

    def put(self, frame: tuple[bytes, bytes]) -> None:
        """Add a frame. Raises OSError, on a full disk for one."""
        kind, body = frame
        if body:
            self._bodies.seek(self._put)
            self._bodies.write(body)
            self._bodies.flush()  # what does not fit is known now, and not when another frame is asked for
        self._put += len(body)
        self._heads.append((kind, len(body)))

    def take(self) -> tuple[bytes, bytes]:
        """Take out the first frame. Raises OSError if it is not there as it was put."""
        kind, length = self._heads.popleft()
        self._bodies.seek(self._taken)
        body = self._bodies.read(length)
        if len(body) < length:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._taken += length
        if not self._heads:
            self._taken = self._put = 0
        return kind, body

    def close(self) -> None:
        """Let go of the file."""
        with suppress(OSError):  # it may want to write what did not fit
            self._bodies.close()


class _Team:
    """Workers, each driven by a thread, and what they have sent that was not taken yet, by stream."""

    def __init__(self, setup: bytes, streams: Sequence[Stream], workers: int) -> None:
        self._setup = setup
        self._streams = streams
        self._changed = threading.Condition()
        self._frames: dict[int, _Frames] = {}
        self._given = self._done = 0
        self._ahead = workers * _STREAMS_AHEAD
        self._is_stopped = False
        self._threads = [threading.Thread(target=self._drive, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def chunks(self, number: int, source: Source, keep: Keep) -> Iterator[PreparedChunk]:
        """The chunks of a stream; it is read here if its worker is lost."""
        try:
            while (frame := self._take(number))[0] == _CHUNK:
                yield _decode(frame[1])
            if frame[0] == _ERROR:
                raise pickle.loads(frame[1])  # noqa: S301 - from a process of our own
            if frame[0] == _LOST:
                yield from map(prepare_chunk, source.read(self._streams[number], keep=keep))
        finally:
            with self._changed:
                self._done = number + 1
                self._close(number)
                self._changed.notify_all()

    def stop(self) -> None:
        """Let the workers end, whatever they are at."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        for number in list(self._frames):
            self._close(number)

    def _close(self, number: int) -> None:
        if (frames := self._frames.pop(number, None)) is not None:
            frames.close()

    def _take(self, number: int) -> tuple[bytes, bytes]:
        with self._changed:
            self._changed.wait_for(lambda: self._frames.get(number))
            self._changed.notify_all()
            try:
                return self._frames[number].take()
            except OSError:
                return _LOST, b""

    # --- threads ------------------------------------------------------------------------------------------------------

    def _drive(self) -> None:
        """Give a worker one stream after the other, and keep what it sends."""
        worker = None
        try:
            while (number := self._next()) is not None:
                try:
                    worker = worker or _Worker(self._setup)
                    for frame in worker.read(self._streams[number]):
                        if not self._put(number, frame):
                            return
                except (OSError, EOFError, ValueError):
                    self._put(number, (_LOST, b""))
                    if worker is not None:  # nobody knows what it is at
                        worker.stop()
                    worker = None
        finally:
            if worker is not None:
                worker.stop()

    def _next(self) -> int | None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopped or self._given < self._done + self._ahead)
            if self._is_stopped or self._given == len(self._streams):
                return None
            self._given += 1
            return self._given - 1

    def _put(self, number: int, frame: tuple[bytes, bytes]) -> bool:
        """Whether anybody wants more."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopped or self._has_room(number))
            if number >= self._done and not self._is_stopped:
                if number not in self._frames:
                    self._frames[number] = _Frames()
                self._frames[number].put(frame)
                self._changed.notify_all()
            return not self._is_stopped

    def _has_room(self, number: int) -> bool:
        """Whether more of a stream may come; the one that is being taken must, and what was given up is not kept."""
        is_wanted_now = number == self._done and not self._frames.get(number)
        waiting_bytes = sum(frames.waiting_bytes for frames in self._frames.values())
        return number < self._done or is_wanted_now or waiting_bytes < _BYTES_AHEAD


class _Worker:
    """A process that reads streams. Raises OSError or EOFError if it cannot be started, or is gone."""

    def __init__(self, setup: bytes) -> None:
        command = [sys.executable, "-c", _PROGRAM, *sys.path]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
        self._send(setup)

    def read(self, stream: Stream) -> Iterator[tuple[bytes, bytes]]:
        """The frames that it sends, the last one included, which says how the reading ended."""
        self._send(pickle.dumps(stream))
        kind = _CHUNK
        while kind == _CHUNK:
            kind, body = _receive(self._pipe(self._process.stdout))
            yield kind, body

    def stop(self) -> None:
        """Close its pipes, which it ends upon, and wait; it may be in the middle of keeping a payload."""
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                self._pipe(pipe).close()
        try:
            self._process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, body: bytes) -> None:
        _send(self._pipe(self._process.stdin), _CHUNK, body)

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None  # noqa: S101 - it was asked for
        return pipe


def serve() -> None:
    """The worker's program: streams come on stdin, frames go to stdout. Ends when either is closed."""
    import gc

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the process that started this one, which closes the pipes
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        source, folder = pickle.loads(_receive(requests)[1])  # noqa: S301 - from the process that started this one
        keep = keep_nothing if folder is None else Blobs(folder).put
        gc.freeze()
        gc.set_threshold(200_000)  # more than a chunk has objects, which are garbage all at once
        while True:
            stream = pickle.loads(_receive(requests)[1])  # noqa: S301
            try:
                for chunk in source.read(stream, keep=keep):
                    _send(answers, _CHUNK, _encode(prepare_chunk(chunk)))
                _send(answers, _END, b"")
            except BrokenPipeError:
                raise
            except Exception as error:  # noqa: BLE001 - whoever asked is told
                _send(answers, _ERROR, pickle.dumps(error))
    except (BrokenPipeError, EOFError):
        os._exit(0)  # nobody is there to flush anything to


def _send(pipe: IO[bytes], kind: bytes, body: bytes) -> None:
    pipe.write(_HEAD.pack(len(body), kind))
    pipe.write(body)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> tuple[bytes, bytes]:
    head = pipe.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise EOFError
    length, kind = _HEAD.unpack(head)
    body = pipe.read(length)
    if len(body) < length:
        raise EOFError
    return kind, body


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(PreparedChunk).decode
