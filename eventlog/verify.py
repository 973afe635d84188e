"""Proof: every byte of a log checked against what the format promises."""

import os
from pathlib import Path

from msgspec import Struct

from eventlog.codec import Entry
from eventlog.errors import LogUnavailable
from eventlog.events import SegmentOpened, UnknownEvent
from eventlog.reader import LineChecker, Problem
from eventlog.segments import (
    Segment,
    check_format,
    find_offset,
    first_entry,
    list_segments,
    open_to_read,
    read_lines,
    segment_checksum,
    text_end,
)
from eventlog.tail import find_tail, torn_at_end

HARMLESS = ("torn_tail",)
"""Problems that say nothing against a log: a crash leaves them, and the next writer closes them."""

GLANCE_EVENTS = 1000
"""How many of the last events `glance` looks at."""


class Report(Struct):
    """What `verify` found: `ok` unless something is damaged; `events` are whole lines, `problems` in log order."""

    ok: bool = True
    events: int = 0
    segments: int = 0
    problems: list[Problem] = []


def verify(folder: Path) -> Report:
    """Check every line, seq, segment name, seal and file of a log folder. Changes nothing.

    Others may be writing meanwhile, so that a line is seen behind one that is not there yet; what is damage is there at
    a second look. Raises LogUnavailable if a file cannot be read, NewerFormat if this version must not.
    """
    report = _look_through(folder)
    return report if report.ok else _look_through(folder)


def glance(folder: Path) -> Report:
    """Check what is quick: names, headers and lengths of all segments, one seal, the last lines. Changes nothing.

    The seal is the last one, so at most one segment is summed up; the lines are the last `GLANCE_EVENTS`, and only
    they are counted. A tail that a crash left is told, as `verify` does. Raises LogUnavailable, NewerFormat.
    """
    report = _glance(folder)
    return report if report.ok else _glance(folder)  # see `verify`


def _glance(folder: Path) -> Report:
    segments, foreign = list_segments(folder)
    report = Report(segments=len(segments))
    before: Segment | None = None
    for segment in segments:
        try:
            check_format(segment.path)
            if segment is segments[-1]:
                _glance_at_last(report, segment, before)
            else:
                _glance_at_header(report, segment, before, whole=False)
        except OSError as error:
            raise LogUnavailable(segment.path, error) from error
        before = segment
    return _judged(report, foreign)


def _glance_at_header(report: Report, segment: Segment, before: Segment | None, *, whole: bool) -> None:
    entry = first_entry(segment.path)
    if entry is not None:
        _verify_header(report, segment, before, entry, whole=whole)
    else:
        report.problems.append(Problem("header", segment.name, None, 0, "no line of the segment is whole"))


def _glance_at_last(report: Report, segment: Segment, before: Segment | None) -> None:
    descriptor = open_to_read(segment.path)
    try:
        last_seq = find_tail(descriptor, segment, os.fstat(descriptor).st_size).last_seq
        gt = max(segment.first_seq - 1, last_seq - GLANCE_EVENTS)
        offset = find_offset(descriptor, gt + 1) if gt >= segment.first_seq else 0
    finally:
        os.close(descriptor)
    if offset:
        _glance_at_header(report, segment, before, whole=True)
    _verify_segment(report, LineChecker(gt, report.problems), segment, before, final=True, offset=offset)


def _judged(report: Report, foreign: list[str]) -> Report:
    for name in foreign:
        report.problems.append(Problem("foreign", name, None, None, "this file is no part of a log"))
    report.ok = all(problem.kind in HARMLESS for problem in report.problems)
    return report


def _look_through(folder: Path) -> Report:
    segments, foreign = list_segments(folder)
    report = Report(segments=len(segments))
    checker = LineChecker(0, report.problems)
    before: Segment | None = None
    for segment in segments:
        try:
            _verify_segment(report, checker, segment, before, final=segment is segments[-1])
        except OSError as error:
            raise LogUnavailable(segment.path, error) from error
        before = segment
    return _judged(report, foreign)


def _verify_segment(
    report: Report, checker: LineChecker, segment: Segment, before: Segment | None, *, final: bool, offset: int = 0
) -> None:
    check_format(segment.path)
    descriptor = open_to_read(segment.path)
    first = offset == 0
    try:
        for line in read_lines(descriptor, offset):
            entry = checker.take(segment.name, line, growing=final)
            if entry is None:
                continue
            lost = (
                final and line.offset > 0 and entry.type != "SegmentOpened"
            )  # to a power cut; the next writer says so
            if first and not lost:
                _verify_header(report, segment, before, entry)
            first = False
            report.events += 1
            if isinstance(entry.event, UnknownEvent) and entry.event.error:
                detail = f"this {entry.type} breaks its own rules: {entry.event.error}"
                report.problems.append(Problem("event", segment.name, entry.seq, line.offset, detail))
        size = os.fstat(descriptor).st_size
        padded = text_end(descriptor, size) + 1 < size
    finally:
        os.close(descriptor)
    checker.judge(segment.name, torn_at_end(checker.broken, padded=padded) if final else [])


def _verify_header(
    report: Report, segment: Segment, before: Segment | None, entry: Entry, *, whole: bool = True
) -> None:
    """A segment's first whole line opens it, and seals the one before, of which only with `whole` more than its length
    is looked at."""

    def note(kind: str, detail: str) -> None:
        report.problems.append(Problem(kind, segment.name, entry.seq, 0, detail))

    if entry.seq != segment.first_seq:
        note("name", f"the segment is named for seq {segment.first_seq} but begins with seq {entry.seq}")
    header = entry.event
    if not isinstance(header, SegmentOpened):
        note("header", f"the segment begins with a {entry.type}, not with a SegmentOpened")
        return
    if header.segment != (before.name if before else None):
        note("seal", f"the segment follows {header.segment or 'none'}, but {before and before.name} is there")
    elif before and header.checksum is not None:
        length, checksum = segment_checksum(before.path) if whole else (before.path.stat().st_size, header.checksum)
        if (length, checksum) != (header.length, header.checksum):
            sealed = f"{header.length} bytes with checksum {header.checksum}"
            note("seal", f"{before.name} was sealed as {sealed}, now it has {length} with {checksum}")
