"""Memobase's API, as it behaves: what each call answers, and what each of its errors means.

Measured on a server 0.0.42. Most failures are an HTTP 200 with an `errno` in the envelope; `errmsg` echoes SQL with the
messages in it, so it is looked at here and never told.
"""

from collections import OrderedDict
from collections.abc import Iterator
from threading import Lock
from typing import Any, NoReturn
from uuid import UUID, uuid5

import msgspec
from msgspec import Struct

from turnlog.sinks.base import Refused
from turnlog.sinks.http import Answer, HttpClient

API = "/api/v1"
"""Where all calls are, below the server's address."""

USER_NAMESPACE = UUID("5f7a3b52-0c1e-5d0a-9b43-6e2f1c8d4a70")
"""Of the uuids that users get here. Changing it would make strangers of all of them."""

QUOTA_SECONDS = 900.0
"""How long to wait for a project's tokens to be filled up, which the server says nothing of."""

_PAGE = 100
_USERS = "/users"
_READ_MAX = 4096


class ApiError(Exception):
    """A call did not succeed; `refused` is what a sink answers."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.error)
        self.refused = refused


class UserMissing(Exception):
    """The user was never created here."""


class ModelFailed(Exception):
    """The buffer was taken and could not be processed."""


class Envelope(Struct, frozen=True):
    """What the server wraps around everything, but for a 422."""

    errno: int
    data: Any = None
    errmsg: str = ""


class Blob(Struct, frozen=True):
    """What is known of a blob: the marker that it was stored with, if it is one of ours."""

    id: str
    fields: "Fields | None" = None


class Fields(Struct, frozen=True):
    """The marker that every blob of ours has in its `fields`.

    `turn_ids`, `seqs` and `deliveries` (which delivery of the turn this is) go together, one for each turn; `attempt`
    is the seq of their SyncAttempted; turns that are too long for one blob have `parts` of them, from `part` 1 on, and
    one that `continues` begins within the message that the part before it ended in.
    """

    turn_ids: list[str]
    seqs: list[int]
    deliveries: list[int]
    attempt: int
    conversation: str
    part: int = 1
    parts: int = 1
    continues: bool = False

    def holds(self, turn_id: str, seq: int, delivery: int) -> bool:
        """Whether this delivery of the turn is in the blob."""
        return (turn_id, seq, delivery) in self.turns()

    def turns(self) -> Iterator[tuple[str, int, int]]:
        """The id, the seq and the delivery of each turn."""
        return zip(self.turn_ids, self.seqs, self.deliveries, strict=False)


def user_uuid(user: str) -> str:
    """The id of a user there: the name itself if it is a UUID of version 4 or 5, or else one made of it.

    The server refuses all other ids with a 422.
    """
    try:
        uuid = UUID(user)
    except ValueError:
        return str(uuid5(USER_NAMESPACE, user))
    return str(uuid) if str(uuid) == user.lower() and uuid.version in (4, 5) else str(uuid5(USER_NAMESPACE, user))


class MemobaseApi:
    """The calls. Each raises ApiError if it cannot be done, and never tells what the server said."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client
        self._read: OrderedDict[str, Blob] = OrderedDict()  # what is in a blob never changes
        self._reading = Lock()

    def check(self) -> Refused | None:
        """Whether the server is well and takes the token: None if so."""
        health = self._client.request("GET", f"{API}/healthcheck")
        if isinstance(health, Refused):
            return Refused("unavailable", health.error, health.status, health.retry_after)
        try:
            self.buffered(user_uuid("turnlog"), "idle")
        except ApiError as error:
            return error.refused
        return None

    def insert(self, user: str, blob: bytes) -> str:
        """Store a blob; its id. Raises UserMissing, too: then nothing was stored."""
        try:
            data = self._call("POST", f"/blobs/insert/{user}?wait_process=false", blob)
        except ModelFailed as error:  # then it is stored: the next flush tells that it has failed
            refused = Refused("in_doubt", "Memobase took the blob and could not process it", 200)
            raise ApiError(refused) from error
        if isinstance(data, dict) and isinstance(data.get("id"), str):
            return str(data["id"])
        raise ApiError(Refused("in_doubt", "Memobase took the blob and did not say under which id", 200))

    def create_user(self, user: str, name: str) -> None:
        """See to it that the user is there, whoever creates them first."""
        body = msgspec.json.encode({"id": user, "data": {"name": name}})
        try:
            self._call("POST", _USERS, body)
        except _UserExists:
            return

    def has_user(self, user: str) -> bool:
        """Whether the user was ever created."""
        try:
            self._call("GET", f"/users/{user}")
        except UserMissing:
            return False
        return True

    def flush(self, user: str, *, wait: bool) -> None:
        """Have the user's buffer processed. Raises ModelFailed if that was waited for and failed."""
        self._call("POST", f"/users/buffer/{user}/chat?wait_process={str(wait).lower()}")

    def buffered(self, user: str, status: str) -> set[str]:
        """The rows of the user's buffer with this status: idle, processing, failed or done."""
        return set(_ids(self._call("GET", f"/users/buffer/capacity/{user}/chat?status={status}")))

    def newest_blobs(self, user: str) -> Iterator[Blob]:
        """The user's blobs from the newest on; those that are deleted meanwhile are left out."""
        for blob_id in self.newest_blob_ids(user):
            blob = self.blob(user, blob_id)
            if blob is not None:
                yield blob

    def newest_blob_ids(self, user: str) -> Iterator[str]:
        """Their ids. The list comes oldest first and cannot be turned round: its last page is looked for."""
        page, ids = self._last_page(user)
        while True:
            yield from reversed(ids)
            if page == 0:
                return
            page -= 1
            ids = self._page(user, page)

    def count_blobs(self, user: str) -> int:
        """How many blobs the user has."""
        page, ids = self._last_page(user)
        return page * _PAGE + len(ids)

    def blob(self, user: str, blob_id: str) -> Blob | None:
        """A blob; None if it is not there."""
        with self._reading:
            known = self._read.get(blob_id)
        if known is not None:
            return known
        try:
            data = self._call("GET", f"/blobs/{user}/{blob_id}")
        except UserMissing:  # the server has one errno for whatever is not there
            return None
        try:
            blob = Blob(blob_id, msgspec.convert(data["fields"], Fields))
        except (TypeError, KeyError, msgspec.ValidationError):
            blob = Blob(blob_id)  # somebody else's
        with self._reading:
            self._read[blob_id] = blob
            if len(self._read) > _READ_MAX:
                self._read.popitem(last=False)
        return blob

    def delete_blob(self, user: str, blob_id: str) -> None:
        """Delete a blob, if it is there."""
        self._call("DELETE", f"/blobs/{user}/{blob_id}")

    def _last_page(self, user: str) -> tuple[int, list[str]]:
        full, beyond = -1, 0
        ids = self._page(user, 0)
        last: tuple[int, list[str]] = (0, ids)
        while len(ids) == _PAGE:
            full, beyond, last = beyond, 2 * beyond + 1, (beyond, ids)
            ids = self._page(user, beyond)
        if ids:
            return beyond, ids
        while beyond - full > 1:
            middle = (full + beyond) // 2
            ids = self._page(user, middle)
            if ids:
                full, last = middle, (middle, ids)
            else:
                beyond = middle
        return last

    def _page(self, user: str, page: int) -> list[str]:
        return _ids(self._call("GET", f"/users/blobs/{user}/chat?page={page}&page_size={_PAGE}"))

    def _call(self, method: str, path: str, body: bytes | None = None) -> Any:
        """The `data` of the envelope. Raises ApiError, UserMissing, ModelFailed, or _UserExists."""
        answer = self._client.request(method, API + path, body)
        if isinstance(answer, Refused):
            raise ApiError(answer)
        envelope = _envelope(answer, changes=method != "GET")
        try:
            if envelope.errno:
                _raise(envelope, answer.status, self._client.credential_note)
        except _UserExists as error:
            if path == _USERS:
                raise
            raise ApiError(Refused("failed", "Memobase found something that is there already", 500)) from error
        return envelope.data


