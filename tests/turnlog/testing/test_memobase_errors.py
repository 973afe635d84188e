"""Every row of the double's table of errors, answered rightly and wrongly, as a client and the ledger see it."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from turnlog.testing.memobase import STATE_PATH, MemobaseDouble
from turnlog.testing.memobase_blobs import STATUSES
from turnlog.testing.memobase_rows import ERROR_ROWS, INSERT_ROWS, TABLE
from turnlog.testing.memobase_store import Switches
from turnlog.testing.proxy import RESET_AFTER, SILENCE, FaultProxy

from .memobase_client import PREFIX, TOKEN, Answer, Client, blob, errno

SECRET = "the diary says"
TOO_BIG = "x " * 16_400


@pytest.fixture(scope="module")
def shared() -> Iterator[MemobaseDouble]:
    with MemobaseDouble(TOKEN) as made:
        yield made


@pytest.fixture
def double(shared: MemobaseDouble) -> Iterator[MemobaseDouble]:
    yield shared
    shared.misbehave()
    switch(shared)
    shared.accept()


@pytest.fixture
def client(double: MemobaseDouble) -> Iterator[Client]:
    with Client(double.url) as made:
        yield made


def switch(double: MemobaseDouble, *names: str) -> None:
    """These on, all others off."""
    for name in Switches.__struct_fields__:
        setattr(double.switches, name, name in names)


def inserting(*switches: str, content: object = SECRET, wait: bool = False, **more: Any) -> "Meeting":
    """The row is met by an insert of this content, with these switches on."""

    def meet(double: MemobaseDouble, client: Client, user: str) -> Answer:
        switch(double, *switches)
        try:
            return client.try_insert(user, blob(content, **more), wait=wait)
        finally:
            switch(double)

    return meet


def meet_without_a_token(double: MemobaseDouble, _: Client, user: str) -> Answer:
    with Client(double.url, token="wrong") as stranger:
        return stranger.try_insert(user)


def meet_as_nobody(_: MemobaseDouble, client: Client, user: str) -> Answer:
    client.told("DELETE", f"/users/{user}")
    return client.try_insert(user, blob(SECRET))


def meet_again(_: MemobaseDouble, client: Client, user: str) -> Answer:
    client.insert(user, "Hi")
    return client.ask("POST", "/users", {"id": user, "data": {"name": SECRET}})


def meet_silence(double: MemobaseDouble, client: Client, user: str) -> Answer:
    double.meet("no-answer")
    return client.try_insert(user)


def meet_nobody(double: MemobaseDouble, client: Client, user: str) -> Answer:
    double.refuse()
    client.connection.close()
    try:
        with Client(double.url) as late:
            return late.try_insert(user)
    except ConnectionRefusedError:
        return 0, None
    finally:
        double.accept()


Meeting = Callable[[MemobaseDouble, Client, str], Answer]
Seen = tuple[int, int | None, str, list[str]]
"""Status, errno, what the answer says, and the states of the user's blobs in the ledger."""

ROWS: dict[str, tuple[Meeting, Seen, Seen]] = {
    "unauthorized": (meet_without_a_token, (401, 401, "", []), (200, 0, "", ["idle"])),
    "schema": (inserting(fields="x"), (422, None, "detail", []), (200, 500, "", [])),
    "unparsable": (inserting(content=None), (200, 400, "Unable to parse blob", []), (200, 0, "", [])),
    "unknown-user": (meet_as_nobody, (200, 500, "ForeignKeyViolation", []), (200, 0, "", [])),
    "user-exists": (meet_again, (200, 500, "users_pkey", ["idle"]), (200, 0, "", ["deleted"])),
    "bad-text": (inserting(content="a\0b"), (200, 500, "", []), (200, 0, "", ["idle"])),
    "special-token": (
        inserting(content="<|endoftext|>"),
        (200, 500, "disallowed special token", ["orphan"]),
        (200, 0, "", ["orphan"]),
    ),
    "down": (
        inserting("redis_down"),
        (200, 500, "Sorry, we have encountered", []),
        (200, 500, "Sorry, we have encountered", ["idle"]),
    ),
    "model-failed": (
        inserting("model_failing", content="x " * 2000, wait=True),
        (200, 503, "Error in llm_complete", ["failed"]),
        (200, 0, "", ["failed"]),
    ),
    "too-big": (
        inserting(content=TOO_BIG, wait=True),
        (200, 520, "No blobs to process after truncating", ["failed"]),
        (200, 0, "", ["dropped"]),
    ),
    "quota": (
        inserting("quota_used_up"),
        (200, 503, "reaches Memobase token limit", []),
        (200, 503, "reaches Memobase token limit", ["idle"]),
    ),
    "no-answer": (meet_silence, (0, None, "", ["idle"]), (0, None, "", [])),
    "server-down": (meet_nobody, (0, None, "", []), (200, 0, "", [])),
}


