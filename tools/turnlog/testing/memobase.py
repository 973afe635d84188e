"""A double of a Memobase server: it answers, stores, flushes, drops and fails as a live server 0.0.42 was seen to.

In a test::

    with MemobaseDouble("token") as double:
        ...                                        # deliver to double.url
        double.switches.model_failing = True       # what is the matter from now on
        double.meet("quota")                       # the next insert meets this row of the table of errors
        double.misbehave("unknown-user")           # this row is answered wrongly: a test should notice
        assert double.processed() == ["Hi"]        # what reached the model
        double.blobs()                             # all that was ever stored, and what became of it

As a process, whose address is the first line of stdout, and which SIGTERM or Ctrl-C ends::

    python -m turnlog.testing.memobase --port 0 --token token

Other processes steer and inspect either through `/double/state`, without a token: GET tells `switches`, `wrong`,
`counters`, `users`, `blobs`, `processed`, `prompts`; POST takes any switch by name, `wrong` and `meet` (lists of rows).

The table of errors is in `turnlog.testing.memobase_rows`. A timeout, a reset, half an answer: put a
`turnlog.testing.proxy.FaultProxy` before the double. What is kept is kept in memory, and ends with the double.

Where nothing is known of the real server, the double assumes:

* GET, PUT and DELETE of a user that is not there, and GET of such a blob, answer errno 404, with HTTP 200.
* The lists of blobs and of buffer rows are `{"data": {"ids": [...]}}`; PUT takes the data object itself; profile, event
  and context are `{"profiles": [...]}`, `{"events": [...]}`, `{"context": ""}` with what the model was told as content.
* A wrong Content-Type is 422. A body that is not UTF-8 is 400, as compressed ones are.
* What holds of a message's content holds of its alias and `created_at`: text, and no bad or special text. Null is none.
* While the database or Redis is down everything but the health check answers as an insert does. A quota that is used up
  stops inserts only. A request that meets several rows is answered by the first of: unauthorized, schema, down, quota,
  unparsable, bad-text, unknown-user, special-token.
* `wait_process` of an insert waits for the flush that the insert sets off, and sets off none by itself.
* Blobs that were dropped are deleted as those that were processed are, and their buffer rows have no status any more.
* Tokens are counted by `count_tokens` of the line `[created_at] alias or role: content` of each message.

Automatic flushes are over when the insert is answered, in every run the same; with `processing_seconds` they are not:
that is how long the blobs of a flush are `processing`. Of `errmsg` only the main phrase is the server's.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from typing import Any, Self

import msgspec
from msgspec import structs

from turnlog.testing.memobase_api import MemobaseApi, Request
from turnlog.testing.memobase_blobs import Blob, Prompt
from turnlog.testing.memobase_rows import ERROR_ROWS, INSERT_ROWS, Reply, known
from turnlog.testing.memobase_server import LoopbackServer
from turnlog.testing.memobase_store import MemobaseStore, Options, Switches

__all__ = ["ERROR_ROWS", "INSERT_ROWS", "STATE_PATH", "Blob", "MemobaseDouble", "Prompt", "Switches", "main"]

STATE_PATH = "/double/state"


class MemobaseDouble:
    """A Memobase server on a port of loopback, 0 for any, from the start until `close`, or the end of its `with`.

    `persistent_chat_blobs`: blobs stay after they were processed. `inserts_per_second`: no more than so many, whatever
    the number of connections (a real server process does about 100); None: as fast as it goes. `processing_seconds`: of
    a flush. A user's idle blobs are flushed by the insert that takes them above `auto_flush_tokens`, and no flush uses
    more than `flush_tokens_max`. `wrong`: keys of ERROR_ROWS that are answered wrongly. Raises ValueError for another
    key, OSError where the port is not to be had. Any thread may use it.
    """

    def __init__(
        self,
        token: str,
        *,
        port: int = 0,
        persistent_chat_blobs: bool = False,
        inserts_per_second: float | None = None,
        processing_seconds: float = 0.0,
        auto_flush_tokens: int = 1024,
        flush_tokens_max: int = 16_384,
        wrong: frozenset[str] = frozenset(),
    ) -> None:
        options = Options(
            persistent_chat_blobs, inserts_per_second, processing_seconds, auto_flush_tokens, flush_tokens_max
        )
        self._store = MemobaseStore(options)
        self.misbehave(*wrong)
        self._api = MemobaseApi(self._store, token)
        self._server = LoopbackServer(self._answer, lambda: self._store.count("connections"), port)
        self.url = f"http://127.0.0.1:{self._server.port}"

    def close(self) -> None:
        """Stop listening, break connections off, and wait for the threads; again and again if you like."""
        self._store.close()
        self._server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- steering

    @property
    def switches(self) -> Switches:
        """What is the matter: set its fields, at any time."""
        return self._store.switches

    def misbehave(self, *rows: str) -> None:
        """Answer these rows wrongly, from now on, and all others rightly. Raises ValueError for an unknown row."""
        self._store.wrong = frozenset(known(rows))

    def meet(self, *rows: str) -> None:
        """Have the next inserts meet these of INSERT_ROWS, one each, whatever they are. Raises ValueError for others.

        It is how a client that never sends what deserves such an answer gets to see it.
        """
        self._store.ahead.extend(known(rows, INSERT_ROWS))

    def refuse(self) -> None:
        """Refuse connections, and break those that there are, as a server that is down; `accept` ends it."""
        if "server-down" in self._store.wrong:
            self._api.hollow = True
        else:
            self._server.stop()

    def accept(self) -> None:
        """Accept connections again, at the same address; what was stored is there."""
        self._api.hollow = False
        self._server.start()

    # -- inspecting

    @property
    def counters(self) -> dict[str, int]:
        """`connections`; answers by `status/errno` (`200/500`, `422`); requests by route (`POST /blobs/insert/{}`)."""
        with self._store.lock:
            return dict(self._store.counters)

    @property
    def users(self) -> dict[str, dict[str, Any]]:
        """The data of each user that there is, by id."""
        with self._store.lock:
            return {user: dict(found.data) for user, found in self._store.users.items()}

    def blobs(self, user: str | None = None) -> list[Blob]:
        """All blobs that were ever stored, in order of arrival, a user's or everybody's, as they are now."""
        with self._store.lock:
            return [structs.replace(blob) for blob in self._store.ledger if user in (None, blob.user)]

    def prompts(self, user: str | None = None) -> list[Prompt]:
        """All calls of the model that went well, in their order."""
        with self._store.lock:
            return [prompt for prompt in self._store.prompts if user in (None, prompt.user)]

    def processed(self, user: str | None = None) -> list[str]:
        """The content of each message that reached the model, in its order."""
        return [content for prompt in self.prompts(user) for content in prompt.contents]

    # -- answering

    def _answer(self, request: Request) -> Reply:
        if request.target == STATE_PATH:
            return self._control(request)
        reply = self._api.answer(request)
        errno = reply.body.get("errno") if isinstance(reply.body, dict) else None
        self._store.count(str(reply.status) if errno is None else f"{reply.status}/{errno}")
        return reply

    def _control(self, request: Request) -> Reply:
        if request.method == "POST":
            try:
                self._steer(msgspec.json.decode(request.body, type=dict[str, Any]))
            except (ValueError, msgspec.MsgspecError) as error:
                return Reply(400, {"detail": str(error)})
        elif request.method != "GET":
            return Reply(405, {"detail": "Method Not Allowed"})
        return Reply(200, self._state())

    def _steer(self, wanted: dict[str, Any]) -> None:
        """All of it, or, where something of it is wrong, nothing."""
        wrong = known(msgspec.convert(wanted.pop("wrong", list(self._store.wrong)), list[str]))
        ahead = known(msgspec.convert(wanted.pop("meet", []), list[str]), INSERT_ROWS)
        self._store.switches = msgspec.convert({**structs.asdict(self.switches), **wanted}, Switches)
        self.misbehave(*wrong)
        self.meet(*ahead)

    def _state(self) -> dict[str, object]:
        return {
            "switches": structs.asdict(self.switches),
            "wrong": sorted(self._store.wrong),
            "counters": self.counters,
            "users": self.users,
            "blobs": [structs.asdict(blob) for blob in self.blobs()],
            "processed": self.processed(),
            "prompts": [structs.asdict(prompt) for prompt in self.prompts()],
        }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m turnlog.testing.memobase", description="A double of Memobase.")
    parser.add_argument("--port", type=int, default=0, help="of loopback; 0, the default, is any that is free")
    parser.add_argument("--token", default="secret", help="what clients must say")
    parser.add_argument("--persistent-chat-blobs", action="store_true", help="keep blobs that were processed")
    parser.add_argument("--inserts-per-second", type=float, help="no more than so many; a real server does 100")
    parser.add_argument("--processing-seconds", type=float, default=0.0, help="how long the model takes for a flush")
    parser.add_argument("--auto-flush-tokens", type=int, default=1024, help="an insert flushes above so many idle ones")
    parser.add_argument("--flush-tokens-max", type=int, default=16_384, help="a flush uses so many at most")
    parser.add_argument("--wrong", action="append", default=[], choices=ERROR_ROWS, help="a row to answer wrongly")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C; 0, or 1 where the port is not to be had. Wrong usage ends the program with 2."""
    options = vars(_parser().parse_args(arguments))
    ends = (signal.SIGTERM, signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # by all threads to come: they wait for sigwait below
    try:
        double = MemobaseDouble(options.pop("token"), **{**options, "wrong": frozenset(options["wrong"])})
    except (OSError, OverflowError) as error:
        print(f"cannot listen on port {options['port']}: {error}; try --port 0", file=sys.stderr)
        return 1
    with double:
        print(double.url, flush=True)
        signal.sigwait(ends)
    return 0


if __name__ == "__main__":
    sys.exit(main())
