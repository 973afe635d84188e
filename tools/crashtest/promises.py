"""What the log promised, held against what is there after a crash. Each broken promise is one sentence."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from zlib import crc32

from sayings import Id, event_of, id_of

from eventlog import Entry, EventLog, EventLogError, TornTailClosed


class Seen:
    """A log as a reader sees it."""

    def __init__(self, directory: Path) -> None:
        log = EventLog.open(directory, read_only=True)
        self.entries: list[Entry] = list(log.read())
        self.report = log.verify()
        self.own: dict[Id, int] = {}  # seqs of the events that were appended, without the log's own
        self.broken: list[str] = []
        for entry in self.entries:
            self._take(entry)

    def _take(self, entry: Entry) -> None:
        event = entry.event
        identity = id_of(event)
        if identity is None:
            return
        if identity in self.own:
            self.broken.append(f"event {identity} is in the log twice, as seq {self.own[identity]} and seq {entry.seq}")
        if event != event_of(identity):
            self.broken.append(f"event {identity} at seq {entry.seq} is not what was appended")
        self.own[identity] = entry.seq

    def prints(self) -> list[tuple[int, int]]:
        """The seq and a checksum of each line."""
        return [(entry.seq, crc32(entry.line)) for entry in self.entries]


def broken_promises(
    seen: Seen,
    promised: Mapping[Id, int],
    *,
    settled: bool = True,
    explained: bool = True,
    whole_beginnings: bool = False,
) -> Iterator[str]:
    """What of the promises does not hold, in sentences.

    `promised` events are there with their seqs. `settled` says that a writer has opened the log since the crash: then
    there is nothing to say against it. `explained` says that what is missing is known to have been unfinished: so it is
    unless the power was cut after a sync had failed. `whole_beginnings` says that a batch may miss its end only: so it
    is unless the power was cut.
    """
    yield from seen.broken
    for identity, seq in promised.items():
        found = seen.own.get(identity)
        if found is None:
            yield f"event {identity} was acknowledged as seq {seq} and is not in the log"
        elif found != seq:
            yield f"event {identity} was acknowledged as seq {seq} and is in the log as seq {found}"
    yield from _out_of_order(seen, whole_beginnings=whole_beginnings)
    if settled and explained:
        yield from _unexplained(seen.entries)
    if explained:
        yield from _found_by_verify(seen, settled=settled)


def _found_by_verify(seen: Seen, *, settled: bool) -> Iterator[str]:
    for problem in seen.report.problems:
        if settled or problem.kind != "torn_tail":
            when = "" if settled else ", before anybody wrote again,"
            where = f"{problem.segment} at byte {problem.offset}, seq {problem.seq}"
            yield f"verify finds a problem ({problem.kind}){when} in {where}: {problem.detail}"


def _out_of_order(seen: Seen, *, whole_beginnings: bool) -> Iterator[str]:
    last: dict[str, Id] = {}
    begins: dict[tuple[str, int], int] = {}
    for identity, seq in sorted(seen.own.items(), key=lambda pair: pair[1]):
        latest = last.get(identity.author)
        if latest is not None and latest > identity:
            yield f"event {identity} at seq {seq} stands behind event {latest}, which was appended later"
        last[identity.author] = identity
        if begins.setdefault(identity.batch, seq - identity.part) != seq - identity.part:
            yield f"event {identity} at seq {seq} does not stand in one piece with its batch"
        if (
            whole_beginnings
            and identity.part
            and Id(*identity.batch, identity.part - 1, identity.parts) not in seen.own
        ):
            yield f"event {identity} at seq {seq} is there without the event before it in its batch"


def _unexplained(entries: Sequence[Entry]) -> Iterator[str]:
    """Seqs that are neither there nor named by a TornTailClosed."""
    closed = [entry.event for entry in entries if entry.type == "TornTailClosed"]
    missing = {seq for event in closed if isinstance(event, TornTailClosed) for seq in event.missing}
    there = {entry.seq for entry in entries}
    for seq in sorted(missing & there):
        yield f"seq {seq} is in the log, though a TornTailClosed says that it is missing"
    for seq in range(1, max(there, default=0) + 1):
        if seq not in there and seq not in missing:
            yield f"seq {seq} is missing, and no TornTailClosed explains that"
    seqs = [entry.seq for entry in entries]
    if seqs != sorted(there):
        yield "the log's entries are not read in the order of their seqs"


def look(directory: Path, promised: Mapping[Id, int], broken: list[str], **how: bool) -> Seen | None:
    """Read a log and add the promises that it broke to `broken`; None if it cannot be read at all."""
    try:
        seen = Seen(directory)
    except EventLogError as error:
        broken.append(f"the log cannot be read after the crash: {error}")
        return None
    broken.extend(broken_promises(seen, promised, **how))
    return seen


def compare_followed(followed: Sequence[tuple[int, int]], seen: Seen) -> Iterable[str]:
    """What is wrong with what a follower saw: it must be the log, in order, nothing twice, nothing left out."""
    there = seen.prints()
    if list(followed) == there:
        return
    seqs = [seq for seq, _ in followed]
    twice = sorted({seq for seq in seqs if seqs.count(seq) > 1}) if len(seqs) != len(set(seqs)) else []
    for seq in twice[:3]:
        yield f"the follower saw seq {seq} twice"
    for seq, _ in [pair for pair in there if pair[0] not in set(seqs)][:3]:
        yield f"the follower never saw seq {seq}"
    for seq, _ in [pair for pair in followed if pair not in set(there)][:3]:
        yield f"the follower saw a line with seq {seq} that is not in the log"
    if seqs != sorted(seqs):
        yield "the follower saw the log out of order"
