"""Child processes: forked, bounded in time, ended with their parent, and told apart by what they say on a pipe."""

import ctypes
import faulthandler
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress

SECONDS_MAX = 60
"""No child lives longer: the kernel ends it then."""

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG, prctl(2)
_READ_BYTES = 1 << 16


class Child:
    """A forked process that runs `work(pipe)`; lines that it writes to the pipe are read here.

    It ends 0; 1 after an exception, whose last line is then the last one on the pipe, after an exclamation mark.
    """

    def __init__(self, work: Callable[[int], object], *, seconds: int = SECONDS_MAX) -> None:
        self.lines: list[str] = []
        self.status: int | None = None  # how it ended: its exit code, or minus the signal's number
        self._rest = b""
        self._ended = False
        sys.stdout.flush()
        sys.stderr.flush()
        self.pipe, write_end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.pipe)
            _run(work, write_end, seconds)
        os.close(write_end)

    def read(self, seconds: float | None = 0) -> bool:
        """Take in what it says within some time (None: as long as it takes); False if nothing more will come."""
        if not self._ended and select.select([self.pipe], [], [], seconds)[0]:
            data = os.read(self.pipe, _READ_BYTES)
            *lines, self._rest = (self._rest + data).split(b"\n")
            self.lines += [line.decode() for line in lines]
            self._ended = not data
        return not self._ended

    def signal(self, number: int) -> None:
        """Send it a signal, if it was not waited for yet."""
        if self.status is None:
            os.kill(self.pid, number)

    def wait(self) -> int:
        """Take in all that it says, and wait for its end, which the kernel bounds."""
        while self.read(None):
            pass
        if self.status is None:
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            os.close(self.pipe)
        return self.status

    def kill(self) -> None:
        """End it at once, and take in what it had said."""
        self.signal(signal.SIGKILL)
        self.wait()


def _run(work: Callable[[int], object], pipe: int, seconds: int) -> None:
    """The child's whole life; never returns."""
    code = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        faulthandler.register(signal.SIGALRM, chain=True)  # tells on stderr where it hangs, then lets it end
        signal.alarm(seconds)
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        work(pipe)
        code = 0
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent must hear of it
        said = "".join(traceback.format_exception_only(error)).strip().replace("\n", " ")
        with suppress(OSError):
            os.write(pipe, f"!{said}\n".encode())
    finally:
        os._exit(code)


def read_all(children: Sequence[Child], seconds: float) -> None:
    """Take in what any of them says within some time."""
    pipes = {child.pipe: child for child in children if child.status is None}
    for pipe in select.select(list(pipes), [], [], seconds)[0]:
        pipes[pipe].read()
