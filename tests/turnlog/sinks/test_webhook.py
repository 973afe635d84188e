"""The sink `webhook`: the contract against a receiver, its signature, every fault of the wire, and no secret told."""

import base64
import hmac
import json
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog import SinkEnrolled, SinkPaused, TurnRecorded
from projections import RetryPolicy
from turnlog import Recorder
from turnlog.config import Config, SinkConfig
from turnlog.errors import ConfigError
from turnlog.sinks.base import Delivered, Refused, Sink
from turnlog.sinks.registry import open_sink
from turnlog.sinks.webhook import WebhookOptions, WebhookSink, render, sign, webhook_id
from turnlog.sync.delivery import Terms
from turnlog.sync.engine import Engine
from turnlog.testing import FakeClock, outgoing, turns
from turnlog.testing.proxy import FAULTS, WRONG_TYPE, Fault, FaultProxy
from turnlog.testing.sink_contract import SinkContract, said

from .conftest import Wire, reply, resets, sends
from .hooks import Hook, hooking, texts_of

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
HUSH = "hush-hush-4711"


@pytest.fixture
def hook() -> Iterator[Hook]:
    with hooking() as running:
        yield running


def open_hook(url: str, *, key: bytes | None = KEY, **options: Any) -> WebhookSink:
    chosen = {"connect_seconds": 2.0, "read_seconds": 20.0, **options}
    return WebhookSink(WebhookOptions(url, **chosen), url=url, headers={}, key=key)


def configured(folder: Path, **options: Any) -> Sink:
    return open_sink(Config(path=folder / "turnlog.toml"), SinkConfig("hook", "webhook", options=options))


class TestWebhook(SinkContract):
    @pytest.fixture(autouse=True)
    def _started(self, hook: Hook) -> None:
        self.hook = hook

    def make_sink(self) -> Sink:
        return open_hook(self.hook.url)

    def received(self, sink: Sink) -> dict[str, list[str]]:
        return texts_of([turn for posted in self.hook.taken for turn in posted.turns])


class TestReceiverThatKnowsTurns(TestWebhook):
    def make_sink(self) -> Sink:
        return open_hook(self.hook.url, idempotent=True, turns=20, method="PUT")

    def received(self, sink: Sink) -> dict[str, list[str]]:
        return texts_of(self.hook.by_turn)


# What is sent.


def test_a_request_is_signed_as_standard_webhooks_has_it(hook: Hook) -> None:
    """Id, seconds, and `v1,` with the HMAC-SHA256 of the two and the body, in base64; without a secret no signature."""
    with closing(open_hook(hook.url)) as sink, closing(open_hook(hook.url, key=None)) as unsigned:
        sink.deliver(outgoing([said("c", "世界")]))
        unsigned.deliver(outgoing([said("c", "hi")]))
    signed, plain = hook.requests
    content = f"{signed.id}.{signed.headers['webhook-timestamp']}.".encode() + signed.body
    expected = base64.b64encode(hmac.digest(KEY, content, sha256)).decode()
    assert signed.headers["webhook-signature"] == f"v1,{expected}"
    assert "webhook-signature" not in plain.headers
    assert plain.id.startswith("msg_")
    assert "." not in plain.id


