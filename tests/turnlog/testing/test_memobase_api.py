"""The double's API, request by request, against what is known of a live server."""

import gzip
import http.client
import json
import socket
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlog.testing.memobase import MemobaseDouble
from turnlog.testing.memobase_blobs import count_tokens, parse_messages, prompt_line

from .memobase_client import PREFIX, TOKEN, Client, blob, errno


@pytest.fixture
def double() -> Iterator[MemobaseDouble]:
    with MemobaseDouble(TOKEN) as made:
        yield made


@pytest.fixture
def client(double: MemobaseDouble) -> Iterator[Client]:
    with Client(double.url) as made:
        yield made


def test_the_health_check_needs_no_token(double: MemobaseDouble) -> None:
    """It answers an empty envelope, whoever asks, whatever is the matter with the project or the model."""
    double.switches.suspended = double.switches.model_failing = double.switches.quota_used_up = True
    with Client(double.url, token="wrong") as client:
        assert client.ask("GET", "/healthcheck") == (200, {"data": None, "errno": 0, "errmsg": ""})
        assert client.ask("GET", "/healthcheck", Authorization=None)[0] == 200


@pytest.mark.parametrize("name", ["Redis", "Database"])
def test_the_health_check_tells_what_is_down(double: MemobaseDouble, client: Client, name: str) -> None:
    """HTTP 500 with a detail and without an envelope."""
    setattr(double.switches, f"{name.lower()}_down", True)
    assert client.ask("GET", "/healthcheck") == (500, {"detail": f"{name} not available"})


@pytest.mark.parametrize("target", ["/healthcheck", "/api/health", "/", f"{PREFIX}/nothing", "/api/v2/users"])
def test_other_paths_are_404(client: Client, target: str) -> None:
    """Those that old guides name are among them."""
    assert client.send("GET", target) == (404, {"detail": "Not Found"})


def test_other_methods_are_405(client: Client) -> None:
    """A path that is there says so."""
    assert client.ask("PATCH", "/users") == (405, {"detail": "Method Not Allowed"})


def test_a_user_is_created_read_replaced_and_deleted(double: MemobaseDouble, client: Client) -> None:
    """PUT replaces the whole data object; the server makes an id where none is given."""
    user = client.told("POST", "/users", {"data": {"a": 1, "b": 2}})["id"]
    assert uuid.UUID(user).version == 4
    assert client.told("GET", f"/users/{user}")["data"] == {"a": 1, "b": 2}
    assert client.told("PUT", f"/users/{user}", {"c": 3}) == {"id": user}
    assert client.told("GET", f"/users/{user}")["data"] == double.users[user] == {"c": 3}
    client.insert(user, "Hi")
    client.told("DELETE", f"/users/{user}")
    assert double.users == {}
    assert client.ids(user) == []
    for method in ("GET", "PUT", "DELETE"):
        assert errno(client.ask(method, f"/users/{user}", {})) == (200, 404)


@pytest.mark.parametrize(("version", "fine"), [(1, False), (4, True), (5, True), (7, False)])
def test_users_are_named_by_some_uuids(client: Client, version: int, *, fine: bool) -> None:
    """Versions 4 and 5 are taken; others are 422, with a detail and without an envelope, wherever they stand."""
    user = f"11111111-1111-{version}111-8111-111111111111"
    status, answer = client.ask("POST", "/users", {"id": user})
    assert status == (200 if fine else 422)
    assert errno(client.try_insert(user)) == ((200, 0) if fine else (422, None))
    assert errno(client.ask("GET", f"/users/{user}")) == ((200, 0) if fine else (422, None))
    assert fine or isinstance(answer["detail"], list)


@pytest.mark.parametrize("name", ["amy", "", 7, "{}", ["x"]])
def test_users_are_not_named_by_names(client: Client, name: object) -> None:
    """Nor by numbers."""
    assert client.ask("POST", "/users", {"id": name})[0] == 422


def test_a_blob_is_kept_as_it_was_sent(client: Client) -> None:
    """Messages with alias and time, verbatim, and fields; a blob's own time is dropped, the server makes the id."""
    user = client.create()
    messages = [
        {"role": "user", "content": "Hi", "alias": "Amy", "created_at": "yesterday, or so"},
        {"role": "assistant", "content": ""},
    ]
    body = {"blob_type": "chat", "blob_data": {"messages": messages}, "fields": {"turn_id": "t-1", "n": [{}]}}
    sent = {**body, "created_at": "2001-01-01T00:00:00Z", "id": str(uuid.uuid4())}
    data = client.told("POST", f"/blobs/insert/{user}", sent)
    assert data["chat_results"] == []
    assert data["id"] != sent["id"]
    told = client.told("GET", f"/blobs/{user}/{data['id']}")
    assert {key: told[key] for key in body} == body
    assert "2001" not in told["created_at"]


