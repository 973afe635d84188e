"""What becomes of blobs in the double: flushes, the model, what is deleted, dropped, failed, stuck."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlog.testing.memobase import MemobaseDouble
from turnlog.testing.memobase_blobs import count_tokens, prompt_line
from turnlog.testing.memobase_store import MemobaseStore, Options

from .memobase_client import TOKEN, Client, blob, errno

USER = "5f1c3d9e-0d3b-4a57-9a5e-0c1d2e3f4a5b"


def words(count: int) -> str:
    """A content whose message has so many tokens."""
    content = " ".join(["x"] * (count - 1))
    assert count_tokens(prompt_line({"role": "user", "content": content})) == count
    return content


def states(double: MemobaseDouble) -> list[str]:
    return [found.state for found in double.blobs()]


def test_a_flush_processes_all_idle_blobs_and_deletes_them() -> None:
    """A processed blob cannot be found again; its buffer row, with an id of its own, is done. Others' stay."""
    with MemobaseDouble(TOKEN) as double, Client(double.url) as client:
        user, other = client.create(), client.create()
        ids = [client.insert(user, text) for text in ("one", "two")]
        client.insert(other, "other")
        rows = client.rows(user, "idle")
        assert len(client.flush(user)) == 1
        assert client.flush(user) == client.ids(user) == client.rows(user, "idle") == []
        assert client.rows(user, "done") == rows == [found.row for found in double.blobs(user)]
        assert not set(ids) & set(rows)
        assert errno(client.ask("GET", f"/blobs/{user}/{ids[0]}")) == (200, 404)
        assert (double.processed(), states(double)) == (["one", "two"], ["done", "done", "idle"])
        client.insert(user, "three")
        client.flush(user)
        assert double.processed(user) == ["one", "two", "three"]


def test_blobs_may_persist() -> None:
    """Then they are found after they were processed, and are not processed again."""
    with MemobaseDouble(TOKEN, persistent_chat_blobs=True) as double, Client(double.url) as client:
        user = client.create()
        ids = [client.insert(user, text) for text in ("one", "two")]
        client.flush(user)
        client.flush(user)
        assert client.ids(user) == ids
        assert client.told("GET", f"/blobs/{user}/{ids[0]}")["blob_data"]["messages"][0]["content"] == "one"
        assert (double.processed(), states(double)) == (["one", "two"], ["done", "done"])


def test_times_and_names_reach_the_model_verbatim() -> None:
    """A message's time and alias are in the prompt, a blob's are not."""
    with MemobaseDouble(TOKEN) as double, Client(double.url) as client:
        message = {"role": "user", "content": "Hi", "alias": "Amy", "created_at": "2025-01-14 10:00:00"}
        body = {"blob_type": "chat", "blob_data": {"messages": [message]}, "created_at": "1999-01-01"}
        user = client.create()
        client.told("POST", f"/blobs/insert/{user}", body)
        client.flush(user)
        assert [prompt.text for prompt in double.prompts(user)] == ["[2025-01-14 10:00:00] Amy: Hi"]


def test_an_insert_flushes_when_idle_tokens_exceed_1024() -> None:
    """Not at 1,024, and never by itself: the last turns of a conversation sit idle."""
    with MemobaseDouble(TOKEN) as double, Client(double.url) as client:
        user = client.create()
        client.insert(user, words(1000))
        client.insert(user, words(24))
        assert states(double) == ["idle", "idle"]
        client.insert(user, words(3))
        client.insert(user, words(3))
        assert states(double) == ["done", "done", "done", "idle"]
        assert [len(prompt.contents) for prompt in double.prompts()] == [3]


def test_an_insert_that_waits_tells_of_the_flush_that_it_set_off() -> None:
    """Its results are in the answer; an insert that set off none has none."""
    with MemobaseDouble(TOKEN) as double, Client(double.url) as client:
        user = client.create()
        assert client.try_insert(user, blob(words(1024)), wait=True)[1]["data"]["chat_results"] == []
        assert states(double) == ["idle"]
        (result,) = client.try_insert(user, blob("Hi"), wait=True)[1]["data"]["chat_results"]
        assert result == {"event_id": double.prompts()[0].id}