def check(key: str, seen: Seen, double: MemobaseDouble, user: str, answer: Answer) -> None:
    status, number, phrase, states = seen
    assert (key, *errno(answer)) == (key, status, number)
    assert phrase in json.dumps(answer[1])
    assert (key, [found.state for found in double.blobs(user)]) == (key, states)


def test_every_row_is_here() -> None:
    """The table of errors has 13 rows, each with a key and with what it means to be wrong."""
    assert tuple(ROWS) == ERROR_ROWS
    assert len({row.case for row in TABLE}) == len({row.key for row in TABLE}) == 13
    assert all(row.wrongly for row in TABLE)


@pytest.mark.parametrize("wrong", [None, *ERROR_ROWS])
def test_exactly_the_row_that_is_wrong_is_answered_wrongly(
    double: MemobaseDouble, client: Client, wrong: str | None
) -> None:
    """All the others are answered rightly, with nothing but the status, errno and storage of the table."""
    double.misbehave(*[wrong] if wrong else [])
    for key, (meet, right, wrongly) in ROWS.items():
        user = client.create()
        check(key, wrongly if key == wrong else right, double, user, meet(double, client, user))


@pytest.mark.parametrize("key", ERROR_ROWS)
def test_a_wrong_row_is_seen_by_a_client(double: MemobaseDouble, client: Client, key: str) -> None:
    """Without the ledger: by its answer, or by what can be listed afterwards."""

    def seen() -> list[object]:
        user = client.create()
        answer = ROWS[key][0](double, client, user)
        return [errno(answer), len(client.ids(user)), *(len(client.rows(user, status)) for status in STATUSES)]

    right = seen()
    double.misbehave(key)
    assert seen() != right


@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize("key", INSERT_ROWS)
def test_an_insert_that_is_fine_meets_a_row_when_told_to(
    double: MemobaseDouble, client: Client, key: str, *, wrong: bool
) -> None:
    """Once, with the same answer and storage; the next insert is fine again."""
    user = client.create()
    double.misbehave(*[key] if wrong else [])
    double.meet(key)
    check(key, ROWS[key][2 if wrong else 1], double, user, client.try_insert(user, blob(SECRET)))
    assert errno(client.try_insert(user)) == (200, 0)


def test_only_rows_can_be_wrong(double: MemobaseDouble) -> None:
    """And only an insert's rows can be met by an insert."""
    with pytest.raises(ValueError, match="'no-such-row' is no row here; the rows are unauthorized, "):
        double.misbehave("no-such-row")
    with pytest.raises(ValueError, match="no row here"):
        MemobaseDouble(TOKEN, wrong=frozenset({"no-such-row"}))
    with pytest.raises(ValueError, match="no row here"):
        double.meet("user-exists")


def test_rows_can_be_wrong_from_the_start() -> None:
    """As an argument."""
    with MemobaseDouble(TOKEN, wrong=frozenset({"unknown-user"})) as double, Client(double.url) as client:
        assert errno(client.try_insert(str(uuid4()))) == (200, 0)
        assert double.blobs() == []


@pytest.mark.parametrize("authorization", [None, "", TOKEN, f"bearer {TOKEN}", f"Basic {TOKEN}", f"Bearer {TOKEN}x"])
def test_who_does_not_say_the_token_gets_nothing(client: Client, authorization: str | None) -> None:
    """HTTP 401 and errno 401, before anything is looked at; "Bearer" is written so."""
    for method, path in (("POST", "/users"), ("GET", "/users/amy"), ("POST", "/blobs/insert/amy"), ("GET", "/nothing")):
        answer = client.ask(method, path, None, Authorization=authorization)
        assert errno(answer) == (401, 401)
        assert answer[1]["data"] is None