@pytest.fixture(scope="module")
def patient() -> Iterator[MemobaseDouble]:
    """It flushes when it is asked to."""
    with MemobaseDouble(TOKEN, auto_flush_tokens=2**31) as made:
        yield made


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
message = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant"]), "content": texts},
    optional={"alias": texts, "created_at": texts},
)
json_objects = st.dictionaries(texts, st.recursive(st.integers() | texts, lambda inner: st.lists(inner, max_size=2)))


@given(st.lists(st.tuples(st.lists(message, max_size=3), json_objects), max_size=5))
def test_what_is_valid_comes_back_in_order(
    patient: MemobaseDouble, blobs: list[tuple[list[dict[str, str]], dict[str, Any]]]
) -> None:
    """For any texts and fields, any number of pages, and any of them sent twice: nothing recognises a blob."""
    with Client(patient.url) as client:
        user, ids = client.create(), list[str]()
        for messages, fields in blobs:
            body = {"blob_type": "chat", "blob_data": {"messages": messages}, "fields": fields}
            ids += [client.told("POST", f"/blobs/insert/{user}", body)["id"] for _ in range(2)]
        pages = [client.told("GET", f"/users/blobs/{user}/chat?page={n}&page_size=3")["ids"] for n in range(5)]
        assert list(chain.from_iterable(pages)) == ids
        assert client.told("GET", f"/users/blobs/{user}/chat")["ids"] == ids[:10]
        for blob_id, (messages, fields) in zip(ids[::2], blobs, strict=True):
            told = client.told("GET", f"/blobs/{user}/{blob_id}")
            assert (told["blob_data"]["messages"], told["fields"]) == (messages, fields)
        assert [found.id for found in patient.blobs(user)] == ids


def test_deleting_a_blob_is_idempotent(double: MemobaseDouble, client: Client) -> None:
    """It is gone with its buffer row, is never processed, and deleting it again is fine."""
    user = client.create()
    first, second = client.insert(user, "one"), client.insert(user, "two")
    for _ in range(2):
        assert client.told("DELETE", f"/blobs/{user}/{first}") is None
    assert errno(client.ask("GET", f"/blobs/{user}/{first}")) == (200, 404)
    assert client.ids(user) == [second]
    assert len(client.rows(user, "idle")) == 1
    client.flush(user)
    assert double.processed() == ["two"]
    assert [found.state for found in double.blobs()] == ["deleted", "done"]


def test_unknown_users_have_nothing(client: Client) -> None:
    """They get empty results, and never 404."""
    user = str(uuid.uuid4())
    assert client.told("GET", f"/users/profile/{user}") == {"profiles": []}
    assert client.told("GET", f"/users/event/{user}?topk=3") == {"events": []}
    assert client.told("GET", f"/users/context/{user}?max_token_size=500") == {"context": ""}
    assert client.ids(user) == client.rows(user, "done") == []
    assert client.flush(user) == []


def test_the_context_is_what_the_model_was_told(client: Client) -> None:
    """The newest that fits; what was not flushed is not in it."""
    user = client.create()
    for text in ("one", "two"):
        client.told(
            "POST",
            f"/blobs/insert/{user}",
            {"blob_type": "chat", "blob_data": {"messages": [{"role": "user", "content": text, "created_at": "at 9"}]}},
        )
        client.flush(user)
    client.insert(user, "three")
    assert client.told("GET", f"/users/context/{user}") == {"context": "[at 9] user: one\n[at 9] user: two"}
    assert client.told("GET", f"/users/context/{user}?max_token_size=7") == {"context": "[at 9] user: two"}
    profiles = client.told("GET", f"/users/profile/{user}")["profiles"]
    assert [profile["content"] for profile in profiles] == ["[at 9] user: one", "[at 9] user: two"]
    (event,) = client.told("GET", f"/users/event/{user}?topk=1")["events"]
    assert event["event_data"] == {"content": "[at 9] user: two"}


@pytest.mark.parametrize("query", ["page=-1", "page=x", "page_size=0", "page_size="])
def test_a_bad_page_is_422(client: Client, query: str) -> None:
    """Pages begin at 0 and have something on them."""
    assert client.ask("GET", f"/users/blobs/{client.create()}/chat?{query}")[0] == 422


def test_a_bad_status_or_flag_is_422(client: Client) -> None:
    """Only four statuses can be asked for; processing is the default."""
    user = client.create()
    client.insert(user, "Hi")
    assert client.ask("GET", f"/users/buffer/capacity/{user}/chat?status=dropped")[0] == 422
    assert client.ask("POST", f"/users/buffer/{user}/chat?wait_process=maybe")[0] == 422
    assert client.told("GET", f"/users/buffer/capacity/{user}/chat") == {"ids": []}
    assert len(client.rows(user, "idle")) == 1