def test_the_signature_is_that_of_a_known_vector() -> None:
    """The one that the libraries of Standard Webhooks test with: whoever changes it breaks every receiver."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    signature = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body)
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(turns(), st.integers(0, 3))
def test_a_body_is_never_larger_than_its_turns_sizes(turn: TurnRecorded, more: int) -> None:
    """`size` is an upper bound, whatever is said; what a body adds around its turns is small."""
    batch = outgoing([turn, *(msgspec.structs.replace(turn, turn_id=f"{turn.turn_id}{i}") for i in range(more))])
    with closing(open_hook("http://127.0.0.1:1")) as sink:
        assert len(render(batch)) <= sum(map(sink.size, batch)) + 200


@given(turns())
def test_nothing_of_a_turn_is_left_out(turn: TurnRecorded) -> None:
    """Every field of the event that is about the turn is in the body, as the log has it."""
    (sent,) = outgoing([turn])
    (told,) = json.loads(render([sent]))["data"]["turns"]
    event = json.loads(msgspec.json.encode(turn))
    for name in ("turn_id", "revision", "source", "user", "conversation", "model", "usage", "meta", "started_at"):
        assert told[name] == event[name]
    assert (told["version"], told["seq"], told["delivery"]) == (1, sent.seq, 1)
    assert told["messages"] == [{"content": "", **message} for message in event["messages"]]


@given(turns())
def test_the_id_is_the_delivery_s(turn: TurnRecorded) -> None:
    """Sent again it is the same, whatever attempt that is; a turn that is owed anew, or another one, has its own."""
    (sent,) = outgoing([turn])
    again = msgspec.structs.replace(sent, attempt=sent.attempt + 5, tries=3)
    assert webhook_id([again]) == webhook_id([sent])
    assert render([again]) == render([sent])
    others = [
        msgspec.structs.replace(sent, delivery=2),
        msgspec.structs.replace(sent, seq=sent.seq + 1),
        msgspec.structs.replace(sent, event=msgspec.structs.replace(turn, revision=turn.revision + 1)),
    ]
    assert len({webhook_id([each]) for each in [sent, *others]}) == 4


def test_the_url_and_the_headers_are_used_as_they_are(hook: Hook, tmp_path: Path, monkeypatch: Any) -> None:
    """With path and query; headers are text or secrets, and the token is a bearer."""
    monkeypatch.setenv("KEY", HUSH)
    (tmp_path / "url").write_text(f"{hook.url}/a/?key=%20b\n")
    (tmp_path / "token").write_text("t0ken")
    options = {"token": {"file": "token"}, "headers": {"X-Key": {"env": "KEY"}, "X-Plain": "text"}}
    with closing(configured(tmp_path, url={"file": "url"}, **options)) as sink:
        sink.deliver(outgoing([said("c", "hi")]))
    (posted,) = hook.requests
    assert (posted.method, posted.path) == ("POST", "/a/?key=%20b")
    assert (posted.headers["x-key"], posted.headers["x-plain"]) == (HUSH, "text")
    assert posted.headers["authorization"] == "Bearer t0ken"
    assert posted.headers["content-type"] == "application/json"


# What is answered.


KINDS = {
    200: "delivered", 202: "delivered", 204: "delivered", 308: "unavailable", 400: "rejected", 401: "unauthorized",
    403: "unauthorized", 404: "unavailable", 410: "unauthorized", 413: "rejected", 422: "rejected", 429: "throttled",
    500: "failed", 502: "in_doubt", 503: "unavailable",
}  # fmt: skip


@pytest.mark.parametrize(("status", "kind"), KINDS.items())
def test_the_status_decides(wire: Wire, status: int, kind: str) -> None:
    """A 2xx delivers whatever the body says; 410 means that somebody has to act; a 502 leaves doubt."""
    wire.answers = [reply(status, b'{"success":false}' if status != 204 else b"")]
    with closing(open_hook(wire.url, turns=2)) as sink:
        batch = outgoing([said("c", "one"), said("c", "two")])
        first, second = sink.deliver(batch)
    assert first == second
    if kind == "delivered":
        assert first == Delivered({"id": webhook_id(batch), "status": status})
    else:
        assert isinstance(first, Refused)
        assert (first.kind, first.status) == (kind, status)


def test_where_turns_are_known_again_a_gateway_s_error_leaves_no_doubt(wire: Wire) -> None:
    """`idempotent` says so."""
    wire.answers = [reply(502)]
    with closing(open_hook(wire.url, idempotent=True)) as sink:
        (refused,) = sink.deliver(outgoing([said("c", "hi")]))
    assert isinstance(refused, Refused)
    assert refused.kind == "unavailable"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
@pytest.mark.parametrize("known_by", ["id", "turn"])
def test_no_fault_loses_or_doubles_a_turn(hook: Hook, tmp_path: Path, fault: Fault, known_by: str) -> None:
    """Whatever happens to the second request: a receiver that looks at the id, or at the turns', has each turn once.

    What is answered by somebody else in its stead with a 2xx is believed: nothing else is known of a webhook.
    """
    clock = FakeClock()
    with Recorder(tmp_path, durability="os") as recorder, FaultProxy(hook.url) as proxy:
        recorder.append([SinkEnrolled(sink="hook", kind="webhook")])
        recorder.record_many([said("c", f"{i}") for i in range(4)])
        options = {"idempotent": known_by == "turn", "turns": 1 if known_by == "id" else 2}
        sink = open_hook(proxy.url, connections=1, read_seconds=0.2, **options)
        engine = Engine(recorder.log, clock=clock)
        engine.add("hook", sink, Terms(retries=RetryPolicy(base_seconds=0)))
        posts = 0

        def second(method: str, _path: str, _body: bytes) -> Fault | None:
            nonlocal posts
            posts += method == "POST"
            return fault if method == "POST" and posts == 2 else None

        proxy.rule = second
        for _ in range(3):
            counts = engine.run_once()
            clock.advance(3600)
        engine.close()
        sink.close()
    assert (counts.pending, proxy.faulted) == (0, 1)
    texts = texts_of(hook.by_id if known_by == "id" else hook.by_turn)["c"]
    lost = {"id": ["1"], "turn": ["2", "3"]}[known_by] if fault is WRONG_TYPE else []
    assert texts == [text for text in "0123" if text not in lost]


# The check.


def test_the_check_sends_no_turn(hook: Hook) -> None:
    """It asks for the head of the URL, signed like all else; that the receiver knows no such method is no matter."""
    with closing(open_hook(hook.url)) as sink:
        assert sink.check() is None
    assert (hook.heads, hook.requests) == (1, [])


@pytest.mark.parametrize("status", [200, 301, 401, 403, 404, 405, 410, 500, 501])
def test_who_answers_is_there(wire: Wire, status: int) -> None:
    """Gateways refuse a method that they do not know in every way: a pause must not last for ever over that."""
    wire.answers = [reply(status)]
    with closing(open_hook(wire.url)) as sink:
        assert sink.check() is None
    assert wire.requests[0].startswith(b"HEAD / HTTP/1.1\r\n")
    assert b"webhook-signature: v1," in wire.requests[0]


@pytest.mark.parametrize(
    "answer",
    [reply(429), reply(502), reply(503), reply(504), resets, sends()],
    ids=[429, 502, 503, 504, "reset", "end"],
)
def test_who_is_away_is_told(wire: Wire, answer: Any) -> None:
    """A gateway without anybody behind it, too much at once, no answer: turns would come to nothing."""
    wire.answers = [answer]
    with closing(open_hook(wire.url)) as sink:
        refused = sink.check()
    assert isinstance(refused, Refused)
    assert refused.kind in ("unavailable", "throttled", "in_doubt")


def test_who_wants_no_more_turns_gets_none_until_somebody_acts(hook: Hook, tmp_path: Path) -> None:
    """410 pauses the sink as a refused token does, and blames no turn."""
    hook.status = 410
    with Recorder(tmp_path, durability="os") as recorder:
        recorder.append([SinkEnrolled(sink="hook", kind="webhook")])
        recorder.record_many([said("c", f"{i}") for i in range(3)])
        with closing(open_hook(hook.url)) as sink:
            engine = Engine(recorder.log, clock=FakeClock())
            engine.add("hook", sink)
            assert engine.run_once().pending == 3
            engine.close()
        (paused,) = [entry.event for entry in recorder.log.read() if isinstance(entry.event, SinkPaused)]
    assert paused.kind == "unauthorized"
    assert paused.reason.endswith("answered 410: it wants no more turns")
    assert len(hook.requests) == 1


# What is told.


@pytest.mark.parametrize("status", [301, 401, 404, 422, 500])
def test_no_secret_is_told(wire: Wire, tmp_path: Path, monkeypatch: Any, status: int) -> None:
    """Neither the key in the query, nor the path, a header, or the signing secret, though a server echoes it all."""
    monkeypatch.setenv("HUSH", HUSH)
    monkeypatch.setenv("SECRET", SECRET)
    path, key = "/services/T00000/B11111", "a%2Fkey-of-mine"
    echo = f"{path} {path[1:]} {key} a/key-of-mine {HUSH} t0k-e-n".encode()
    url = f"{wire.url}{path}?k={key}&v=1"
    wire.answers = [reply(status, b'{"error":"' + echo + b'"}', f"Location: {url}")]
    monkeypatch.setenv("TOKEN", "t0k-e-n")
    options: dict[str, Any] = {"url": url, "secret": {"env": "SECRET"}, "token": {"env": "TOKEN"}}
    with closing(configured(tmp_path, headers={"X-Hush": {"env": "HUSH"}}, **options)) as sink:
        (refused,) = sink.deliver(outgoing([said("c", "hi")]))
        told = repr([refused, sink.check()])
    assert wire.url in told
    for secret in ("T00000", "key-of-mine", HUSH, "t0k-e-n", SECRET, SECRET[6:]):
        assert secret not in told


# The configuration.


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({}, "missing key `url`"),
        ({"url": "ftp://h"}, "http://"),
        ({"url": "http://me:hush@h"}, "no password"),
        ({"url": "http://h#x"}, "no '#'"),
        ({"url": "http://?key=hush"}, "names no host"),
        ({"url": "http://h/a b"}, "no blanks"),
        ({"url": "http://[::hush"}, "URL"),
        ({"url": {"env": "BAD_URL"}}, "http://"),
        ({"url": "http://h", "method": "GET"}, "method"),
        ({"url": "http://h", "turns": 0}, "at least 1"),
        ({"url": "http://h", "read_seconds": 0}, "above 0"),
        ({"url": "http://h", "read_seconds": float("nan")}, "above 0"),
        ({"url": "http://h", "secret": "hush"}, "secret"),
        ({"url": "http://h", "secret": {"env": "BAD_URL"}}, "secret must be whsec_"),
        ({"url": "http://h", "secret": {"env": "SHORT"}}, "24 to 64 bytes"),
        ({"url": "http://h", "secret": {"env": "NOT_SET"}}, "NOT_SET"),
        ({"url": "http://h", "headers": {"X-Key": {"env": "NOT_SET"}}}, "NOT_SET"),
        ({"url": "http://h", "headers": {"X Key": "x"}}, "no name of a header"),
        ({"url": "http://h", "headers": {"X-Key": "hush\r\nX: y"}}, "one line"),
        ({"url": "http://h", "headers": {"Webhook-Id": "x"}}, "set by the sink itself"),
        ({"url": "http://h", "headers": {"authorization": "x"}, "token": {"env": "BAD_URL"}}, "not both"),
        ({"url": "http://h", "secrt": {"env": "X"}}, "did you mean 'secret'"),
    ],
)
def test_what_is_wrong_with_its_options_is_told(tmp_path: Path, monkeypatch: Any, wrong: Any, sentence: str) -> None:
    """In one sentence that names the sink, or the place of a secret that is not there, and no secret."""
    monkeypatch.setenv("BAD_URL", "hush")
    monkeypatch.setenv("SHORT", "whsec_aHVzaA==")
    with pytest.raises(ConfigError, match=sentence) as told:
        configured(tmp_path, **wrong)
    assert "sink 'hook'" in str(told.value) or "NOT_SET" in str(told.value)
    assert "hush" not in str(told.value)
    assert "aHVz" not in str(told.value)


def test_a_turn_that_is_sent_on_purpose_again_has_another_id(hook: Hook) -> None:
    """Else a receiver would pass over what the operator wants it to have."""
    (turn,) = outgoing([said("c", "hi")])
    with closing(open_hook(hook.url)) as sink:
        for sent in (turn, turn, msgspec.structs.replace(turn, delivery=2)):
            sink.deliver([sent])
    first, again, anew = hook.requests
    assert first.id == again.id != anew.id
