"""The sinks: is each reachable, does it let us in, what time is it there. All are asked at once, for a bounded time."""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import requests

from turnlog.clock import as_utc
from turnlog.config import Config, SinkConfig, as_path
from turnlog.doctor.findings import ANSWER_SECONDS, Finding, Late, State, describe, in_parallel
from turnlog.doctor.subject import Subject
from turnlog.errors import ConfigError
from turnlog.sinks.base import Refused
from turnlog.sinks.jsonl import STDOUT
from turnlog.sinks.registry import open_sink

SKEW_SECONDS = 60.0

_REMEDIES = {
    "unavailable": "start it, or correct its url; nothing is lost meanwhile",
    "unauthorized": "correct the token",
    "throttled": "wait: it asks for patience",
    "in_doubt": "ask again",
}


def check_sinks(subject: Subject) -> Iterator[Finding]:
    """Ask every sink whose configuration is right, and every server for its time."""
    config = subject.config
    if config is None or not config.sinks:
        yield Finding(
            "sinks", "skip", "the configuration cannot be read" if config is None else "no sink is configured"
        )
        return
    sinks = {sink.name: sink for sink in config.sinks}
    jobs: dict[str, Callable[[], Refused | float | None]] = {
        name: partial(_ask, config, sink) for name, sink in sinks.items()
    }
    jobs |= {f"{name} clock": partial(_skew, sink.options.get("url")) for name, sink in sinks.items()}
    answers = in_parallel(jobs, seconds=ANSWER_SECONDS)
    for name, sink in sinks.items():
        yield judge_answer(sink, answers[name])
    for name in sinks:
        yield from judge_clock(name, answers[f"{name} clock"])


def _ask(config: Config, sink: SinkConfig) -> Refused | float | None:
    path = sink.options.get("path")
    if isinstance(path, str) and path != STDOUT:  # its own check would make it, and wait for whoever writes to it
        return _look_at_file(config.folder / as_path(path))
    opened = open_sink(config, sink)
    try:
        return opened.check()
    finally:
        opened.close()


def _look_at_file(path: Path) -> Refused | None:
    place = path if path.exists() else path.parent
    if not place.exists():
        return Refused("unavailable", f"the folder {place} is not there")
    return None if os.access(place, os.W_OK) else Refused("unavailable", f"{place} cannot be written to")


def judge_answer(sink: SinkConfig, answer: Refused | float | Exception | Late | None) -> Finding:
    """What is to be said of a sink's answer; None is that all is well."""
    name = f"sink {sink.name}"
    if answer is None:
        return Finding(name, "ok", f"it is there and takes turns ({sink.type})")
    if isinstance(answer, Late):
        return Finding(name, "fail", f"it did not answer within {ANSWER_SECONDS:g} s", _REMEDIES["unavailable"])
    if isinstance(answer, ConfigError):
        return Finding(name, "skip", "its configuration is broken, see there")
    if not isinstance(answer, Refused):
        told = describe(answer) if isinstance(answer, Exception) else f"it returned a {type(answer).__name__}"
        return Finding(name, "fail", f"its check broke: {told}", "update or uninstall what offers this type")
    state: State = "warn" if answer.kind == "throttled" else "fail"
    return Finding(name, state, f"{answer.kind}: {answer.error}", _REMEDIES.get(answer.kind, "see `turnlog sinks`"))


def _skew(url: object) -> float | None:
    """How far the clock of a server is ahead of ours, by its `Date` (RFC 9110, 6.6.1), to the second it is told in."""
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        return None
    import requests

    try:
        before = datetime.now(UTC)
        answer = requests.head(url, timeout=(3, 3), allow_redirects=False, auth=_no_netrc)
        middle = before + (datetime.now(UTC) - before) / 2
        return (as_utc(parsedate_to_datetime(answer.headers["Date"])) - middle).total_seconds()
    except (requests.RequestException, KeyError, ValueError, TypeError):
        return None


def _no_netrc(request: "requests.PreparedRequest") -> "requests.PreparedRequest":
    """Without this a ~/.netrc would decide what the server is told."""
    return request


def judge_clock(name: str, skew: Refused | float | Exception | Late | None) -> Iterator[Finding]:
    """What is to be said of a server whose clock is so many seconds ahead; nothing if it is near or unknown."""
    if isinstance(skew, float) and abs(skew) > SKEW_SECONDS:
        than = "ahead of" if skew > 0 else "behind"
        sentence = f"the clock of the sink {name!r} is {abs(skew):.0f} s {than} this one"
        yield Finding("clock", "warn", sentence, "see which is wrong: timedatectl, or the system's settings")
