"""One server of each kind that turns are delivered to, and what a log promises that it has."""

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import ClassVar, Protocol

import msgspec

from eventlog import Entry, RetryRequested, SyncAttempted, SyncFailed, SyncSucceeded, TurnRecorded, TurnSkipped
from projections import DELIVERY, Delivery, fold_all, message_names
from turnlog.sinks.batch import message_uuid
from turnlog.sinks.memobase_api import Fields
from turnlog.testing.memobase import MemobaseDouble
from turnlog.testing.memobase_api import Request
from turnlog.testing.memobase_rows import Reply
from turnlog.testing.memobase_server import LoopbackServer
from turnlog.testing.proxy import FaultProxy

from .forking import Forked, Forks
from .support import DEADLINE_SECONDS, TOKEN

SINK = "team"
READ_SECONDS = 0.3
"""How long an answer may take."""


class Ledger:
    """What a log says of the turns of one sink; everything by seq."""

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries
        self.state: Delivery = fold_all(entries, DELIVERY)[0]
        self.turns = {entry.seq: entry.event for entry in entries if isinstance(entry.event, TurnRecorded)}
        self.states = {seq: self.state.turn_state(SINK, seq) for seq in self.turns}
        self.attempts: dict[int, list[int]] = defaultdict(list)  # of a turn, the seqs of its attempts
        self.outcomes: Counter[tuple[int, int]] = Counter()  # of an attempt at a turn
        self.retried: Counter[int] = Counter()
        self.skipped: set[int] = set()
        self.died: set[int] = set()
        for entry in entries:
            self._take(entry)

    def _take(self, entry: Entry) -> None:
        event = entry.event
        if isinstance(event, SyncAttempted):
            for seq in event.turns:
                self.attempts[seq].append(entry.seq)
        elif isinstance(event, SyncSucceeded | SyncFailed):
            self.outcomes.update((event.attempt, seq) for seq in event.turns)
            self.died.update(event.turns if isinstance(event, SyncFailed) and event.final else ())
        elif isinstance(event, RetryRequested):
            self.retried.update(ref.seq for ref in event.turns)
        elif isinstance(event, TurnSkipped):
            self.skipped.update(ref.seq for ref in event.turns)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return not self.state.sinks[SINK].lanes

    def deliveries(self, seq: int) -> int:
        """Which delivery of a turn is the last one that was owed."""
        ordinal = self.state.turns.ordinal(seq)
        return 1 + self.state.sinks[SINK].again.get(-1 if ordinal is None else ordinal, 0)

    def in_order(self) -> Iterator[list[str]]:
        """Of each lane, the ids of the turns that nobody decided about or gave up and that arrived, in their order."""
        decided = {self.turns[seq].turn_id for seq in {*self.retried, *self.skipped, *self.died}}
        lanes: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
        for seq, turn in self.turns.items():
            if turn.turn_id not in decided and self.states[seq] in ("delivered", "superseded"):
                lanes[turn.user, turn.conversation][turn.turn_id] = None
        return map(list, lanes.values())


class Backend(Protocol):
    """A server, and what it got."""

    kind: ClassVar[str]
    url: str

    def options(self, turns: int) -> str:
        """What the configuration says of such a sink whose requests hold so many turns, or more than one."""

    def restart(self) -> None:
        """End and begin again, at the same address, with what was stored."""

    def close(self) -> None:
        """End."""

    def arrivals(self) -> list[str]:
        """The ids of the turns as they came, in order; once each where sending again changes nothing."""

    def check(self, ledger: Ledger) -> None:
        """What the log says is delivered is here, as often as it may be, and nothing else."""


def open_backend(kind: str, folder: Path, forks: Forks) -> Backend:
    """A server of a kind, with nothing in it; `folder` is for what it needs."""
    folder.mkdir()
    if kind == "batch":
        return BatchBackend(folder, forks)
    return MemobaseBackend(folder) if kind == "memobase" else WebhookBackend()


def sink_through(proxy: FaultProxy, backend: Backend, *, turns: int = 1, connections: int = 1) -> str:
    """The part of a configuration that delivers to a backend through a proxy."""
    sink = f'[[sinks]]\nname = "{SINK}"\ntype = "{backend.kind}"\nurl = "{proxy.url}"\n'
    return f"{sink}connections = {connections}\nread_seconds = {READ_SECONDS}\n{backend.options(turns)}"


