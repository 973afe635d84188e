import json
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from turnlog.web.receiver import BODY_BYTES_MAX

TOKEN = "right-token"
DEADLINE_SECONDS = 30

NESTED = b'{"unknown":' + b"[" * 100_000

Server = Any  # the class in conftest.py, which is no module that could be imported


def make_body(*messages: dict[str, Any], conversation: str | None = None, **fields: Any) -> dict[str, Any]:
    conversations = [{"uuid": conversation or str(uuid4()), "messages": list(messages), **fields}]
    return {"source_type": "gpt", "conversations": conversations}


def make_message(**fields: Any) -> dict[str, Any]:
    return {"uuid": str(uuid4()), "role": "user", **fields}


def error_of(response: requests.Response) -> str:
    answer = response.json()
    assert set(answer) == {"success", "error"}
    assert answer["success"] is False
    assert TOKEN not in response.text
    return str(answer["error"])


# What it answers.


def test_a_batch_is_stored_and_counted(server: Server) -> None:
    """A batch is answered with 200 and exactly the four counts; sent again, the same rows count as updated."""
    body = make_body(make_message(), make_message())
    first, second = server.post(json=body), server.post(json=body)
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json() == {
        "success": True,
        "inserted_conversations": 1,
        "inserted_messages": 2,
        "updated_conversations": 0,
        "updated_messages": 0,
    }
    assert second.json() == {
        "success": True,
        "inserted_conversations": 0,
        "inserted_messages": 0,
        "updated_conversations": 1,
        "updated_messages": 2,
    }


def test_text_of_every_script_arrives_whole(server: Server) -> None:
    """Chinese, an emoji and a NUL come out of SQLite as they were sent, escaped in JSON or not."""
    text = "你好，世界 🌊\x00é"
    for ensure_ascii in (True, False):
        body = make_body(make_message(content_text=text, round_index=-1), title=text)
        assert server.post(data=json.dumps(body, ensure_ascii=ensure_ascii).encode()).status_code == 200
    with closing(sqlite3.connect(server.store)) as connection:
        found = connection.execute("SELECT content_text FROM messages WHERE round_index = -1").fetchall()
        titles = connection.execute("SELECT title FROM conversations WHERE title IS NOT NULL").fetchall()
    assert found == titles == [(text,), (text,)]


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong-token",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN.upper()}",
        f"Bearer {TOKEN} {TOKEN}",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer señal",
        "Bearer 令牌".encode(),
    ],
)
def test_without_the_right_token_nothing_is_taken(server: Server, authorization: Any) -> None:
    """No token, a wrong one, half of it, one that is not ASCII: 401, nothing stored, and the token is not told."""
    before = server.totals()
    response = server.post(json=make_body(make_message()), headers={"Authorization": authorization})
    assert response.status_code == 401
    assert "token" in error_of(response)
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert server.totals() == before


def test_the_scheme_is_not_case_sensitive(server: Server) -> None:
    """`bearer` is as good as `Bearer`."""
    response = server.post(json=make_body(), headers={"Authorization": f"bearer  {TOKEN}"})
    assert response.status_code == 200


def test_a_token_may_be_any_text(running: Any, tmp_path: Path) -> None:
    """A token that is not ASCII is compared by its UTF-8 bytes."""
    with running(tmp_path / "store.sqlite", token="令牌") as server:
        headers: dict[str, Any] = {"Authorization": "Bearer 令牌".encode()}
        assert server.post(json=make_body(), headers=headers).status_code == 200
        headers = {"Authorization": "Bearer 令箭".encode()}
        assert server.post(json=make_body(), headers=headers).status_code == 401


def test_two_tokens_are_none(server: Server) -> None:
    """Two Authorization headers are refused, even if one of them is right."""
    header = f"Authorization: Bearer {TOKEN}\r\n"
    answer = server.talk(f"GET /api/v1/health HTTP/1.1\r\nHost: x\r\n{header}{header}\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 401 ")


def test_the_token_is_looked_at_first(server: Server) -> None:
    """With a wrong token a malformed body is 401, and so is a body that never comes."""
    assert server.post(data=b"{", headers={"Authorization": "Bearer no"}).status_code == 401
    head = b"POST /internal/v1/sync/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    assert server.talk(head).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("body", [b"", b"{", b"nonsense", b'{"source_type":"\xff"}', b"\xef\xbb\xbf{}", NESTED])
def test_what_is_not_json_is_400(server: Server, body: bytes) -> None:
    """Malformed JSON, wrong UTF-8, a byte order mark and endless nesting are 400 with a sentence."""
    response = server.post(data=body)
    assert response.status_code == 400
    assert error_of(response).startswith("the body is not JSON: ")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ([], "Expected `object`"),
        ({}, "missing required field `source_type`"),
        ({"source_type": "gpt"}, "missing required field `conversations`"),
        ({"source_type": "", "conversations": []}, "$.source_type"),
        ({"source_type": "gpt", "conversations": [{"messages": []}]}, "`uuid` - at `$.conversations[0]`"),
        (make_body(conversation="no uuid"), "$.conversations[0].uuid"),
        (
            make_body(created_at="yesterday"),
            "`created_at` is not an ISO 8601 time: 'yesterday' - at `$.conversations[0]`",
        ),
        (make_body(title=5), "$.conversations[0].title"),
        (make_body(make_message(), {"role": "user"}), "`uuid` - at `$.conversations[0].messages[1]`"),
        (make_body(make_message(uuid="{" + str(uuid4()) + "}")), "$.conversations[0].messages[0].uuid"),
        (make_body(make_message(parent_uuid="x")), "$.conversations[0].messages[0].parent_uuid"),
        (make_body(make_message(role="")), "$.conversations[0].messages[0].role"),
        (make_body(make_message(role=None)), "$.conversations[0].messages[0].role"),
        (make_body(make_message(round_index=1.5)), "$.conversations[0].messages[0].round_index"),
        (make_body(make_message(round_index=2**63)), "$.conversations[0].messages[0].round_index"),
        (make_body(make_message(created_at="2024-13-01")), "created_at"),
    ],
)
def test_the_wrong_shape_is_422(server: Server, body: Any, where: str) -> None:
    """JSON of the wrong shape is 422 with a sentence that says what is wrong and where, and nothing is stored."""
    before = server.totals()
    response = server.post(json=body)
    assert response.status_code == 422
    assert where in error_of(response)
    assert server.totals() == before


