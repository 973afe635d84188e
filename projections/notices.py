"""What waits for a person: notices that were raised, until an import settles them or their time is over."""

from dataclasses import dataclass, field
from datetime import datetime

from eventlog import Entry
from projections import views
from projections.fold import Fold


@dataclass(frozen=True)
class Notice:
    """One notice, with the seq of its event; see `NoticeRaised`."""

    seq: int
    source: str
    notice: str
    kind: str
    program: str
    title: str
    link: str
    raised_at: datetime
    expires_at: datetime | None


@dataclass
class Notices:
    """The notices that no import has settled, by source and name; those that were over when the last came are gone."""

    last_seq: int = 0
    unsettled: dict[tuple[str, str], Notice] = field(default_factory=dict)


def open_notices(state: Notices, now: datetime) -> list[Notice]:
    """Those that somebody can still act on at a time, the most urgent first; without an end, they come last."""
    still = [notice for notice in state.unsettled.values() if not _is_over(notice, now)]
    return sorted(still, key=lambda notice: (notice.expires_at is None, notice.expires_at or now, notice.seq))


def _is_over(notice: Notice, now: datetime) -> bool:
    return notice.expires_at is not None and notice.expires_at <= now


def _notice_raised(state: Notices, entry: Entry) -> None:
    event = entry.view(views.Raised)
    notice = Notice(
        entry.seq, event.source, event.notice, event.kind, event.program, event.title, event.link,
        event.raised_at or event.at, event.expires_at,
    )  # fmt: skip
    kept = {key: known for key, known in state.unsettled.items() if not _is_over(known, event.at)}
    state.unsettled = {(event.source, event.notice): notice, **kept}


def _source_advanced(state: Notices, entry: Entry) -> None:
    """Something of a program was read to its end: what there was to fetch from it has come, whatever way it took."""
    program = entry.view(views.Advanced).source
    if any(notice.program == program for notice in state.unsettled.values()):
        state.unsettled = {key: notice for key, notice in state.unsettled.items() if notice.program != program}


NOTICES: Fold[Notices] = Fold(
    name="notices",
    version=1,
    initial=Notices,
    handlers={"NoticeRaised": _notice_raised, "SourceAdvanced": _source_advanced},
    views=(views.Raised, views.Advanced),
)
"""The fold from events to `Notices`."""