def test_a_total_above_16384_silently_drops_the_older_blobs() -> None:
    """The newest that fit are processed; the older ones are gone, in no status, and nobody is told."""
    with MemobaseDouble(TOKEN, auto_flush_tokens=2**31) as double, Client(double.url) as client:
        user = client.create()
        for count in (10, 400, 10_000, 6_384):
            client.insert(user, words(count))
        assert len(client.flush(user)) == 1
        assert states(double) == ["dropped", "dropped", "done", "done"]
        assert double.processed() == [words(10_000), words(6_384)]
        assert client.ids(user) == []
        assert [len(client.rows(user, status)) for status in ("idle", "processing", "failed", "done")] == [0, 0, 0, 2]


def test_an_insert_may_drop_what_is_before_it() -> None:
    """With the real limits: a big blob after small ones, errno 0."""
    with MemobaseDouble(TOKEN) as double, Client(double.url) as client:
        user = client.create()
        client.insert(user, words(1000))
        client.insert(user, words(16_000))
        assert states(double) == ["dropped", "done"]


def test_one_blob_above_16384_fails_with_its_neighbours() -> None:
    """Who does not wait is told errno 0; who flushes is told 520. All of them stay, failed, and are never retried."""
    with MemobaseDouble(TOKEN, auto_flush_tokens=20_000) as double, Client(double.url) as client:
        user = client.create()
        for count in (10, 16_385, 20):
            client.insert(user, words(count))
        answer = client.ask("POST", f"/users/buffer/{user}/chat?wait_process=true")
        assert errno(answer) == (200, 520)
        assert answer[1]["errmsg"].startswith("No blobs to process after truncating")
        client.insert(user, words(20_001))
        client.insert(user, "fine")
        client.flush(user)
        assert states(double) == [*["failed"] * 4, "done"]
        assert len(client.ids(user)) == len(client.rows(user, "failed")) == 4
        assert double.processed() == ["fine"]


def test_a_failing_model_fails_what_it_gets() -> None:
    """503 for who waits; errno 0 for who does not. It can be read, sent again and deleted; no flush takes it."""
    with MemobaseDouble(TOKEN, auto_flush_tokens=10) as double, Client(double.url) as client:
        user = client.create()
        double.switches.model_failing = True
        client.insert(user, words(11))
        assert errno(client.try_insert(user, blob(words(12)), wait=True)) == (200, 503)
        client.insert(user, "Hi")
        answer = client.ask("POST", f"/users/buffer/{user}/chat?wait_process=true")
        assert errno(answer) == (200, 503)
        assert answer[1]["errmsg"].startswith("Error in llm_complete")
        double.switches.model_failing = False
        assert client.flush(user) == []
        assert states(double) == ["failed"] * 3
        (first, *_) = client.ids(user)
        told = client.told("GET", f"/blobs/{user}/{first}")
        client.told("POST", f"/blobs/insert/{user}", {key: told[key] for key in ("blob_type", "blob_data", "fields")})
        client.told("DELETE", f"/blobs/{user}/{first}")
        assert states(double) == ["deleted", "failed", "failed", "done"]
        assert double.processed() == [words(11)]


@pytest.mark.parametrize("key", ["model-failed", "too-big"])
def test_a_wrong_row_is_wrong_only_for_who_waits(key: str) -> None:
    """What nobody waits for fails as ever."""
    with MemobaseDouble(TOKEN, wrong=frozenset({key}), flush_tokens_max=2000) as double, Client(double.url) as client:
        double.switches.model_failing = key == "model-failed"
        client.insert(client.create(), words(3000 if key == "too-big" else 2000))
        assert states(double) == ["failed"]


def test_what_a_crash_interrupts_is_stuck() -> None:
    """In processing, for ever; who waits gets no answer; what comes later is processed."""
    with MemobaseDouble(TOKEN) as double, Client(double.url) as client:
        user = client.create()
        client.insert(user, "one")
        double.switches.crashing = True
        assert client.ask("POST", f"/users/buffer/{user}/chat?wait_process=true") == (0, None)
        client.insert(user, words(2000))
        double.switches.crashing = False
        client.insert(user, "two")
        client.flush(user)
        assert states(double) == ["processing", "processing", "done"]
        assert len(client.rows(user, "processing")) == len(client.ids(user)) == 2
        assert double.processed() == ["two"]