def test_a_suspended_project_is_unauthorized(double: MemobaseDouble, client: Client) -> None:
    """Whatever it asks for, as long as it is suspended."""
    user = client.create()
    double.switches.suspended = True
    for method, path in (("GET", f"/users/{user}"), ("POST", f"/blobs/insert/{user}")):
        assert errno(client.ask(method, path, blob("Hi"))) == (401, 401)
    double.switches.suspended = False
    client.insert(user, "Hi")


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"null", b'"x"', b"[" * 100_000, b"{'a': 1}", b"{}"),
        *(b'{"blob_type":"doc","blob_data":{}}', b'{"blob_type":"chat"}', b'{"blob_type":"chat","blob_data":[]}'),
        b'{"blob_type":"chat","blob_data":{"messages":[]},"fields":[]}',
    ],
)
def test_what_is_not_of_the_schema_is_422(double: MemobaseDouble, client: Client, body: bytes) -> None:
    """With a list of details and no envelope."""
    user = client.create()
    status, answer = client.send("POST", f"{PREFIX}/blobs/insert/{user}", body, Content_Type="application/json")
    assert status == 422
    assert set(answer) == {"detail"}
    assert {"type", "loc", "msg"} <= set(answer["detail"][0])
    assert double.blobs(user) == []


@pytest.mark.parametrize(
    "message",
    [
        *({"role": role, "content": "x"} for role in ("system", "tool", "User", "", None, 1, ["user"])),
        *({"role": "user", "content": content} for content in (None, 1, ["x"], {"text": "x"}, True)),
        *({"role": "user", "content": "x", key: 1.5} for key in ("created_at", "alias")),
        *({"role": "user"}, {"content": "x"}, "x", None, []),
    ],
    ids=repr,
)
def test_a_bad_message_is_errno_400(double: MemobaseDouble, client: Client, message: object) -> None:
    """One of them spoils all, and nothing is stored: a blob is all or nothing."""
    user = client.create()
    messages = [{"role": "user", "content": "fine"}, message]
    answer = client.try_insert(user, {"blob_type": "chat", "blob_data": {"messages": messages}})
    assert errno(answer) == (200, 400)
    assert answer[1]["errmsg"].startswith("Unable to parse blob")
    assert double.blobs(user) == []


@pytest.mark.parametrize("text", ["a\0b", "\ud83d alone", "\ude00", "\0"])
@pytest.mark.parametrize("key", ["content", "alias", "created_at"])
def test_bad_text_is_errno_500(double: MemobaseDouble, client: Client, text: str, key: str) -> None:
    """NUL, and half a character, escaped in the JSON, anywhere in a message."""
    user = client.create()
    messages = [{"role": "user", "content": "fine", key: text}]
    answer = client.try_insert(user, {"blob_type": "chat", "blob_data": {"messages": messages}})
    assert errno(answer) == (200, 500)
    answer[1]["errmsg"].encode()  # what it repeats is valid text
    assert double.blobs(user) == []


@pytest.mark.parametrize("fields", [{"a": "\0"}, {"\0": 1}, {"a": [{"b": ["\0"]}]}], ids=repr)
def test_nul_in_fields_is_errno_500(double: MemobaseDouble, client: Client, fields: dict[str, Any]) -> None:
    """However deep it is. A lone surrogate there is taken, and comes back."""
    user = client.create()
    assert errno(client.try_insert(user, blob("Hi", fields=fields))) == (200, 500)
    assert double.blobs(user) == []
    data = client.told("POST", f"/blobs/insert/{user}", blob("Hi", fields={"a": "\ud800"}))
    assert client.told("GET", f"/blobs/{user}/{data['id']}")["fields"] == {"a": "\ud800"}


@pytest.mark.parametrize("token", ["<|endoftext|>", "<|endofprompt|>"])
def test_each_try_of_a_special_token_adds_an_orphan(double: MemobaseDouble, client: Client, token: str) -> None:
    """It can be read and has no buffer row; no flush takes it, while its neighbours are processed."""
    user = client.create()
    client.insert(user, "before")
    for _ in range(2):
        assert errno(client.try_insert(user, blob(f"What is {token}?"))) == (200, 500)
    client.insert(user, "after", "<|endof text|>")
    assert len(client.ids(user)) == 4
    assert len(client.rows(user, "idle")) == 2
    client.flush(user)
    assert double.processed(user) == ["before", "after", "<|endof text|>"]
    assert [found.state for found in double.blobs(user)] == ["done", "orphan", "orphan", "done"]
    assert client.ids(user) == [found.id for found in double.blobs(user) if found.state == "orphan"]
    assert [found.row for found in double.blobs(user)][1:3] == [None, None]


