"""Telling the log which sinks there are: configuration proposes, an event decides."""

from collections.abc import Iterable

from eventlog import SinkEnrolled
from turnlog.config import SinkConfig
from turnlog.recorder import TurnRecorder


def enrol_sinks(recorder: TurnRecorder, sinks: Iterable[SinkConfig]) -> list[str]:
    """Enrol the sinks that the log does not know, from its first turn on or from now; returns their names.

    A sink that was retired stays so. Raises AppendFailed.
    """
    with recorder.index.locked():
        recorder.index.refresh()
        new = [sink for sink in sinks if not recorder.index.knows_sink(sink.name)]
        if new:
            now = recorder.index.last_seq + 1
            recorder.append([SinkEnrolled(sink=s.name, kind=s.type, since_seq=1 if s.backfill else now) for s in new])
    return [sink.name for sink in new]