def test_compressed_bodies_are_400(double: MemobaseDouble, client: Client) -> None:
    """Whether they say that they are compressed or not."""
    target = f"{PREFIX}/blobs/insert/{client.create()}"
    compressed = gzip.compress(json.dumps(blob("Hi")).encode())
    for encoding in ("gzip", None):
        assert client.send("POST", target, compressed, Content_Type="application/json", Content_Encoding=encoding) == (
            400,
            {"detail": "There was an error parsing the body"},
        )
    assert double.blobs() == []


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", None])
def test_a_wrong_content_type_is_refused(double: MemobaseDouble, client: Client, content_type: str | None) -> None:
    """JSON must say that it is JSON; a charset may be said too."""
    target, body = f"{PREFIX}/blobs/insert/{client.create()}", json.dumps(blob("Hi")).encode()
    assert client.send("POST", target, body, Content_Type=content_type)[0] == 422
    assert double.blobs() == []
    assert client.send("POST", target, body, Content_Type="application/json; charset=utf-8")[0] == 200


def test_there_is_no_limit_to_a_request(double: MemobaseDouble, client: Client) -> None:
    """10 MB are taken."""
    client.insert(client.create(), "x" * 10_000_000)
    assert len(double.blobs()[0].messages[0]["content"]) == 10_000_000


def test_connections_are_kept(double: MemobaseDouble) -> None:
    """Many requests, of all kinds, take one connection; counters tell of each, by route and answer."""
    with Client(double.url) as client:
        user = client.create()
        client.insert(user, "Hi")
        client.try_insert(str(uuid.uuid4()))
        client.ask("POST", "/users", {"id": "amy"})
        client.send("GET", "/nothing")
    assert double.counters == {
        "connections": 1,
        "POST /users": 2,
        "POST /blobs/insert/{}": 2,
        "200/0": 2,
        "200/500": 1,
        "422": 1,
        "404": 1,
    }


def test_a_request_that_breaks_off_is_none(double: MemobaseDouble, client: Client) -> None:
    """Half a body, a body without a length: nothing is stored, and the server goes on."""
    user = client.create()
    head = f"POST {PREFIX}/blobs/insert/{user} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
    for rest in ("Content-Length: 1000\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n", "Content-Length: x\r\n\r\n"):
        with socket.create_connection((client.connection.host, client.connection.port)) as connection:
            connection.sendall((head + rest).encode())
            connection.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
        assert answer.partition(b"\r\n")[0] in (b"", b"HTTP/1.1 411 Length Required")
    assert client.ids(user) == double.blobs() == []


def test_closing_breaks_connections_and_refuses_new_ones(double: MemobaseDouble, client: Client) -> None:
    """It may be closed again; and refusing is an outage that ends, after which all that was stored is there."""
    user = client.create()
    client.insert(user, "Hi")
    double.refuse()
    assert client.ask("GET", "/healthcheck") == (0, None)
    with pytest.raises(ConnectionRefusedError):
        client.ask("GET", "/healthcheck")
    double.accept()
    assert len(client.ids(user)) == 1
    for _ in range(2):
        double.close()
    assert client.ask("GET", "/healthcheck") == (0, None)


def test_inserts_wait_for_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a rate, those that come at once wait 1, 2, 3 ... turns, whatever the number of connections."""
    monkeypatch.setattr("turnlog.testing.memobase_store.monotonic", lambda: 1000.0)
    with MemobaseDouble(TOKEN, inserts_per_second=100) as double:
        waited = list[float]()
        monkeypatch.setattr(double._store._over, "wait", waited.append)
        with Client(double.url) as client:
            user = client.create()

        def insert(_: int) -> None:
            with Client(double.url) as client:
                client.insert(user, "Hi")

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(insert, range(8)))
        assert sorted(waited) == pytest.approx([n / 100 for n in range(1, 9)])
        assert len(double.blobs()) == 8


def test_tokens_are_words_or_bytes() -> None:
    """Whatever is more; each language has some, and nothing has none."""
    assert [count_tokens(text) for text in ("", "a b c d", "abcdefg", "好" * 3)] == [0, 4, 3, 3]
    assert prompt_line({"role": "user", "content": "Hi", "alias": "Amy"}) == "Amy: Hi"
    assert parse_messages({}) is parse_messages({"messages": {}}) is parse_messages({"messages": ["x"]}) is None
    assert parse_messages({"messages": [{"role": "user"}]}) is None


def test_a_port_that_is_taken_is_an_error_of_the_system() -> None:
    """It is told at once."""
    with MemobaseDouble(TOKEN) as double:
        port = http.client.HTTPConnection(double.url.removeprefix("http://")).port
        with pytest.raises(OSError, match="in use"):
            MemobaseDouble(TOKEN, port=port)