def test_a_bad_message_in_the_middle_stores_nothing(server: Server) -> None:
    """A batch with one message of another conversation is 422 with its place; the others are not stored."""
    stolen, home = make_message(), str(uuid4())
    assert server.post(json=make_body(stolen, conversation=home)).status_code == 200
    before = server.totals()
    response = server.post(json=make_body(make_message(), stolen, make_message()))
    assert response.status_code == 422
    assert f"$.conversations[0].messages[1].uuid: the message {stolen['uuid']} already belongs" in error_of(response)
    assert server.totals() == before


def test_other_addresses_and_methods(server: Server) -> None:
    """An unknown address is 404, a wrong method 405 with the allowed ones, both as JSON."""
    assert server.request("GET", "/").status_code == 404
    assert "address" in error_of(server.request("POST", "/schema"))
    for method, path in [("GET", "/internal/v1/sync/batch"), ("POST", "/api/v1/health")]:
        response = server.request(method, path)
        assert response.status_code == 405
        assert "method" in error_of(response)
        assert "OPTIONS" in response.headers["Allow"]


def test_health_needs_no_token_but_no_wrong_one(server: Server) -> None:
    """Health counts for anybody, and tells a sender whose token is wrong."""
    assert server.health().status_code == 200
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(server.url + "/api/v1/health", timeout=DEADLINE_SECONDS)
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", **dict(zip(("conversations", "messages"), server.totals(), strict=True))}
    for wrong in ("Bearer no", "", "Basic eDp5", f"Bearer {TOKEN}x"):
        assert "token" in error_of(server.health(Authorization=wrong))


# How much it takes.


def test_a_body_of_the_largest_size_is_taken(server: Server) -> None:
    """32 MiB to the byte are stored."""
    body = json.dumps(make_body(make_message())).encode().ljust(BODY_BYTES_MAX)
    assert server.post(data=body).status_code == 200
    assert server.post(data=iter([body[:-5], body[-5:]])).status_code == 200  # chunked


def test_a_larger_body_is_413(server: Server) -> None:
    """One byte more is 413, with its length announced or in chunks, and the server goes on."""
    before = server.totals()
    body = json.dumps(make_body(make_message())).encode().ljust(BODY_BYTES_MAX + 1)
    for data in (body, (body[at : at + 2**20] for at in range(0, len(body), 2**20))):
        response = server.post(data=data)
        assert response.status_code == 413
        assert "32 MiB" in error_of(response)
    assert server.totals() == before


def test_an_announced_length_is_enough_for_413(server: Server) -> None:
    """413 is answered from Content-Length alone, before a byte of the body was sent."""
    head = f"POST /internal/v1/sync/batch HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
    answer = server.talk(f"{head}Content-Length: {BODY_BYTES_MAX + 1}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_eight_threads_post_at_once(server: Server) -> None:
    """Eight threads posting to one shared and to own conversations: all are answered, every message is there once."""
    before = server.totals()
    shared = str(uuid4())
    statuses: list[int] = []

    def work() -> None:
        own = str(uuid4())
        for _ in range(10):
            statuses.append(server.post(json=make_body(make_message(), conversation=own)).status_code)
            statuses.append(server.post(json=make_body(make_message(), conversation=shared)).status_code)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_SECONDS)
    assert statuses == [200] * 160
    assert server.totals() == (before[0] + 9, before[1] + 160)


# Who may ask.


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8080", "LOCALHOST", "[::1]", "[::1]:8080", "127.1.2.3:1"])
def test_without_a_token_loopback_names_are_served(open_server: Server, host: str) -> None:
    """A receiver without a token answers under every loopback name, and takes batches."""
    assert open_server.health(Host=host).status_code == 200
    assert open_server.post(json=make_body(make_message()), headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "10.0.0.1",
        "[::2]",
        "",
        "localhost.evil.example",
        "x@127.0.0.1",
        "127.0.0.1:x",
    ],
)
def test_without_a_token_other_names_are_refused(open_server: Server, host: str) -> None:
    """A name that was made to point here (DNS rebinding) gets 403, for health too."""
    for response in (open_server.health(Host=host), open_server.post(json=make_body(), headers={"Host": host})):
        assert response.status_code == 403
        assert "Host" in error_of(response)


def test_without_a_host_nothing_is_served(open_server: Server) -> None:
    """A request of HTTP/1.0 without a Host header is refused."""
    assert open_server.talk(b"GET /api/v1/health HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 403 ")


def test_without_a_token_other_origins_are_refused(open_server: Server) -> None:
    """A web page of elsewhere cannot post through the user's browser, which adds its Origin; a local page can."""
    for origin in ("https://evil.example", "null", "https://127.0.0.1.evil.example"):
        response = open_server.post(json=make_body(), headers={"Origin": origin})
        assert response.status_code == 403
        assert "origin" in error_of(response)
    assert open_server.post(json=make_body(), headers={"Origin": "http://localhost:3000"}).status_code == 200


def test_with_a_token_every_name_is_served(server: Server) -> None:
    """Where the token protects, the Host header does not matter."""
    assert server.health(Host="turnlog.example").status_code == 200