class Model:
    """Takes its time: until it is told to go on."""

    def __init__(self) -> None:
        self.asked, self.over = threading.Event(), threading.Event()

    def wait(self, _: float) -> bool:
        self.asked.set()
        assert self.over.wait(30)
        return False

    def set(self) -> None:
        self.over.set()


def with_slow_model(work: Callable[[MemobaseDouble, Client, Model], None]) -> None:
    with MemobaseDouble(TOKEN, processing_seconds=1000) as double, Client(double.url) as client:
        model = Model()
        double._store._over = model  # type: ignore[assignment]
        work(double, client, model)
        for thread in double._store._background:
            thread.join()


def test_processing_takes_its_time() -> None:
    """Who does not wait is answered at once, and the blobs are in processing; what comes meanwhile is idle."""

    def work(double: MemobaseDouble, client: Client, model: Model) -> None:
        user = client.create()
        first = client.insert(user, words(2000))
        assert model.asked.wait(30)
        client.insert(user, "meanwhile")
        second = client.insert(user, words(1500))
        assert states(double) == ["processing"] * 3
        assert client.told("POST", f"/users/buffer/{user}/chat") == []
        assert len(client.rows(user, "processing")) == 3
        client.told("DELETE", f"/blobs/{user}/{first}")
        model.over.set()
        for thread in double._store._background:
            thread.join()
        assert states(double) == ["deleted", "done", "done"]
        assert double.processed() == ["meanwhile", words(1500)]
        assert second not in client.ids(user)

    with_slow_model(work)


def test_who_waits_for_the_model_waits() -> None:
    """The flush is answered when the model is done, and not before."""

    def work(double: MemobaseDouble, client: Client, model: Model) -> None:
        user = client.create()
        client.insert(user, "Hi")
        with ThreadPoolExecutor(1) as pool:
            flushed = pool.submit(client.flush, user)
            assert model.asked.wait(30)
            assert not flushed.done()
            assert states(double) == ["processing"]
            model.over.set()
            assert len(flushed.result(30)) == 1
        assert states(double) == ["done"]

    with_slow_model(work)


def test_closing_does_not_wait_for_the_model() -> None:
    """Who waits gets no answer; what was being processed stays so."""
    with MemobaseDouble(TOKEN, processing_seconds=1000) as double, Client(double.url) as client:
        user = client.create()
        client.insert(user, words(2000))
        double.close()
        assert states(double) == ["processing"]
        assert not any(thread.is_alive() for thread in double._store._background)


steps = st.lists(st.sampled_from(["flush", "fail"]) | st.integers(1, 12), max_size=30)


@given(steps, st.integers(1, 12), st.integers(1, 12), st.booleans())
def test_every_blob_has_one_fate(steps: list[str | int], auto: int, most: int, persistent: bool) -> None:
    """For any inserts, flushes and failures: what is done reached the model once, in order, within its limit; what is
    idle is within the other; what can be read is all but what was taken from it.
    """
    options = Options(persistent_chat_blobs=persistent, auto_flush_tokens=auto, flush_tokens_max=most)
    store = MemobaseStore(options)
    store.create_user(USER, {})
    for number, step in enumerate(steps):
        if step == "flush":
            store.flush(USER, wait=True)
        elif step == "fail":
            store.switches.model_failing = not store.switches.model_failing
        else:
            content = " ".join([str(number)] * (int(step) - 1))
            body = blob(content)["blob_data"]
            assert store.insert(USER, body, None, wait=False).body["errno"] == 0  # type: ignore[index]
    fates: dict[str, list[str]] = {}
    for kept in store.ledger:
        fates.setdefault(kept.state, []).append(kept.messages[0]["content"])
        assert (kept.tokens > most) <= (kept.state in ("failed", "idle"))
    assert set(fates) <= {"idle", "failed", "done", "dropped"}
    assert fates.get("done", []) == [content for prompt in store.prompts for content in prompt.contents]
    assert all(0 < count_tokens(prompt.text) <= most for prompt in store.prompts)
    assert sum(kept.tokens for kept in store.ledger if kept.state == "idle") <= auto
    gone = () if persistent else ("done", "dropped")
    assert store.blob_ids(USER, 0, 100) == [kept.id for kept in store.ledger if kept.state not in gone]
    for status in ("idle", "failed", "done"):
        assert len(store.row_ids(USER, status)) == len(fates.get(status, []))
