import json
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from turnlog.errors import WrongUsage
from turnlog.web.store import Batch, BatchError, Counts, Store, Totals, parse


def make_batch(*conversations: dict[str, Any], source_type: str = "gpt") -> Batch:
    return parse(json.dumps({"source_type": source_type, "conversations": conversations}).encode())


def make_conversation(uuid: str, *messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"uuid": uuid, "messages": list(messages), **fields}


def make_message(uuid: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"uuid": uuid or str(uuid4()), "role": "user", **fields}


def read_rows(path: Path, table: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY rowid")]  # noqa: S608


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "received.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with closing(Store(path)) as opened:
        yield opened


def test_every_field_is_kept(store: Store, path: Path) -> None:
    """Each field is in the column of its name, metadata and content as JSON text, Chinese and emoji whole."""
    conversation, parent, message = (str(uuid4()) for _ in range(3))
    sent = make_message(
        message,
        parent_uuid=parent,
        round_index=3,
        role="assistant",
        content_type="text",
        content={"parts": ["你好", 1e3, None]},
        content_text="你好 🌊",
        created_at="2024-12-04T10:30:00+08:00",
        unknown="ignored",
    )
    store.upsert(
        make_batch(
            make_conversation(
                conversation, sent, title="标题", metadata={"user": "李"}, created_at="2024-12-04", updated_at=None
            ),
            source_type="claude_code",
        )
    )
    (row,) = read_rows(path, "conversations")
    assert row.pop("received_at")
    assert json.loads(row.pop("metadata")) == {"user": "李"}
    assert row == {
        "uuid": conversation,
        "source_type": "claude_code",
        "title": "标题",
        "created_at": "2024-12-04",
        "updated_at": None,
    }
    (row,) = read_rows(path, "messages")
    assert row.pop("received_at")
    assert json.loads(row.pop("content")) == {"parts": ["你好", 1e3, None]}
    assert row == {
        "uuid": message,
        "conversation_uuid": conversation,
        "parent_uuid": parent,
        "round_index": 3,
        "role": "assistant",
        "content_type": "text",
        "content_text": "你好 🌊",
        "created_at": "2024-12-04T10:30:00+08:00",
    }


def test_what_is_absent_is_null(store: Store, path: Path) -> None:
    """A message of nothing but uuid and role is stored with NULL in every other column."""
    store.upsert(make_batch(make_conversation(str(uuid4()), make_message(content=None))))
    (row,) = read_rows(path, "messages")
    assert {name for name, value in row.items() if value is not None} == {
        "uuid",
        "conversation_uuid",
        "role",
        "received_at",
    }


@pytest.mark.parametrize("content", ['"x"', "[]", "1e999", "123456789012345678901234567890", '{"a":{"a":1,"a":2}}'])
def test_content_is_stored_as_sent(store: Store, path: Path, content: str) -> None:
    """Any JSON is kept letter by letter, numbers that no machine type holds among them."""
    body = '{"source_type":"gpt","conversations":[{"uuid":"%s","messages":[{"uuid":"%s","role":"u","content":%s}]}]}'
    store.upsert(parse((body % (uuid4(), uuid4(), content)).encode()))
    assert read_rows(path, "messages")[0]["content"] == content


def test_counts_say_what_is_new(store: Store) -> None:
    """New rows count as inserted, rows that were there as updated, and the totals count each once."""
    conversation, first = str(uuid4()), make_message()
    assert store.upsert(make_batch(make_conversation(conversation, first))) == Counts(
        inserted_conversations=1, inserted_messages=1, updated_conversations=0, updated_messages=0
    )
    batch = make_batch(make_conversation(conversation, first, make_message()), make_conversation(str(uuid4())))
    assert store.upsert(batch) == Counts(
        inserted_conversations=1, inserted_messages=1, updated_conversations=1, updated_messages=1
    )
    assert store.counts() == Totals(conversations=2, messages=2)


def test_pieces_of_one_conversation_count_once(store: Store, path: Path) -> None:
    """A conversation, or a message, that stands in a batch twice is one row, counted once, the last content winning."""
    conversation, message = str(uuid4()), str(uuid4())
    batch = make_batch(
        make_conversation(conversation, make_message(message, content_text="old"), make_message()),
        make_conversation(conversation.upper(), make_message(message, content_text="new")),
    )
    assert store.upsert(batch) == Counts(
        inserted_conversations=1, inserted_messages=2, updated_conversations=0, updated_messages=0
    )
    assert store.counts() == Totals(conversations=1, messages=2)
    assert read_rows(path, "messages")[0]["content_text"] == "new"


def test_null_does_not_forget(store: Store, path: Path) -> None:
    """A conversation sent again without title, metadata and times keeps those it has."""
    uuid = str(uuid4())
    known = {"title": "T", "metadata": {"a": 1}, "created_at": "2024-01-01T00:00:00Z", "updated_at": "2024-01-02"}
    store.upsert(make_batch(make_conversation(uuid, **known)))
    before = read_rows(path, "conversations")[0]
    store.upsert(make_batch(make_conversation(uuid)))
    after = read_rows(path, "conversations")[0]
    assert {**before, "received_at": None} == {**after, "received_at": None}
    store.upsert(make_batch(make_conversation(uuid, title="T2"), source_type="codex"))
    assert read_rows(path, "conversations")[0]["title"] == "T2"
    assert read_rows(path, "conversations")[0]["source_type"] == "codex"


def test_earliest_and_latest_are_moments_not_text(store: Store, path: Path) -> None:
    """created_at keeps the earliest and updated_at the latest moment, whatever offsets they are written in."""
    uuid = str(uuid4())
    early, late = "2024-06-01T07:00:00+08:00", "2024-06-01T00:00:00Z"  # as text the early one is the greater
    for created_at, updated_at in [(late, early), (early, late), ("2024-06-01T00:00:01", "2024-05-31T23:00:01Z")]:
        store.upsert(make_batch(make_conversation(uuid, created_at=created_at, updated_at=updated_at)))
    (row,) = read_rows(path, "conversations")
    assert (row["created_at"], row["updated_at"]) == (early, late)


def test_a_message_is_replaced_as_a_whole(store: Store, path: Path) -> None:
    """A message that is sent again is what was sent last, fields that are gone included."""
    conversation, message = str(uuid4()), str(uuid4())
    store.upsert(make_batch(make_conversation(conversation, make_message(message, content_text="a", content=[1]))))
    store.upsert(make_batch(make_conversation(conversation, make_message(message, content_text="b"))))
    (row,) = read_rows(path, "messages")
    assert (row["content_text"], row["content"]) == ("b", None)


def test_received_at_is_the_last_time_in_utc(path: Path) -> None:
    """received_at is the clock's moment of the last batch that carried the row, written in UTC."""
    clock = iter(datetime(2026, 11, 20, hour, tzinfo=timezone(timedelta(hours=8))) for hour in (9, 10))
    batch = make_batch(make_conversation(str(uuid4()), make_message()))
    with closing(Store(path, now=lambda: next(clock))) as store:
        store.upsert(batch)
        store.upsert(batch)
    assert read_rows(path, "messages")[0]["received_at"] == "2026-11-20T02:00:00.000000Z"
    assert read_rows(path, "conversations")[0]["received_at"] == "2026-11-20T02:00:00.000000Z"


@pytest.mark.parametrize("stored_before", [True, False])
def test_a_message_does_not_change_conversation(store: Store, stored_before: bool) -> None:
    """A message of another conversation is refused with its place, and nothing of the batch is stored."""
    message, home = make_message(), str(uuid4())
    if stored_before:
        store.upsert(make_batch(make_conversation(home, message)))
    before = store.counts()
    batch = make_batch(
        make_conversation(home, make_message(), message),
        make_conversation(str(uuid4()), make_message(), message, make_message()),
    )
    with pytest.raises(BatchError) as caught:
        store.upsert(batch)
    assert str(caught.value) == (
        f"$.conversations[1].messages[1].uuid: the message {message['uuid']} already belongs to the conversation {home}"
    )
    assert store.counts() == before
    store.upsert(make_batch(make_conversation(home, message)))  # the store goes on


def test_many_threads(store: Store) -> None:
    """Eight threads that write at once, also to the same conversation, lose nothing and count every row once."""
    shared = str(uuid4())
    results: list[Counts] = []

    def work() -> None:
        for _ in range(25):
            results.append(store.upsert(make_batch(make_conversation(shared, make_message(), make_message()))))
            store.counts()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(result.inserted_conversations for result in results) == 1
    assert sum(result.inserted_messages for result in results) == 400
    assert store.counts() == Totals(conversations=1, messages=400)


def test_two_stores_share_a_file(store: Store, path: Path) -> None:
    """A second store on the same file sees what the first wrote, and the other way round."""
    with closing(Store(path)) as other:
        store.upsert(make_batch(make_conversation(str(uuid4()), make_message())))
        other.upsert(make_batch(make_conversation(str(uuid4()))))
        assert store.counts() == other.counts() == Totals(conversations=2, messages=1)


def test_files_are_private(store: Store, path: Path) -> None:
    """The database and the files that SQLite puts beside it can be read by their owner only."""
    store.upsert(make_batch(make_conversation(str(uuid4()))))
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == dict.fromkeys([path.name, f"{path.name}-wal", f"{path.name}-shm"], 0o600)


def test_commits_are_synced(store: Store) -> None:
    """The connection uses WAL with synchronous=FULL, so that an answer is given for what a power cut cannot take."""
    connection = store._connection
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_what_was_stored_is_there_after_reopening(path: Path) -> None:
    """Closing twice is fine, and a store opened again counts what the first one stored."""
    store = Store(path)
    store.upsert(make_batch(make_conversation(str(uuid4()), make_message())))
    store.close()
    store.close()
    with closing(Store(path)) as again:
        assert again.counts() == Totals(conversations=1, messages=1)


def test_a_name_special_to_sqlite_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store named `:memory:` is a file of that name."""
    monkeypatch.chdir(tmp_path)
    Store(Path(":memory:")).close()
    assert (tmp_path / ":memory:").stat().st_size > 0


@pytest.mark.parametrize("kind", ["folder", "missing folder", "garbage", "other database", "newer version", "nul"])
def test_a_path_that_cannot_be_a_store(tmp_path: Path, kind: str) -> None:
    """A path that cannot be opened, or is something else, raises WrongUsage with the path, and is left as it was."""
    path = tmp_path / "x.sqlite"
    match kind:
        case "folder":
            path.mkdir()
        case "missing folder":
            path = path / "y.sqlite"
        case "garbage":
            path.write_bytes(b"no database " * 1000)
        case "nul":
            path = tmp_path / "a\0b"
        case _:
            with closing(sqlite3.connect(path)) as connection:
                newer = kind == "newer version"
                connection.execute("PRAGMA user_version = 99" if newer else "CREATE TABLE conversations (id)")
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(WrongUsage) as caught:
        Store(path)
    assert str(caught.value).startswith(f"the store {path} ")
    assert before == (path.read_bytes() if path.is_file() else None)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "Input data was truncated"),
        (b'{"source_type": "gpt", "conversations": []} x', "trailing"),
        (b'{"source_type": "gpt", "conversations": [], "unknown": "\xff"}', "not UTF-8 at byte 56"),
        (b'{"source_type": "gpt", "unknown": ' + b"[" * 300_000, "nested too deeply"),
        (b"\xff\xfe{}", "not UTF-8"),
    ],
)
def test_what_is_no_json(body: bytes, sentence: str) -> None:
    """Malformed JSON, wrong UTF-8 even in what is passed over, and endless nesting are a DecodeError, not a crash."""
    with pytest.raises(msgspec.DecodeError, match=sentence) as caught:
        parse(body)
    assert not isinstance(caught.value, msgspec.ValidationError)


def test_uuids_are_canonical() -> None:
    """A uuid in capitals or without hyphens is the same uuid."""
    uuid = uuid4()
    batch = make_batch(make_conversation(str(uuid).upper()), make_conversation(uuid.hex))
    assert {conversation.uuid for conversation in batch.conversations} == {UUID(str(uuid))}


def test_times_of_every_common_form_are_taken() -> None:
    """Z, offsets, no offset, nanoseconds and dates are times; nothing is rewritten."""
    for text in ["2024-12-04T10:30:00", "2024-12-04T10:30:00.123456789Z", "2024-12-04 10:30:00-03:30", "2024-12-04"]:
        (conversation,) = make_batch(make_conversation(str(uuid4()), created_at=text)).conversations
        assert conversation.created_at == text


def test_comparing_times_at_the_edge(store: Store, path: Path) -> None:
    """The first and the last moment that can be written compare without an error."""
    uuid = str(uuid4())
    for text in ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", datetime.now(UTC).isoformat()]:
        store.upsert(make_batch(make_conversation(uuid, created_at=text, updated_at=text)))
    (row,) = read_rows(path, "conversations")
    assert (row["created_at"][:4], row["updated_at"][:4]) == ("0001", "9999")
