"""The log: is it whole as far as a glance shows, and does its time agree with the clock."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from eventlog import EventLog, EventLogError
from eventlog.verify import HARMLESS
from turnlog.doctor.findings import Finding

PROBLEMS_MAX = 5
"""So many are told; `turnlog verify` lists all."""

AHEAD_SECONDS = 5.0
"""So far ahead of the clock an event may be stamped by another machine or a clock that is being corrected."""


def check_log(directory: Path) -> Iterator[Finding]:
    """Names, headers, lengths, one seal and the last lines; `turnlog verify` looks at every byte."""
    log = EventLog.open(directory, read_only=True)
    try:
        report = log.glance()
    except EventLogError as error:
        yield Finding("log", "fail", str(error), "see who may read it, and which version wrote it")
        return
    for problem in report.problems[:PROBLEMS_MAX]:
        place = f"{problem.segment}{'' if problem.offset is None else f' at {problem.offset}'}"
        if problem.kind in HARMLESS:
            yield Finding("log", "ok", f"{place}: {problem.detail}")
        else:
            yield Finding(
                "log", "fail", f"{problem.kind} in {place}: {problem.detail}", "see all of it: turnlog verify"
            )
    if len(report.problems) > PROBLEMS_MAX:
        sentence = f"and {len(report.problems) - PROBLEMS_MAX} more problems"
        yield Finding("log", "fail", sentence, "see all of it: turnlog verify")
    if report.ok:
        told = (
            f"{report.segments} segments, the last {report.events} events are whole"
            if report.segments
            else "it is empty"
        )
        yield Finding("log", "ok", f"{told}; `turnlog verify` checks every byte")


def check_clock(directory: Path) -> Iterator[Finding]:
    """The last event is not of the future."""
    log = EventLog.open(directory, read_only=True)
    try:
        last = log.get(log.last_seq())
    except EventLogError:  # told by `check_log`
        last = None
    ahead = (last.at - datetime.now(UTC)).total_seconds() if last else 0.0
    if ahead > AHEAD_SECONDS:
        sentence = (
            f"the last event is stamped {ahead:.0f} s in the future: the clock is wrong, or was when it was written"
        )
        yield Finding("clock", "warn", sentence, "have it set: timedatectl set-ntp true, or the system's settings")
    else:
        yield Finding("clock", "ok", f"it is {datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}")


def check_time_zones() -> Iterator[Finding]:
    """The database of time zones is there, which times without a zone need."""
    try:
        ZoneInfo("Europe/Berlin")
    except ZoneInfoNotFoundError:
        yield Finding("time zones", "warn", "there is no database of time zones", "pip install tzdata")
    else:
        yield Finding("time zones", "ok", "the database of time zones is there")
