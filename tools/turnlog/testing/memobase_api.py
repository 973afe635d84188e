"""The API of `MemobaseDouble`: which requests there are, what they must look like, and what is answered to them."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID, uuid4

from msgspec import structs

from turnlog.testing.memobase_blobs import STATUSES, Blob, count_tokens
from turnlog.testing.memobase_rows import Reply, effect, envelope, inserted
from turnlog.testing.memobase_store import MemobaseStore

PREFIX = "/api/v1"
_MINDFUL = ("/healthcheck", "/blobs/insert/{}")
"""What has its own answer while the database or Redis is down."""

_TRUE = ("true", "1", "yes", "on", "t", "y")
_FALSE = ("false", "0", "no", "off", "f", "n")


class Request(NamedTuple):
    """A request: `target` is path and query, the names of headers are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class _Invalid(Exception):
    """The request is not what the schema says."""

    def __init__(self, message: str, found: object = None) -> None:
        super().__init__(message)
        self.found = found


class _Unreadable(Exception):
    """The body is not text."""


class _Call(NamedTuple):
    """A request that found its route: the ids in its path (the user's, the blob's), its query, its body."""

    ids: list[str]
    query: dict[str, str]
    request: Request

    @property
    def user(self) -> str:
        """The user's id."""
        return self.ids[0]

    def integer(self, name: str, default: int, at_least: int = 0) -> int:
        """A number of the query."""
        text = self.query.get(name, str(default))
        if not re.fullmatch(r"-?[0-9]{1,9}", text) or int(text) < at_least:
            raise _Invalid(f"{name} should be an integer of at least {at_least}", text)
        return int(text)

    def flag(self, name: str) -> bool:
        """A boolean of the query; it is false where nothing is said."""
        text = self.query.get(name, "false").lower()
        if text not in _TRUE + _FALSE:
            raise _Invalid(f"{name} should be a boolean", text)
        return text in _TRUE

    def json(self) -> dict[str, Any]:
        """The body. A JSON object, or _Invalid; what is not UTF-8, such as gzip, is _Unreadable."""
        if self.request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise _Invalid("Content-Type should be application/json", self.request.body.decode("utf-8", "replace"))
        try:
            value = json.loads(self.request.body)  # it takes lone surrogates, escaped or not, as the server does
        except UnicodeDecodeError:
            raise _Unreadable from None
        except (ValueError, RecursionError) as error:
            raise _Invalid(f"JSON decode error: {error}") from None
        return _object(value, "body")


