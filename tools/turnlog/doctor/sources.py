"""The sources that are watched: is each there, can it be read. All are looked at at once, for a bounded time."""

from collections.abc import Callable, Iterator
from contextlib import suppress

from turnlog.doctor.findings import ANSWER_SECONDS, Finding, Late, describe, in_parallel
from turnlog.doctor.subject import Subject
from turnlog.errors import TurnlogError
from turnlog.sources.looking import NOTHING, Seen, look_of
from turnlog.sources.mailboxes import all_sources, is_mailbox

_REMEDY = "mend that; `turnlog sources check` looks again"


def check_sources(subject: Subject) -> Iterator[Finding]:
    """What `turnlog sources check` says of each; a mailbox is logged in to."""
    config = subject.config
    tables = all_sources(config, subject.environ) if config else []
    if config is None or not tables:
        yield Finding("sources", "skip", "no source is configured; `turnlog sources add` has one watched")
        return
    looks: dict[str, Callable[[], Seen]] = {}
    for number, table in enumerate(tables):
        with suppress(TurnlogError):  # the configuration's trouble, and told there
            looks[str(number)] = look_of(config, table, subject.environ)
    results = in_parallel(looks, seconds=ANSWER_SECONDS)
    for number, table in enumerate(tables):
        if str(number) in results:
            place = table.options.get("host" if is_mailbox(table) else "path", "where its program keeps its files")
            yield judge_source(f"source {table.type}", str(place), results[str(number)])


def judge_source(name: str, place: str, seen: Seen | Exception | Late) -> Finding:
    """What is to be said of what was seen of a source, in a place that is named where nothing was."""
    if isinstance(seen, Late):
        return Finding(name, "fail", f"{place}: it could not be looked at within {ANSWER_SECONDS:g} s", _REMEDY)
    if isinstance(seen, Exception):
        return Finding(name, "fail", f"{place}: looking at it broke: {describe(seen)}", _REMEDY)
    if seen.problem == NOTHING:
        return Finding(name, "warn", f"nothing is at {seen.path}", "correct its path, or start the program once")
    if seen.problem:
        return Finding(name, "fail", seen.problem, _REMEDY)
    return Finding(name, "ok", seen.path + (f", streams: {seen.streams}" if seen.streams else ""))
