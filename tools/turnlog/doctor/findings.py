"""What a check returns, and how checks are run: one that breaks is told as trouble is, and the rest goes on."""

import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, TypeVar

from msgspec import Struct

State = Literal["ok", "warn", "fail", "skip"]

T = TypeVar("T")

ANSWER_SECONDS = 8.0
"""What has not answered by then is told as something that does not."""


class Finding(Struct, frozen=True):
    """What a check found: `ok`, `warn` (works, but should be mended), `fail` (does not work), `skip` (not looked at).

    `sentence` says what is so, `remedy` what to do about it, where there is something to do.
    """

    name: str
    state: State
    sentence: str
    remedy: str = ""


Check = Callable[[], Iterable[Finding]]


def run_checks(checks: Iterable[tuple[str, Check]]) -> Iterator[Finding]:
    """The findings of all checks, in order, each told as soon as it is made."""
    for name, check in checks:
        try:
            yield from check()
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a machine, the rest of it is looked at
            yield Finding(name, "fail", f"this check broke: {describe(error)}", "please report it")


def describe(error: Exception) -> str:
    """An error by its type and place; what it says is left out, for it may quote a secret."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"


class Late:
    """A job was not done in time."""


def in_parallel(jobs: Mapping[str, Callable[[], T]], *, seconds: float) -> dict[str, T | Exception | Late]:
    """What each job returned or raised, or Late; such a job is left to itself.

    Jobs run in threads of their own, which do not keep the process from ending.
    """
    results: dict[str, T | Exception] = {}
    done = {name: threading.Event() for name in jobs}

    def run(name: str, job: Callable[[], T]) -> None:
        try:
            results[name] = job()
        except Exception as error:  # noqa: BLE001 - it is returned
            results[name] = error
        done[name].set()

    for name, job in jobs.items():
        threading.Thread(target=run, args=(name, job), name=f"doctor {name}", daemon=True).start()
    end = time.monotonic() + seconds
    for event in done.values():
        event.wait(max(0.0, end - time.monotonic()))
    return {name: results[name] if done[name].is_set() else Late() for name in jobs}