@pytest.mark.parametrize(
    "text", ["<|endoftext |>", "<\u200b|endofprompt|>", "<|end\u200bof\u2060text|>", r"\<endoftext"]
)
def test_a_wrong_tokenizer_takes_escaped_text_for_special(double: MemobaseDouble, client: Client, text: str) -> None:
    """The right one does not mind: so a client that escapes notices."""
    user = client.create()
    client.insert(user, text)
    double.misbehave("special-token")
    client.insert(user, text)
    assert [found.state for found in double.blobs(user)] == ["idle", "orphan"]


@pytest.mark.parametrize("key", ["unparsable", "unknown-user", "user-exists", "bad-text", "special-token", "schema"])
def test_errors_repeat_what_was_said(double: MemobaseDouble, client: Client, key: str) -> None:
    """The message's content, or the user's data, is in the answer: a client that logs it leaks it."""
    user = client.create()
    if key == "user-exists":
        answer = meet_again(double, client, user)
    else:
        double.meet(key)
        answer = client.try_insert(user, blob(f"{SECRET} 好"))
        assert f"{SECRET} 好" in json.dumps(answer[1], ensure_ascii=False)
    assert SECRET in json.dumps(answer[1])


def test_of_racing_creates_one_wins(double: MemobaseDouble) -> None:
    """Six of them: one errno 0, five errno 500, in every round."""

    def create(user: str) -> int | None:
        with Client(double.url) as client:
            return errno(client.ask("POST", "/users", {"id": user}))[1]

    with ThreadPoolExecutor(6) as pool:
        for _ in range(5):
            assert sorted(map(str, pool.map(create, [str(uuid4())] * 6))) == ["0", *["500"] * 5]


@pytest.mark.parametrize("name", ["redis_down", "database_down"])
def test_while_something_is_down_nothing_is_stored(double: MemobaseDouble, client: Client, name: str) -> None:
    """Neither users nor blobs, and nothing is flushed or read; afterwards all is as before."""
    user = client.create()
    client.insert(user, "Hi")
    switch(double, name)
    for method, path in (
        ("POST", "/users"),
        ("POST", f"/blobs/insert/{user}"),
        ("POST", f"/users/buffer/{user}/chat"),
        ("GET", f"/users/blobs/{user}/chat"),
    ):
        answer = client.ask(method, path, blob("Hi"))
        assert errno(answer) == (200, 500)
        assert answer[1]["errmsg"].startswith("Sorry, we have encountered")
    switch(double)
    assert [found.state for found in double.blobs(user)] == ["idle"]
    assert len(client.ids(user)) == 1


@pytest.mark.parametrize("fault", [RESET_AFTER, SILENCE], ids=lambda fault: fault.name)
def test_what_gets_no_answer_is_stored(double: MemobaseDouble, client: Client, fault: Any) -> None:
    """A disconnect and a timeout, made by the proxy: the client cannot tell, the blobs can be found."""
    user = client.create()
    with FaultProxy(double.url) as proxy, Client(proxy.url) as unlucky:
        unlucky.connection.timeout = 0.2
        proxy.faults.append(fault)
        try:
            assert unlucky.try_insert(user) == (0, None)
        except TimeoutError:
            assert fault is SILENCE
    assert len(client.ids(user)) == 1


def test_other_processes_steer_and_inspect(double: MemobaseDouble, client: Client) -> None:
    """Through /double/state, without a token; half of something wrong is nothing."""
    user = client.create()

    def steer(body: object) -> int:
        return client.send("POST", STATE_PATH, json.dumps(body).encode(), Authorization=None)[0]

    assert steer({"model_failing": True, "wrong": ["quota"], "meet": ["no-answer"]}) == 200
    assert double.switches.model_failing
    assert client.try_insert(user, blob("one")) == (0, None)
    assert steer({"quota_used_up": True}) == 200
    assert errno(client.try_insert(user, blob("two"))) == (200, 503)
    for wrong in ({"no_such": True}, {"suspended": 1}, {"wrong": ["x"], "suspended": True}, {"meet": "x"}, [], None):
        assert steer(wrong) == 400
    assert client.send("POST", STATE_PATH, b"{")[0] == 400
    assert client.send("PUT", STATE_PATH)[0] == 405
    status, state = client.send("GET", STATE_PATH, Authorization=None)
    assert status == 200
    assert state["switches"] == {name: name in ("model_failing", "quota_used_up") for name in state["switches"]}
    assert state["wrong"] == ["quota"]
    assert state["counters"]["0"] >= 1
    assert state["users"][user] == {}
    stored = [found for found in state["blobs"] if found["user"] == user]
    assert [(found["messages"][0]["content"], found["state"]) for found in stored] == [("one", "idle"), ("two", "idle")]
    assert {"processed", "prompts"} <= set(state)