def _object(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Invalid(f"{name} should be a dictionary", value)
    return value


def _uuid(text: object) -> str:
    """A UUID v4 or v5, in its usual spelling."""
    try:
        found = UUID(text) if isinstance(text, str) else None
    except ValueError:
        found = None
    if found is None or found.version not in (4, 5):
        raise _Invalid("Input should be a valid UUID v4 or v5", text)
    return str(found)


_Run = Callable[[_Call], Reply]


class MemobaseApi:
    """Answers requests from what the store has."""

    def __init__(self, store: MemobaseStore, token: str) -> None:
        self.store = store
        self.hollow = False
        """Acknowledge everything, and do nothing: what is there in the server's stead, while the server is down."""
        self._token = token
        routes: list[tuple[str, str, _Run]] = [
            ("GET", "/healthcheck", self._healthcheck),
            ("POST", "/users", self._create_user),
            ("GET", "/users/{}", self._get_user),
            ("PUT", "/users/{}", self._put_user),
            ("DELETE", "/users/{}", self._delete_user),
            ("POST", "/blobs/insert/{}", self._insert),
            ("GET", "/users/blobs/{}/chat", self._list),
            ("GET", "/blobs/{}/{}", self._get_blob),
            ("DELETE", "/blobs/{}/{}", self._delete_blob),
            ("POST", "/users/buffer/{}/chat", self._flush),
            ("GET", "/users/buffer/capacity/{}/chat", self._capacity),
            ("GET", "/users/profile/{}", self._profile),
            ("GET", "/users/event/{}", self._events),
            ("GET", "/users/context/{}", self._context),
        ]
        self._routes = [(method, re.compile(path.replace("{}", "([^/]+)")), path, run) for method, path, run in routes]

    def answer(self, request: Request) -> Reply:
        """What is answered to the request, which may have changed what the store has."""
        if self.hollow:
            return effect("server-down", wrong=True).reply(data=inserted())
        parts = urlsplit(request.target)
        path = parts.path.removeprefix(PREFIX)
        if path == parts.path:
            return Reply(404, {"detail": "Not Found"})
        if path != "/healthcheck" and not self._is_authorized(request):
            return effect("unauthorized", wrong=False).reply()
        found = [(*route, match) for route in self._routes if (match := route[1].fullmatch(path))]
        for method, _, name, run, match in found:
            if method == request.method:
                self.store.count(f"{method} {name}")
                query = dict(parse_qsl(parts.query, keep_blank_values=True))
                return self._run(name, run, _Call(list(match.groups()), query, request))
        return Reply(405, {"detail": "Method Not Allowed"}) if found else Reply(404, {"detail": "Not Found"})

    def _is_authorized(self, request: Request) -> bool:
        if "unauthorized" in self.store.wrong:
            return True
        return request.headers.get("authorization") == f"Bearer {self._token}" and not self.store.switches.suspended

    def _run(self, name: str, run: _Run, call: _Call) -> Reply:
        try:
            call = call._replace(ids=[_uuid(text) for text in call.ids])
            if self.store.down and name not in _MINDFUL:
                return effect("down", wrong=False).reply()
            return run(call)
        except _Unreadable:
            return Reply(400, {"detail": "There was an error parsing the body"})
        except _Invalid as problem:
            told = effect("schema", wrong="schema" in self.store.wrong)
            return told.reply(echo={"problem": str(problem), "found": problem.found})

    def _healthcheck(self, _: _Call) -> Reply:
        down = self.store.down
        return Reply(500, {"detail": f"{down} not available"}) if down else envelope()

    # -- users

    def _create_user(self, call: _Call) -> Reply:
        body = call.json()
        user = str(uuid4()) if body.get("id") is None else _uuid(body["id"])
        data = body.get("data")
        return self.store.create_user(user, {} if data is None else _object(data, "data"))

    def _get_user(self, call: _Call) -> Reply:
        found = self.store.users.get(call.user)
        return envelope({"id": call.user, **structs.asdict(found)}) if found else _missing("User")

    def _put_user(self, call: _Call) -> Reply:
        return envelope({"id": call.user}) if self.store.update_user(call.user, call.json()) else _missing("User")

    def _delete_user(self, call: _Call) -> Reply:
        return envelope() if self.store.delete_user(call.user) else _missing("User")

    def _profile(self, call: _Call) -> Reply:
        return envelope({"profiles": [{"id": made.id, "content": made.text} for made in self.store.memory(call.user)]})

    def _events(self, call: _Call) -> Reply:
        newest = self.store.memory(call.user)[::-1][: call.integer("topk", 10)]
        return envelope({"events": [{"id": made.id, "event_data": {"content": made.text}} for made in newest]})

    def _context(self, call: _Call) -> Reply:
        budget, context = call.integer("max_token_size", 1000), list[str]()
        for made in reversed(self.store.memory(call.user)):
            budget -= count_tokens(made.text)
            if budget < 0:
                break
            context.insert(0, made.text)
        return envelope({"context": "\n".join(context)})

    # -- blobs

    def _insert(self, call: _Call) -> Reply:
        body = call.json()
        if body.get("blob_type") != "chat":
            raise _Invalid("blob_type should be 'chat'", body)
        blob_data, fields = _object(body.get("blob_data"), "blob_data"), body.get("fields")
        fields = None if fields is None else _object(fields, "fields")
        return self.store.insert(call.user, blob_data, fields, wait=call.flag("wait_process"))

    def _list(self, call: _Call) -> Reply:
        page, page_size = call.integer("page", 0), call.integer("page_size", 10, 1)
        return envelope({"ids": self.store.blob_ids(call.user, page, page_size)})

    def _get_blob(self, call: _Call) -> Reply:
        found = self.store.blob(*call.ids)
        return envelope(_told(found)) if found else _missing("Blob")

    def _delete_blob(self, call: _Call) -> Reply:
        self.store.delete_blob(*call.ids)
        return envelope()

    def _flush(self, call: _Call) -> Reply:
        flushed = self.store.flush(call.user, wait=call.flag("wait_process"))
        return flushed.effect.reply(data=flushed.results)

    def _capacity(self, call: _Call) -> Reply:
        status = call.query.get("status", "processing")
        if status not in STATUSES:
            raise _Invalid(f"status should be one of {', '.join(STATUSES)}", status)
        return envelope({"ids": self.store.row_ids(call.user, status)})


def _missing(what: str) -> Reply:
    return envelope(errno=404, errmsg=f"{what} not found")


def _told(blob: Blob) -> dict[str, object]:
    return {
        "id": blob.id,
        "blob_type": "chat",
        "blob_data": {"messages": blob.messages},
        "fields": blob.fields,
        "created_at": blob.created_at,
        "updated_at": blob.created_at,
    }
