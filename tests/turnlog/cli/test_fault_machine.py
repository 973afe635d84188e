"""Everything at once, for real: engines that are killed, a network that fails, operators, servers that go and come.

An engine is a process, the log is on disk, and its requests go through a proxy of ours to a server that takes, asks or
counts. At the end the faults stop. Then every turn is there, in its lane's order: once where the sink can be asked or
knows a turn again, elsewhere never more often than the log has attempts; and the log explains all of it.

TURNLOG_MACHINE_STORIES sets how many stories are told, TURNLOG_MACHINE_FIRST the number of the first, by which it is
known again, and TURNLOG_MACHINE_STEPS how long they are.
"""

import os
import re
import signal
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from eventlog import Event, EventLog, Message, SyncAttempted, TurnRecorded
from projections import DELIVERY, Delivery, RetryPolicy
from turnlog import Recorder
from turnlog.sync.life import tell_life
from turnlog.testing import check_laws
from turnlog.testing.proxy import FAULTS, WRONG_TYPE, Fault, FaultProxy, status_fault

from .backends import SINK, Ledger, open_backend, sink_through
from .forking import Forked, Forks
from .support import Cli, Witness

STORIES = int(os.environ.get("TURNLOG_MACHINE_STORIES", "6"))
FIRST = int(os.environ.get("TURNLOG_MACHINE_FIRST", "0"))
STEPS = int(os.environ.get("TURNLOG_MACHINE_STEPS", "20"))
SYNC = "base_seconds = 0\nprobe_seconds = 0.02\nprobe_max_seconds = 0.1\ngrace_seconds = 1"
PATIENCE_SECONDS = 0.4
"""So long an engine that writes nothing is watched: it may wait for a sink that asked it to."""

RUNS_MAX = 6
"""So many runs without faults deliver everything."""

TURN = re.compile(rb"(\w+-\w+-\d+)/")
"""The text of a message, which begins with its turn's id."""

picks = st.integers(0, 99)
users, conversations = st.sampled_from(["ann", "bob"]), st.sampled_from("cd")


