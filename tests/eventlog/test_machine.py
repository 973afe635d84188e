"""Append-only, whatever happens: a machine that appends, reopens, rotates and crashes, against a list."""

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from eventlog import Event, EventLog
from eventlog.codec import decode_line, encode_line
from eventlog.segments import without_blanks

from .strategies import events
from .support import START, contents, kinds, open_log, said, segment_files, verify

sizes = st.sampled_from([1, 300, 700, 2000, 100_000])


def is_finished(data: bytes, text: bytes) -> bool:
    """Whether a segment's last line is one; `text` is the data without the blanks behind it."""
    return not text or (len(text) < len(data) and decode_line(text[text.rfind(b"\n") + 1 :]) is not None)


def finished(data: bytes) -> bytes:
    """The lines of a segment that nobody may touch any more."""
    text = without_blanks(data)
    end = len(text) if is_finished(data, text) else text.rfind(b"\n")
    return data[: end + 1]


class AppendOnly(RuleBasedStateMachine):
    """The model is the list of events with their seqs, and the bytes of every finished line."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.handles: list[EventLog] = []
        self.model: list[tuple[int, Event]] = []
        self.finished: dict[str, bytes] = {}
        self.unterminated: tuple[int, Event] | None = None  # a whole line that lacks its newline

    @initialize(size=sizes)
    def begin(self, size: int) -> None:
        self.handles = [open_log(self.directory, segment_bytes=size), open_log(self.directory, segment_bytes=500)]

    def _wrote(self, pairs: list[tuple[int, Event]]) -> None:
        if self.unterminated is not None:
            self.model.append(self.unterminated)
            self.unterminated = None
        self.model += pairs

    @rule(handle=st.integers(0, 1), event=events)
    def append(self, handle: int, event: Event) -> None:
        self._wrote([(self.handles[handle].append(event), event)])

    @rule(handle=st.integers(0, 1), batch=st.lists(events, min_size=1, max_size=4))
    def append_many(self, handle: int, batch: list[Event]) -> None:
        self._wrote(list(zip(self.handles[handle].append_many(batch), batch, strict=True)))

    @rule(handle=st.integers(0, 1), size=sizes)
    def reopen(self, handle: int, size: int) -> None:
        """A writer that opens the log completes or closes what it finds; one that goes leaves all as it is."""
        self.handles[handle].close()
        self.handles[handle] = open_log(self.directory, segment_bytes=size)
        self._wrote([])

    def _last(self) -> tuple[Path, bytes, bytes]:
        """The growing segment: its file, all its bytes, and those that are no blanks behind the text."""
        path = segment_files(self.directory)[-1]
        data = path.read_bytes()
        return path, data, without_blanks(data)

    @precondition(lambda self: segment_files(self.directory))
    @rule(event=events, cut=st.floats(0, 1))
    def crash_in_a_write(self, event: Event, cut: float) -> None:
        """Another writer dies after some bytes of its line, be it all of them but the newline."""
        path, data, text = self._last()
        if not text or not is_finished(data, text):
            return
        seq, begin = contents(self.directory)[-1][0] + 1, len(text) + 1
        line = encode_line(event, seq=seq, at=START)[:-1]
        written = line[: 1 + int(cut * (len(line) - 1))]
        with path.open("r+b") as file:
            file.seek(begin)
            file.write(written)
        if written == line:
            if begin + len(line) < len(data):  # where the segment was extended ahead the newline is there already
                self._wrote([(seq, event)])
            else:
                self.unterminated = (seq, event)

    @precondition(lambda self: segment_files(self.directory))
    @rule(keep=st.floats(0, 1))
    def lose_a_part_of_the_tail(self, keep: float) -> None:
        """The power goes: of a line that was not finished, less is left, or nothing."""
        path, data, text = self._last()
        if is_finished(data, text):
            return
        end = text.rfind(b"\n") + 1
        kept = end + int(keep * (len(text) - end))
        if kept < len(text):
            path.write_bytes(data[:kept] + data[len(text) :])
            self.unterminated = None

    @precondition(lambda self: len(self.model) > 0 and self.unterminated is None)
    @rule()
    def crash_at_a_rotation(self) -> None:
        """A writer dies after it made the next segment and before it wrote its first line."""
        path, data, text = self._last()
        if text and is_finished(data, text):
            os.truncate(path, len(text) + 1)
            (self.directory / "log" / f"{contents(self.directory)[-1][0] + 1:020d}.jsonl").touch()

    @invariant()
    def no_finished_line_ever_changes(self) -> None:
        now = {path.name: path.read_bytes() for path in segment_files(self.directory)}
        for name, data in self.finished.items():
            assert now[name].startswith(data)
        self.finished = {name: finished(data) for name, data in now.items()}

    @invariant()
    def the_log_is_the_model(self) -> None:
        assert said(self.directory) == self.model
        seqs = [seq for seq, _ in contents(self.directory)]
        assert seqs == list(range(1, len(seqs) + 1))

    @invariant()
    def the_log_verifies(self) -> None:
        report = verify(self.directory)
        assert report.ok
        assert kinds(report.problems) <= {"torn_tail"}

    def teardown(self) -> None:
        for handle in self.handles:
            handle.close()
        shutil.rmtree(self.directory)


def test_the_log_is_append_only() -> None:
    """Whatever is appended, reopened, rotated and torn, in whatever order: no finished line changes or disappears,
    the log reads as the list of what was appended, its seqs have no holes, and it verifies.
    """
    run_state_machine_as_test(AppendOnly, settings=settings(max_examples=40, stateful_step_count=25, deadline=None))
