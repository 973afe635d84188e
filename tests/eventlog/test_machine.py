"""Append-only, whatever happens: a machine that appends, reopens, rotates and crashes, against a list."""

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
from eventlog.codec import encode_line

from .strategies import events
from .support import START, contents, kinds, open_log, said, segment_files, verify

sizes = st.sampled_from([1, 300, 700, 2000, 100_000])


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

    @precondition(lambda self: segment_files(self.directory))
    @rule(event=events, cut=st.floats(0, 1))
    def crash_in_a_write(self, event: Event, cut: float) -> None:
        """Another writer dies after some bytes of its line, be it all of them but the newline."""
        last = segment_files(self.directory)[-1]
        if not last.read_bytes().endswith(b"\n"):
            return
        seq = contents(self.directory)[-1][0] + 1
        line = encode_line(event, seq=seq, at=START)[:-1]
        written = line[: 1 + int(cut * (len(line) - 1))]
        with last.open("ab") as file:
            file.write(written)
        self.unterminated = (seq, event) if written == line else None

    @precondition(lambda self: segment_files(self.directory))
    @rule(keep=st.floats(0, 1))
    def lose_a_part_of_the_tail(self, keep: float) -> None:
        """The power goes: of a line that was not finished, less is left, or nothing."""
        last = segment_files(self.directory)[-1]
        data = last.read_bytes()
        end = data.rfind(b"\n") + 1
        kept = end + int(keep * (len(data) - end))
        if kept < len(data):
            last.write_bytes(data[:kept])
            self.unterminated = None

    @precondition(lambda self: len(self.model) > 0 and self.unterminated is None)
    @rule()
    def crash_at_a_rotation(self) -> None:
        """A writer dies after it made the next segment and before it wrote its first line."""
        data = segment_files(self.directory)[-1].read_bytes()
        if data.endswith(b"\n"):
            (self.directory / "log" / f"{contents(self.directory)[-1][0] + 1:020d}.jsonl").touch()

    @invariant()
    def no_finished_line_ever_changes(self) -> None:
        now = {path.name: path.read_bytes() for path in segment_files(self.directory)}
        for name, data in self.finished.items():
            assert now[name].startswith(data)
        self.finished = {name: data[: data.rfind(b"\n") + 1] for name, data in now.items()}

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