class _UserExists(Exception):
    """Somebody else was first."""


def _envelope(answer: Answer, *, changes: bool) -> Envelope:
    try:
        return msgspec.json.decode(answer.body, type=Envelope)
    except (ValueError, RecursionError) as error:
        kind = "in_doubt" if changes else "unavailable"
        raise ApiError(Refused(kind, "what answered is not Memobase: it sent no envelope", answer.status)) from error


def _ids(data: Any) -> list[str]:
    """A list of ids, which comes alone or as `{"ids": [...]}`."""
    ids = data.get("ids") if isinstance(data, dict) else data
    return [str(i) for i in ids] if isinstance(ids, list) else []


_SAID_WITH_500 = (
    ("foreignkeyviolation", UserMissing),
    ("uniqueviolation", _UserExists),
)
_MEANT_BY_500 = (
    ("sorry, we have encountered", "unavailable", "Memobase does not reach its database, or Redis"),
    ("disallowed special token", "rejected", "Memobase cannot process a blob that it stored: a special token is in it"),
    ("unsupported unicode", "rejected", "Memobase cannot store a character of the text"),
    ("invalid byte sequence", "rejected", "Memobase cannot store a character of the text"),
    ("\\u0000", "rejected", "Memobase cannot store a NUL character"),
    ("surrogates not allowed", "rejected", "Memobase cannot store half a character"),
)
_MEANT_BY_ERRNO = {
    400: ("rejected", "Memobase could not parse the blob"),
    413: ("rejected", "Memobase found the blob too large"),
    422: ("rejected", "Memobase found the request malformed"),
    429: ("throttled", "Memobase asks for a pause"),
    520: ("rejected", "Memobase stored the blob and cannot process it: it is too big"),
}


def _own_words(errmsg: str) -> str:
    """What the server says of itself: behind it, it echoes SQL with what people said, who may say anything."""
    return errmsg.partition("[SQL")[0].partition("[parameters")[0].lower()


def _raise(envelope: Envelope, status: int, credential_note: str) -> NoReturn:
    """Say what an errno means, without a word of `errmsg`."""
    said = _own_words(envelope.errmsg)
    errno = envelope.errno
    if errno == 404:
        raise UserMissing
    if errno in (401, 403):
        raise ApiError(Refused("unauthorized", f"Memobase does not accept the token{credential_note}", errno))
    if errno == 503 and "token limit" in said:
        sentence = f"the project's tokens at Memobase are used up, waiting {QUOTA_SECONDS:.0f} s"
        raise ApiError(Refused("throttled", sentence, errno, QUOTA_SECONDS))
    if errno in (503, 520) and ("llm" in said or "truncating" in said or "process" in said):
        raise ModelFailed
    if errno == 500:
        for words, exception in _SAID_WITH_500:
            if words in said.replace("_", "").replace(" ", ""):
                raise exception
        for words, kind, sentence in _MEANT_BY_500:
            if words in said:
                raise ApiError(Refused(kind, sentence, errno))
    kind, sentence = _MEANT_BY_ERRNO.get(errno, ("failed", f"Memobase failed with errno {errno} (HTTP {status})"))
    raise ApiError(Refused(kind, sentence, errno))