class BatchBackend:
    """`turnlog serve`, a process that is killed."""

    kind: ClassVar[str] = "batch"

    def __init__(self, folder: Path, forks: Forks) -> None:
        self._folder, self._forks = folder, forks
        (folder / "token").write_text(TOKEN)
        self._store = folder / "store.sqlite"
        self.url = ""
        self._process = self._start()

    def _start(self) -> Forked:
        port = self.url.rpartition(":")[2] or "0"
        options = ("--port", port, "--token-file", str(self._folder / "token"), "--store", str(self._store))
        process = self._forks.start("serve", *options)
        self.url = process.line()
        assert self.url.startswith("http://"), process.told
        return process

    def options(self, turns: int) -> str:
        return f'turns = {turns}\ntoken = {{ file = "{self._folder / "token"}" }}\n'

    def restart(self) -> None:
        self._process.kill()
        self._process = self._start()

    def close(self) -> None:
        self._process.kill()

    def arrivals(self) -> list[str]:
        return list(dict.fromkeys(text.partition("/")[0] for _, text in self._messages()))

    def check(self, ledger: Ledger) -> None:
        """Every message once, and with the content of the newest revision that was delivered."""
        messages, newest = self._messages(), dict[str, int]()
        assert len(dict(messages)) == len(messages)
        for seq, turn in ledger.turns.items():
            if ledger.states[seq] == "delivered":
                newest[turn.turn_id] = seq
        assert _rows(ledger, newest.values()) <= set(messages)
        assert set(messages) <= _rows(ledger, ledger.turns)

    def _messages(self) -> list[tuple[str, str]]:
        """The uuid and the text of each, in the order in which they first came."""
        with closing(sqlite3.connect(self._store, timeout=DEADLINE_SECONDS)) as store:
            return store.execute("SELECT uuid, content_text FROM messages ORDER BY rowid").fetchall()


def _rows(ledger: Ledger, seqs: object) -> set[tuple[str, str]]:
    turns = [ledger.turns[seq] for seq in seqs]  # type: ignore[attr-defined]
    named = (
        (turn, name, message)
        for turn in turns
        for name, message in zip(message_names(turn), turn.messages, strict=True)
    )
    return {(message_uuid(turn.turn_id, name), message.content) for turn, name, message in named}


class MemobaseBackend:
    """A double of Memobase that keeps its blobs, so that it can always be asked."""

    kind: ClassVar[str] = "memobase"

    def __init__(self, folder: Path) -> None:
        (folder / "token").write_text(TOKEN)
        self._folder = folder
        self._double = MemobaseDouble(TOKEN, persistent_chat_blobs=True)
        self.url = self._double.url

    def options(self, turns: int) -> str:
        return f'tokens = {256 if turns > 1 else 12_000}\ntoken = {{ file = "{self._folder / "token"}" }}\n'

    def restart(self) -> None:
        self._double.refuse()
        self._double.accept()

    def close(self) -> None:
        self._double.close()

    def arrivals(self) -> list[str]:
        return [turn_id for fields in self._stored() for turn_id in fields.turn_ids]

    def check(self, ledger: Ledger) -> None:
        """Every delivery of a turn once; more often only where an operator had it sent again while it was in doubt."""
        got: Counter[tuple[int, int, int]] = Counter()
        parts: dict[int, int] = {}
        for fields in self._stored():
            for turn_id, seq, delivery in fields.turns():
                assert ledger.turns[seq].turn_id == turn_id
                got[seq, delivery, fields.part] += 1
                parts[seq] = fields.parts
        for (seq, delivery, part), count in got.items():
            assert count <= 1 + ledger.retried[seq], f"part {part} of the turn at {seq} is there {count} times"
            assert delivery <= ledger.deliveries(seq)
        for seq, state in ledger.states.items():
            if state == "delivered":
                wanted = range(1, parts.get(seq, 1) + 1)
                assert all(got[seq, ledger.deliveries(seq), part] for part in wanted), f"the turn at {seq} is not there"

    def _stored(self) -> list[Fields]:
        return [msgspec.convert(blob.fields, Fields) for blob in self._double.blobs()]


class WebhookBackend:
    """Takes every request and counts; it can neither be asked nor does it know a turn again."""

    kind: ClassVar[str] = "webhook"

    def __init__(self) -> None:
        self._got: list[tuple[str, int, int]] = []
        self._server = LoopbackServer(self._answer, lambda: None)
        self.url = f"http://127.0.0.1:{self._server.port}"

    def _answer(self, request: Request) -> Reply:
        for turn in json.loads(request.body)["data"]["turns"]:
            self._got.append((turn["turn_id"], turn["seq"], turn["delivery"]))
        return Reply(200, {})

    def options(self, turns: int) -> str:
        return f"turns = {turns}\n"

    def restart(self) -> None:
        self._server.stop()
        self._server.start()

    def close(self) -> None:
        self._server.stop()

    def arrivals(self) -> list[str]:
        return [turn_id for turn_id, _, _ in self._got]

    def check(self, ledger: Ledger) -> None:
        """No turn came more often than it was attempted; what is delivered came."""
        got = Counter(seq for _, seq, _ in self._got)
        for seq, count in got.items():
            assert count <= len(ledger.attempts[seq]), f"the turn at {seq} came {count} times"
        for seq, state in ledger.states.items():
            if state == "delivered":
                assert got[seq] >= ledger.deliveries(seq), f"the turn at {seq} did not come"
