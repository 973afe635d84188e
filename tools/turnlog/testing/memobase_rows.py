"""The errors of a Memobase server as `MemobaseDouble` makes them: each row with its right behaviour and a wrong one.

Right is what was measured against a live server 0.0.42: HTTP status, `errno`, a phrase of `errmsg`, and whether the
blob is stored. The words around the phrases are the double's own. A sink's tests should fail whenever one row is wrong.
"""

import json
from collections.abc import Iterable
from typing import Literal
from uuid import uuid4

from msgspec import Struct

Stored = Literal["no", "idle", "failed", "dropped", "orphan"]


class Reply(Struct, frozen=True):
    """An answer: the HTTP status and what becomes JSON. Status 0: the connection is closed without an answer."""

    status: int
    body: object


def envelope(data: object = None, *, status: int = 200, errno: int = 0, errmsg: str = "") -> Reply:
    """What nearly everything is answered with."""
    return Reply(status, {"data": data, "errno": errno, "errmsg": errmsg})


def inserted(blob_id: str | None = None, results: Iterable[object] = ()) -> dict[str, object]:
    """The data of an insert that went well; without an id, one that names nothing."""
    return {"id": blob_id or str(uuid4()), "chat_results": list(results)}


class Effect(Struct, frozen=True):
    """What a request that meets a row is answered, and what became of its blob: the state it has, or "no"."""

    status: int = 200
    errno: int = 0
    errmsg: str = ""
    stored: Stored = "no"

    def reply(self, *, data: object = None, echo: object = None) -> Reply:
        """With `data` where errno is 0; `echo` is what `errmsg` or `detail` repeats of the request."""
        if self.status == 0:
            return Reply(0, None)
        if self.status == 422:
            return Reply(422, {"detail": [{"type": "value_error", "loc": [], "msg": self.errmsg, "input": echo}]})
        said = json.dumps(echo, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
        errmsg = self.errmsg.replace("{echo}", said)
        return envelope(None if self.errno else data, status=self.status, errno=self.errno, errmsg=errmsg)


class ErrorRow(Struct, frozen=True):
    """A row of the table: its key, when a request meets it, and how it is answered, rightly and wrongly."""

    key: str
    case: str
    right: Effect
    wrong: Effect
    wrongly: str


_SQL = "[SQL: INSERT INTO general_blobs (blob_data, fields) VALUES ($1, $2)] [parameters: {echo}]"
_FOREIGN_KEY = f"(IntegrityError) <class 'ForeignKeyViolationError'>: user_id is not in table users {_SQL}"
_UNIQUE = "(IntegrityError) <class 'UniqueViolationError'>: users_pkey [SQL: INSERT INTO users] [parameters: {echo}]"
_BAD_TEXT = f"(DBAPIError) <class 'UntranslatableCharacterError'>: unsupported Unicode {_SQL}"
_SPECIAL = f"Encountered text corresponding to disallowed special token. {_SQL}"
_DOWN = "Sorry, we have encountered an error on our side"
_QUOTA = "Your project reaches Memobase token limit"

TABLE = (
    ErrorRow(
        "unauthorized",
        "the token is missing or bad, or the project is suspended",
        Effect(401, 401, "Unauthorized"),
        Effect(stored="idle"),
        "everybody is let in",
    ),
    ErrorRow(
        "schema",
        "the request is not JSON, not of the schema, or names a user by something else than a UUID v4 or v5",
        Effect(422, errmsg="Input should be valid"),
        Effect(errno=500, errmsg="Internal Server Error"),
        "it looks like a failure of the server",
    ),
    ErrorRow(
        "unparsable",
        "a message has a bad role, content, alias or created_at",
        Effect(errno=400, errmsg="Unable to parse blob: {echo}"),
        Effect(),
        "it is acknowledged, and not stored",
    ),
    ErrorRow(
        "unknown-user",
        "an insert for a user that does not exist",
        Effect(errno=500, errmsg=_FOREIGN_KEY),
        Effect(),
        "it is acknowledged, and not stored",
    ),
    ErrorRow(
        "user-exists",
        "a user is created that exists",
        Effect(errno=500, errmsg=_UNIQUE),
        Effect(),
        "it is created anew, and what it had is gone",
    ),
    ErrorRow(
        "bad-text",
        "NUL or a lone surrogate in a message, or NUL in fields",
        Effect(errno=500, errmsg=_BAD_TEXT),
        Effect(stored="idle"),
        "it is stored",
    ),
    ErrorRow(
        "special-token",
        "a message has the text <|endoftext|> or <|endofprompt|>",
        Effect(errno=500, errmsg=_SPECIAL, stored="orphan"),
        Effect(stored="orphan"),
        "it is acknowledged, and an orphan; so is text that only looks like it, however it was escaped",
    ),
    ErrorRow(
        "down",
        "Redis or PostgreSQL is down when the insert begins",
        Effect(errno=500, errmsg=_DOWN),
        Effect(errno=500, errmsg=_DOWN, stored="idle"),
        "it is stored all the same",
    ),
    ErrorRow(
        "model-failed",
        "the model fails, and the request waits for it",
        Effect(errno=503, errmsg="Error in llm_complete", stored="failed"),
        Effect(stored="failed"),
        "the failure is not told",
    ),
    ErrorRow(
        "too-big",
        "a blob is too big for the model, and the request waits for it",
        Effect(errno=520, errmsg="No blobs to process after truncating", stored="failed"),
        Effect(stored="dropped"),
        "it is acknowledged, and dropped with its neighbours",
    ),
    ErrorRow(
        "quota",
        "the project's token quota is used up",
        Effect(errno=503, errmsg=_QUOTA),
        Effect(errno=503, errmsg=_QUOTA, stored="idle"),
        "it is stored all the same",
    ),
    ErrorRow(
        "no-answer",
        "the connection breaks after the request was sent",
        Effect(0, stored="idle"),
        Effect(0),
        "it is not stored",
    ),
    ErrorRow(
        "server-down",
        "nobody listens",
        Effect(0),
        Effect(),
        "somebody acknowledges everything, and stores nothing",
    ),
)

ERROR_ROWS = tuple(row.key for row in TABLE)
"""A key for each row of the table of errors, in its order."""

INSERT_ROWS = tuple(key for key in ERROR_ROWS if key not in ("user-exists", "server-down"))
"""Those that an insert can meet."""

_ROWS = {row.key: row for row in TABLE}


def known(keys: Iterable[str], among: tuple[str, ...] = ERROR_ROWS) -> list[str]:
    """The keys, as a list. Raises ValueError for one that is no row among those."""
    keys = list(keys)
    for key in keys:
        if key not in among:
            raise ValueError(f"{key!r} is no row here; the rows are {', '.join(among)}")
    return keys


def effect(key: str, *, wrong: bool) -> Effect:
    """How the row is answered."""
    return _ROWS[key].wrong if wrong else _ROWS[key].right
