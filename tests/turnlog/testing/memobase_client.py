"""A client that knows nothing of Memobase but HTTP, and requests to try with it."""

import http.client
import json
from contextlib import suppress
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import uuid4

TOKEN = "right-token"
PREFIX = "/api/v1"
DEADLINE_SECONDS = 30

Answer = tuple[int, Any]
"""Status and what the body's JSON says; (0, None) where the connection broke without an answer."""


class Client:
    """One connection, which is kept."""

    def __init__(self, url: str, token: str = TOKEN) -> None:
        parts = urlsplit(url)
        self.connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=DEADLINE_SECONDS)
        self.headers = {"Authorization": f"Bearer {token}"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def send(self, method: str, target: str, body: bytes | None = None, **headers: str | None) -> Answer:
        """With underscores for the dashes of headers; None takes one away."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        all_headers = {name: value for name, value in {**self.headers, **given}.items() if value is not None}
        try:
            self.connection.request(method, target, body, all_headers)
            answer = self.connection.getresponse()
            text = answer.read()
        except (http.client.RemoteDisconnected, ConnectionResetError):
            self.connection.close()
            return 0, None
        except OSError:
            self.connection.close()
            raise
        with suppress(ValueError):
            return answer.status, json.loads(text)
        return answer.status, text

    def ask(self, method: str, path: str, body: object = None, **headers: str | None) -> Answer:
        """Send JSON to the API."""
        data = None if body is None else json.dumps(body).encode()
        return self.send(method, PREFIX + path, data, **{"Content_Type": "application/json", **headers})

    def told(self, method: str, path: str, body: object = None) -> Any:
        """The data of an answer that must be one of success."""
        status, answer = self.ask(method, path, body)
        assert (status, answer["errno"], answer["errmsg"]) == (200, 0, ""), (status, answer)
        assert set(answer) == {"data", "errno", "errmsg"}
        return answer["data"]

    def create(self) -> str:
        """A new user's id."""
        user: str = self.told("POST", "/users", {"id": str(uuid4())})["id"]
        return user

    def try_insert(self, user: str, body: dict[str, Any] | None = None, *, wait: bool = False) -> Answer:
        return self.ask("POST", f"/blobs/insert/{user}?wait_process={str(wait).lower()}", body or blob("Hi"))

    def insert(self, user: str, *contents: str) -> str:
        """The blob's id."""
        data = self.told("POST", f"/blobs/insert/{user}", blob(*contents))
        assert data["chat_results"] == []
        blob_id: str = data["id"]
        return blob_id

    def flush(self, user: str) -> Any:
        return self.told("POST", f"/users/buffer/{user}/chat?wait_process=true")

    def ids(self, user: str) -> list[str]:
        """Of all blobs that can be read."""
        found: list[str] = self.told("GET", f"/users/blobs/{user}/chat?page_size=1000")["ids"]
        return found

    def rows(self, user: str, status: str) -> list[str]:
        found: list[str] = self.told("GET", f"/users/buffer/capacity/{user}/chat?status={status}")["ids"]
        return found


def blob(*contents: object, **more: Any) -> dict[str, Any]:
    """The body of an insert: messages of a user, and anything else at its top level."""
    messages = [{"role": "user", "content": content} for content in contents]
    return {"blob_type": "chat", "blob_data": {"messages": messages}, **more}


def errno(answer: Answer) -> tuple[int, int | None]:
    """Status and errno; None where there is no envelope."""
    status, body = answer
    return status, body.get("errno") if isinstance(body, dict) else None