class FaultMachine(RuleBasedStateMachine):
    def __init__(self, forks: Forks) -> None:
        super().__init__()
        self.forks = forks
        self.folder = tempfile.TemporaryDirectory()
        self.cli = Cli(Path(self.folder.name) / "data")
        self.engine: Forked | None = None
        self.revisions: dict[str, int] = {}
        self.upcoming: deque[Fault] = deque()
        self.sent = threading.Event()  # a request with turns has come to the proxy
        self.poisoned: set[str] = set()
        self.refusing = False

    @initialize(
        kind=st.sampled_from(["memobase", "webhook", "memobase", "batch"]),
        connections=st.integers(1, 2),
        turns=st.sampled_from([1, 3]),
        max_attempts=st.sampled_from([2, 50]),
        faulty_questions=st.booleans(),
        numbers=st.lists(picks, min_size=2, max_size=8),
    )
    def begin(
        self,
        kind: str,
        connections: int,
        turns: int,
        max_attempts: int,
        faulty_questions: bool,
        numbers: list[int],
    ) -> None:
        self.faulty_questions = faulty_questions
        self.backend = open_backend(kind, self.cli.directory.with_name("backend"), self.forks)
        worst = [fault for fault in FAULTS if fault.forwarded]  # the server did what it was asked, and nobody knows
        self.faults = [*FAULTS, *worst, *worst]
        if kind == "webhook":
            self.faults.remove(WRONG_TYPE)  # to it any 2xx is a yes
        self.proxy = FaultProxy(self.backend.url)
        self.proxy.rule = self._meet
        sink = sink_through(self.proxy, self.backend, turns=turns, connections=connections)
        self.policy = RetryPolicy(max_attempts, 0.0)
        self.cli.configure(sink, sync=f"{SYNC}\nmax_attempts = {max_attempts}")
        self.recorder = Recorder(self.cli.directory, durability="os")
        self.log = EventLog.open(self.cli.directory, read_only=True)
        self.record("ann", "c", 1, [])
        self.record("bob", "d", 1, [])
        self.witness = Witness(self.cli.directory)
        self.work(20)
        self.meet(numbers, "bob", "d")

    def _meet(self, _method: str, _path: str, body: bytes) -> Fault | None:
        """The next fault is a request's that sends turns, or anyone's; some turns are refused."""
        turn_ids = [found.decode() for found in TURN.findall(body)]
        if turn_ids:
            self.sent.set()
        if self.upcoming and (turn_ids or self.faulty_questions):
            return self.upcoming.popleft()
        return status_fault(422) if self.poisoned.intersection(turn_ids) else None

    # What people say.

    @rule(user=users, conversation=conversations, count=st.integers(1, 3), numbers=st.lists(picks, max_size=2))
    def record(self, user: str, conversation: str, count: int, numbers: list[int]) -> None:
        """There is more to send, and the next requests meet these faults."""
        self.upcoming.extend(self.faults[number % len(self.faults)] for number in numbers)
        for _ in range(count):
            turn_id = f"{user}-{conversation}-{len(self.revisions)}"
            self.revisions[turn_id] = 0
            self._say(turn_id)

    @precondition(lambda self: self.revisions)
    @rule(pick=picks)
    def revise(self, pick: int) -> None:
        """The turn grew by a message, and what was said before reads otherwise."""
        self._say(self._turn_id(pick))

    def _say(self, turn_id: str) -> None:
        self.revisions[turn_id] += 1
        user, conversation, _ = turn_id.split("-")
        revision = self.revisions[turn_id]
        messages = [Message("user", f"{turn_id}/{number}.{revision}") for number in range(revision)]
        self.recorder.record(messages=messages, turn_id=turn_id, user=user, conversation=conversation)

    def _turn_id(self, pick: int) -> str:
        return list(self.revisions)[pick % len(self.revisions)]

    # What goes wrong.

    @rule(numbers=st.lists(picks, min_size=1, max_size=4), user=users, conversation=conversations)
    def meet(self, numbers: list[int], user: str, conversation: str) -> None:
        """The same, while an engine is at work."""
        self.record(user, conversation, 2, numbers)
        self.work(2 * len(numbers))

    @rule(refusing=st.sampled_from([True, False, False, False]))
    def refuse_or_accept(self, refusing: bool) -> None:
        self.refusing = refusing
        (self.proxy.refuse if refusing else self.proxy.accept)()

    @rule()
    def restart_the_server(self) -> None:
        self.backend.restart()

    @precondition(lambda self: self.revisions and not self.poisoned)
    @rule(pick=picks)
    def poison(self, pick: int) -> None:
        self.poisoned.add(self._turn_id(pick))

    # What becomes of engines.

    @precondition(lambda self: self.engine is None)
    @rule()
    def start(self) -> None:
        self.engine = self.forks.start(*self.cli.options, "sync", "--follow")

    @rule(count=st.integers(1, 20))
    def work(self, count: int) -> None:
        """Let the engine write so many events, or all that it has to."""
        if self.engine is None:
            self.start()
        self._watch(count)

    @rule(count=st.integers(1, 8), user=users, conversation=conversations, number=st.none() | picks, sent=st.booleans())
    def kill(self, count: int, user: str, conversation: str, number: int | None, sent: bool) -> None:
        """`kill -9` when it has written so many more events, and then one more attempt, or sent its request."""
        self.record(user, conversation, 3, [])
        if self.engine is None:
            self.start()
        self._watch(count - 1)
        if number is not None:
            self.upcoming.appendleft(self.faults[number % len(self.faults)])
        self.sent.clear()
        if sent:
            self.sent.wait(PATIENCE_SECONDS)
        else:
            self._watch(1, until=SyncAttempted)
        assert self.engine is not None
        code = self.engine.kill()
        assert code == -signal.SIGKILL, self.engine.told
        self._bury()

    @precondition(lambda self: self.engine is not None)
    @rule()
    def stop(self) -> None:
        """Ask it to end: it does, and knows what became of each request, or that it does not."""
        assert self.engine is not None
        self.engine.send(signal.SIGTERM)
        code = self.engine.wait()
        assert code in (0, 1, -signal.SIGTERM), self.engine.told  # the last before it could listen
        self._bury()
        if code >= 0:
            assert not self._ledger().state.sinks[SINK].open_attempts

    def _bury(self) -> None:
        """What was on its way from a dead engine has arrived or is lost: nobody could ask about what comes later."""
        assert self.engine is not None
        told = "\n".join(self.engine.told)
        assert "Traceback" not in told, told
        self.engine = None
        self.proxy.refuse()
        if not self.refusing:
            self.proxy.accept()

    def _watch(self, count: int, *, until: type[Event] = Event) -> None:
        """Until the engine has written so many events and one of this type, or has nothing to write."""
        stop = threading.Event()
        timer = threading.Timer(PATIENCE_SECONDS, stop.set)
        timer.start()
        try:
            ledger = self._ledger()
            state, last = ledger.state, ledger.state.last_seq
            if count <= 0 or self._has_nothing_to_do(state):
                return
            for entry in self.log.follow(gt=last, stop=stop):
                DELIVERY.apply(state, entry)
                enough = entry.seq >= last + count and isinstance(entry.event, until)
                if enough or self._has_nothing_to_do(state):
                    return
        finally:
            timer.cancel()

    def _has_nothing_to_do(self, state: Delivery) -> bool:
        """Whether an engine will write nothing more for a while."""
        sink = state.sinks.get(SINK)
        if sink is None or sink.open_attempts:
            return False
        return not sink.lanes or (sink.pause is not None and (sink.pause.kind != "unavailable" or self.refusing))

    # What operators do.

    @rule(decision=st.sampled_from(["pause", "resume", "resume", "resume"]))
    def pause_or_resume(self, decision: str) -> None:
        assert self.cli("sinks", decision, SINK).code == 0

    @precondition(lambda self: self.revisions)
    @rule(pick=picks, decision=st.sampled_from(["retry", "retry", "skip"]))
    def decide(self, pick: int, decision: str) -> None:
        assert self.cli(decision, self._turn_id(pick)).code == 0

    # What is always true.

    @invariant()
    def no_line_was_touched(self) -> None:
        """What was a whole line before is there now, byte for byte."""
        if hasattr(self, "witness"):
            self.witness.look()

    def teardown(self) -> None:
        if not hasattr(self, "witness"):  # it never began
            self.folder.cleanup()
            return
        try:
            self._end_all_trouble()
            self._check_end()
        except AssertionError as error:
            error.add_note("\n".join(_story(self._ledger())))
            raise
        finally:
            if self.engine is not None:
                self.engine.kill()
            self.recorder.close()
            self.proxy.close()
            self.backend.close()
            self.folder.cleanup()

    def _end_all_trouble(self) -> None:
        if self.engine is not None:
            self.stop()
        self.upcoming.clear()
        self.refuse_or_accept(False)
        for _ in range(RUNS_MAX):
            self.pause_or_resume("resume")
            run = self.forks.start(*self.cli.options, "sync", "--once")
            assert run.wait() in (0, 1), run.told
            ledger = self._ledger()
            dead = [seq for seq, state in ledger.states.items() if state == "dead"]
            again = [str(seq) for seq in dead if ledger.turns[seq].turn_id not in self.poisoned]
            if again:
                assert self.cli("retry", *again).code == 0
            elif ledger.is_done:
                return
        raise AssertionError(f"{RUNS_MAX} runs were not enough: {run.told}")

    def _check_end(self) -> None:
        self.no_line_was_touched()
        ledger = self._ledger()
        check_laws(ledger.entries, self.policy)
        assert self.log.verify().ok
        assert set(ledger.state.anomalies) <= {"a turn was reopened that cannot be"}
        newest = {turn.turn_id: seq for seq, turn in ledger.turns.items()}
        for seq, state in ledger.states.items():
            turn_id = ledger.turns[seq].turn_id
            assert state in ("delivered", "dead", "skipped", "superseded")
            assert state != "dead" or turn_id in self.poisoned
            assert state != "skipped" or seq in ledger.skipped
            assert state != "superseded" or seq != newest[turn_id]
        self.backend.check(ledger)
        arrived = list(dict.fromkeys(self.backend.arrivals()))
        for lane in ledger.in_order():
            assert [turn_id for turn_id in arrived if turn_id in lane] == [t for t in lane if t in arrived]
        self._check_lives(ledger)

    def _check_lives(self, ledger: Ledger) -> None:
        """Each attempt at a turn has its one outcome, and the turn's life tells it."""
        for seq, attempts in ledger.attempts.items():
            assert [ledger.outcomes[attempt, seq] for attempt in attempts] == [1] * len(attempts), f"turn {seq}"
            types = [event.type for event in tell_life(self.log, seq, policy=self.policy).events]
            assert types.count("SyncAttempted") == len(attempts)
            assert types.count("SyncSucceeded") + types.count("SyncFailed") == len(attempts)
        assert sum(ledger.outcomes.values()) == sum(map(len, ledger.attempts.values()))

    def _ledger(self) -> Ledger:
        return Ledger(list(self.log.read()))


def _story(ledger: Ledger) -> Iterator[str]:
    """The log, a line an event."""
    for entry in ledger.entries:
        event = entry.event
        told = (event.turn_id, event.revision) if isinstance(event, TurnRecorded) else event
        yield f"{entry.seq} {entry.at:%H:%M:%S.%f} {told}"


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as forks:
        yield forks


@pytest.mark.parametrize("story", range(FIRST, FIRST + STORIES))
def test_no_story_loses_a_turn_or_its_order_or_tells_a_lie(forks: Forks, story: int) -> None:
    """Whatever faults, kills, restarts and decisions come in whatever order; see the module.

    Each story has a seed of its own: of many examples of one seed most would be variations of a few.
    """

    @seed(story)
    def machine() -> FaultMachine:
        return FaultMachine(forks)

    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=2,  # the first is always the simplest one
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            phases=[Phase.generate],  # no shrinking: no story is quite the same when it is told again
            suppress_health_check=list(HealthCheck),
        ),
    )
